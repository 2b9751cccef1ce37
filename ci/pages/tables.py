"""Texts of the code as cells of a Markdown table: what has a meaning in Markdown or HTML is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from zoo_core.config import type_name

_MARKS = re.compile(r"[|`*$\\]|(?<!\w)_|_(?!\w)|\](?=[(\[])")
"""Characters that Markdown, or the formulae of these pages, would read."""


def code(text: str) -> str:
    """Return a text as inline code; "" stays empty, because Markdown has no empty code."""
    text = " ".join(text.split())
    if not re.search(r"[|`$\\]", text):
        return f"`{text}`" if text else ""
    return f"<code>{_plain(text)}</code>"


def prose(text: str) -> str:
    """Return a text with its code spans kept and everything else that Markdown or HTML would read escaped."""
    parts = re.split(r"`([^`]+)`", " ".join(text.split()))
    return "".join(code(part) if place % 2 else _plain(part) for place, part in enumerate(parts))


def _plain(text: str) -> str:
    escaped = html.escape(text, quote=False)
    return _MARKS.sub(lambda match: f"&#{ord(match[0])};", escaped)


def value(given: Any) -> str:
    """Return the value of an option as a command takes it."""
    if given is None:
        return "none"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, str):
        return given or '""'
    if isinstance(given, Mapping):
        return "{" + ", ".join(f"{key}: {value(item)}" for key, item in given.items()) + "}"
    if isinstance(given, Sequence):
        return "[" + ", ".join(map(value, given)) + "]"
    return str(given)


def row(*cells: str) -> str:
    """Return a row of a table; the cells are Markdown on one line."""
    return "| " + " | ".join(cells) + " |"


def table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a table with a blank line before it; nothing where there are no rows."""
    lines = [row(*cells) for cells in rows]
    return ["", row(*head), row(*["---"] * len(head)), *lines] if lines else []


def option_table(rows: Iterable[tuple[str, FieldInfo]]) -> list[str]:
    """Return a table of options: name, type, default and meaning."""
    return table(
        ("option", "type", "default", "meaning"),
        (
            (
                code(key),
                prose(type_name(info.annotation)),
                code(value(info.default)),
                prose(info.description or ""),
            )
            for key, info in rows
        ),
    )
