"""Write the pages that are generated from the code and from results/, or check that they are not stale.

python ci/docs.py            writes the pages and their plots; a page of a model that is gone is removed
python ci/docs.py --check    exits with 1 where a page differs from what it would write

Either way it exits with 1 where a page names code that is not there: `module:name`, a file of the repository,
or words that are quoted from it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from code_references import place_of, references
from pages import figure
from pages.assets import draw_asset, drawn_from, stale_assets
from pages.command_line import cli_page
from pages.listings import datasets_page, samplers_page
from pages.models import index_page, model_pages, options_page
from pages.readme import image_rows, readme
from pages.results import Scored, scored_rows
from pages.tasks import tasks_page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
IMAGE = DOCS / "samples.png"
"""Image of README.md."""


def pages(scored: Sequence[Scored]) -> dict[str, str]:
    """Return the text of each page that is generated, or has a generated section, by its path from docs/."""
    return {
        "cli.md": cli_page(),
        "options.md": options_page(),
        "samplers.md": samplers_page(),
        "datasets.md": datasets_page(),
        "models/index.md": index_page(),
        "tasks.md": tasks_page(ROOT),
        **model_pages(DOCS, scored),
        "../README.md": readme((ROOT / "README.md").read_text(), scored),
    }


def broken_references() -> list[str]:
    """Return a line for each reference to code, in any page, that leads nowhere."""
    found = []
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for name, words in references(page.read_text()):
            try:
                place_of(name, words)
            except LookupError as error:
                found.append(f"{page.relative_to(ROOT)}: {error}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    scored = list(scored_rows(ROOT))
    made = pages(scored)
    stale = [name for name, text in made.items() if _text(DOCS / name) != text]
    shown = image_rows(scored)
    drawable = shown.strips and shown.ranked
    redraw = bool(drawable) and drawn_from(IMAGE) != figure.digest(shown)
    gone = [
        f"models/{path.name}" for path in (DOCS / "models").glob("*.md") if f"models/{path.name}" not in made
    ]
    plots = stale_assets(ROOT)
    if not check:
        for asset in plots:
            draw_asset(asset, ROOT)
        for name in stale:
            (DOCS / name).parent.mkdir(exist_ok=True)
            (DOCS / name).write_text(made[name])
        for name in gone:
            (DOCS / name).unlink()
        if redraw:
            IMAGE.write_bytes(figure.draw(shown))
    if redraw:
        stale.append(IMAGE.name)
    stale += [f"assets/{asset.name}" for asset in plots]
    if stale or gone:
        print(
            ("stale: " if check else "written: ")
            + ", ".join([*stale, *gone])
            + (" (next: make docs)" if check else "")
        )
    broken = broken_references()
    print(*broken, sep="\n", end="\n" if broken else "")
    return int(bool(broken) or (check and bool(stale or gone)))


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
