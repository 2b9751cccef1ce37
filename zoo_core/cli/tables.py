"""Tables and paragraphs of the terminal: wrapped at words, bold where the terminal shows it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import click

from zoo_core.machine.terminal import has_colors, terminal_width

GAP = 2
"""Spaces between columns."""
NARROW = 8
"""Width that no column is made narrower than, unless its text is."""


def painted(text: str, stream: Any = None, **style: Any) -> str:
    """Return a text with click's styles (bold, dim, fg) where the stream shows them."""
    return click.style(text, **style) if has_colors(stream) else text


def column_widths(rows: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """Return widths of columns that fit into `width`, the widest made narrower first.

    No column is made narrower than its longest word: a table may then be wider than the terminal.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if width is None:
        return widths
    least = [max(min(NARROW, w), *(longest_word(t) for t in c)) for c, w in zip(columns, widths, strict=True)]
    over = sum(widths) + GAP * (len(widths) - 1) - width
    while over > 0:
        wide = [k for k in range(len(widths)) if widths[k] > least[k]]
        if not wide:
            break
        widths[max(wide, key=lambda k: widths[k])] -= 1
        over -= 1
    return widths


LONG = 24
"""Length above which a word such as an address may be broken behind one of its :, =, / or commas."""
HYPHENED = 20
"""Length above which a word may be broken behind one of its hyphens."""


def pieces(word: str) -> list[str]:
    """Return the parts that a word may be broken into; most words are one."""
    if len(word) > LONG:
        return re.findall(r"[^:=/,]*[:=/,]+|[^:=/,]+", word)
    return re.findall(r"[^-]+-?|-", word) if len(word) > HYPHENED else [word]


def longest_word(text: str) -> int:
    """Return the length of the longest part of a text that is never broken."""
    return max((len(piece) for word in words(text) for piece in pieces(word)), default=0)


def words(text: str) -> list[str]:
    """Return the words of a text; a no-break space holds two together."""
    return [word for word in re.split(r"[ \t\n]+", text) if word]


def wrap(text: str, width: int) -> list[str]:
    """Return a text as lines of at most `width` characters, broken at words; at least one line."""
    lines = [""]
    for word in words(text):
        for place, piece in enumerate(pieces(word) if len(word) > width else [word]):
            space = " " if place == 0 and lines[-1] else ""
            if lines[-1] and len(lines[-1] + space + piece) > width:
                lines.append(piece)
            else:
                lines[-1] += space + piece
    return lines


def table(
    rows: Sequence[Sequence[str]], head: Sequence[str], *, stream: Any = None, width: int | None = None
) -> str:
    """Return aligned columns of text, wrapped at words into the terminal's width.

    Args:
        stream: that it is written to; standard output where left out.
        width: characters; None for those of the terminal, or as many as needed in a file or a pipe.
    """
    width = terminal_width(stream) if width is None else width
    widths = column_widths([head, *rows], width)
    title = _lines(head, widths)
    rule = "-" * (sum(widths) + GAP * (len(widths) - 1))
    body = [line for row in rows for line in _lines(row, widths)]
    return "\n".join(
        [*(painted(line, stream, bold=True) for line in title), painted(rule, stream, dim=True), *body]
    )


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = [
        wrap(cell, width) if len(cell) > width else [cell] for cell, width in zip(row, widths, strict=True)
    ]
    height = max(map(len, cells))
    padded = [cell + [""] * (height - len(cell)) for cell in cells]
    gap = " " * GAP
    return [
        gap.join(p.replace("\u00a0", " ").ljust(w) for p, w in zip(parts, widths, strict=True)).rstrip()
        for parts in zip(*padded, strict=True)
    ]


def paragraph(text: str, *, indent: int = 0, stream: Any = None) -> str:
    """Return a line wrapped at words into the terminal's width, following lines indented.

    A line that fits, and any line of a file or a pipe, stays as it is, with its spaces.
    """
    width = terminal_width(stream)
    if width is None or len(click.unstyle(text)) <= width:
        return text
    lead = text[: len(text) - len(text.lstrip())]
    lines = textwrap.wrap(
        text.strip(),
        width,
        break_long_words=False,
        break_on_hyphens=False,
        initial_indent=lead,
        subsequent_indent=" " * (len(lead) + indent),
        drop_whitespace=True,
    )
    return "\n".join(lines)
