"""What comes of a check: it passed, it failed (why, and what to do), or it asks what is not offered."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
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
    """

    check: str
    case: str
    state: State
    what: str = ""
    do: str = ""
    seconds: float = 0.0


def title(check: Callable[[Any], None]) -> str:
    """Return a check's name in words."""
    return check.__name__.replace("_", " ")


def perform(check: Callable[[Any], None], subject: Any) -> Result:
    """Run one check of one subject; whatever it raises becomes a result, a signal excepted."""
    start = time.perf_counter()

    def result(state: State, what: str = "", do: str = "") -> Result:
        return Result(title(check), subject.case, state, what, do, time.perf_counter() - start)

    try:
        check(subject)
    except Failed as failure:
        return result("failed", failure.what, failure.do)
    except NotApplicable as reason:
        return result("not applicable", str(reason))
    except ZooError as error:
        return result("failed", str(error), "mend what the message names")
    except Exception as error:
        if os.environ.get("ZOO_DEBUG"):
            traceback.print_exc()
        return result("failed", f"{type(error).__name__}: {error}", "ZOO_DEBUG=1 shows the traceback")
    return result("passed")
