"""The hooks a plugin may implement; every one of them is used by our own plugins through the same door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    from zoo_core.runs import Run

hookspec = pluggy.HookspecMarker("zoo")


@hookspec
def zoo_plugins() -> list[PluginSpec]:
    """Return the models this distribution brings."""


@hookspec
def zoo_samplers() -> list[SamplerSpec]:
    """Return the samplers this distribution brings."""


@hookspec
def zoo_datasets() -> list[DatasetSpec]:
    """Return the datasets this distribution brings."""


@hookspec
def zoo_extractors() -> list[ExtractorSpec]:
    """Return the feature networks this distribution brings."""


@hookspec
def zoo_metrics() -> list[MetricSpec]:
    """Return the figures this distribution computes from features."""


@hookspec
def zoo_commands() -> list[CommandSpec]:
    """Return the verbs this distribution adds to the command line."""


@hookspec(firstresult=True)
def zoo_score(run: Run) -> Mapping[str, Any] | None:
    """Score a trained run under `run.config.eval` and return its result, ready for JSON."""


@hookspec
def zoo_preflight(run: Run) -> None:
    """Raise a ZooError before training starts where the run could not be scored after it."""


@hookspec
def zoo_summary(result: Mapping[str, Any]) -> list[str] | None:
    """Return the lines that tell a user what a result means."""


@hookspec
def zoo_run_started(run: Run) -> None:
    """Hear that training is about to start or to continue."""


@hookspec
def zoo_log(run: Run, step: int, values: Mapping[str, float]) -> None:
    """Hear the losses and rates at a step."""


@hookspec
def zoo_images(run: Run, step: int, name: str, path: str) -> None:
    """Hear that a picture was drawn into the run's folder."""


@hookspec
def zoo_run_finished(run: Run, result: Mapping[str, Any]) -> None:
    """Hear that the run was scored and recorded."""


@hookspec
def zoo_run_failed(run: Run, error: BaseException) -> None:
    """Hear that the run ended early: diverged, interrupted or failed."""


HOOKS: Sequence[str] = tuple(name for name in globals() if name.startswith("zoo_"))
