"""The sample grid and the curves attached to a result: bounded, checked by sha256, and well-formed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from zoo_core.results import Result
from zoo_core.results.attachments import LARGEST_IMAGE, POINTS, SERIES, SIDE, read_attachment

Curves = dict[str, list[list[float]]]
_PNG = b"\x89PNG\r\n\x1a\n"


def sample_grid(result: Result, folder: Path, what: str = "samples") -> bytes | None:
    """Return the PNG of a grid of samples; None where it is missing, not the recorded one, too large, or not
    a PNG.

    Args:
        folder: of the result's file.
        what: name of the attachment: "samples", or "worst" for the samples that lie farthest from the data.
    """
    attachment = result.attachments.get(what)
    if attachment is None or attachment.size > LARGEST_IMAGE:
        return None
    content = read_attachment(folder, attachment)
    if content is None or not content.startswith(_PNG) or content[12:16] != b"IHDR":
        return None
    sides = [int.from_bytes(content[start : start + 4], "big") for start in (16, 20)]
    return content if all(1 <= side <= SIDE for side in sides) else None


def curves(result: Result, folder: Path) -> Curves:
    """Return series -> [[step, value], ...] of training; {} where they are missing or not well-formed."""
    attachment = result.attachments.get("curves")
    content = None if attachment is None else read_attachment(folder, attachment)
    if content is None:
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or len(found) > SERIES:
        return {}
    return found if all(_is_series(points) for points in found.values()) else {}


def _is_series(points: Any) -> bool:
    return (
        isinstance(points, list) and 0 < len(points) <= POINTS and all(_is_point(point) for point in points)
    )


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(_is_number(value) for value in point)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value) and abs(value) < 1e300
    except OverflowError:
        return False
