"""A run's events, told to every listener one by one; a listener that fails is dropped, never the run."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pluggy

from zoo_core.errors import Interrupted, PluginError, UsageError, ZooError
from zoo_core.machine import terminal
from zoo_core.machine.faults import machine_error
from zoo_core.registry.manager import Manager

hookimpl = pluggy.HookimplMarker("zoo")
"""Marks a listener's methods, as it marks a plugin's functions."""


class Events:
    """Tells a run's events to the installed plugins and to its own trackers.

    Args:
        here: the loaded plugins.
        say: told of a listener that failed.
    """

    def __init__(self, here: Manager, say: Callable[[str], None]) -> None:
        self.here = here
        self.say = say
        self._failed: set[tuple[str, str]] = set()
        self._telling: set[str] = set()

    @contextmanager
    def listening(self, trackers: Sequence[Any]) -> Iterator[None]:
        """Within the block these objects hear every event that they have a hookimpl for.

        Those of a run that this one is part of, as a baseline is of the run beside which it is scored, hear
        nothing meanwhile.
        """
        others = [one for one in self.here.trackers.items() if one[1] is not self]
        silent = [(name, of, self._leave(name)) for name, of in others]
        names: list[str] = []
        try:
            for tracker in trackers:
                names.append(self._join(f"{type(tracker).__name__}:{id(tracker)}", self, tracker))
            yield
        finally:
            for name in names:
                self._leave(name)
            for name, of, tracker in silent:
                self._join(name, of, tracker)

    def _join(self, name: str, of: object, tracker: Any) -> str:
        self.here.pm.register(tracker, name=name)
        self.here.trackers[name] = of
        return name

    def _leave(self, name: str) -> Any:
        del self.here.trackers[name]
        return self.here.pm.unregister(name=name)

    def ask(self, hook: str, **facts: Any) -> list[Any]:
        """Return what every implementation of a hook answers, None left out.

        Raises:
            PluginError: where one raises; it names the plugin and the hook. A ZooError passes as it is.
        """
        return list(self._answers(hook, facts))

    def first(self, hook: str, **facts: Any) -> Any:
        """Return the first answer of a hook that is not None, asking no further; None where there is none.

        Raises:
            PluginError: as `ask`.
        """
        return next(self._answers(hook, facts), None)

    def _answers(self, hook: str, facts: Mapping[str, Any]) -> Iterator[Any]:
        for implementation in self.here.hooks(hook):
            try:
                answer = implementation.function(*(facts[name] for name in implementation.argnames))
            except (ZooError, KeyboardInterrupt):
                raise
            except BaseException as error:
                if (fault := machine_error(error)) is not None:
                    raise fault from error
                raise PluginError(
                    f"plugin {implementation.plugin_name} failed in {hook}: {type(error).__name__}: {error}",
                    "next: ZOO_DEBUG=1 shows the traceback",
                ) from error
            if answer is not None:
                yield answer

    def tell(self, event: str, **facts: Any) -> None:
        """Call every implementation of an event's hook with the arguments it asks for.

        Raises:
            UsageError: where one of these implementations causes the same event, which would never end.
        """
        if event in self._telling:
            raise UsageError(f"{event} was caused by a listener of {event}", "next: cause it in another hook")
        self._telling.add(event)
        try:
            self._tell(event, facts)
        finally:
            self._telling.remove(event)

    def _tell(self, event: str, facts: Mapping[str, Any]) -> None:
        for implementation in list(self.here.hooks(event)):
            key = (implementation.plugin_name, event)
            if key in self._failed:
                continue
            try:
                implementation.function(*(facts[name] for name in implementation.argnames))
            except (KeyboardInterrupt, Interrupted):
                raise
            except BaseException as error:
                self._failed.add(key)
                name = implementation.plugin_name.partition(":")[0]
                self.say(
                    f"warning: {name} failed in {event} and is left out: {type(error).__name__}: {error}"
                )
                if os.environ.get("ZOO_DEBUG"):
                    terminal.tell(traceback.format_exc())
