"""What a topic of the course consists of: a question, a figure, and exercises with numeric answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zoo_core.viz.style import styled
from zoo_course.folder import Folder


@dataclass(frozen=True)
class Slip:
    """A wrong answer that is often given.

    Attributes:
        value: the answer.
        hint: where it comes from.
    """

    value: Callable[[], float]
    hint: str


@dataclass(frozen=True)
class Exercise:
    """A question whose answer is a number.

    Attributes:
        question: what is asked, with its unit.
        answer: computes the right answer.
        tolerance: greatest absolute difference of an answer that counts as right.
        hint: shown after a wrong answer that is none of the slips.
        slips: known wrong answers with hints of their own.
    """

    question: str
    answer: Callable[[], float]
    tolerance: float
    hint: str
    slips: tuple[Slip, ...] = ()

    def feedback(self, given: float) -> str | None:
        """Return None for a right answer, and a hint for a wrong one."""
        if math.isfinite(given) and abs(given - self.answer()) <= self.tolerance:
            return None
        for slip in self.slips:
            if abs(given - slip.value()) <= self.tolerance:
                return slip.hint
        return self.hint


@dataclass(frozen=True)
class Topic:
    """A topic of the course.

    Attributes:
        question: what the topic answers, one sentence.
        look: what to look at in the figure, one sentence each.
        figure: writes the figure into a folder and returns lines with the numbers that it measured.
        exercises: in order; the first is TOPIC-1.
    """

    question: str
    look: tuple[str, ...]
    figure: Callable[[Folder], Sequence[str]]
    exercises: tuple[Exercise, ...]

    def draw(self, folder: Folder) -> Sequence[str]:
        """Write the figure in the style of all plots, and return the lines with what it measured."""
        return styled(self.figure)(folder)
