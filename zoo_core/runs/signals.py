"""Signals during a run: the first one asks it to save and end."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType
from typing import Any

from zoo_core.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals that save a run and end it: Ctrl-C, a shutdown, a lost terminal, a cluster's notice of a limit."""


class Signals:
    """Signals while work is on: the first one asks it to save and end, a second Ctrl-C ends it at once.

    Attributes:
        received: the first signal, or None.
        deferred: whether the training asks for `received` between two steps; else the signal raises at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferred = False
        self._kept: dict[int, Any] = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if number == signal.SIGINT:
                os._exit(128 + number)
            return  # service managers send SIGTERM and SIGHUP together
        self.received = number
        if not self.deferred:  # what is not training can be done again from the last checkpoint
            raise Interrupted(number, f"interrupted by {signal.Signals(number).name}")

    def __enter__(self) -> Signals:
        for number in STOPPING:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup
            with contextlib.suppress(ValueError):  # only the main thread of a process may listen
                self._kept[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._kept.items():
            signal.signal(number, handler)
