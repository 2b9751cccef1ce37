"""What of a run's training depends on its length, and the state from which a finished run is continued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from zoo_core.config import Config
from zoo_core.errors import UsageError
from zoo_core.training.checkpoint import END, Checkpoint
from zoo_core.training.harness import Harness
from zoo_core.training.randomness import seed_all
from zoo_core.training.recipe import Phase
from zoo_core.types import Context

ROWS = 8
"""Examples on which losses are compared."""


def reopened(saved: Checkpoint) -> Checkpoint:
    """Return the checkpoint of a finished run as it was before its last stage ended; others unchanged.

    Raises:
        UsageError: where it holds no optimizer states: it was pulled, or written by version 0.1.0.
    """
    if saved.state["optimizers"]:
        return saved
    end = saved.state.get(END)
    if not end or not end["optimizers"]:
        raise UsageError(
            "the checkpoint holds no state of an optimizer, without which training can't be continued",
            "bundles and runs of version 0.1.0 do not keep it, and a model that is fitted has none",
            "next: start a new run from its weights: init=RUN",
        )
    kept = {key: value for key, value in saved.state.items() if key != END}
    return Checkpoint(saved.weights, saved.ema, {**kept, **end})


def tied_to_length(harness: Harness, config: Config, steps: int) -> list[str]:
    """Return why the steps that a harness has done would have been others in a run of `steps` steps.

    Losses that use `Context.progress` are found by evaluation: at powers of two and at the quarters of the
    steps done, the loss of a few examples is compared for both lengths.

    Args:
        harness: of the run, at its checkpoint.
        config: of the run.
        steps: length of the run that is compared.

    Returns:
        One line per reason; empty where both runs are equal up to here.
    """
    trained = [stage for stage in harness.stages if stage.phases]
    if len(trained) != 1 or harness.stages[-1] is not trained[0]:
        names = ", ".join(stage.name for stage in harness.stages)
        return [f"the stages ({names}) share train.steps: each would have had another number of steps"]
    stage = trained[0]
    reasons = [
        f"{_option(config, optimizer, name)}.schedule={optimizer.schedule} is a function of train.steps"
        for name, optimizer in stage.optimizers.items()
        if optimizer.schedule != "constant"
    ]
    if harness.config.compile == "auto":
        reasons.append("train.compile=auto decides by the time that is left, and so by train.steps")
    before = harness.stage_steps[-1]
    for phase in stage.phases:
        if any(_differs(harness, phase, step, before, steps) for step in _probes(harness.counts.total)):
            named = [name for name in harness.recipe.length_options if _value(config, name)]
            cause = ", ".join(f"{name}={_value(config, name)}" for name in named) or "an option of the model"
            reasons.append(
                f"the loss of phase {phase.name!r} depends on the fraction of train.steps done ({cause})"
            )
    return reasons


def _probes(done: int) -> Iterator[int]:
    powers = (1 << k for k in range(done.bit_length()))
    yield from sorted(
        {step for step in (*powers, done // 4, done // 2, 3 * done // 4, done - 1) if 0 < step < done}
    )


def _differs(harness: Harness, phase: Phase, step: int, before: int, after: int) -> bool:
    losses = []
    for steps in (before, after):
        with harness.untouched():
            harness.recipe.train()
            seed_all(0)
            rng = torch.Generator(device=harness.data.device).manual_seed(0)
            batch = harness.data.next(harness.config.batch_size)[:ROWS]
            context = Context(step, step / steps, step * harness.config.batch_size, rng)
            losses.append(phase.loss(batch, context).loss.detach())
    return not torch.equal(*losses)


def _option(config: Config, optimizer: Any, name: str) -> str:
    """Return the dotted name of the section that an optimizer is configured by."""
    section: Any = getattr(config, "optim", None)
    names = type(section).model_fields if isinstance(section, Config) else ()
    return next((f"optim.{key}" for key in names if getattr(section, key) is optimizer), f"optim.{name}")


def _value(config: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        config = getattr(config, part, None)
    return config
