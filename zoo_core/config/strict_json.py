"""Strict JSON: no duplicate keys, no NaN or infinity, bounded in size and depth."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from zoo_core.errors import UsageError, ZooError
from zoo_core.machine.files import read_bounded

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
LARGEST_INTEGER = 2**64


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _integer(text: str) -> int:
    if len(text) > 21 or abs(int(text)) > LARGEST_INTEGER:
        raise ValueError("an integer beyond 64 bits")
    return int(text)


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"duplicate key {twice!r:.80}")
    return made


_key_checker = json.JSONDecoder(object_pairs_hook=_mapping)
_decoder = json.JSONDecoder(
    parse_constant=_refuse, parse_float=_float, parse_int=_integer, object_pairs_hook=_mapping
)


def loads(text: bytes | str, max_bytes: int = MAX_BYTES) -> Any:
    """Return the document in `text`.

    Args:
        text: UTF-8, without a byte order mark.
        max_bytes: most bytes (characters of a str).

    Raises:
        ValueError: one line that says what is wrong.
    """
    if len(text) > max_bytes:
        raise ValueError(f"{len(text):,} bytes; expected at most {max_bytes:,}")
    try:
        document = _decoder.decode(text.decode("utf-8") if isinstance(text, bytes) else text)
        _check(document)
    except RecursionError:
        raise ValueError(f"nested too deeply; expected at most {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None
    return document


def check_keys(text: bytes) -> None:
    """Refuse a document in which an object has a key twice, or which is not JSON at all.

    For text whose size the caller has bounded, and whose values a schema checks afterwards.

    Raises:
        ValueError: one line that says what is wrong.
    """
    if _has_distinct_keys(text):
        return
    try:
        _key_checker.decode(text.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"nested too deeply; expected at most {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None


_SPACED = re.compile(rb'"\s')


def _has_distinct_keys(text: bytes) -> bool:
    """Return whether a document has as many keys once parsed as in its text; False where that is unclear.

    A parser that keeps one of two values under one key has fewer. Where no space follows a quote, each key
    ends with `":`, so the text has at least as many of them as keys. This takes two thirds of the time of
    looking at the keys of each object.
    """
    if _SPACED.search(text):
        return False
    try:
        return _count_keys(from_json(text)) == text.count(b'":')
    except (ValueError, RecursionError):
        return False


def _count_keys(document: Any) -> int:
    """Return the number of keys of all objects in a document."""
    count, level = 0, [document]
    for value in level:  # which grows
        kind = type(value)
        if kind is dict:
            count += len(value)
            level.extend(value.values())
        elif kind is list:
            level.extend(value)
    return count


def _check(document: Any) -> None:
    """Refuse strings that UTF-8 cannot hold (lone surrogates), and nesting beyond `MAX_DEPTH`."""
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested too deeply; expected at most {MAX_DEPTH} levels")
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                for key in value:
                    key.encode()
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str):
                value.encode()
        level = inner


def read(path: Path, max_bytes: int = MAX_BYTES, *, follow_links: bool = True) -> Any:
    """Return the document in a regular file.

    Raises:
        NotFoundError: where there is no such file.
        UsageError: where it is not a regular file, too large, or not strict JSON.
    """
    try:
        return loads(read_bounded(path, max_bytes, follow_links=follow_links), max_bytes)
    except ValueError as error:
        raise UsageError(f"{path} is not readable JSON: {error}"[:400]) from error


def mapping_or_empty(path: Path) -> dict[str, Any]:
    """Return the mapping in a file; {} where there is no file, it is damaged, or holds something else."""
    try:
        found = read(path)
    except (OSError, ZooError):
        return {}
    return found if isinstance(found, dict) else {}
