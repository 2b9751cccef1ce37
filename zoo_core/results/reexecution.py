"""What executing parts of a run's training again has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["exact", "consistent", "unverified", "refuted"]
"""Bit for bit the same; within tolerance; neither shown nor refuted; something recorded is wrong."""


@dataclass(frozen=True)
class Reexecution:
    """Segments of a training that were executed again, from their first states.

    Attributes:
        outcome: of the segment with the worst one.
        segments: number of all segments.
        executed: indices of those that were executed again.
        challenge: random number of the verifier, in hex, from which segments were drawn.
        findings: what agrees and what does not, one line each; the last says the power of the check.
    """

    outcome: Outcome
    segments: int
    executed: tuple[int, ...]
    challenge: str
    findings: tuple[str, ...]
