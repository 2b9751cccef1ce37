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


RESULTS = sorted(set(re.findall(r"\[`([\w-]+)`\]\(\.\./models/[\w-]+\.md\) on `([\w-]+)`", TABLE)))
GRAY = 5
"""Most lines that may lack a result in color where the lecture shows color."""


@pytest.mark.parametrize(("model", "data"), RESULTS)
def test_a_result_that_is_named_is_committed(model: str, data: str) -> None:
    assert list((CHECKOUT / "results" / data / model).glob("*/result.json")), (model, data)


def test_what_is_missing_has_its_reason() -> None:
    for slides, subject, here in ROWS:
        for said in re.split(r"(?<=[.;]) ", here):
            if re.search(r"not yet|out of scope", said, re.IGNORECASE):
                assert "because" in said, (slides, subject, said)


def test_lines_without_color_are_counted() -> None:
    """The sentence above the table names the number of lines and their slides."""
    gray = [slides for slides, _, here in ROWS if "Not yet in color" in here]
    assert len(gray) <= GRAY
    words = ("No", "One", "Two", "Three", "Four", "Five")
    (sentence,) = re.findall(rf"^{words[len(gray)]} lines? ha(?:ve|s) no result in color[^.]*\.", TABLE, re.M)
    slides = {int(n) for n in re.findall(r"(?<![-\w])\d+(?![-\w])", sentence)}
    for one in gray:
        least, _, most = one.partition(" to ")
        assert slides & set(range(int(least), int(most or least) + 1)), one
    assert len(slides) == len(gray)


def test_every_line_of_the_table_names_a_result_or_what_is_missing_where_it_trains_a_model() -> None:
    for slides, subject, here in ROWS:
        if re.search(r"zoo run [^`]*(data|preset|model)[.=]", here):
            assert re.search(r"result|not yet|tasks\.md", here, re.IGNORECASE), (slides, subject)


@pytest.mark.parametrize("link", LINKS)
def test_linked_pages_exist_and_a_model_is_installed(link: str) -> None:
    path = (DOCS / "course" / link.partition("#")[0]).resolve()
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
