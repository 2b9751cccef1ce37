"""What a parser must never do while it reads hostile input: run code, reach the network, write elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutations import SENTINEL

LIMIT_S = 5.0
"""Seconds of processor time, or seconds without any: on a busy machine a parser waits for its turn."""
IDLE_S = 0.05

_FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen",
    "pty.spawn",
    "pickle.find_class", "socket.connect", "socket.getaddrinfo", "socket.bind", "webbrowser.open",
    "ctypes.dlopen",
    "urllib.Request", "os.kill", "os.putenv",
)  # fmt: skip
_WRITES = (
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.truncate",
)


class Hang(BaseException):
    """A case that took longer than the limit; no `except Exception` swallows it."""


class Watch:
    """The audit hook of this process, active within `case`.

    Args:
        root: the folder that parsers may write in.
    """

    def __init__(self, root: Path) -> None:
        self.events: list[str] = []
        self._active = False
        self._started = self._before = 0.0
        self._allowed = (
            str(root.resolve()) + os.sep,
            str(Path(tempfile.gettempdir()).resolve()) + "/zoo-pull-",
        )
        sys.addaudithook(self._hook)
        signal.signal(signal.SIGALRM, self._alarm)

    def _alarm(self, *_: object) -> None:
        used = time.process_time()
        if used - self._started >= LIMIT_S or used - self._before < IDLE_S:
            raise Hang
        self._before = used
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._active:
            return
        if event in _FORBIDDEN or (event in ("exec", "compile", "import") and SENTINEL in repr(args)[:2000]):
            self.events.append(f"{event} {args!r}"[:300])
        elif event in _WRITES or (event == "open" and self._writes(args)):
            paths = [os.fsdecode(arg) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)]
            paths = paths[:1] if event == "open" else paths
            for path in paths:
                if not (os.path.abspath(path) + os.sep).startswith(self._allowed) or SENTINEL in path:
                    self.events.append(f"{event} {path!r}"[:300])

    @staticmethod
    def _writes(args: tuple[Any, ...]) -> bool:
        flags = args[2] if len(args) > 2 and isinstance(args[2], int) else 0
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))

    @contextlib.contextmanager
    def case(self) -> Iterator[list[str]]:
        """Record forbidden events, and raise `Hang` after `LIMIT_S` seconds."""
        self.events = []
        self._started = self._before = time.process_time()
        self._active = True
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            yield self.events
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._active = False
