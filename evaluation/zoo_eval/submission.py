"""A result as one file: figures, hashes, provenance, and with them config, curves, a picture of samples."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_core import strict_yaml
from zoo_core.errors import UsageError, ZooError
from zoo_core.privacy import public
from zoo_eval.results import Bad, Stored, read
from zoo_eval.schema import EXTRAS, LARGEST, POINTS, SERIES, SHEET_BYTES, content_hash, fault

CONFIG_BYTES = 64 * 1024


def enrich(stored: Stored) -> dict[str, Any]:
    """Return a result with its config, curves and sheet, where they are in its file or in files beside it.

    config: the run's options; curves: series -> [[step, value], ...], at most 200 points each; sheet: a PNG
    of samples in base64. Each stays away where there is nothing to have it from. Secrets and paths that name
    a user are left out of what is read from a run's folder.
    """
    whole = read(stored.path)
    inside = {} if isinstance(whole, Bad) else {k: whole.result[k] for k in EXTRAS if k in whole.result}
    folder = stored.path.parent
    made = {**stored.result, **inside}
    # files beside a result are its own only where its run made it there: a folder of submissions has none
    if stored.path.name.startswith("result") and (folder / "config.yaml").is_file():
        for name, find in (("config", _config), ("curves", _curves)):
            if name not in made and (found := find(folder)):
                made[name] = found
    if "sheet" not in made and (sheet := _sheet(folder / "pictures" / "samples.png")):
        made["sheet"] = sheet
    return made


def _config(folder: Path) -> dict[str, Any] | None:
    try:
        found = strict_yaml.read(folder / "config.yaml")
    except (OSError, ValueError, ZooError):
        return None
    if not isinstance(found, Mapping):
        return None
    kept = public({key: value for key, value in found.items() if key != "run_dir"})
    return kept if len(json.dumps(kept, default=str)) <= CONFIG_BYTES else None


def _curves(folder: Path) -> dict[str, list[list[float]]]:
    from zoo_core.tracking.trackers import read_metrics

    try:
        records = read_metrics(folder / "metrics.jsonl")
    except (OSError, ValueError):
        return {}
    series: dict[str, list[list[float]]] = {}
    for record in records:
        if not isinstance(record, dict) or not _is_number(record.get("step")):
            continue
        for name, value in record.items():
            if name != "step" and _is_number(value):
                series.setdefault(name, []).append([record["step"], value])
    return {name: thinned(points) for name, points in list(series.items())[:SERIES]}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def thinned(points: Sequence[list[float]], most: int = POINTS) -> list[list[float]]:
    """Return at most `most` of the points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(k * last / (most - 1))] for k in range(most)]


def _sheet(path: Path) -> str | None:
    """Return a picture as a PNG in base64 that is small enough, made smaller where it is not."""
    if not path.is_file():
        return None
    from PIL import Image

    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
            picture = opened.convert("L" if opened.mode in ("1", "L") else "RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    while len(data) > SHEET_BYTES or max(picture.size) > 4096:
        if min(picture.size) < 64:
            return None
        # grids were enlarged by whole factors: a half of their size may lose nothing
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=True)
        data = file.getvalue()
    return base64.b64encode(data).decode()


def submission(path: Path) -> dict[str, Any]:
    """Return the result of a run as it is submitted: enriched, without private words, and with its hash.

    Args:
        path: of a run's folder, or of one of the result files in it.

    Raises:
        UsageError: where there is no result, it is none, or it is too large.
    """
    file = path / "result.json" if path.is_dir() else path
    if not file.exists():
        raise UsageError(
            f"no result in {str(path)!r}",
            "expected: the folder of a finished run, or its result file",
            f"next: zoo run resume={path}" if (path / "config.yaml").exists() else "",
        )
    stored = read(file)
    if isinstance(stored, Bad):
        hint = "next: zoo eval RUN eval.protocol=quick" if stored.reason == "not scored" else ""
        raise UsageError(f"{file} can't be submitted: {stored.reason}", hint)
    made = enrich(stored)
    made.pop("run_dir", None)
    made.pop("content_sha256", None)
    made = made | {"provenance": public(made.get("provenance", {}))}
    made["content_sha256"] = content_hash(made)
    problem = fault(made)
    if problem is not None:
        raise UsageError(f"{file} can't be submitted: {problem}")
    size = len(text_of(made))
    if size > LARGEST:
        raise UsageError(f"the submission has {size:,} bytes", f"expected: at most {LARGEST:,}")
    return made


def text_of(made: Mapping[str, Any]) -> str:
    """Return a submission as it is written: strict JSON, sorted, so that one change is one line in git."""
    return json.dumps(made, indent=1, sort_keys=True, allow_nan=False) + "\n"


def file_name(made: Mapping[str, Any]) -> str:
    """Return the name under which the leaderboard finds a submission, of letters that any disk takes."""
    parts = (made["data"], made["plugin"], made["config_hash"], f"s{made['seed']}", made["protocol"]["hash"])
    words = ("".join(c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in p) for p in parts)
    return "result-" + "-".join(word[:48] for word in words) + ".json"
