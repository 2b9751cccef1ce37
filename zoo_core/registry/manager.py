"""Who is there: entry points loaded one at a time, and what they declare, by kind and name.

A plugin that fails to import, misspells a hook, raises in one, returns what is no spec or claims a taken name
is kept as a `Failure` and never stops the others; what it prints while it loads goes to stderr.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, NamedTuple

import pluggy

from zoo_core.errors import PluginError, not_found
from zoo_core.registry import hookspecs
from zoo_core.registry.spec import (
    API_VERSION,
    CommandSpec,
    DatasetSpec,
    ExtractorSpec,
    MetricSpec,
    PluginSpec,
    SamplerSpec,
    load_target,
    problem_of,
)

GROUP = "zoo"

KINDS: dict[str, tuple[str, type[Any]]] = {
    "plugin": ("zoo_plugins", PluginSpec),
    "sampler": ("zoo_samplers", SamplerSpec),
    "dataset": ("zoo_datasets", DatasetSpec),
    "extractor": ("zoo_extractors", ExtractorSpec),
    "metric": ("zoo_metrics", MetricSpec),
    "command": ("zoo_commands", CommandSpec),
}
"""What can be registered: kind -> (hook, type of its specs)."""

SAY = {"plugin": "plugin={}", "sampler": "sampler={}", "dataset": "data={}", "extractor": "eval.extractor={}"}


class Failure(NamedTuple):
    """A distribution's entry point that could not be used, and why, in one line."""

    entry_point: str
    distribution: str
    reason: str


class Entry(NamedTuple):
    """A registered spec and the distribution it came from."""

    spec: Any
    distribution: str


class Source(NamedTuple):
    """An entry point that loaded."""

    entry_point: str
    distribution: str
    version: str
    module: Any


