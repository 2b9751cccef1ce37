"""Which checks there are for each kind of thing that can be registered, and on what they are run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from zoo_core.errors import NotFoundError, UsageError, not_found
from zoo_core.registry.manager import Entry, Manager, manager
from zoo_core.testing.results import Result, perform

MODULES = {
    "plugin": "zoo_core.testing.models",
    "sampler": "zoo_core.testing.samplers",
    "dataset": "zoo_core.testing.datasets",
    "extractor": "zoo_core.testing.extractors",
    "metric": "zoo_core.testing.metrics",
}
"""Kind -> module with `CHECKS` and `subjects(entry, data)`, imported when it is needed: each costs torch."""


class Subject(Protocol):
    """What a check is given; each kind has its own, with more.

    Attributes:
        kind: "plugin", "sampler", "dataset", "extractor" or "metric".
        entry: what is checked.
        case: what it is checked on.
    """

    kind: str
    entry: Entry
    case: str


Check = Callable[[Subject], None]


def checks(kind: str) -> Sequence[Check]:
    """Return the checks of a kind, in the order in which they are best read."""
    return tuple(importlib.import_module(MODULES[kind]).CHECKS)


def subjects(kind: str, name: str, data: Sequence[str] = ()) -> list[Subject]:
    """Return what the checks of one registered thing are run on.

    Args:
        kind: one of `MODULES`.
        name: registered name.
        data: for a model, the datasets to check it on; by default one of images and one of points.

    Raises:
        NotFoundError, PluginError: as `Manager.find`.
        UsageError: for a model that refuses all these datasets.
    """
    entry = manager().find(kind, name)
    return list(importlib.import_module(MODULES[kind]).subjects(entry, tuple(data)))


def named(name: str, here: Manager | None = None) -> list[tuple[str, str]]:
    """Return (kind, name) of everything registered under a name, or brought by a distribution of that name.

    Raises:
        NotFoundError: where there is nothing; PluginError where it failed to load.
    """
    here = here or manager()
    entries = [(kind, entry) for kind in MODULES for entry in here.entries(kind)]
    found = [(kind, entry.spec.name) for kind, entry in entries if name == entry.spec.name]
    found = found or [(kind, entry.spec.name) for kind, entry in entries if name == entry.distribution]
    if found:
        return list(dict.fromkeys(found))
    try:
        here.find("plugin", name)  # raises, and says what failed to load
    except NotFoundError as error:
        if any(note.startswith("did you mean") for note in error.notes):
            raise
    names = {entry.spec.name for _, entry in entries} | {entry.distribution for _, entry in entries}
    raise not_found("model, sampler, dataset, extractor, metric or distribution", name, names)


def chosen(name: str, kind: str | None = None) -> list[tuple[str, str]]:
    """Return (kind, name) of what a name means, as far as it is of this kind.

    Raises:
        NotFoundError, PluginError, UsageError: where there is nothing.
    """
    found = named(name)
    fitting = [(its, own) for its, own in found if kind in (None, its)]
    if not fitting:
        kinds = ", ".join(dict.fromkeys(its for its, _ in found))
        raise UsageError(f"{name!r} is not a {kind}", f"it is registered as: {kinds}")
    return fitting


def examine(name: str, kind: str | None = None, data: Sequence[str] = ()) -> Iterator[Result]:
    """Yield the result of every check of what is registered under a name, as they are had.

    Args:
        name: of a model, sampler, dataset, extractor or metric, or of a distribution.
        kind: only what is of this kind.
        data: as for `subjects`.

    Raises:
        NotFoundError, PluginError, UsageError: where there is nothing to check.
    """
    for its, own in chosen(name, kind):
        for subject in subjects(its, own, data):
            for check in checks(its):
                yield perform(check, subject)
