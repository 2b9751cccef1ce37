"""Values and texts of result files as plain data that a page can show.

Texts of a file are data: control and direction characters become "?", long texts are cut, and numbers that
the page can't show are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from zoo_core.config.privacy import public
from zoo_eval.leaderboard.text import printable

LONGEST = 400
"""Characters of a text that are shown."""
MOST = 300
"""Lines of a config or a provenance that are shown."""

Plain = dict[str, Any]


def clean(text: object) -> str:
    """Return any value as a text to show: one line, no control or direction characters, at most LONGEST."""
    words = printable(str(text))
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested plain data as ("a.b.c", text); a list of leaves is one text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        if value:
            yield name, ", ".join(map(str, value))
    elif value is not None and value != "":
        yield name, str(value)


@lru_cache(1 << 16)
def without_secrets(text: str, name: str = "") -> str:
    """Return a text of a config or a provenance, clean and without secrets; entries share most of them."""
    return clean(public(text, name))


def lines(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return at most MOST lines (key, text) of plain data, clean and without secrets."""
    found = [(clean(key), without_secrets(text, key)) for key, text in flat(value)]
    return found[:MOST] + ([("…", f"{len(found) - MOST} more")] if len(found) > MOST else [])


def short(value: float | None) -> float | None:
    """Return a value with 6 significant digits; None for what is not a finite number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
