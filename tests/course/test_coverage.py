"""The table of the course's coverage: what it names exists."""

from __future__ import annotations

import re

import pytest

from tests.conftest import CHECKOUT
from zoo_core.cli import VERBS
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_course.catalog import TOPICS
from zoo_course.cli import OTHERS

DOCS = CHECKOUT / "docs"
TABLE = (DOCS / "course" / "coverage.md").read_text()
LINES = [line for line in TABLE.splitlines() if re.match(r"\| (\d|tutorial)", line)]
ROWS = [tuple(line.strip("| ").split(" | ")) for line in LINES]
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", TABLE)))
COMMANDS = sorted(set(re.findall(r"`(zoo [^`]+)`", TABLE)))


def test_rows_have_slides_a_subject_and_an_answer_in_the_order_of_the_slides() -> None:
    assert len(ROWS) > 40
    assert {len(row) for row in ROWS} == {3}
    first = [int(re.match(r"\d+", row[0])[0]) for row in ROWS if row[0] != "tutorial"]  # type: ignore[index]
    assert first == sorted(first)
    for slides, subject, here in ROWS:
        named = re.search(r"\]\(|`", here)
        reason = re.search(r"not yet|out of scope", here, re.IGNORECASE)
        assert named or reason, (slides, subject)


@pytest.mark.parametrize("link", LINKS)
def test_linked_pages_exist_and_a_model_is_installed(link: str) -> None:
    path = (DOCS / "course" / link).resolve()
    assert path.is_file(), link
    if path.parent.name == "models":
        assert manager().find("plugin", path.stem).spec.name == path.stem


def test_every_topic_has_its_row_and_its_command() -> None:
    for one in TOPICS:
        assert f"{one.name}.md" in LINKS, one.name
    named = {command.split()[2] for command in COMMANDS if command.startswith("zoo course ")}
    assert named <= {one.name for one in TOPICS} | set(OTHERS)
    assert len(named) > 20


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("zoo course ")])
def test_commands_name_what_exists(command: str) -> None:
    """A run is resolved whole; FOLDER stands for the reader's own, so only the names before it are."""
    _, verb, *words = command.split()
    assert verb in set(VERBS) | {entry.spec.name for entry in manager().entries("command")}
    if verb == "run":
        given = [word for word in words if not word.endswith("FOLDER")]
        if len(given) < len(words):
            given = [word for word in given if not word.startswith("data")]
        assert resolve(given).plugin == dict(word.split("=", 1) for word in given)["plugin"]


@pytest.mark.parametrize("dataset", sorted(set(re.findall(r"data=([\w-]+)", TABLE))))
def test_datasets_exist(dataset: str) -> None:
    assert manager().find("dataset", dataset).spec.name == dataset
