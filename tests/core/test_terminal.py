"""What the terminal shows: tables, grouped commands, errors of one style, progress, previews of samples."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

from zoo_core.cli import GROUPS, VERBS, invoke, preview, tables, zoo
from zoo_core.errors import listed, not_found
from zoo_core.events import console as progress
from zoo_core.events.console import Console, clock
from zoo_core.machine import terminal

ROWS = [
    ["wgan", "gan", "arXiv:1701.07875", "Wasserstein GAN whose critic has clipped weights and no batch norm"],
    ["style-transfer", "gan", "", "arbitrary style transfer with adaptive instance normalization of targets"],
]
HEAD = ["name", "family", "paper", "summary"]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_table_fits_the_terminal_and_breaks_no_word(width: int) -> None:
    text = tables.table(ROWS, HEAD, width=width)
    assert max(map(len, text.splitlines())) <= width
    words = {word for row in [HEAD, *ROWS] for cell in row for word in cell.split()}
    assert words <= set(text.split())


def test_a_table_in_a_pipe_keeps_a_line_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = tables.table(ROWS, HEAD, stream=io.StringIO()).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert [line.index(row[3]) for line, row in zip(lines[2:], ROWS, strict=True)] == [
        lines[0].index("summary")
    ] * 2


def test_a_word_that_is_wider_than_the_terminal_stays_whole() -> None:
    assert "x" * 50 in tables.table([["x" * 50, "short words here"]], ["a", "b"], width=40)
    address = "sampler=diffusers:UniPCMultistepScheduler"
    assert tables.wrap(f"any of {address}", 30) == ["any of sampler=diffusers:", "UniPCMultistepScheduler"]
    assert tables.wrap(f"any of {address}", 60) == [f"any of {address}"]
    assert tables.wrap("", 10) == [""]
    assert tables.wrap("a sub-variance-preserving SDE", 19) == ["a sub-variance-", "preserving SDE"]
    assert tables.longest_word("discrete-diffusion") == len("discrete-diffusion")
    assert "mean of 3" in tables.table([["mean\u00a0of\u00a03", "many words " * 9]], ["a", "b"], width=40)


@pytest.mark.parametrize(
    ("environment", "colors"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colors_are_for_terminals_that_want_them(
    environment: dict[str, str], colors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert terminal.has_colors(Terminal()) is colors
    assert not terminal.has_colors(io.StringIO())
    assert ("\x1b" in tables.painted("a", Terminal(), bold=True)) is colors


def test_every_command_stands_in_one_group(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--help"]) == 0
    told = capsys.readouterr().out
    places = [told.index(f"{title}:") for title in GROUPS.values()]
    assert places == sorted(places)
    sections = dict(
        zip(GROUPS, (told[a:b] for a, b in zip(places, [*places[1:], None], strict=True)), strict=True)
    )
    for name, group in {
        **{name: group for name, (_, group, _) in VERBS.items()},
        "leaderboard": "look",
        "submit": "share",
        "eval": "run",
        "runs": "look",
        "report": "look",
        "export": "share",
        "restore": "run",
    }.items():
        assert f"  {name} " in sections[group]


@pytest.mark.parametrize("words", [[], ["registry"]])
def test_a_group_alone_prints_its_help_and_calls_it_no_error(
    words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches `zoo` alone, a visitor's first command, answered with `error: usage: ...` cut off."""
    invoke(words)
    told = capsys.readouterr()
    assert told.out.startswith(f"Usage: {' '.join(['zoo', *words])} ")
    assert invoke([*words, "--help"]) == 0
    assert told.out == capsys.readouterr().out  # all of it
    assert told.err == ""


def test_the_examples_of_every_command_keep_their_lines_at_80_columns(home: Path) -> None:
    """Catches an example that help breaks in the middle, so that it can't be read or copied."""
    context = click.Context(zoo, info_name="zoo", terminal_width=80)
    found = 0
    for name in zoo.list_commands(context):
        command = zoo.get_command(context, name)
        assert command is not None
        text = command.get_help(click.Context(command, info_name=name, parent=context, terminal_width=80))
        for line in (command.help or "").splitlines():
            if line.strip().startswith("zoo "):
                found += 1
                assert f"\n  {line.strip()}\n" in text, line
    assert found > 20


