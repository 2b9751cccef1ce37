"""Messages to the user: what was given, what was expected, the nearest match, the next command.

Every error that a user can cause or fix is a `ZooError`; the command line prints it in a few lines and
exits with its status. Anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LONGEST = 1000
"""Characters of one line of a message; a value that was given may be of any length."""


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters by which a text that a message repeats could control a terminal."""


def _shortened(line: str) -> str:
    line = _CONTROL.sub("?", line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}... ({len(line):,} characters)"


class ZooError(Exception):
    """An error with notes under it, one a line.

    Args:
        what: one sentence: what was wrong, with the value that was given.
        notes: lines such as "expected: int" or "next: zoo list"; empty ones are left out.
    """

    status = 2

    def __init__(self, what: str, *notes: str) -> None:
        super().__init__(what)
        self.what = what
        self.notes = tuple(note for note in notes if note)

    def __str__(self) -> str:
        return "\n    ".join(_shortened(line) for line in (self.what, *self.notes))


class UsageError(ZooError):
    """The user's mistake: an option, a name, a value, a data file (exit status 2)."""


SHOWN = 50
"""Mistakes listed in one message."""


class Mistakes(UsageError):
    """All the mistakes of one command line, reported together."""

    def __init__(self, mistakes: Sequence[ZooError]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        lines = [str(mistake) for mistake in self.mistakes[:SHOWN]]
        more = len(self.mistakes) - SHOWN
        return "\n".join([*lines, f"and {more:,} more mistakes"] if more > 0 else lines)


class NotFoundError(UsageError, LookupError):
    """A name that nothing is registered under."""


class DivergedError(ZooError):
    """Training met a loss, gradient or weight that is not finite (exit status 3)."""

    status = 3


class PluginError(ZooError):
    """A plugin failed to load or raised (exit status 4)."""

    status = 4


class MachineError(ZooError):
    """The machine's: disk, memory, device, lock, corrupt checkpoint, library (exit status 5)."""

    status = 5


class Interrupted(ZooError):
    """A signal ended the run after it was saved (exit status 128 + signal)."""

    def __init__(self, signal: int, what: str, *notes: str) -> None:
        super().__init__(what, *notes)
        self.status = 128 + signal


def nearest(name: str, options: Iterable[str]) -> str | None:
    """Return the option closest in spelling to `name`, in its letter case or in any, or None."""
    import difflib  # half a millisecond that only an error needs

    options = list(options)
    by_fold = {option.lower().replace("_", "-"): option for option in reversed(options)}
    folded = name[:200].lower().replace("_", "-")
    if folded in by_fold:
        return by_fold[folded]
    for given, known in ((name[:200], {option: option for option in options}), (folded, by_fold)):
        found = difflib.get_close_matches(given, list(known), n=1, cutoff=0.55)
        if found:
            return known[found[0]]
    return None


def guess(name: str, options: Iterable[str], say: str = "{}") -> str:
    """Return the note "did you mean: ..." with the option closest in spelling; "" where none is close.

    Args:
        say: how the option is typed, e.g. "plugin={}".
    """
    match = nearest(name, options)
    return f"did you mean: {say.format(match)}" if match else ""


def beginning(lines: Sequence[str], most: int) -> list[str]:
    """Return at most so many lines, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], f"and {more} more"] if more > 0 else list(lines)


SHORT = 6
"""Names listed after a guess that is likely right."""


def listed(options: Sequence[str], near: str | None = None) -> str:
    """Return names as a list: all of them, or those nearest to a name and how many others there are."""
    if near is None or len(options) <= SHORT:
        return ", ".join(options) or "none"
    import difflib

    close = difflib.get_close_matches(near[:200].lower(), options, n=SHORT, cutoff=0.3)
    return f"{', '.join(close)} and {len(options) - len(close)} others"


def not_found(kind: str, name: str, options: Iterable[str], *notes: str, say: str = "{}") -> NotFoundError:
    """Return the error for an unknown name: the nearest match, and all that there is.

    Args:
        kind: what was looked for: "plugin", "sampler".
        say: how the match is typed, e.g. "plugin={}".
    """
    options = sorted(options)
    near = guess(name, options, say)
    return NotFoundError(
        f"no {kind} {name!r} is installed",
        near,
        f"installed: {listed(options, name if near else None)}",
        *notes,
    )
