"""Installed plugins: what they declare, by kind and name, and what failed to load.

Names, summaries and tasks come from listings, which import nothing; a plugin's code is imported when it is
used. A plugin that fails to import, misspells a hook, raises in one, returns something that is not a spec or
claims a taken name is kept as a `Failure` and never stops the others.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions
from types import FrameType
from typing import Any, NamedTuple

import pluggy

from zoo_core.errors import Interrupted, PluginError, not_found
from zoo_core.home import OURS
from zoo_core.registry import builtin, cache, hookspecs
from zoo_core.registry.listing import EVENTS, GROUP, KINDS, Listing, import_hooks, list_module, one_line
from zoo_core.registry.spec import load_target

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
    """An entry point that can be used, and its listing."""

    entry_point: str
    distribution: str
    version: str
    listing: Listing

    @property
    def module(self) -> str:
        """The module of its hooks."""
        return self.listing.module


class Manager:
    """The installed entry points and what they declare.

    Args:
        found: entry points, listed in this process; by default those of every installed distribution, as far
            as ZOO_LOAD_PLUGINS (only these) and ZOO_DISABLE_PLUGINS (not these) allow, listed by the cache
            or by child processes.
        children: whether child processes list what is not cached; where not, `unlisted` names it.

    Attributes:
        sources: entry points that can be used, by distribution and name.
        failures: what can't be used, and why.
        unlisted: distributions of which nothing is known yet.
        trackers: objects that hear a run's events: whose they are, by their name in `pm`.
    """

    def __init__(self, found: Sequence[EntryPoint] | None = None, *, children: bool = True) -> None:
        self.pm = pluggy.PluginManager("zoo")
        self.pm.add_hookspecs(hookspecs)
        self.sources: list[Source] = []
        self.failures: list[Failure] = []
        self.unlisted: list[str] = []
        self.trackers: dict[str, object] = {}
        self._listening: set[str] = set()
        listings: Sequence[Listing | None]
        if found is None:
            installed, self.failures = _installed()
            chosen = _chosen(installed)
            listings = _listings(chosen, children)
        else:
            chosen = _chosen(found)
            listings = [list_module(entry_point.value) for entry_point in chosen]
        for entry_point, listing in zip(chosen, listings, strict=True):
            self._take(entry_point, listing)
        self._entries = {kind: self._collect(kind) for kind in KINDS}

    def _take(self, entry_point: EntryPoint, listing: Listing | None) -> None:
        distribution = _distribution(entry_point)
        if listing is None:
            self.unlisted.append(distribution)
            return
        if listing.failure:
            self.failures.append(Failure(entry_point.name, distribution, listing.failure))
            return
        self.failures += [Failure(entry_point.name, distribution, problem) for problem in listing.problems]
        version = entry_point.dist.version if entry_point.dist else ""
        self.sources.append(Source(entry_point.name, distribution, version, listing))

    def _collect(self, kind: str) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for source in self.sources:
            for spec in source.listing.specs.get(kind, ()):
                found.setdefault(spec.name, []).append(Entry(spec, source.distribution))
        for name, claims in found.items():
            if len(claims) > 1:
                owners = ", ".join(claim.distribution for claim in claims)
                self.failures.append(Failure(name, owners, f"{kind} {name!r} is claimed by {owners}"))
        return dict(sorted(found.items()))

    def entries(self, kind: str) -> list[Entry]:
        """Return everything of a kind, sorted by name; a name that two distributions claim appears twice."""
        return [entry for claims in self._entries[kind].values() for entry in claims]

    def find(self, kind: str, name: str, distribution: str = "") -> Entry:
        """Return what is registered under a name, under "distribution:name", or for all of "name:part".

        Args:
            kind: one of KINDS.
            name: as a user types it.
            distribution: the one that provides it; "" for whichever does. Where that one does not provide it,
                as after a plugin was renamed, another one's is not taken instead.

        Raises:
            NotFoundError: where nothing is; it tells the nearest name and what failed to load.
            PluginError: where two distributions claim the name.
        """
        found = self._entries[kind]
        prefix, _, bare = name.rpartition(":")
        claims = [e for e in found.get(bare, []) if not prefix or e.distribution == prefix]
        if not claims:
            claims = [e for e in found.get(prefix, []) if getattr(e.spec, "parts", False)]
        if distribution and claims:
            own = [e for e in claims if e.distribution == distribution]
            if not own:
                raise PluginError(
                    f"{kind} {name!r} of {distribution} is not installed; "
                    f"{claims[0].distribution} provides one of the same name",
                    f"expected: {distribution}, which the run was made with",
                    f"to use the other one: {SAY.get(kind, '{}').format(f'{claims[0].distribution}:{name}')}",
                )
            claims = own
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
            PluginError: where none does.
        """
        for source in self.sources:
            if source.distribution == entry.distribution and entry.spec in source.listing.specs.get(kind, ()):
                return source
        raise PluginError(f"{kind} {entry.spec.name!r} is declared by no installed module")

    @contextlib.contextmanager
    def brought(self, kind: str, entry: Entry) -> Iterator[None]:
        """Within the block one more thing is registered."""
        here = self._entries[kind]
        before = here.get(entry.spec.name, [])
        here[entry.spec.name] = [*before, entry]
        try:
            yield
        finally:
            del here[entry.spec.name]
            here |= {entry.spec.name: before} if before else {}

    def refuse(self, kind: str, entry: Entry, reason: str) -> None:
        """Take back what a distribution registered, and keep the reason."""
        entry_point = self.source(kind, entry).entry_point
        claims = self._entries[kind][entry.spec.name]
        claims.remove(entry)
        if not claims:
            del self._entries[kind][entry.spec.name]
        self.failures.append(Failure(entry_point, entry.distribution, reason))

    def hooks(self, name: str) -> Iterator[Any]:
        """Yield the implementations of an event's hook in pluggy's order: `tryfirst` ones first.

        Plugins that implement an event's hook are imported at the first call.
        """
        for source in self.sources:
            key = f"{source.distribution}:{source.entry_point}"
            if key not in self._listening and not set(source.listing.hooks).isdisjoint(EVENTS):
                self._listening.add(key)
                self._import(source, key)
        yield from reversed(getattr(self.pm.hook, name).get_hookimpls())

    def _import(self, source: Source, key: str) -> None:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                self.pm.register(import_hooks(source.module), name=key)
        except (KeyboardInterrupt, Interrupted):
            raise
        except BaseException as error:  # it could be imported when it was listed
            if self.pm.has_plugin(key):
                self.pm.unregister(name=key)
            self.failures.append(Failure(source.entry_point, source.distribution, one_line(error)))