class Manager:
    """The loaded entry points and their specs.

    Args:
        found: entry points of the group; by default those of every installed distribution, as far as
            ZOO_LOAD_PLUGINS (only these) and ZOO_DISABLE_PLUGINS (not these) allow.
    """

    def __init__(self, found: Sequence[EntryPoint] | None = None) -> None:
        self.pm = pluggy.PluginManager("zoo")
        self.pm.add_hookspecs(hookspecs)
        self.sources: list[Source] = []
        self.failures: list[Failure] = []
        self._entries: dict[str, dict[str, list[Entry]]] = {}
        if found is None:
            found, self.failures = _installed()
        chosen = _chosen(found)
        for entry_point in sorted(chosen, key=lambda e: (_distribution(e), e.name)):
            self._load(entry_point)

    def _load(self, entry_point: EntryPoint) -> None:
        distribution = _distribution(entry_point)
        name = f"{distribution}:{entry_point.name}"
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is the answer, which may be JSON
                module = entry_point.load()
            problem = _unfit(self.pm, module)
            if problem is None:
                self.pm.register(module, name=name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may even call sys.exit while it is imported
            problem = _line(error)
            if self.pm.has_plugin(name):  # a bad hook is found after the good ones were taken
                self.pm.unregister(name=name)
        if problem is not None:
            self.failures.append(Failure(entry_point.name, distribution, problem))
            return
        version = entry_point.dist.version if entry_point.dist else ""
        self.sources.append(Source(entry_point.name, distribution, version, module))

    def _collect(self, kind: str) -> dict[str, list[Entry]]:
        if kind in self._entries:
            return self._entries[kind]
        hook, kind_of_spec = KINDS[kind]
        found: dict[str, list[Entry]] = {}
        for source in self.sources:
            implementation = getattr(source.module, hook, None)
            if implementation is None:
                continue
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    specs = list(implementation())
                for spec in specs:
                    problem = problem_of(spec, kind_of_spec)
                    if problem:
                        raise TypeError(problem)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                reason = f"in {hook}: {_line(error)}"
                self.failures.append(Failure(source.entry_point, source.distribution, reason))
                continue
            for spec in specs:
                found.setdefault(spec.name, []).append(Entry(spec, source.distribution))
        for name, claims in found.items():
            if len(claims) > 1:
                owners = ", ".join(claim.distribution for claim in claims)
                self.failures.append(Failure(name, owners, f"{kind} {name!r} is claimed by {owners}"))
        self._entries[kind] = dict(sorted(found.items()))
        return self._entries[kind]

    def entries(self, kind: str) -> list[Entry]:
        """Return everything of a kind, sorted by name; a name that two distributions claim appears twice."""
        return [entry for claims in self._collect(kind).values() for entry in claims]

    def find(self, kind: str, name: str) -> Entry:
        """Return what is registered under a name, under "distribution:name", or for all of "name:part".

        Raises:
            NotFoundError: where nothing is; it tells the nearest name and what failed to load.
            PluginError: where two distributions claim the name.
        """
        found = self._collect(kind)
        distribution, _, bare = name.rpartition(":")
        claims = [e for e in found.get(bare, []) if not distribution or e.distribution == distribution]
        if not claims:
            claims = [e for e in found.get(distribution, []) if getattr(e.spec, "parts", False)]
        if len(claims) == 1:
            return claims[0]
        if claims:
            owners = " and ".join(claim.distribution for claim in claims)
            raise PluginError(
                f"{kind} {name!r} is claimed by two distributions: {owners}",
                f"to choose: {claims[0].distribution}:{name}",
            )
        broken = [f"failed to load: {f.distribution} ({f.reason})" for f in self.failures]
        for failure in self.failures:
            if name in (failure.entry_point, failure.distribution):
                raise PluginError(
                    f"{kind} {name!r} could not be loaded: {failure.distribution}: {failure.reason}",
                    "next: zoo plugins",
                )
        known = _known(name) if kind == "plugin" else None
        if known is not None:
            package, install = known
            for failure in self.failures:
                if failure.distribution == package:
                    raise PluginError(
                        f"{kind} {name!r} could not be loaded: {package}: {failure.reason}",
                        "next: zoo plugins",
                    )
            broken.append(f"registry.yaml knows it: {install}")
        listing = {"plugin": "zoo list", "sampler": "zoo samplers", "dataset": "zoo datasets"}.get(kind)
        raise not_found(
            kind, name, found, *broken, f"see: {listing}" if listing else "", say=SAY.get(kind, "{}")
        )

    def source(self, kind: str, entry: Entry) -> Source:
        """Return the entry point that declares an entry.

        Raises:
            PluginError: where none that is loaded does.
        """
        hook = KINDS[kind][0]
        for source in self.sources:
            declared = getattr(source.module, hook, None)
            if source.distribution == entry.distribution and declared and entry.spec in declared():
                return source
        raise PluginError(f"{kind} {entry.spec.name!r} is declared by no module that is loaded")

    @contextlib.contextmanager
    def brought(self, kind: str, entry: Entry) -> Iterator[None]:
        """Within the block one more thing is registered."""
        here = self._collect(kind)
        here[entry.spec.name] = [*here.get(entry.spec.name, []), entry]
        try:
            yield
        finally:
            del here[entry.spec.name]

    def refuse(self, kind: str, entry: Entry, reason: str) -> None:
        """Take back what a distribution registered, and keep the reason."""
        entry_point = self.source(kind, entry).entry_point
        claims = self._collect(kind)[entry.spec.name]
        claims.remove(entry)
        if not claims:
            del self._collect(kind)[entry.spec.name]
        self.failures.append(Failure(entry_point, entry.distribution, reason))

    def hooks(self, name: str) -> Iterator[Any]:
        """Yield the implementations of a hook in the order pluggy calls them: `tryfirst` ones first."""
        yield from reversed(getattr(self.pm.hook, name).get_hookimpls())


def _distribution(entry_point: EntryPoint) -> str:
    return _name(entry_point.dist) if entry_point.dist else "unknown"


def _name(distribution: Distribution) -> str:
    try:
        return distribution.name or "unknown"
    except Exception:  # metadata that is missing or damaged
        return "unknown"


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _installed() -> tuple[list[EntryPoint], list[Failure]]:
    """Return the group's entry points of every distribution, each read on its own, and what can't be read."""
    found: dict[str, list[EntryPoint]] = {}
    failures: list[Failure] = []
    for distribution in distributions():
        try:
            mine = [entry_point for entry_point in distribution.entry_points if entry_point.group == GROUP]
        except Exception as error:
            failures.append(Failure("entry_points.txt", _name(distribution), _line(error)))
            continue
        if mine:  # the first on the path is the one that Python imports
            found.setdefault(_name(distribution).lower().replace("_", "-"), mine)
    return [entry_point for mine in found.values() for entry_point in mine], failures


def _known(name: str) -> tuple[str, str] | None:
    """Return the distribution that registry.yaml names for a model, and how to install it."""
    from zoo_core.errors import ZooError
    from zoo_core.registry.index import load_index

    try:
        entry = load_index().entry(name)
    except (ZooError, OSError):
        return None
    return None if entry is None else (entry.package, entry.how_to_install)


def _chosen(found: Sequence[EntryPoint]) -> list[EntryPoint]:
    only = os.environ.get("ZOO_LOAD_PLUGINS")
    never = set(filter(None, os.environ.get("ZOO_DISABLE_PLUGINS", "").split(",")))
    wanted = None if only is None else set(filter(None, only.split(",")))

    def fits(entry_point: EntryPoint) -> bool:
        names = {entry_point.name, _distribution(entry_point)}
        ours = entry_point.name in (
            "core",
            "evaluation",
        )  # without them there is no command line to repair with
        return not names & never and (wanted is None or ours or bool(names & wanted))

    return [entry_point for entry_point in found if fits(entry_point)]


def _unfit(pm: pluggy.PluginManager, module: Any) -> str | None:
    """Return why a plugin module can't be used, or None."""
    version = getattr(module, "ZOO_API", API_VERSION)
    if version != API_VERSION:
        return f"written for plugin API {version}; this zoo has {API_VERSION}"
    for name in dir(module):
        if pm.parse_hookimpl_opts(module, name) is not None and name not in hookspecs.HOOKS:
            from zoo_core.errors import nearest

            match = nearest(name, hookspecs.HOOKS)
            return f"unknown hook {name!r}" + (f"; did you mean {match!r}" if match else "")
    return None


_current: list[Manager] = []


def manager() -> Manager:
    """Return the process's manager, loading the installed plugins at the first call."""
    if not _current:
        _current.append(Manager())
    return _current[-1]


@contextlib.contextmanager
def standing_in(here: Manager) -> Iterator[Manager]:
    """Within the block this manager is the process's: for tests of plugins that are not installed."""
    manager()  # so that the installed one lies under it, to come back to
    _current.append(here)
    try:
        yield here
    finally:
        _current.remove(here)


def load_entry(kind: str, entry: Entry, field: str = "target") -> Any:
    """Import what a spec's field names.

    Raises:
        PluginError: where the import fails; it names the distribution.
    """
    from zoo_core.libraries import explain_import

    target = getattr(entry.spec, field)
    try:
        return load_target(target)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        explain_import(error)
        raise PluginError(
            f"{kind} {entry.spec.name!r} of {entry.distribution} failed to load {target!r}: "
            f"{type(error).__name__}: {error}",
            "next: ZOO_DEBUG=1 shows the traceback",
        ) from error