@pytest.mark.parametrize("words", [["list", "--nothing"], ["sample"], ["run", "--slots", "many"]])
def test_errors_of_click_look_like_all_others(
    words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert f"see: zoo {words[0]} --help" in told
    assert "Usage:" not in told


def test_after_a_likely_guess_few_names_are_listed() -> None:
    names = [f"name-{k}" for k in range(30)] + ["wgan"]
    told = str(not_found("plugin", "wgn", names, say="plugin={}"))
    assert "did you mean: plugin=wgan" in told
    assert told.count("name-") < 7
    assert "others" in told
    assert str(not_found("plugin", "zzzzzzzz", names)).count("name-") == 30
    assert listed(["a", "b"], "a") == "a, b"


def shown(
    seconds: list[float], monkeypatch: pytest.MonkeyPatch, live: bool
) -> tuple[Console, list[int], list[str]]:
    """Return a console that has received 100 steps at these times, what it drew, and what it printed."""
    times = iter(seconds)
    lines: list[str] = []
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(progress.terminal, "tell", lines.append)
    monkeypatch.setattr(progress.sys, "stderr", Terminal() if live else io.StringIO())
    monkeypatch.delenv("CI", raising=False)
    drawn: list[int] = []
    bar = SimpleNamespace(
        add_task=lambda *_, **__: None,
        start=lambda: None,
        stop=lambda: None,
        refresh=lambda: None,
        task_ids=[0],
        update=lambda _, completed, **__: drawn.append(completed),
    )
    monkeypatch.setattr(progress, "_bar", lambda: bar)
    console = Console()
    config: Any = SimpleNamespace(plugin="vae", train=SimpleNamespace(steps=100))
    console.zoo_run_started(SimpleNamespace(config=config, step=0))  # type: ignore[arg-type]
    for step in range(1, 101):
        console.step(step)
        assert console.done == step
    return console, drawn, lines


def test_the_bar_receives_each_step_and_is_drawn_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a bar that stands still between records, and one that is drawn at every step."""
    slow = [float(k) for k in range(102)]
    assert shown(slow, monkeypatch, live=True)[1] == list(range(1, 101))
    fast = [k / 1000 for k in range(102)]
    drawn = shown(fast, monkeypatch, live=True)[1]
    assert len(drawn) <= 2
    assert drawn[-1] == 100


def test_without_a_terminal_a_line_is_printed_every_five_seconds_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = shown([float(k) for k in range(102)], monkeypatch, live=False)[2]
    assert [int(line.split()[1].split("/")[0]) for line in lines] == list(range(5, 101, 5))
    assert "1.0 it/s" in lines[0]
    assert "1:35 left" in lines[0]


def test_sampling_has_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [0.0] * 102 + [float(k) for k in range(60)]
    console, drawn, _ = shown(times[:102], monkeypatch, live=True)
    later = iter(times[102:])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(later))
    drawn.clear()
    for done in (0, 500, 1000):
        console.advance("sampling", done, 1000, "samples")
    assert drawn[-1] == 1000
    assert console.total == 1000


def test_durations_are_clock_times() -> None:
    assert [clock(s) for s in (5, 105, 7380, float("inf"))] == ["0:05", "1:45", "2:03:00", "-:--"]


def test_half_blocks_hold_two_rows_of_pixels() -> None:
    image = np.zeros((3, 2, 3), dtype=np.uint8)
    image[0, 0], image[1, 0] = (1, 2, 3), (4, 5, 6)
    lines = preview.half_blocks([image])
    assert len(lines) == 2
    assert lines[0].startswith("\x1b[38;2;1;2;3;48;2;4;5;6m▀")
    assert lines[0].count("▀") == 2
    assert "48;2;0;0;0" in lines[1]
    assert preview.half_blocks([np.full((2, 1, 3), 255, dtype=np.uint8)], truecolor=False)[0].startswith(
        "\x1b[38;5;231;48;5;231m"
    )


def test_a_preview_averages_large_images_and_needs_colors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.zeros((32, 32, 1), dtype=np.uint8)
    large[::2] = 200
    assert preview.shrunk(large).shape == (16, 16, 3)
    assert (preview.shrunk(large) == 100).all()
    (tmp_path / "plots").mkdir()
    np.savez(tmp_path / "plots" / "samples.npz", samples=np.stack([large] * 9))
    assert preview.preview(tmp_path) == []
    monkeypatch.setattr(preview, "has_colors", lambda: True)
    monkeypatch.setattr(preview, "terminal_width", lambda: 80)
    lines = preview.preview(tmp_path)
    assert len(lines) == 8
    assert lines[0].count("▀") == 4 * 16
