"""Standard streams that cannot end a run: closed, broken, full, or unable to encode a character."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import Any


class Guarded:
    """A text stream whose writes never raise; everything else is the wrapped stream's.

    Args:
        stream: the stream to write to; None discards what is written, as for a closed standard error.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, with "?" for characters that the stream cannot encode; return its length."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self._stream.write(text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write every text of `lines`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream where that is possible."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return bool(self._stream.isatty())
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def terminal_width(stream: Any = None) -> int | None:
    """Return the columns of the terminal, or of COLUMNS; None where output goes to a file or a pipe.

    Args:
        stream: standard output where left out.
    """
    stream = sys.stdout if stream is None else stream
    if not os.environ.get("COLUMNS") and not Guarded(stream).isatty():
        return None
    return max(40, shutil.get_terminal_size().columns)


def has_colors(stream: Any = None) -> bool:
    """Return whether a stream shows colors: a terminal, unless NO_COLOR is set or TERM is dumb.

    Args:
        stream: standard output where left out.
    """
    stream = sys.stdout if stream is None else stream
    off = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not off and Guarded(stream).isatty()


def tell(line: str) -> None:
    """Print a line to standard error; do nothing where that is impossible."""
    stream = Guarded(sys.stderr)
    stream.write(line + "\n")
    stream.flush()


def untold(line: str) -> None:
    """Print nothing: in place of `tell`, where others say what matters."""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Within the block, nothing that is printed to standard output or standard error raises."""
    kept = sys.stdout, sys.stderr
    mine = Guarded(kept[0]), Guarded(kept[1])
    sys.stdout, sys.stderr = mine
    try:
        yield
    finally:
        if sys.stdout is mine[0]:
            sys.stdout = kept[0]
        if sys.stderr is mine[1]:
            sys.stderr = kept[1]


def prepare() -> None:
    """Make the process's standard streams usable: call once, before anything else opens a file.

    A closed descriptor 0, 1 or 2 is opened on the null device, because the next file that the process opens
    would take its number and receive what libraries print. Characters that a stream cannot encode are
    written as "?".
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is `descriptor`
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def finish() -> OSError | None:
    """Flush the standard streams at the end of a process.

    Returns:
        The error of standard output, where its reader has left or its device is full; both streams then lead
        to the null device, so that the interpreter's own last flush does not fail.
    """
    found = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout and isinstance(error, OSError):
                found = error
    return found
