"""The sample grid and the curves attached to a result: bounded, checked by sha256, and well-formed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from zoo_core.results import Result
from zoo_core.results.attachments import LARGEST_IMAGE, POINTS, SERIES, SIDE, read_attachment

Curves = dict[str, list[list[float]]]
_Value = Annotated[float, Field(strict=True, gt=-1e300, lt=1e300, allow_inf_nan=False)]
_Point = Annotated[list[_Value], Field(min_length=2, max_length=2)]
_Series = Annotated[list[_Point], Field(min_length=1, max_length=POINTS)]
_CURVES: TypeAdapter[Curves] = TypeAdapter(Annotated[dict[str, _Series], Field(max_length=SERIES)])
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
    try:
        return {} if content is None else _CURVES.validate_json(content)
    except ValidationError:
        return {}
