"""Optuna behind two questions: which options a trial has, and whether it is stopped early.

Nothing is stored by Optuna: what is known of earlier trials is replayed into a study in memory, and each
trial's sampler has a seed of its own. The options of a trial are therefore a function of the seed, the space
and the trials before it, and an interrupted search goes on as if it had not been interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from zoo_core.errors import MachineError
from zoo_core.seeds import derive
from zoo_tune.space import Choices, Dimension, Space
from zoo_tune.trials import MILESTONES, Trial

FACTOR = 3
"""Of the trials at a milestone, one in this many goes on to the next; see `SuccessiveHalvingPruner`."""
RANDOM = 5
"""Trials with random options before the sampler follows the scores."""


def require_optuna() -> Any:
    """Return the module optuna.

    Raises:
        MachineError: where it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MachineError(
            f"zoo tune needs {error.name}, which is not installed", "next: pip install 'genzoo[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Adviser:
    """Answers from the trials so far, which are replayed.

    Args:
        space: what is searched.
        seed: of the search.
        trials: that were started before, in their order.
    """

    def __init__(self, space: Space, seed: int, trials: Sequence[Trial] = ()) -> None:
        self._optuna = require_optuna()
        self._seed = seed
        self._distributions = {key: _distribution(self._optuna, space[key]) for key in sorted(space)}
        pruner = self._optuna.pruners.SuccessiveHalvingPruner(
            min_resource=MILESTONES[0], reduction_factor=FACTOR
        )
        self._study = self._optuna.create_study(direction="minimize", pruner=pruner)
        self._live: dict[int, Any] = {}
        for trial in trials:
            self.ask(trial.number, trial.options)
            counted = trial.scores[: -1 if trial.state == "memorizes" else None]
            for milestone, score in enumerate(counted):
                self.stops(trial.number, milestone, score.loss)
            if trial.state != "running":
                self.tell(trial)

    def ask(self, number: int, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the options of a new trial.

        Args:
            number: of the trial: they are asked for in order.
            options: that it has, where they are known.
        """
        study = self._study
        study.sampler = self._optuna.samplers.TPESampler(
            n_startup_trials=RANDOM, constant_liar=True, seed=derive(self._seed, "tune", number)
        )
        if options is not None:
            study.enqueue_trial(dict(options))
        self._live[number] = asked = study.ask(self._distributions)
        return dict(asked.params)

    def stops(self, number: int, milestone: int, loss: float) -> bool:
        """Return whether successive halving stops a trial after its score at a milestone; never at the last.

        Args:
            number: of the trial.
            milestone: index into `MILESTONES`.
            loss: its score, lower is better.
        """
        trial = self._live[number]
        trial.report(loss, MILESTONES[milestone])
        return bool(milestone + 1 < len(MILESTONES) and trial.should_prune())

    def tell(self, trial: Trial) -> None:
        """Receive how a trial ended; one that failed or memorizes counts as the worst."""
        state = self._optuna.trial.TrialState
        live = self._live.pop(trial.number)
        if trial.state == "done":
            self._study.tell(live, trial.scores[-1].loss)
            return
        if trial.state in ("failed", "memorizes"):
            live.report(math.inf, MILESTONES[-1] + 1 + len(trial.scores))
        self._study.tell(live, state=state.PRUNED)


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    if isinstance(dimension, Choices):
        return optuna.distributions.CategoricalDistribution(dimension.values)
    if dimension.whole:
        return optuna.distributions.IntDistribution(
            int(dimension.low), int(dimension.high), log=dimension.log
        )
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
