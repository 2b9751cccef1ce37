"""The stages of a recipe, validated, and the steps of each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from zoo_core.config import EmaConfig, OptimizerConfig, TrainConfig
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
    except BaseException as error:
        raise attributed(error, plugin, "in stages()") from error
    if not isinstance(found, Sequence) or not all(isinstance(stage, Stage) for stage in found):
        raise _wrong(plugin, f"stages() returned {_kind(found)}", "return a list of zoo_core Stage objects")
    if not found:
        raise _wrong(plugin, "stages() returned no stage", "return at least one Stage")
    for stage in found:
        _check_stage(stage, recipe, plugin)
    return list(found)


Test = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


STAGE: Mapping[str, tuple[Test, str]] = {
    "name": (_is_name, "a name"),
    "phases": (lambda value: isinstance(value, Sequence), "a list of Phase objects"),
    "optimizers": (lambda value: isinstance(value, Mapping), "a dict: {name: OptimizerConfig}"),
    "fraction": (_is_positive, "a number above 0"),
    "ema": (lambda value: isinstance(value, Mapping), "a dict: {submodule: EmaConfig}"),
    "begin": (lambda value: value is None or callable(value), "a function of the training data, or None"),
}
PHASE: Mapping[str, tuple[Test, str]] = {
    "name": (_is_name, "a name"),
    "loss": (callable, "a function of (batch, context)"),
    "repeat": (lambda value: _is_count(value) or callable(value), "an int of at least 1, or a function"),
    "every": (_is_count, "an int of at least 1"),
    "grad_clip": (lambda value: value is None or _is_positive(value), "a number above 0, or None"),
    "after_step": (lambda value: value is None or callable(value), "a function of (sums, keep), or None"),
}
"""What the fields of a stage and of a phase have to be: whether a value is that, and the words for it."""


def _check_fields(
    part: Stage | Phase, fields: Mapping[str, tuple[Test, str]], where: str, plugin: str
) -> None:
    for name, (holds, expected) in fields.items():
        value = getattr(part, name)
        if not holds(value):
            what = repr(value) if isinstance(value, int | float | str) else _kind(value)
            raise _wrong(plugin, f"{where}: {name} is {what}", expected)


def _check_optimizer(config: Any, where: str, plugin: str) -> None:
    if not isinstance(config, OptimizerConfig):
        raise _wrong(plugin, f"{where} is {_kind(config)}", "a zoo_core OptimizerConfig")


def _check_updated(phase: Phase, recipe: Recipe, where: str, plugin: str) -> None:
    """Refuse a phase that has nothing to update, or what is not part of the recipe."""
    own = {id(parameter): parameter.requires_grad for parameter in recipe.parameters()}
    updated = [own.get(id(p)) for module in phase.updates for p in module.parameters()]
    if None in updated:
        raise _wrong(
            plugin,
            f"{where} updates a module that is not part of the recipe",
            "modules that are attributes of the recipe",
        )
    if not any(updated):
        raise _wrong(
            plugin, f"{where} updates no parameter", "modules with parameters that require gradients"
        )


def _check_stage(stage: Stage, recipe: Recipe, plugin: str) -> None:
    where = f"stage {stage.name!r}"
    _check_fields(stage, STAGE, where, plugin)
    names = [phase.name for phase in stage.phases if isinstance(phase, Phase)]
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
        _check_fields(phase, PHASE, here, plugin)
        if names.count(phase.name) > 1:
            raise _wrong(plugin, f"{where} has several phases {phase.name!r}", "a name for each phase")
        if phase.optimizer not in stage.optimizers:
            raise _wrong(
                plugin,
                f"{where} has no optimizer {phase.optimizer!r}",
                f"a name in Stage.optimizers: {', '.join(stage.optimizers) or 'none'}",
            )
        _check_optimizer(stage.optimizers[phase.optimizer], f"{where}, optimizer {phase.optimizer!r}", plugin)
        _check_updated(phase, recipe, here, plugin)
    for name, config in stage.ema.items():
        if not isinstance(config, EmaConfig):
            raise _wrong(plugin, f"{where}, EMA of {name!r} is {_kind(config)}", "a zoo_core EmaConfig")
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
