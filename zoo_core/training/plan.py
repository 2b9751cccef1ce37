"""The stages of a recipe, validated, and the steps of each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from torch import nn

from zoo_core.config import TrainConfig
from zoo_core.errors import PluginError, UsageError
from zoo_core.machine.faults import attributed
from zoo_core.training.recipe import Phase, Recipe, Stage


def planned_stages(recipe: Recipe, plugin: str) -> list[Stage]:
    """Return the stages that a recipe declares.

    Raises:
        PluginError: where they are not what `Recipe.stages` promises.
    """
    try:
        found: Any = recipe.stages()
    except Exception as error:
        raise attributed(error, plugin, "in stages()") from error
    if not isinstance(found, Sequence) or not all(isinstance(stage, Stage) for stage in found):
        raise _wrong(plugin, f"stages() returned {_kind(found)}", "return a list of zoo_core Stage objects")
    if not found:
        raise _wrong(plugin, "stages() returned no stage", "return at least one Stage")
    for stage in found:
        _check_stage(stage, recipe, plugin)
    return list(found)


def _check_stage(stage: Stage, recipe: Recipe, plugin: str) -> None:
    where = f"stage {stage.name!r}"
    for phase in stage.phases:
        if not isinstance(phase, Phase):
            raise _wrong(plugin, f"{where} holds {_kind(phase)}", "Stage.phases is a list of Phase objects")
        here = f"{where}, phase {phase.name!r}"
        if not isinstance(phase.updates, Sequence | nn.ModuleList):
            raise _wrong(
                plugin, f"{here}: updates is {_kind(phase.updates)}", "a list of modules: [self.net]"
            )
        for module in phase.updates:
            if not isinstance(module, nn.Module):
                raise _wrong(
                    plugin, f"{here}: updates holds {_kind(module)}", "modules, not parameters: [self.net]"
                )
        if not callable(phase.loss):
            raise _wrong(plugin, f"{here}: loss is {_kind(phase.loss)}", "a function of (batch, context)")
        if phase.optimizer not in stage.optimizers:
            raise _wrong(
                plugin,
                f"{where} has no optimizer {phase.optimizer!r}",
                f"a name in Stage.optimizers: {', '.join(stage.optimizers) or 'none'}",
            )
    for name in stage.ema:
        try:
            recipe.get_submodule(name)
        except AttributeError as error:
            children = ", ".join(child for child, _ in recipe.named_children())
            raise _wrong(
                plugin, f"{where} has an EMA of {name!r}, which is not a submodule", f"one of {children}"
            ) from error


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _wrong(plugin: str, what: str, expected: str) -> PluginError:
    return PluginError(
        f"plugin {plugin!r}: {what}", f"expected: {expected}", f"next: `zoo check {plugin}` tests the plugin"
    )


def split_steps(stages: Sequence[Stage], steps: int) -> list[int]:
    """Return each stage's number of steps; they add up to `steps`, and a stage without phases takes none."""
    total = sum(stage.fraction for stage in stages if stage.phases)
    numbers, done, passed = [], 0, 0.0
    for stage in stages:
        if not stage.phases:
            numbers.append(0)
            continue
        passed += stage.fraction
        end = round(steps * passed / total)
        numbers.append(end - done)
        done = end
    return numbers


def planned_steps(stages: Sequence[Stage], config: TrainConfig) -> list[int]:
    """Return each stage's number of steps.

    Raises:
        UsageError: where a stage with phases would get none; it names the least train.steps that will do.
    """
    numbers = split_steps(stages, config.steps)
    starved = [s.name for s, n in zip(stages, numbers, strict=True) if s.phases and n == 0]
    if not starved:
        return numbers
    least = config.steps + 1
    while least < 100_000 and 0 in (
        n for s, n in zip(stages, split_steps(stages, least), strict=True) if s.phases
    ):
        least += 1
    raise UsageError(
        f"train.steps={config.steps} leaves no step for stage {starved[0]!r}",
        f"expected: at least {least}" if least < 100_000 else "",
        f"next: train.steps={least}",
    )


def stage_line(recipe: nn.Module, stages: Sequence[Stage], steps: Sequence[int], index: int) -> str:
    """Return which of several stages begins, what it trains and what of the recipe it leaves as it is."""
    stage = stages[index]
    moved = {id(part) for phase in stage.phases for module in phase.updates for part in module.modules()}
    parts = {name: part for name, part in recipe.named_children() if part.state_dict()}
    trains = {name: any(id(inner) in moved for inner in part.modules()) for name, part in parts.items()}
    trained, frozen = (
        ", ".join(name for name, its in trains.items() if its is on) or "nothing" for on in (True, False)
    )
    return (
        f"stage {index + 1} of {len(stages)}, {stage.name}: {steps[index]:,} steps; "
        f"trains: {trained}; frozen: {frozen}"
    )


def micro_batches(config: TrainConfig, processes: int = 1) -> list[range]:
    """Return the rows of each micro-batch of a batch.

    Each is shared by all processes, so each has at least one row a process, and every process has as many
    micro-batches: where the batch does not allow it, there are fewer than `train.accumulate`.
    """
    rows = config.batch_size
    size = max(-(-rows // config.accumulate), processes)
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] < processes:
        starts.pop()
    return [range(*ends) for ends in itertools.pairwise((*starts, rows))]
