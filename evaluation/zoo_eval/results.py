"""The store of results: small JSON files, read strictly; a bad one is listed and never stops the others."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from zoo_eval.protocol import fields_hash

SCHEMA = 1
LARGEST = 1 << 20
"""Bytes of a result file."""

_TEXT = ("plugin", "family", "data", "config_hash")
_SECTIONS = ("protocol", "metrics", "memorisation", "floor", "cost")


class Stored(NamedTuple):
    """A result and the file it was read from."""

    path: Path
    result: Mapping[str, Any]


class Bad(NamedTuple):
    """A file that is no result, and why, in one line."""

    path: Path
    reason: str


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def parse(text: str) -> dict[str, Any]:
    """Return the result that a text holds, checked.

    Raises:
        ValueError: one line: what is wrong with it. NaN, infinities and numbers beyond float64 are refused.
    """
    try:
        found = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    problem = fault(found)
    if problem is not None:
        raise ValueError(problem)
    return found


def fault(result: Any) -> str | None:
    """Return what is wrong with a parsed result, or None."""
    if not isinstance(result, dict):
        return "no JSON object"
    if result.get("schema") != SCHEMA:
        return f"schema {result.get('schema')!r}; this zoo reads {SCHEMA}"
    for name in _TEXT:
        if not isinstance(result.get(name), str) or not result[name]:
            return f"no {name!r}"
    if type(result.get("seed")) is not int:
        return "no 'seed'"
    if "metrics" not in result:
        return "not scored"
    for name in _SECTIONS:
        if not isinstance(result.get(name), dict):
            return f"no {name!r}"
    return _protocol_fault(result) or _figure_fault(result)


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
    return None if isinstance(result["memorisation"].get("memorises"), bool) else "no verdict on memorisation"


def is_frechet(column: str) -> bool:
    """Return whether a column is a Frechet distance to the training split, which the floor is of."""
    return column == "FID" or (column.startswith("FD[") and column.endswith("]"))


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read(path: Path) -> Stored | Bad:
    """Return the result in a file, or why there is none."""
    try:
        if path.stat().st_size > LARGEST:
            return Bad(path, f"{path.stat().st_size:,} bytes; a result has at most {LARGEST:,}")
        return Stored(path, parse(path.read_text(encoding="utf-8")))
    except OSError as error:
        return Bad(path, error.strerror or str(error))
    except ValueError as error:  # JSON's and UTF-8's own errors are of this kind
        return Bad(path, " ".join(str(error).split())[:200])


def collect(roots: Iterable[Path]) -> tuple[list[Stored], list[Bad]]:
    """Read every result*.json under the roots, in order of their paths; a copy of one counts once.

    Returns:
        the results, and the files that are none.
    """
    found: list[Stored] = []
    bad: list[Bad] = []
    seen: set[tuple[Any, ...]] = set()
    for root in roots:
        paths = [root] if root.is_file() else sorted(root.rglob("result*.json"))
        for path in paths:
            one = read(path)
            if isinstance(one, Bad):
                bad.append(one)
                continue
            result = one.result
            key = (
                result["protocol"]["hash"], result["plugin"], result["config_hash"], result["seed"],
            )  # fmt: skip
            if key not in seen:  # the same run in runs/ and in results/ is one seed, not two
                seen.add(key)
                found.append(one)
    return found, bad
