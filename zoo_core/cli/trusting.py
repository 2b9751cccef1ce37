"""The option --trust of verbs that build a model from a saved config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _trust(context: click.Context, parameter: click.Parameter, modules: tuple[str, ...]) -> None:
    if modules:
        from zoo_core.runs.parts import trust_modules

        trust_modules(modules)


def trust_option(command: F) -> F:
    """Add --trust to a verb: modules that this call may import where a config names an object in them."""
    return click.option(
        "--trust",
        multiple=True,
        metavar="MODULE",
        expose_value=False,
        callback=_trust,
        help="Import this module if the config names a network in it; the name is shown first.",
    )(command)
