"""What each model of the registry can restore: facts of its denoiser, and the table of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser, coupling_of
from zoo_core.machine.terminal import untold
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import Run, build, load_data
from zoo_restore.registry import operators, working
from zoo_restore.spec import DenoiserFacts, MethodSpec, OperatorSpec, denoiser_problem, verdict
from zoo_restore.specs import METHODS


def facts_of(run: Run) -> DenoiserFacts:
    """Return what decides whether the denoiser of a run can restore images.

    Raises:
        UsageError: for a model without a denoiser, or data that are not images.
    """
    plugin, info = run.config.plugin, run.data.info
    if not isinstance(run.recipe, HasDenoiser):
        raise UsageError(
            f"plugin {plugin!r} has no denoiser, and every method needs one",
            f"expected: a run of {', '.join(denoising())}",
        )
    if not info.is_image:
        raise UsageError(
            f"{info.name!r} has points, and operators degrade images", "expected: data of images"
        )
    denoise = run.recipe.denoiser()
    return DenoiserFacts(denoise.space, coupling_of(denoise), source=info.task in ("paired", "unpaired"))


def denoising() -> list[str]:
    """Return the names of the registered models whose recipe has a denoiser."""
    entries = manager().entries("plugin")
    return [entry.spec.name for entry in entries if hasattr(load_entry("plugin", entry), "denoiser")]


def registered() -> Mapping[str, DenoiserFacts]:
    """Return the facts of each registered model with a denoiser, by name, from a small untrained one."""
    found = {}
    for name in denoising():
        config = resolve({"plugin": name, "preset": "tiny", "device": "cpu"})
        run = build(config, load_data(config), Path(), manager(), say=untold, warn=untold)
        found[name] = facts_of(run)
    return found


def refuse(methods: Sequence[MethodSpec], operator: OperatorSpec, denoiser: DenoiserFacts) -> None:
    """Refuse methods that do not fit, and name those that do.

    Raises:
        UsageError: as said.
    """
    problem = denoiser_problem(denoiser)
    if problem:
        able = ", ".join(name for name, facts in registered().items() if not denoiser_problem(facts))
        raise UsageError(f"this model can't restore images: {problem}", f"models that can: {able}")
    for spec in methods:
        found = verdict(spec, operator, denoiser)
        if found.kind == "refused":
            able = " or ".join(f"method={name}" for name in working(operator, denoiser))
            raise UsageError(
                f"method={spec.name} does not work with operator={operator.name}: {found.reason}",
                f"operator={operator.name} is: {', '.join(operator.capabilities)}",
                f"next: {able or 'another operator'}",
            )


def table(denoisers: Mapping[str, DenoiserFacts]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of methods, operators and denoisers.

    Models whose denoisers give equal rows are listed together.
    """
    known = operators()
    groups: dict[DenoiserFacts, list[str]] = {}
    for name, facts in denoisers.items():
        groups.setdefault(facts, []).append(name)
    rows = []
    for facts, names in groups.items():
        models = ", ".join(names)
        if denoiser_problem(facts):
            rows.append([models, "any", *("refused" for _ in known)])
            continue
        for spec in METHODS:
            kinds = [verdict(spec, operator, facts).kind for operator in known]
            rows.append([models, spec.name, *kinds])
    return ["model", "method", *(operator.name for operator in known)], rows
