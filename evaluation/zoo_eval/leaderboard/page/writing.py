"""Writing the page: style, script and data in one file; its policy names by hash the code that may run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape as html_text
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from zoo_core.errors import UsageError
from zoo_core.machine.files import write_atomic
from zoo_eval.leaderboard.page.plain_data import page_data
from zoo_eval.leaderboard.table import Group
from zoo_eval.store import Bad

NAME = "index.html"
MARKER = b'<meta name="generator" content="zoo leaderboard">'
"""In the first bytes of every page written here; a file without it is not overwritten."""
SCRIPTS = (
    "format", "board", "address", "families", "samples", "terms", "axis", "table", "gallery", "plot",
    "curves", "entry", "compare", "export", "lead", "main",
)  # fmt: skip
"""In the order in which they need each other."""


def asset(name: str) -> str:
    """Return a file of this package as text."""
    return files("zoo_eval.leaderboard.page").joinpath(name).read_text(encoding="utf-8")


def embedded(value: Any) -> str:
    """Return plain data as a line of JSON that no HTML parser takes for markup: ASCII, without <, > and &."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy: this style, this script, images in the page, and nothing else."""

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {source(script)}; style-src {source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def html(groups: Sequence[Group], bad: Sequence[Bad] = (), metric: str | None = None) -> str:
    """Return the page of these results; see `write_page`."""
    style = asset("page.css")
    script = '"use strict";\n' + "\n".join(asset(f"{name}.js") for name in SCRIPTS)
    foot = f"zoo {version('genzoo')}. Ranks, intervals and ties as computed by zoo leaderboard."
    board, details = page_data(groups, bad, metric, foot)
    names = list(dict.fromkeys(group["data"] for group in board["groups"]))
    parts = {
        "title": html_text(f"zoo leaderboard: {', '.join(names)}" if names else "zoo leaderboard"),
        "policy": policy(style, script),
        "style": style,
        "script": script,
        "board": embedded(board),
        "details": "\n".join(map(embedded, details)),
    }
    # One pass over the template: what is put in is never searched for placeholders.
    pieces = asset("page.html").split("{{")
    made = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        made += [parts[name], rest]
    return "".join(made)


def write_page(
    groups: Sequence[Group], folder: Path, bad: Sequence[Bad] = (), metric: str | None = None
) -> Path:
    """Write the page of these results as index.html into a folder and return its path.

    A page written here before is replaced in one step; nothing else in the folder is touched.

    Args:
        groups: of any data, tasks and protocols.
        folder: made where there is none.
        bad: files that are not results, listed at the end with their reasons.
        metric: that ranks when the page opens, where it can; None for the leaderboard's default.

    Raises:
        UsageError: where the folder is a file, or its index.html is not a page of ours.
        MachineError: where the disk is full or the folder can't be written.
    """
    path = folder / NAME
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is a file", "expected: a folder for the page")
    if path.is_symlink() or (path.exists() and not _ours(path)):
        raise UsageError(
            f"{str(path)!r} is not a page that zoo leaderboard wrote: it is left as it is",
            "expected: a folder without an index.html of its own",
            f"next: zoo leaderboard --html {folder / 'leaderboard'}",
        )
    write_atomic(path, html(groups, bad, metric).encode(), parents=True)
    return path


def _ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARKER in file.read(1000)
