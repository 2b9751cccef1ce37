"""The listing of one entry point: the specs it declares and the hooks it implements, as plain data.

A listing is made by importing the plugin's module once, and is kept as JSON, so that listings, help and
completion import no plugin.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any, NamedTuple

import pluggy

from zoo_core.registry import hookspecs
from zoo_core.registry.spec import (
    API_VERSION,
    CommandSpec,
    DatasetSpec,
    ExtractorSpec,
    MetricSpec,
    PluginSpec,
    SamplerSpec,
    problem_of,
)

GROUP = "zoo"
"""Group of the entry points that plugins declare."""
SCHEMA = 1
"""Version of the JSON form."""

KINDS: dict[str, tuple[str, type[Any]]] = {
    "plugin": ("zoo_plugins", PluginSpec),
    "sampler": ("zoo_samplers", SamplerSpec),
    "dataset": ("zoo_datasets", DatasetSpec),
    "extractor": ("zoo_extractors", ExtractorSpec),
    "metric": ("zoo_metrics", MetricSpec),
    "command": ("zoo_commands", CommandSpec),
}
"""What can be registered: kind -> (hook, type of its specs)."""

EVENTS = tuple(name for name in hookspecs.HOOKS if name not in {hook for hook, _ in KINDS.values()})
"""Hooks that a run calls, in contrast to those that return specs."""

MAX_SPECS = 10_000
"""Specs that one entry point may declare."""


class Listing(NamedTuple):
    """What one entry point declares.

    Attributes:
        module: the module that holds its hooks, as the entry point names it.
        hooks: names of the hooks that the module implements.
        specs: kind -> specs, for every kind that it declares.
        problems: reasons why a hook's answer is not used, one for each such hook.
        failure: why the entry point is not used at all; "" where it is.
    """

    module: str
    hooks: tuple[str, ...] = ()
    specs: Mapping[str, tuple[Any, ...]] = {}
    problems: tuple[str, ...] = ()
    failure: str = ""


def list_module(module: str) -> Listing:
    """Import a module of hooks in this process and return its listing.

    Whatever the import or a hook raises becomes a failure or a problem of the listing, except
    KeyboardInterrupt. What the module prints goes to stderr, because stdout may carry JSON.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            loaded = import_hooks(module)
        failure = unfit(loaded)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may even call sys.exit while it is imported
        failure = one_line(error)
    if failure is not None:
        return Listing(module, failure=failure)
    specs: dict[str, tuple[Any, ...]] = {}
    problems = []
    for kind, (hook, spec_type) in KINDS.items():
        implementation = getattr(loaded, hook, None)
        if implementation is None:
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):
                specs[kind] = _checked(implementation(), spec_type)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            problems.append(f"in {hook}: {one_line(error)}")
    hooks = tuple(name for name in hookspecs.HOOKS if hasattr(loaded, name))
    return Listing(module, hooks, specs, tuple(problems))


def import_hooks(module: str) -> Any:
    """Return the module (or "module:object") of hooks that an entry point names.

    Raises:
        BaseException: whatever the plugin raises while it is imported.
    """
    return EntryPoint("hooks", module, GROUP).load()


def to_json(listing: Listing) -> dict[str, Any]:
    """Return a listing as plain data."""
    specs = {kind: [spec._asdict() for spec in declared] for kind, declared in listing.specs.items()}
    return listing._asdict() | {"specs": specs}


def from_json(document: Any) -> Listing:
    """Return the listing that plain data describes.

    Raises:
        ValueError: where it does not have the form that `to_json` writes.
    """
    try:
        specs = {
            kind: _checked([KINDS[kind][1](**_tuples(fields)) for fields in declared], KINDS[kind][1])
            for kind, declared in document["specs"].items()
        }
        module, failure = document["module"], document["failure"]
        texts = tuple(map(tuple, (document["hooks"], document["problems"])))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a listing: {one_line(error)}") from error
    if not all(isinstance(text, str) for text in (module, failure, *texts[0], *texts[1])):
        raise ValueError("not a listing: expected texts")
    return Listing(module, texts[0], specs, texts[1], failure)


def unfit(module: Any) -> str | None:
    """Return why a module of hooks can't be used, or None."""
    version = getattr(module, "ZOO_API", API_VERSION)
    if version != API_VERSION:
        return f"written for plugin API {version}; this zoo has {API_VERSION}"
    pm = pluggy.PluginManager("zoo")
    pm.add_hookspecs(hookspecs)
    for name in dir(module):
        if pm.parse_hookimpl_opts(module, name) is not None and name not in hookspecs.HOOKS:
            from zoo_core.errors import nearest

            match = nearest(name, hookspecs.HOOKS)
            return f"unknown hook {name!r}" + (f"; did you mean {match!r}" if match else "")
    try:
        pm.register(module)  # checks the arguments of every hook
    except pluggy.PluginValidationError as error:
        return one_line(error)
    return None


def one_line(error: BaseException) -> str:
    """Return an exception's type and text on one line of at most 500 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def _checked(answer: Any, spec_type: type[Any]) -> tuple[Any, ...]:
    specs = tuple(answer)
    if len(specs) > MAX_SPECS:
        raise ValueError(f"{len(specs)} specs; expected at most {MAX_SPECS}")
    for spec in specs:
        problem = problem_of(spec, spec_type)
        if problem:
            raise TypeError(problem)
    return specs


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
