"""Results of checks: passed, failed (why, and what to do), or not applicable."""

from __future__ import annotations

import contextlib
import io
import os
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from zoo_core.errors import ZooError

State = Literal["passed", "failed", "not applicable"]


class Failed(AssertionError):
    """A subject broke the contract.

    Args:
        what: what was seen.
        do: what the plugin's author should do about it.
    """

    def __init__(self, what: str, do: str) -> None:
        super().__init__(what)
        self.what = what
        self.do = do


class NotApplicable(Exception):
    """The check asks about something that the subject does not offer; the message says what."""


class Result(NamedTuple):
    """One check of one subject.

    Attributes:
        check: the check's name, in words.
        case: what the subject was checked on: "digits", "ring", "digits, class"; "" where there is no choice.
        state: what came of it.
        what: what was seen, or why the check does not apply.
        do: what the author should do; "" unless it failed.
        seconds: it took, with whatever it was the first to need.
        output: what the plugin printed meanwhile, its last OUTPUT characters; "" unless the check failed.
    """

    check: str
    case: str
    state: State
    what: str = ""
    do: str = ""
    seconds: float = 0.0
    output: str = ""


OUTPUT = 4000
"""Characters of a plugin's output that are kept."""


class Tail(io.TextIOBase):
    """A text stream that keeps the last OUTPUT characters."""

    def __init__(self) -> None:
        self.text = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text = (self.text + text[-OUTPUT:])[-OUTPUT:]
        return len(text)


@contextlib.contextmanager
def kept_quiet() -> Iterator[Tail]:
    """Within the block what is printed to stdout and stderr goes into the yielded stream."""
    tail = Tail()
    with contextlib.redirect_stdout(tail), contextlib.redirect_stderr(tail):
        yield tail


def title(check: Callable[[Any], None]) -> str:
    """Return a check's name in words."""
    return check.__name__.replace("_", " ")


def perform(check: Callable[[Any], None], subject: Any) -> Result:
    """Run one check of one subject; whatever it raises becomes a result, except signals.

    What the plugin prints is part of the result of a failed check, and is dropped otherwise.
    """
    start = time.perf_counter()
    tail = Tail()

    def result(state: State, what: str = "", do: str = "") -> Result:
        output = tail.text if state == "failed" else ""
        return Result(title(check), subject.case, state, what, do, time.perf_counter() - start, output)

    try:
        with kept_quiet() as tail:
            check(subject)
    except Failed as failure:
        return result("failed", failure.what, failure.do)
    except NotApplicable as reason:
        return result("not applicable", str(reason))
    except ZooError as error:
        return result("failed", str(error), "fix what the message names")
    except Exception as error:
        if os.environ.get("ZOO_DEBUG"):
            traceback.print_exc()
        return result("failed", f"{type(error).__name__}: {error}", "ZOO_DEBUG=1 shows the traceback")
    return result("passed")
