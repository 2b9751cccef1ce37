"""`zoo report`: what it says follows from the result files, and its LaTeX has no unescaped text."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.eval.made_results import result, seeds, write
from zoo_core.errors import UsageError
from zoo_eval.leaderboard.facts import installed
from zoo_eval.leaderboard.formats import latex
from zoo_eval.leaderboard.table import make_groups, make_table
from zoo_eval.store import collect
from zoo_report.cli import report as command
from zoo_report.comparison import Compared, Comparison, common, compare, different
from zoo_report.text import LATEX, MARKDOWN, report

GOOD, BAD, NEAR = (1.0, 1.1, 0.9), (9.0, 9.9, 8.1), (1.05, 1.15, 0.95)


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


def compared(folder: Path, metric: str | None = None, *, reproduced: str = "") -> Comparison:
    entries, bad = collect([folder])
    assert bad == []
    entries = [replace(e, state="reproduced") if e.plugin == reproduced else e for e in entries]
    (group,) = make_groups(entries, installed())
    return compare(make_table(group, metric))


def test_centers_are_geometric_means_and_intervals_contain_them(tmp_path: Path) -> None:
    write(tmp_path, *seeds("wgan", GOOD), *seeds("vae", BAD))
    rows = {row.name: row for row in compared(tmp_path).rows}
    for name, values in (("wgan", GOOD), ("vae", BAD)):
        assert rows[name].place.center == pytest.approx(math.prod(values) ** (1 / 3))
        ends = rows[name].interval
        assert ends is not None
        assert ends[0] < rows[name].place.center < ends[1]
        assert [one.seed for one in rows[name].results] == [0, 1, 2]


def test_the_text_names_what_differs_and_what_does_not(tmp_path: Path) -> None:
    write(tmp_path, *seeds("wgan", GOOD), *seeds("lsgan", NEAR), *seeds("vae", BAD))
    text = report(compared(tmp_path), MARKDOWN)
    assert "wgan has the lowest FD[digits]" in text
    assert "The difference to lsgan is not significant." in text
    assert re.search(r"It differs significantly from vae \(by a factor of 9\.?0?\d?\)", text)
    assert "3 pairs were tested" in text
    assert "3 training seeds (0, 1, 2)" in text
    assert "2,000 samples" in text
    assert "The noise floor, the expected score of 2,000 new real examples, is 0.05." in text
    assert "All results are reported" in text
    assert "checked and not detected for every model" in text


def test_baselines_are_not_called_trained(tmp_path: Path) -> None:
    # catches noise as a model that was trained with one seed
    baselines = [
        result(name, value, family="baseline") for name, value in (("noise", 30.0), ("gaussian", 20.0))
    ]
    write(tmp_path / "all", *seeds("wgan", GOOD), *seeds("vae", BAD), *baselines)
    text = report(compared(tmp_path / "all"), MARKDOWN)
    assert re.search(
        r"wgan and vae were trained on digits \([^)]*\) with 3 training seeds \(0, 1, 2\)\.", text
    )
    assert "gaussian and noise are baselines, which are not trained." in text
    assert "one training seed" not in text
    assert "Baselines are deterministic and are not tested." in text
    assert "| gaussian | 1 |" in text
    write(tmp_path / "one", *seeds("wgan", GOOD), baselines[0])
    text = report(compared(tmp_path / "one"), MARKDOWN)
    assert "wgan was trained on digits" in text
    assert "noise is a baseline, which is not trained." in text
    write(tmp_path / "alone", *baselines)
    text = report(compared(tmp_path / "alone"), MARKDOWN)
    assert "gaussian and noise are baselines on digits (" in text
    assert "trained on" not in text


def test_a_better_verified_row_is_not_called_better(tmp_path: Path) -> None:
    # catches the board's order, in which states come first, taken for an order by score
    write(tmp_path, *seeds("wgan", GOOD), *seeds("vae", BAD), *seeds("lsgan", NEAR))
    found = compared(tmp_path, reproduced="vae")
    assert [(row.name, row.place.rank, row.place.tied) for row in found.rows] == [
        ("wgan", 1, True),
        ("lsgan", 1, True),
        ("vae", 3, False),
    ]
    text = report(found, MARKDOWN)
    assert "wgan has the lowest" in text
    assert "The results of vae are reproduced" in text
    assert "The results of wgan and lsgan are reported" in text


def placed(row: Compared, **changes: float | None) -> Compared:
    return replace(row, place=replace(row.place, **changes))


def test_two_rows_differ_by_the_test_and_not_by_their_ranks(tmp_path: Path) -> None:
    write(tmp_path, *seeds("wgan", GOOD), *seeds("lsgan", NEAR), *seeds("vae", BAD))
    found = compared(tmp_path)
    wgan, lsgan, vae = found.rows
    assert different(found, wgan, vae)
    assert different(found, vae, lsgan)
    assert not different(found, wgan, lsgan)
    assert not different(found, wgan, placed(vae, error=None))
    # With errors as large as the difference there is none to be found, whatever the ranks are.
    assert not different(found, placed(wgan, error=2.0), placed(vae, error=2.0))
    # Two spreads of equal rows: p of Student's t at t = 2.5 and 4 degrees of freedom is 0.067.
    unit = placed(wgan, error=2**-0.5, df=4.0, center=1.0)
    far = placed(unit, center=math.exp(2.5))
    assert not different(replace(found, threshold=0.066), unit, far)
    assert different(replace(found, threshold=0.067), unit, far)


def test_a_row_with_one_seed_is_shown_and_not_compared(tmp_path: Path) -> None:
    write(tmp_path, *seeds("wgan", GOOD), *seeds("vae", BAD), result("dcgan", 0.1))
    found = compared(tmp_path)
    assert found.pairs == 1
    text = report(found, MARKDOWN)
    assert "dcgan has one training seed" in text
    assert "wgan has the lowest" in text
    assert re.search(r"\| \? \| dcgan \| 1 \|", text)


def test_memorization_takes_a_row_out_of_the_comparison(tmp_path: Path) -> None:
    copied = {"memorization[pixels]": {"value": 0.9}}
    fine = {"memorization[pixels]": {"value": 0.0}}
    write(
        tmp_path,
        *seeds("wgan", GOOD, metrics=fine),
        *seeds("vae", BAD, metrics=fine),
        *seeds("dcgan", (0.1, 0.11, 0.12), metrics=copied),
    )
    unchecked = {"memorization[pixels]": None}
    write(tmp_path, *seeds("sngan", (0.2, 0.21, 0.22), metrics=unchecked))
    text = report(compared(tmp_path), MARKDOWN)
    assert "Not ranked because of memorization of the training set: dcgan." in text
    assert "Not ranked because memorization was not checked at every seed: sngan." in text
    assert "not detected for the other models" in text
    assert "wgan has the lowest" in text
    assert re.search(r"\| - \| dcgan \|", text)


def test_a_column_of_differences_is_averaged_arithmetically(tmp_path: Path) -> None:
    def kd(values: tuple[float, ...], plugin: str) -> list[dict[str, object]]:
        return [
            result(plugin, 1.0, seed, metrics={"KD[digits]": {"value": value}})
            for seed, value in enumerate(values)
        ]

    write(tmp_path, *kd((-0.01, 0.0, 0.01), "wgan"), *kd((1.0, 1.1, 1.2), "vae"))
    found = compared(tmp_path, "KD")
    assert found.rows[0].place.center == pytest.approx(0.0, abs=1e-12)
    assert found.rows[1].place.center == pytest.approx(1.1)
    text = report(found, MARKDOWN)
    assert "Values are means" in text
    assert "(by 1.1)" in text


def test_latex_has_a_table_and_escapes_every_text(tmp_path: Path) -> None:
    write(tmp_path, *seeds("a_b", GOOD), *seeds("vae", BAD))
    text = report(compared(tmp_path), LATEX)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert r"a\_b" in text
    assert r"95 \% intervals" in text
    assert not re.search(r"(?<!\\)[%#$_]", text)


@pytest.mark.parametrize("letter", list("&%$#_{}~^\\<>"))
def test_each_special_character_is_escaped(letter: str) -> None:
    assert latex(letter).startswith("\\")
    assert latex(f"a{letter}b") != f"a{letter}b"


def test_names_are_joined_in_order_without_repetition() -> None:
    assert common(["b", "a", "b", ""]) == "b and a"
    assert common(["a"]) == "a"
    assert common([]) == ""
    assert common(["c", "a", "b"]) == "c, a and b"


def test_results_of_two_protocols_are_refused_and_a_choice_is_offered(tmp_path: Path) -> None:
    write(tmp_path, result("wgan"), result("vae", protocol={"n_generated": 500}))
    done = CliRunner().invoke(command, [str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert "several datasets, tasks or protocols" in done.exception.what
    hashes = {one.protocol.hash for one in collect([tmp_path]).entries}
    chosen = CliRunner().invoke(command, [str(tmp_path), "--protocol", min(hashes)])
    assert chosen.exit_code == 0


def test_the_report_is_written_to_a_file_in_the_format_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "runs", *seeds("wgan", GOOD), *seeds("vae", BAD))
    file = tmp_path / "table.tex"
    done = CliRunner().invoke(command, [str(tmp_path / "runs"), "--format", "latex", "--out", str(file)])
    assert done.exit_code == 0
    assert file.read_text() == report(compared(tmp_path / "runs"), LATEX)


def test_a_folder_without_results_is_an_error_with_the_next_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert "no results in" in done.exception.what
