"""Which segments are executed again, and how likely a forgery is then caught."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

FRACTIONS = (Fraction(1, 10), Fraction(1, 2))
"""Of the segments that are drawn from, forged: what a verdict states its power for, beside a single one."""


@dataclass(frozen=True)
class Plan:
    """Segments of a training that are executed again.

    Attributes:
        segments: number of all segments.
        drawn: indices of those that were drawn, ascending; never the first or the last.
    """

    segments: int
    drawn: tuple[int, ...]

    @property
    def executed(self) -> tuple[int, ...]:
        """All indices, ascending: the first, those that were drawn, and the last."""
        return tuple(sorted({0, *self.drawn, self.segments - 1}))

    @property
    def between(self) -> int:
        """Number of segments that are drawn from."""
        return max(0, self.segments - 2)


def plan(segments: int, spot: int, challenge: bytes, root: str) -> Plan:
    """Return the segments to execute, drawn without replacement.

    The draw is a function of the verifier's random number and of the root that was fixed before: whoever has
    both can repeat it.

    Args:
        segments: number of all segments, at least 1.
        spot: how many are drawn between the first and the last; more than there are means all.
        challenge: random bytes of the verifier, newer than the root.
        root: of the trace, in hex.
    """
    seed = challenge + bytes.fromhex(root)

    def key(index: int) -> bytes:
        return hashlib.sha256(seed + index.to_bytes(8, "little")).digest()

    drawn = sorted(range(1, segments - 1), key=key)[: max(0, spot)]
    return Plan(segments, tuple(sorted(drawn)))


def caught(between: int, forged: int, drawn: int) -> float:
    """Return the probability that at least one of the forged segments is among those that are drawn.

    Args:
        between: segments that are drawn from.
        forged: how many of them are forged.
        drawn: how many are drawn, without replacement.
    """
    return 1 - math.comb(between - forged, drawn) / math.comb(between, drawn)


def with_replacement(fraction: float, drawn: int) -> float:
    """Return 1 - (1 - f)^m: the same for draws with replacement, which is never more."""
    return 1 - (1 - fraction) ** drawn


def power_lines(made: Plan) -> Sequence[str]:
    """Return what a check of these segments can find, in words."""
    total, m = made.between, len(made.drawn)
    if m == total:
        return ["power: every segment was executed again, so a forged one is caught for certain"]
    always = "a forgery in the first or the last segment is caught for certain"
    if not m:
        return [f"power: {always}, one in the {total} segments between not at all"]
    lines = [f"power: {always}; in one of the {total} segments between with {m}/{total} = {m / total:.3g}"]
    for fraction in FRACTIONS:
        forged = max(1, round(fraction * total))
        bound = with_replacement(forged / total, m)
        lines.append(
            f"power: in {forged} of the {total} with {caught(total, forged, m):.3g} "
            f"(at least 1 - (1 - {forged / total:.3g})^{m} = {bound:.3g})"
        )
    return lines
