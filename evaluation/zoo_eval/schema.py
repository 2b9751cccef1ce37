"""What counts as a result: the schema of a result file, and every check that one goes through.

A file may be a stranger's. Whatever it holds is data: numbers are finite, nesting is shallow, sizes are
bounded, hashes are checked, and what it says of its own worth is not believed (see `verification`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from zoo_eval.protocol import fields_hash

SCHEMA = 1
LARGEST = 1 << 20
"""Bytes of a result file."""
DEEPEST = 16
"""Levels of nesting."""
SERIES, POINTS = 64, 200
"""Curves in a result, and points in a curve."""
SHEET_BYTES = 200 * 1024
"""Of the picture of samples, before base64."""
EXTRAS = ("config", "curves", "sheet")
"""Optional keys that an entry is opened with; a listing goes without them."""

_TEXT = ("plugin", "family", "data", "config_hash")
_SECTIONS = ("protocol", "metrics", "memorisation", "floor", "cost")
_SHARES = ("precision", "recall", "coverage", "accuracy", "authenticity")
_PNG = b"\x89PNG\r\n\x1a\n"
_HEX = re.compile("[0-9a-f]{64}")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no finite value")
    return value


def _int(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= 2**64:
        raise ValueError(f"{text[:40]} is no finite value of 64 bits")
    return int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def parse(text: str) -> dict[str, Any]:
    """Return the result that a text holds, checked.

    Raises:
        ValueError: one line: what is wrong with it. NaN, infinities, numbers beyond float64, keys that stand
            twice and deep nesting are refused.
    """
    try:
        found = json.loads(
            text, parse_constant=_refuse, parse_float=_float, parse_int=_int, object_pairs_hook=_once
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    problem = fault(found)
    if problem is not None:
        raise ValueError(problem)
    return found


def content_hash(result: Mapping[str, Any]) -> str:
    """Return the sha256, in hex, of all that a submitted result says, whatever its layout.

    It tells a damaged or hand-edited file; it is no signature, for anyone can compute it anew.
    """
    kept = {key: value for key, value in result.items() if key != "content_sha256"}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def fault(result: Any) -> str | None:
    """Return what is wrong with a parsed result, or None."""
    if not isinstance(result, dict):
        return "no JSON object"
    if result.get("schema") != SCHEMA:
        return f"schema {result.get('schema')!r}; this zoo reads {SCHEMA}"
    if _depth(result) > DEEPEST:
        return "nested too deeply"
    for name in _TEXT:
        if not isinstance(result.get(name), str) or not result[name]:
            return f"no {name!r}"
        if len(result[name]) > 200:
            return f"{name!r} has {len(result[name])} characters"
    if type(result.get("seed")) is not int or result["seed"] < 0:
        return "no 'seed'"
    if "metrics" not in result:
        return "not scored"
    for name in _SECTIONS:
        if not isinstance(result.get(name), dict):
            return f"no {name!r}"
    return _protocol_fault(result) or _figure_fault(result) or _hash_fault(result) or _extras_fault(result)


def _depth(value: Any) -> int:
    """Return how deeply plain data are nested, without recursion."""
    level, depth = [value], 0
    while level:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = inner
        depth += 1
    return depth


def _protocol_fault(result: Mapping[str, Any]) -> str | None:
    protocol = result["protocol"]
    fields = protocol.get("fields")
    if not isinstance(fields, dict) or not isinstance(protocol.get("name"), str):
        return "no protocol's fields"
    try:
        found = fields_hash(fields)
    except ValueError:
        return "a protocol's field is not finite"
    if protocol.get("hash") != found:
        return f"the protocol's hash is {protocol.get('hash')!r}; its fields give {found!r}"
    return None if fields.get("data") == result["data"] else "the protocol is of other data"


def _figure_fault(result: Mapping[str, Any]) -> str | None:
    for column, cell in result["metrics"].items():
        if not isinstance(cell, dict) or not _finite(cell.get("value")):
            return f"{column}: no finite value"
        value = cell["value"]
        if is_frechet(column) and value < 0:
            return f"{column}: {value} is below 0"
        if column.startswith("IS") and not value >= 1 - 1e-6:
            return f"{column}: {value} is below 1"
        if column.partition("[")[0] in _SHARES and not -1e-9 <= value <= 1 + 1e-9:
            return f"{column}: {value} is no share"
        if not isinstance(cell.get("better", ""), str):
            return f"{column}: 'better' is no text"
        if not all(_finite(cell[end]) for end in ("low", "high") if cell.get(end) is not None):
            return f"{column}: no finite interval"
    records = result.get("likelihood", [])
    if not isinstance(records, list):
        return "likelihood is no list"
    for record in records:
        if not isinstance(record, dict) or not isinstance(record.get("name"), str):
            return "a likelihood without a name"
        if not _finite(record.get("bits_per_dim", record.get("nats"))):
            return f"likelihood {record['name']!r}: no finite value"
    if not _finite(result["floor"].get("value")):
        return "floor: no finite value"
    for name, value in result["cost"].items():
        if _finite(value) and value < 0:
            return f"cost {name!r}: {value} is below 0"
    return None if isinstance(result["memorisation"].get("memorises"), bool) else "no verdict on memorisation"


def is_frechet(column: str) -> bool:
    """Return whether a column is a Frechet distance to the training split, which the floor is of."""
    return column == "FID" or (column.startswith("FD[") and column.endswith("]"))


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _hash_fault(result: Mapping[str, Any]) -> str | None:
    for name in ("weights_sha256", "samples_sha256", "content_sha256"):
        if name in result and not (isinstance(result[name], str) and _HEX.fullmatch(result[name])):
            return f"{name} is no sha256"
    if "content_sha256" in result and result["content_sha256"] != content_hash(result):
        return "its content_sha256 is of another content: the file was changed after it was written"
    return None


def _extras_fault(result: Mapping[str, Any]) -> str | None:
    for name in ("config", "entry", "provenance"):
        if not isinstance(result.get(name, {}), dict):
            return f"{name!r} is no object"
    baselines = result.get("baselines") or []
    if not isinstance(baselines, list) or not all(isinstance(one, dict) for one in baselines):
        return "'baselines' is no list of objects"
    return _curves_fault(result.get("curves", {})) or _sheet_fault(result.get("sheet"))


def _curves_fault(curves: Any) -> str | None:
    if not isinstance(curves, dict) or len(curves) > SERIES:
        return f"'curves' is no object of at most {SERIES} series"
    for name, points in curves.items():
        if not isinstance(points, list) or len(points) > POINTS:
            return f"curve {name[:60]!r} is no list of at most {POINTS} points"
        if not all(
            isinstance(point, list) and len(point) == 2 and all(map(_finite, point)) for point in points
        ):
            return f"curve {name[:60]!r} holds something else than [step, value]"
    return None


def _sheet_fault(sheet: Any) -> str | None:
    if sheet is None:
        return None
    try:
        picture = base64.b64decode(sheet, validate=True) if isinstance(sheet, str) else b""
    except (ValueError, binascii.Error):
        picture = b""
    if not picture.startswith(_PNG) or picture[12:16] != b"IHDR":
        return "'sheet' is no PNG in base64"
    sides = [int.from_bytes(picture[start : start + 4], "big") for start in (16, 20)]
    if len(picture) > SHEET_BYTES or not all(1 <= side <= 4096 for side in sides):
        return (
            f"'sheet' has {len(picture):,} bytes, {sides[0]}x{sides[1]}; at most {SHEET_BYTES:,}, 4096x4096"
        )
    return None
