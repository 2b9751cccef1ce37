"""The hooks a plugin may implement; our own plugins use the same ones.

An implementation takes the arguments that it needs, by name, and may leave out the others: a hook may gain an
argument without breaking anyone. The hooks that return specs are called when a plugin is listed; those for
events are called by a run, in the order in which they are declared here.

What a hook is given of a run is a Protocol in `zoo_core.interfaces`:

- `EvaluatedRun`, for `zoo_preflight` and `zoo_score`: the run itself. They decide on the run and end it where
  they fail, and they need its model and all its data.
- `RunView`, for every event: read-only. It samples and logs, but leads neither to the optimizers nor to test
  rows.
- `TrainedRun`, for `zoo_plot_trained`: a `RunView` with the model and the data, given once training is over,
  because plots of reconstructions, latents and styles need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from zoo_core.registry.spec import (
    CommandSpec,
    DatasetSpec,
    ExtractorSpec,
    MetricSpec,
    PluginSpec,
    SamplerSpec,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from zoo_core.config import RunConfig
    from zoo_core.interfaces import EvaluatedRun, RunView, TrainedRun
    from zoo_core.results import Reexecution, Result, RunResult

hookspec = pluggy.HookspecMarker("zoo")


@hookspec
def zoo_plugins() -> list[PluginSpec]:
    """Return the models this distribution provides: `plugin=NAME`.

    Asked by every listing and by `zoo run`, so the module that holds it imports no torch.
    """


@hookspec
def zoo_samplers() -> list[SamplerSpec]:
    """Return the samplers this distribution provides: `sampler=NAME`, for every model with a denoiser."""


@hookspec
def zoo_datasets() -> list[DatasetSpec]:
    """Return the datasets this distribution provides: `data=NAME`."""


@hookspec
def zoo_extractors() -> list[ExtractorSpec]:
    """Return the feature networks this distribution provides: `eval.extractor=NAME`."""


@hookspec
def zoo_metrics() -> list[MetricSpec]:
    """Return the metrics of this distribution: columns of every result that they apply to."""


@hookspec
def zoo_commands() -> list[CommandSpec]:
    """Return the commands this distribution adds: `zoo NAME`; the core's own names are refused."""


@hookspec(firstresult=True)
def zoo_score(run: EvaluatedRun) -> Result | None:
    """Score a trained run. The first result that is not None is recorded, and later hooks are not called.

    Args:
        run: trained; `run.draw` samples from it, `run.config.eval` says how it is to be scored.

    Returns:
        The result. None leaves the run to another plugin.
    """


@hookspec(firstresult=True)
def zoo_validate(run: EvaluatedRun) -> Mapping[str, float] | None:
    """Score a run during training on the validation part of its training split (`eval.every`).

    Args:
        run: in training; random states are restored after.

    Returns:
        Column -> value, the lower the better; the first selects the best checkpoint. None leaves the run to
        another plugin.
    """


@hookspec(firstresult=True)
def zoo_baselines(config: RunConfig) -> Sequence[Result] | None:
    """Return results to compare a run with, under its protocol; the first answer that is not None counts.

    Args:
        config: of the run.
    """


@hookspec
def zoo_preflight(run: EvaluatedRun) -> None:
    """Raise a ZooError before training starts where the run could not be scored after it.

    Args:
        run: built, not trained.
    """


@hookspec
def zoo_summary(result: RunResult) -> list[str] | None:
    """Return the lines that explain a result to a user; None for nothing to say.

    Args:
        result: the finished run, with its result and those of the baselines.
    """


@hookspec(firstresult=True)
def zoo_comparison(results: Sequence[RunResult]) -> Sequence[Sequence[str]] | None:
    """Return a table that compares the results of a matrix of runs; the first answer that is not None counts.

    Args:
        results: of the finished runs.

    Returns:
        The head and the rows, as texts. None leaves the table to another plugin.
    """


@hookspec(firstresult=True)
def zoo_reexecute(result: Result, folder: Path, spot: int) -> Reexecution | None:
    """Execute parts of a run's training again and compare their ends; asked by `zoo verify --spot`.

    Args:
        result: whose `audit` holds the hash of the training's states.
        folder: of the run.
        spot: segments that are drawn at random, beside those that are always executed.

    Returns:
        What was found. None leaves the run to another plugin.
    """


@hookspec
def zoo_listeners(config: RunConfig) -> Sequence[object]:
    """Return listeners for one run: objects whose methods implement the event hooks below.

    A module that implements those hooks itself listens to every run; a listener may keep state of one run.

    Args:
        config: of the run that starts.
    """


@hookspec
def zoo_run_started(run: RunView) -> None:
    """Called before training starts or continues.

    Args:
        run: `run.step` is the step it starts at.
    """


@hookspec
def zoo_log(run: RunView, step: int, values: Mapping[str, float]) -> None:
    """Called with losses and learning rates every `train.log_every` steps.

    Args:
        run: in training.
        step: steps done, over all stages.
        values: "phase/loss" and what else a loss logged, each a mean since the last record; "lr/optimizer",
            "images" and "steps_per_second".
    """


@hookspec
def zoo_plot(run: RunView, step: int) -> None:
    """Called every `train.sample_every` steps, to draw plots of the training's progress.

    Evaluation mode is on, and random states are restored after: a plot changes no weight. A file that was
    written into `run.dir` is announced by `run.announce(name, path)`.

    Args:
        run: in training; `run.sample`, `run.sample_grid` and `run.training_examples` give what is drawn.
        step: steps done, over all stages.
    """


@hookspec
def zoo_plot_trained(run: TrainedRun) -> None:
    """Called once the run was trained and scored and before its result is recorded, to draw its plots.

    Images that are announced here by `run.announce(name, path)` are listed in `RunResult.images`.

    Args:
        run: trained, with its model and its data.
    """


@hookspec
def zoo_checkpoint(run: RunView, step: int, path: str) -> None:
    """Called after a checkpoint was written: every `train.checkpoint_every` steps, every `train.audit` steps
    and at the end of training.

    Args:
        run: in training.
        step: steps done, over all stages.
        path: of the checkpoint's folder. Only the newest `train.keep` are kept, so a listener that needs it
            later copies or links its files.
    """


@hookspec
def zoo_images(run: RunView, step: int, name: str, path: str) -> None:
    """Called after a plot or sample grid was written into the run's folder.

    Args:
        run: the run that the image shows.
        step: steps done, over all stages.
        name: of the series: "samples", "curves".
        path: of the file.
    """


@hookspec
def zoo_run_finished(run: RunView, result: RunResult) -> None:
    """Called after the run was scored and recorded.

    Args:
        run: trained.
        result: the finished run, with its result and those of the baselines.
    """


@hookspec
def zoo_run_failed(run: RunView, error: BaseException) -> None:
    """Called when the run ended early: diverged, interrupted or failed.

    Args:
        run: as far as it came; its checkpoints are in its folder.
        error: what ended it; a ZooError has the exit status.
    """


HOOKS: Sequence[str] = tuple(name for name in globals() if name.startswith("zoo_"))
