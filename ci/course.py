"""Make the figures of the course again, and copy those that its pages show to docs/assets/course.

python ci/course.py              all topics; minutes
python ci/course.py kl gan       these topics
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from zoo_course.catalog import TOPICS, Entry, entry, load
from zoo_course.folder import Folder

DOCS = Path(__file__).resolve().parent.parent / "docs"


def shown(one: Entry) -> list[str]:
    """Return the names of the images that a topic's page shows."""
    text = (DOCS / "course" / f"{one.name}.md").read_text()
    return re.findall(rf"\(\.\./assets/course/{one.name}/([\w.-]+)\)", text)


def write(one: Entry) -> None:
    """Make a topic's figure and copy its images."""
    target = DOCS / "assets" / "course" / one.name
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        load(one).draw(Folder(Path(folder)))
        for name in shown(one):
            shutil.copyfile(Path(folder) / name, target / name)
            print(target / name)


if __name__ == "__main__":
    for one in [entry(name) for name in sys.argv[1:]] or TOPICS:
        write(one)
