"""Files beside result.json, named by what they are and by their sha256: sample grids, curves."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_core.results.result import Attachment

LARGEST_IMAGE = 200_000
"""Bytes of a sample grid; a larger one is halved in size until it fits."""
SIDE = 4096
GRID = "samples-grid.png"
"""In `plots/` of a run: the samples without labels, which are attached to results and shared with weights."""
LARGEST = sys.float_info.max
SERIES, POINTS = 64, 200
"""Most curves of a run, and points of a curve."""


def attachment_of(what: str, content: bytes, suffix: str) -> Attachment:
    """Return the record of a file: its name `<what>-<first 12 digits of sha256>.<suffix>`, hash and size.

    Raises:
        pydantic.ValidationError: for another suffix than json, png, webp or npz, or more than 4 MiB.
    """
    digest = hashlib.sha256(content).hexdigest()
    return Attachment(file=f"{what}-{digest[:12]}.{suffix}", sha256=digest, size=len(content))


def write_attachment(folder: Path, attachment: Attachment, content: bytes) -> None:
    """Write an attachment's file, atomically.

    Raises:
        MachineError: where it can't be written.
    """
    from zoo_core.machine.files import write_atomic

    write_atomic(folder / attachment.file, content)


def read_attachment(folder: Path, attachment: Attachment) -> bytes | None:
    """Return an attachment's content; None where the file is missing or is not the recorded one."""
    from zoo_core.errors import UsageError
    from zoo_core.machine.files import read_bounded

    try:
        content = read_bounded(folder / attachment.file, attachment.size, follow_links=False)
    except UsageError:
        return None
    return content if hashlib.sha256(content).hexdigest() == attachment.sha256 else None


def sample_grid_file(run: Path) -> Path:
    """Return the file of a run's sample grid without labels; runs of version 0.1 have it as samples.png."""
    grid = run / "plots" / GRID
    return grid if grid.is_file() else grid.with_name("samples.png")


def small_png(path: Path) -> bytes | None:
    """Return a PNG file's bytes, halved in size until they fit `LARGEST_IMAGE`; None for another file."""
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            image = opened.convert("L" if opened.mode in ("1", "L") else "RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    while len(content) > LARGEST_IMAGE or max(image.size) > SIDE:
        if min(image.size) < 64:
            return None
        # Grids were enlarged by whole factors: half of their size may lose nothing.
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True)
        content = file.getvalue()
    return content


def curves(records: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Return series -> [[step, value], ...] of a run's log, at most `SERIES` series of `POINTS` points.

    Args:
        records: of metrics.jsonl; values that are not finite numbers are left out.
    """
    series: dict[str, list[list[float]]] = {}
    for record in records:
        if not isinstance(record, Mapping) or not _is_number(record.get("step")):
            continue
        for name, value in record.items():
            if name != "step" and _is_number(value):
                series.setdefault(name, []).append([record["step"], value])
    return {name: thinned(points) for name, points in list(series.items())[:SERIES]}


def curves_json(records: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Return `curves` as JSON; None where there are none."""
    found = curves(records)
    return json.dumps(found, allow_nan=False, separators=(",", ":")).encode() if found else None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST  # of an integer too large for a float math.isfinite raises


def thinned(points: Sequence[list[float]], most: int = POINTS) -> list[list[float]]:
    """Return at most `most` of the points, evenly spread, the first and the last included."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(k * last / (most - 1))] for k in range(most)]
