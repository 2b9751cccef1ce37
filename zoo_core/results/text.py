"""Results as people read them: the `repr` of Python, and HTML for notebooks."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

HEAD = ("metric", "value", "95% interval", "n")
"""Columns of the table of metrics."""


@dataclass(frozen=True)
class Shown:
    """What people read first of a result, as texts.

    Attributes:
        title: which run it is.
        facts: name -> text; those without a text are left out.
        rows: of the table of metrics, a cell for each name of `HEAD`.
        notes: lines below the table.
    """

    title: str
    facts: Mapping[str, str]
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Return lines: the title, the facts, an aligned table, and the notes."""
        lines = [self.title, *(f"  {name}: {value}" for name, value in self.facts.items() if value)]
        if self.rows:
            widths = [max(len(row[k]) for row in (HEAD, *self.rows)) for k in range(len(HEAD))]
            for row in (HEAD, *self.rows):
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                lines.append(f"  {'  '.join(cells).rstrip()}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def html(self, images: Sequence[bytes] = ()) -> str:
        """Return HTML that fetches nothing; every text in it is escaped.

        Args:
            images: PNG files that are shown below the table.
        """
        facts = "".join(f"<br>{escape(name)}: {escape(value)}" for name, value in self.facts.items() if value)
        parts = [f"<p><b>{escape(self.title)}</b>{facts}</p>"]
        if self.rows:
            head = "".join(f"<th>{name}</th>" for name in HEAD)
            body = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in self.rows)
            rows = "".join(f"<tr>{cells}</tr>" for cells in body)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
        parts += [f"<p>{escape(note)}</p>" for note in self.notes]
        for content in images:
            source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
            parts.append(f'<p><img alt="samples" src="{source}" style="max-width: 24rem"></p>')
        return "\n".join(parts)
