"""The installed operators, the methods, and their options read from texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from pydantic import create_model

from zoo_core.config import Config, validate
from zoo_core.errors import Mistakes, PluginError, not_found
from zoo_core.registry.spec import load_target, problem_of
from zoo_restore.spec import DenoiserFacts, MethodSpec, OperatorSpec, verdict
from zoo_restore.specs import METHODS, OPERATORS

GROUP = "zoo.operators"
"""Group of the entry points that name lists of `OperatorSpec`, as "module:NAME"."""


def operators() -> tuple[OperatorSpec, ...]:
    """Return the operators of all installed distributions, ours first.

    Raises:
        PluginError: for an entry point that can't be used, or a name that is claimed twice.
    """
    found = {spec.name: spec for spec in OPERATORS}
    for point in entry_points(group=GROUP):
        try:
            specs = tuple(point.load())
        except Exception as error:
            raise PluginError(f"operators {point.value!r} of {point.name} failed to load: {error}") from error
        for spec in specs:
            problem = problem_of(spec, OperatorSpec)
            if problem is None and spec.name in found:
                problem = f"{spec.name!r} is the name of another operator"
            if problem is not None:
                raise PluginError(f"operators {point.value!r} of {point.name}: {problem}")
            found[spec.name] = spec
    return tuple(found.values())


def operator(name: str) -> OperatorSpec:
    """Return the operator of this name.

    Raises:
        NotFoundError: where there is none.
    """
    return _named("operator", name, operators())


def method(name: str) -> MethodSpec:
    """Return the method of this name.

    Raises:
        NotFoundError: where there is none.
    """
    return _named("method", name, METHODS)


def _named(kind: str, name: str, specs: Sequence[Any]) -> Any:
    for spec in specs:
        if spec.name == name:
            return spec
    raise not_found(kind, name, [spec.name for spec in specs], say=f"{kind}={{}}")


def options_of(spec: OperatorSpec | MethodSpec, given: Mapping[str, str]) -> Config:
    """Return the options of an operator or a method.

    Args:
        given: name -> text, without "operator." or "method.".

    Raises:
        Mistakes: for options that it does not have, or values that it does not take.
    """
    kind = "operator" if isinstance(spec, OperatorSpec) else "method"
    config: type[Config] = load_target(spec.config)
    section: Any = {kind: (config, config())}
    whole: Any = create_model("Options", __base__=Config, **section)  # so that messages name method.scale
    prefixed = {f"{kind}.{name}": text for name, text in given.items()}
    made, mistakes = validate(whole, prefixed, f"{kind}={spec.name}")
    if made is None:
        raise Mistakes(mistakes)
    options: Config = getattr(made, kind)
    return options


def working(operator: OperatorSpec, denoiser: DenoiserFacts) -> list[str]:
    """Return the names of the methods that fit an operator and a denoiser."""
    return [spec.name for spec in METHODS if verdict(spec, operator, denoiser).kind != "refused"]
