"""The command: list, figure, check; and the pages: each topic has one, and its references exist."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.conftest import CHECKOUT
from zoo_core.errors import NotFoundError, UsageError
from zoo_core.registry.spec import load_target
from zoo_course import zoo_commands
from zoo_course.catalog import TOPICS, Entry, exercise, load
from zoo_course.cli import course
from zoo_course.topic import Exercise, Slip, Topic

PAGES = CHECKOUT / "docs" / "course"
EXERCISES = [f"{one.name}-{k + 1}" for one in TOPICS for k in range(len(load(one).exercises))]


def run(*words: str) -> Any:
    return CliRunner().invoke(course, words)


def test_the_command_is_registered_and_lists_every_topic_in_order() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["zoo"]["course"] == "zoo_course"
    (spec,) = zoo_commands()
    assert load_target(spec.target) is course
    found = run()
    assert found.exit_code == 0
    assert [int(n) for n in re.findall(r"^ *(\d+)  ", found.output, re.MULTILINE)] == list(
        range(1, len(TOPICS) + 1)
    )
    assert [found.output.index(f"  {one.title}") for one in TOPICS] == sorted(
        found.output.index(f"  {one.title}") for one in TOPICS
    )


def test_a_figure_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    found = run("kl", "--out", str(tmp_path / "figure"))
    assert found.exit_code == 0, found.output
    assert {path.suffix for path in (tmp_path / "figure").iterdir()} == {".png", ".csv"}
    assert "look at:" in found.output
    assert "zoo course check kl-1" in found.output


@pytest.mark.parametrize("name", EXERCISES)
def test_the_right_answer_is_accepted_and_every_slip_has_its_hint(name: str) -> None:
    task = exercise(name)
    answer = task.answer()
    assert task.feedback(answer) is None
    assert task.feedback(answer + 0.9 * task.tolerance) is None
    assert task.feedback(answer + 3 * task.tolerance + 1e3) == task.hint
    for slip in task.slips:
        assert task.feedback(slip.value()) == slip.hint, slip.hint


def test_statuses_of_the_check() -> None:
    assert run("check", "kl-1", "--answer", "0.93185").exit_code == 0
    wrong = run("check", "kl-1", "--answer", "0.278426")
    assert wrong.exit_code == 1
    assert "the variance is 4" in wrong.output
    assert "0.9318" not in wrong.output
    assert isinstance(run("check", "kl-1", "--answer", "many").exception, UsageError)
    assert isinstance(run("check", "kl-9", "--answer", "1").exception, NotFoundError)
    assert isinstance(run("no-such-topic").exception, NotFoundError)
    assert run("check", "kl-1", "--answer", "nan").exit_code == 1


def test_an_answer_that_is_no_number_is_wrong() -> None:
    task = Exercise("q", lambda: 1.0, 0.1, "hint", (Slip(lambda: 2.0, "two"),))
    assert task.feedback(math.nan) == "hint"
    assert task.feedback(math.inf) == "hint"
    assert task.feedback(2.05) == "two"


# -- pages


@pytest.mark.parametrize("one", TOPICS, ids=lambda one: one.name)
def test_a_page_has_its_command_figure_and_exercises(one: Entry) -> None:
    """Its formulas and their code are tested with those of the other pages, in tests/test_docs.py."""
    text = (PAGES / f"{one.name}.md").read_text()
    topic: Topic = load(one)
    assert text.startswith(f"# {one.title}\n") or one.title.startswith(text[2 : text.index("\n")])
    assert f"```sh\nzoo course {one.name}\n```" in text
    images = re.findall(r"!\[[^\]]+\]\(\.\./assets/course/([\w./-]+)\)", text)
    assert images
    for image in images:
        assert (CHECKOUT / "docs" / "assets" / "course" / image).is_file(), image
    for place in range(1, len(topic.exercises) + 1):
        assert f"\n{one.name}-{place}: " in text
        assert f"zoo course check {one.name}-{place} --answer ..." in text
    assert "## Where the slides slip" in text


@pytest.mark.parametrize("one", TOPICS, ids=lambda one: one.name)
def test_the_tests_that_a_page_names_exist(one: Entry) -> None:
    text = (PAGES / f"{one.name}.md").read_text()
    files = {
        path: (CHECKOUT / path).read_text() for path in re.findall(r"`(tests/[\w/]+\.py)(?:::\w+)?`", text)
    }
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {name}(" in files[path], (path, name)
    for name in re.findall(r"`(test_\w+)`", text):
        assert any(f"def {name}(" in source for source in files.values()), name


@pytest.mark.slow(depends=("plugins/zoo_course", "zoo_core", "plugins/zoo_gan", "plugins/zoo_vae"))
@pytest.mark.parametrize("one", TOPICS, ids=lambda one: one.name)
def test_every_figure_is_made(one: Entry, tmp_path: Path) -> None:
    found = run(one.name, "--out", str(tmp_path))
    assert found.exit_code == 0, found.exception
    images = {path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".webp")}
    shown = set(re.findall(rf"assets/course/{one.name}/([\w.-]+)", (PAGES / f"{one.name}.md").read_text()))
    assert shown <= images


def test_the_overview_lists_every_topic_in_order() -> None:
    rows = re.findall(
        r"^\| (\d+) \| \[([^\]]+)\]\(([\w-]+)\.md\)", (PAGES / "overview.md").read_text(), re.MULTILINE
    )
    assert rows == [(str(number), one.title, one.name) for number, one in enumerate(TOPICS, 1)]


def test_every_error_of_the_slides_is_on_a_page() -> None:
    text = "".join((PAGES / f"{one.name}.md").read_text() for one in TOPICS)
    assert {int(n) for n in re.findall(r"\(E(\d+)\)", text)} == set(range(1, 39))