def _distribution(entry_point: EntryPoint) -> str:
    return _name(entry_point.dist) if entry_point.dist else "unknown"


def _name(distribution: Distribution) -> str:
    try:
        return distribution.name or "unknown"
    except Exception:  # metadata that is missing or damaged
        return "unknown"


_DECLARES = re.compile(rf"^\s*\[\s*{GROUP}\s*\]", re.MULTILINE)


def _listings(found: Sequence[EntryPoint], children: bool) -> list[Listing | None]:
    """Return each entry point's listing: built in, cached or made now; None where it may not be made."""
    ready = builtin.read()
    known: dict[int, Listing] = {}
    keys: dict[int, str] = {}
    for place, entry_point in enumerate(found):
        ours = _distribution(entry_point) == OURS
        listing = ready.get(entry_point.value) if ours else None
        if listing is None:
            keys[place] = cache.fingerprint(entry_point)
            listing = cache.read(entry_point, keys[place])
            if listing is None and ours:
                listing = list_module(entry_point.value)
                cache.write(entry_point, keys[place], listing)
        if listing is not None:
            known[place] = listing
    missing = [place for place in range(len(found)) if place not in known]
    if children and missing:
        from zoo_core.registry import child  # it imports what only a first listing needs

        if child.INSIDE not in os.environ:  # a plugin that asks for the plugins while it is listed gets none
            made = child.list_in_children([found[place].value for place in missing])
            for place, listing in zip(missing, made, strict=True):
                known[place] = listing
                cache.write(found[place], keys[place], listing)
    return [known.get(place) for place in range(len(found))]


def _installed() -> tuple[list[EntryPoint], list[Failure]]:
    """Return the group's entry points of every distribution, each read on its own, and what can't be read."""
    found: dict[str, list[EntryPoint]] = {}
    failures: list[Failure] = []
    for distribution in distributions():
        try:
            if not _DECLARES.search(distribution.read_text("entry_points.txt") or ""):
                continue  # parsing the file of each of 150 distributions takes 0.15 s
            mine = [entry_point for entry_point in distribution.entry_points if entry_point.group == GROUP]
        except Exception as error:
            failures.append(Failure("entry_points.txt", _name(distribution), one_line(error)))
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

    return sorted(filter(fits, found), key=lambda e: (_distribution(e), e.name))


_current: list[Manager] = []


def manager() -> Manager:
    """Return the process's manager, loading the installed plugins at the first call."""
    if not _current:
        _current.append(Manager())
    return _current[-1]


def glance() -> Manager:
    """Return the process's manager where there is one, else one that starts no child process.

    Help and completion read it: they show what is cached and never wait for a plugin.
    """
    return _current[-1] if _current else Manager(children=False)


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
    from zoo_core.machine.libraries import explain_import

    target = getattr(entry.spec, field)
    interrupts = _Interrupts()
    try:
        with interrupts:
            return load_target(target)
    except Interrupted:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and interrupts.received:
            raise
        explain_import(error)
        raise PluginError(
            f"{kind} {entry.spec.name!r} of {entry.distribution} failed to load {target!r}: "
            f"{type(error).__name__}: {error}",
            "next: ZOO_DEBUG=1 shows the traceback",
        ) from error


class _Interrupts:
    """Tells a user's Ctrl-C from a KeyboardInterrupt that a plugin raises while it is imported."""

    def __init__(self) -> None:
        self.received = False
        self._ours = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        raise KeyboardInterrupt

    def __enter__(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        self._ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._receive)

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
