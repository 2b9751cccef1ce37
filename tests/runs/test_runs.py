"""The commands for finished runs, on folders written here: list, compare and remove."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from zoo_core.cli import invoke
from zoo_core.config import nest, strict_yaml
from zoo_core.results import Result, write_result
from zoo_core.results.result import fields_hash
from zoo_core.runs.known import known, remember
from zoo_core.runs.lock import locked
from zoo_runs.difference import option_differences
from zoo_runs.records import record_of

SHA = "0" * 64


def make(
    folder: Path,
    *,
    plugin: str = "wgan",
    seed: int = 0,
    scores: Mapping[str, float] | None = None,
    config_hash: str = "0123456789ab",
    state: str = "finished",
    losses: Sequence[float] = (3.0, 2.0, 1.0),
    **options: Any,
) -> Path:
    """Write the folder of a run and return it."""
    (folder / "plots").mkdir(parents=True)
    flat = {"plugin": plugin, "seed": seed, "data.name": "digits", "train.steps": 10} | options
    (folder / "config.yaml").write_text(strict_yaml.dump(nest(flat)))
    (folder / "run.json").write_text(json.dumps({"state": state, "time": f"2026-01-0{seed + 1}T00:00:00Z"}))
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": k, "net/loss": loss}) + "\n" for k, loss in enumerate(losses))
    )
    Image.new("L", (8, 8), 99).save(folder / "plots" / "samples.png")
    for name in ("data.json", "provenance.json", "wandb.json", ".lock"):  # as a run leaves them
        (folder / name).write_text("{}")
    if scores is not None:
        fields = {"data": "digits", "data_sha256": SHA, "name": "quick", "version": 1}
        result = Result.model_validate(
            {
                "schema": 2,
                "plugin": plugin,
                "family": "gan",
                "seed": seed,
                "config_hash": config_hash,
                "data": {"name": "digits", "sha256": SHA},
                "protocol": {"name": "quick", "version": 1, "hash": fields_hash(fields), "fields": fields},
                "metrics": {
                    column: {"value": value, "interval": {"low": value - 0.1, "high": value + 0.1}}
                    for column, value in scores.items()
                },
                "samples_sha256": SHA,
            }
        )
        write_result(result, folder / "result.json")
    return folder


def default(home: Path, name: str, plugin: str = "wgan") -> Path:
    return home / "runs" / "digits" / plugin / name


def test_runs_are_listed_filtered_and_sorted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(default(home, "a"), seed=0, scores={"FD[digits]": 3.0})
    make(default(home, "b", "vae"), plugin="vae", seed=1, scores={"FD[digits]": 1.0})
    elsewhere = make(home.parent / "mine", seed=2, state="diverged")
    remember(elsewhere)
    remember(elsewhere)
    assert len(known()) == 3

    def listed(*words: str) -> list[dict[str, Any]]:
        assert invoke(["runs", *words, "--json"]) == 0
        rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return rows

    assert [row["seed"] for row in listed()] == [2, 1, 0]
    assert [row["seed"] for row in listed("--sort", "score")] == [1, 0, 2]
    assert [row["seed"] for row in listed("plugin=wgan")] == [2, 0]
    assert [row["seed"] for row in listed("state=diverged", "data=digits")] == [2]
    assert listed("plugin=vae")[0]["score"] == 1.0
    assert invoke(["runs"]) == 0
    assert "FD[digits] 3" in capsys.readouterr().out
    assert invoke(["runs", "state=done"]) == 2
    assert "expected: one of running" in capsys.readouterr().err
    assert invoke(["runs", "model.width=3"]) == 2


def test_a_run_whose_process_is_gone_has_stopped(home: Path) -> None:
    folder = make(home.parent / "mine", state="running")
    assert record_of(folder).state == "stopped"
    with locked(folder):
        assert record_of(folder).state == "running"


def test_options_that_decide_the_model_come_first() -> None:
    one = {"train.log_every": 5, "train.steps": 10, "run_dir": "a", "seed": 0}
    other = {"train.log_every": 6, "train.steps": 20, "run_dir": "b", "seed": 0, "model.width": 3}
    found = option_differences([one, other])
    assert [(o.name, o.values, o.decides) for o in found] == [
        ("train.steps", ("10", "20"), True),
        ("model.width", ("(none)", "3"), True),
        ("train.log_every", ("5", "6"), False),
    ]


def test_scores_are_tested_over_the_seeds_of_both_configurations(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, (good, bad) in enumerate([(1.0, 3.0), (1.1, 3.2), (0.9, 2.9)]):
        make(default(home, f"a-s{seed}"), seed=seed, scores={"FD[digits]": good, "KL": 1.0})
        make(
            default(home, f"b-s{seed}"), seed=seed, scores={"FD[digits]": bad, "KL": 1.0},
            config_hash="ba9876543210", **{"model.width": 3},
        )  # fmt: skip
    assert invoke(["diff", str(default(home, "a-s0")), str(default(home, "b-s0"))]) == 0
    told = capsys.readouterr().out
    row = next(line for line in told.splitlines() if line.startswith("FD[digits]"))
    assert re.search(r"1 +3 +\+2 +A +significant \(p = .*, level 0.05, 3 and 3 seeds\)", row), row
    assert "model.width" in told
    assert invoke(["diff", str(default(home, "a-s0")), str(default(home, "a-s1")), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["options"]] == ["seed"]
    assert "two seeds of one configuration" in found["scores"][0]["verdict"]


def test_one_seed_is_compared_by_its_intervals(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = make(home.parent / "a", scores={"FD[digits]": 1.0})
    b = make(home.parent / "b", scores={"FD[digits]": 3.0}, config_hash="ba9876543210")
    bare = make(home.parent / "bare")
    assert invoke(["diff", str(a), str(b)]) == 0
    told = capsys.readouterr().out
    assert (
        "not tested over seeds (one seed; 1 and 1 seeds); 95 % intervals over samples do not overlap" in told
    )
    assert invoke(["diff", str(a), str(bare)]) == 0
    assert "has no scores; next: zoo eval" in capsys.readouterr().out
    assert invoke(["diff", str(a), "nowhere"]) == 2
    assert "no run in 'nowhere'" in capsys.readouterr().err


def test_the_page_holds_everything_and_fetches_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = make(home.parent / "a", scores={"FD[digits]": 1.0})
    b = make(home.parent / "b<script>", scores={"FD[digits]": 3.0}, losses=(5.0, 4.0), **{"model.width": 3})
    assert invoke(["compare", str(a), str(b), "--out", "page.html"]) == 0
    text = Path("page.html").read_text()
    assert text.count("<polyline") == 2
    assert text.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|<script", text)
    assert "b&lt;script&gt;" in text
    assert '<td class="number best">1 [0.9, 1.1]</td>' in text
    assert "<td>model.width</td><td>(none)</td><td>3</td>" in text
    capsys.readouterr()
    assert invoke(["compare", str(a), "--out", "page.txt"]) == 2
    assert "expected: --out FILE.html" in capsys.readouterr().err


def test_a_curve_is_drawn_where_its_values_are() -> None:
    from zoo_runs.page import BOTTOM, HEIGHT, LEFT, WIDTH, plot

    svg = plot("loss", [("A", [[0, 1.0], [10, 3.0]]), ("B", [])])
    points = re.search(r'points="([^"]*)"', svg)
    assert points is not None
    assert points[1] == f"{LEFT:.1f},{HEIGHT - BOTTOM:.1f} {WIDTH - 8:.1f},8.0"
    assert svg.count("<polyline") == 1


def test_runs_are_removed_after_a_question(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = (make(home.parent / name) for name in "abc")
    (b / "notes.txt").write_text("mine")
    with locked(c):
        assert invoke(["rm", str(a), str(c), "--yes"]) == 5
        assert "a process is at work" in capsys.readouterr().err
    assert invoke(["rm", str(a), str(b), "--yes"]) == 2
    assert "notes.txt" in capsys.readouterr().err
    assert all(folder.is_dir() for folder in (a, b, c))
    assert invoke(["rm", str(home.parent), "--yes"]) == 2
    (home.parent / "link").symlink_to(a)
    assert invoke(["rm", "link", "--yes"]) == 2
    assert a.is_dir()
    assert invoke(["rm", str(a), str(c), "--yes"]) == 0
    assert not a.exists()
    assert not c.exists()


def test_without_an_answer_nothing_is_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    a = make(home.parent / "a")
    for answer, kept in (("", True), ("n\n", True), ("y\n", False)):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        invoke(["rm", str(a)])
        assert a.exists() == kept
