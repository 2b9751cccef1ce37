"""Writing the interactive page: style, script and networks in one file, and reading the networks back."""

from __future__ import annotations

import html
import json
import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.files import write_atomic
from zoo_course.browser.encoding import decode, encode
from zoo_course.browser.training import Models
from zoo_course.catalog import entry
from zoo_eval.leaderboard.page.writing import asset as board_asset
from zoo_eval.leaderboard.page.writing import embedded, policy

MARKER = '<meta name="generator" content="zoo course browser">'
"""In every page written here; a file without it is not overwritten."""
SCRIPTS = ("seeds", "networks", "samplers", "drawing", "player", "plane", "latents", "digits", "main")
"""In the order in which they need each other; the first three need no browser."""
LARGEST = 3_000_000
"""Greatest size of the page, in bytes."""
_MODELS = re.compile(r'<script type="application/json" id="models">(.*?)</script>', re.DOTALL)


def asset(name: str) -> str:
    """Return a file of this package as text."""
    return files("zoo_course.browser").joinpath(name).read_text(encoding="utf-8")


def script(*names: str) -> str:
    """Return scripts of the page as one."""
    return '"use strict";\n' + "\n".join(asset(f"{name}.js") for name in names)


def style() -> str:
    """Return the style: the colors and the font of the leaderboard's page, and the rules of this one."""
    colors, brace, _ = board_asset("page.css").partition("\n}\n")
    return colors + brace + asset("page.css")


def page(models: Models, pages: str | None = None) -> str:
    """Return the page as HTML; see `write_page`."""
    rules, code = style(), script(*SCRIPTS)
    parts = {
        "marker": MARKER,
        "policy": policy(rules, code),
        "style": rules,
        "script": code,
        "models": embedded(encode(models)),
        "version": html.escape(version("genzoo")),
    }

    def filled(match: re.Match[str]) -> str:
        return _topic(match["topic"], pages) if match["topic"] else parts[match["part"]]

    # One pass over the template: what is put in is never searched for placeholders.
    return re.sub(r"\{\{(?:topic:(?P<topic>[\w-]+)|(?P<part>\w+))\}\}", filled, asset("page.html"))


def _topic(name: str, pages: str | None) -> str:
    """Return a link to the page of a topic, or its command where there are no pages."""
    title = html.escape(entry(name).title)
    if pages is None:
        return f"{title} (<code>zoo course {name}</code>)"
    return f'<a href="{html.escape(pages.rstrip("/"))}/{name}/index.html">{title}</a>'


def check_path(path: Path) -> None:
    """Refuse a path that the page can't be written to.

    Raises:
        UsageError: for a folder, or a file that is not a page written here.
    """
    if path.is_dir():
        raise UsageError(f"--out={str(path)!r} is a folder", f"next: --out {path / 'page.html'}")
    if path.exists() and MARKER not in path.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise UsageError(
            f"--out={str(path)!r} is not a page that zoo course browser wrote: it is left as it is",
            "expected: a new name",
        )


def write_page(path: Path, models: Models, pages: str | None = None) -> Path:
    """Write the page of these networks and return its path; a page written here before is replaced.

    Args:
        path: of the file.
        models: from `train`.
        pages: address of the folder with the pages of the topics, for links; None to name commands instead.

    Raises:
        UsageError: see `check_path`.
        MachineError: where the page is larger than LARGEST or can't be written.
    """
    check_path(path)
    data = page(models, pages).encode()
    if len(data) > LARGEST:
        raise MachineError(f"the interactive page has {len(data):,} bytes", f"expected: at most {LARGEST:,}")
    write_atomic(path, data, parents=True)
    return path


def read_models(path: Path | str) -> Models:
    """Return the networks of a page.

    Raises:
        UsageError: for a file that is not a page written here.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    found = _MODELS.search(text)
    if MARKER not in text[:2000] or found is None:
        raise UsageError(f"{str(path)!r} has no networks", "expected: a page of zoo course browser")
    return decode(json.loads(found[1]))
