"""Numbers, definitions, commands and file formats of the leaderboard."""

from __future__ import annotations

import csv
import io
import json
import shlex

import pytest
from click.testing import CliRunner
from PIL import Image

from tests.eval.made_results import result, seeds, write
from zoo_core.config import flatten
from zoo_core.errors import MachineError, UsageError
from zoo_core.registry.resolution import config_hash, plain, resolve
from zoo_core.results.records import config_record
from zoo_eval.cli import leaderboard
from zoo_eval.leaderboard import plot
from zoo_eval.leaderboard.facts import Facts, installed
from zoo_eval.leaderboard.formats import as_csv, as_latex
from zoo_eval.leaderboard.glossary import METRICS, OTHER, definition, group_of
from zoo_eval.leaderboard.notation import Notation, clock, decimals, notation
from zoo_eval.leaderboard.plot import LOOKS, dots_of, draw_table
from zoo_eval.leaderboard.repeat import changed_options, repeat_command
from zoo_eval.leaderboard.table import make_groups, make_table
from zoo_eval.store import collect


def tables(folder, *results):
    write(folder, *results)
    return [make_table(group) for group in make_groups(collect([folder]).entries, installed())]


@pytest.mark.parametrize(
    ("half_width", "digits"),
    [(0.248, 2), (0.0411, 3), (0.0996, 2), (12.3, 0), (1.0, 1), (9.96, 0), (0.0, 0), (1e-12, 6)],
)
def test_an_interval_is_written_with_two_digits(half_width, digits):
    # catches a mean of six digits beside an interval of one, and 0.0996 as 0.100
    assert decimals(half_width) == digits


def test_a_column_has_one_notation():
    # catches 3.4e-4 and 0.00171 in one column, counts with decimals, and a width of 1e-17
    small = notation([3.4e-4, 1.71e-3, -1.4e-4])
    assert [small.text(v) for v in (3.4e-4, 1.71e-3, -1.4e-4)] == ["0.340", "1.710", "-0.140"]
    assert small.factor == " x1e3"
    assert small.text(3.4e-4, 1.2e-4) == "0.34"
    assert notation([10.0, 9.0]).text(10.0) == "10"
    usual = notation([5.1, 0.98])
    assert (usual.text(5.1, 0.248), usual.spread(0.248, 5.1)) == ("5.10", "0.25")
    assert (usual.text(0.98, 0.868), usual.spread(0.868, 0.98)) == ("0.98", "0.87")
    assert (usual.text(0.0, 4.7e-17), usual.spread(4.7e-17, 1.0)) == ("0.000000", "0")
    assert usual.text(-1e-9) == "0.00"
    assert notation([]) == Notation()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.4, "0:07"), (105, "1:45"), (59.6, "1:00"), (3723, "1:02:03"), (139.2, "2:19"), (0, "0:00")],
)
def test_times_are_written_as_a_clock_does(seconds, text):
    # catches 105 s and 139 s as "2 min"
    assert clock(seconds) == text


def test_every_ranked_column_has_a_definition_and_a_group():
    # catches a metric that is added without its meaning
    ranked = [base for base, better in installed().directions.items() if better]
    assert [base for base in ranked if not definition(base, installed()).about] == []
    assert [base for base in ranked if group_of(base) == OTHER] == []
    assert "Fréchet" in definition("FID-inf[x]", installed()).about
    assert "iwae-64" in definition("bits_per_dim[iwae-64]", installed()).about
    assert definition("new[x]", Facts({}, {}, {"new": "its own words"})).about == "its own words"
    assert all(
        term.see.startswith(("evaluation/", "submitting/", "optional-metrics/", "oracles/"))
        for term in METRICS.values()
    )


def test_the_sections_that_definitions_link_to_exist():
    # catches a link to a section that was renamed
    from pathlib import Path

    from zoo_eval.leaderboard.glossary import TERMS

    docs = Path(__file__).parents[2] / "docs"
    for term in (*METRICS.values(), *TERMS.values()):
        page, _, section = term.see.partition("/#")
        text = (docs / f"{page.removesuffix('/')}.md").read_text()
        headings = {
            "-".join(line.lstrip("# ").lower().replace(",", "").split())
            for line in text.splitlines()
            if line.startswith("#")
        }
        assert not section or section in headings, term.see


@pytest.mark.parametrize(
    "words",
    [
        ["plugin=wgan"],
        ["plugin=ddpm", "data=digits", "data.task=class", "sample.guidance_scale=1.5", "train.steps=77"],
        ["plugin=vae", "preset=tiny"],
        ["plugin=vp-sde", "sampler=pf-ode"],
    ],
)
def test_the_command_of_an_entry_resolves_to_its_config(words):
    # catches an option left out, a preset's values lost, and a value that the command line reads otherwise
    made = resolve(words)
    text = repeat_command(config_record(flatten(plain(made))), [0])
    again = resolve(shlex.split(text)[2:])
    assert config_hash(again) == config_hash(made)
    if len(words) == 1:
        assert text == "zoo run plugin=wgan data=digits"


def test_a_command_names_only_what_differs_and_every_seed():
    # catches seventy options in a command, secrets, and seeds that are lost
    config = config_record(flatten(plain(resolve(["plugin=wgan", "train.steps=123"]))))
    assert changed_options(config) == {"train.steps": 123}
    assert repeat_command(config, [0, 1, 2]) == "zoo run plugin=wgan data=digits train.steps=123 seed=0,1,2"
    unknown = {
        "plugin": "nobodys",
        "model.width": 3,
        "x": "a b; rm",
        "api_key": "abcdef",
        "list": [0.5, None],
    }
    text = repeat_command(unknown, [4])
    assert "model.width=3" in text
    assert "'x=a b; rm'" in text
    assert "list=[0.5,null]" in shlex.split(text)
    assert "abcdef" not in text
    assert repeat_command({}, [0]) == ""


def test_csv_holds_every_row_with_full_precision(tmp_path):
    # catches rounded values, a row lost, and a name that a spreadsheet runs as a formula
    made = tables(
        tmp_path,
        *seeds("wgan", [1.0, 2.0, 4.0]),
        result("vae", 7.123456789),
        result("cgan", 3.0, task="class"),
    )
    rows = list(csv.DictReader(io.StringIO(as_csv(made))))
    assert {row["plugin"] for row in rows} == {"wgan", "vae", "cgan"}
    (vae,) = (row for row in rows if row["plugin"] == "vae")
    assert float(vae["FD[digits]"]) == 7.123456789
    assert vae["FD[digits] half-width"] == ""
    (wgan,) = (row for row in rows if row["plugin"] == "wgan")
    assert float(wgan["FD[digits]"]) == pytest.approx(7 / 3)
    assert (wgan["seeds"], wgan["rank"], wgan["mark"]) == ("0 1 2", "", "?")
    assert [row["given"] for row in rows if row["plugin"] == "cgan"] == ["class label"]


def test_a_tie_in_csv_is_no_formula(tmp_path):
    # catches "=" as the beginning of a formula
    made = tables(tmp_path, *seeds("a", [1.0, 1.1, 0.9]), *seeds("b", [1.05, 1.2, 0.95]))
    assert [row["mark"] for row in csv.DictReader(io.StringIO(as_csv(made)))] == ["'=", "'="]


def test_latex_is_escaped_and_has_the_intervals(tmp_path):
    # catches an underscore that stops LaTeX, and a mean without its interval
    one = seeds("a_b", [1.0, 1.1, 0.9], metrics={"KD[digits]": {"value": 3e-4}})
    text = as_latex(tables(tmp_path, *one, *seeds("b", [5.0, 5.5, 4.6])))
    assert r"a\_b & $1.00 \pm 0.25$" in text
    assert r"KD[digits] $\times 10^{3}$ $\downarrow$" in text
    assert text.count(r"\\") == 3
    assert text.count("{") == text.count("}")


def test_a_plot_has_the_rows_of_its_table_with_their_intervals(tmp_path):
    # catches another order, an interval of one seed left out, and a scale that hides small scores
    single = {"value": 2.0, "interval": {"low": 1.8, "high": 2.3}}
    (table,) = tables(
        tmp_path,
        *seeds("b", [5.0, 5.5, 4.6], family="vae"),
        *seeds("a", [1.0, 1.1, 0.9], family="gan"),
        result("c", metrics={"FD[digits]": single}),
    )
    dots = dots_of(table)
    assert [(dot.rank, dot.name) for dot in dots] == [("1", "a"), ("?", "c"), ("2", "b")]
    half = 0.1 / 3**0.5 * 4.302653
    assert dots[0][3:] == pytest.approx((1.0, 1 - half, 1 + half), rel=1e-5)
    assert dots[1][3:] == (2.0, 1.8, 2.3)
    (axes,) = draw_table(table).figure.axes
    intervals, marks = axes.lines[0:6:2], axes.lines[1:6:2]
    assert [tuple(line.get_xdata()) for line in intervals] == [dot[4:] for dot in dots]
    assert [line.get_ydata()[0] for line in marks] == [0, 1, 2]
    assert [line.get_color() for line in marks] == [LOOKS[family][0] for family in ("gan", "gan", "vae")]
    assert axes.lines[6].get_xdata() == [0.05, 0.05]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert axes.get_xscale() == "log"  # 0.05 to 5.03
    assert [text.get_text() for text in axes.texts] == ["1", "a", "?", "c", "2", "b"]
    (near,) = tables(tmp_path / "near", result("a", 0.1), result("b", 0.3))  # and the floor 0.05
    assert draw_table(near).figure.axes[0].get_xscale() == "linear"


def test_a_plot_says_that_it_shows_the_first_rows_only(tmp_path, monkeypatch):
    monkeypatch.setattr(plot, "MOST", 2)
    (table,) = tables(tmp_path, *(result(name, 1.0 + k) for k, name in enumerate("abc")))
    figure = draw_table(table).figure
    assert [text.get_text() for text in figure.axes[0].texts][1::2] == ["a", "b"]
    assert any("the first 2 of 3 rows" in text.get_text() for text in figure.texts)


def test_the_formats_of_the_command(tmp_path, home):
    # catches an option that is wired to nothing, and notes in the middle of a file
    write(tmp_path, result("wgan"), result("cgan", task="class"))
    (tmp_path / "result-bad.json").write_text("{}")

    def run(*more):
        return CliRunner().invoke(leaderboard, [str(tmp_path), *more])

    rows = list(csv.DictReader(io.StringIO(run("--format", "csv").stdout)))
    assert len(rows) == 2
    assert json.loads(run("--format", "json").stdout) == json.loads(run("--json").stdout)
    assert run("--format", "latex").stdout.count(r"\begin{table}") == 1
    assert run("--format", "latex", "--task", "all").stdout.count(r"\begin{table}") == 2
    assert run("--format", "text").stdout == run().stdout
    assert "left out" in run("--format", "csv").stderr
    assert isinstance(run("--format", "csv", "--json").exception, UsageError)
    image = tmp_path / "plots" / "board.png"
    assert run("--format", "png", "--task", "class", "--out", str(image)).stdout == f"{image}\n"
    assert Image.open(image).size[0] == round(plot.WIDTH * 150)
    assert "shows one table, not 2" in str(run("--format", "png", "--task", "all", "--out", "x").exception)
    assert "png without --out" in str(run("--format", "png").exception)
    assert "text with --out" in str(run("--out", str(image)).exception)
    for name in ("csv", "json", "latex"):
        written = tmp_path / f"board.{name}"
        run("--format", name, "--out", str(written))
        assert written.read_text() == run("--format", name).stdout
    for name in ("csv", "json", "latex", "png"):  # catches a write whose failure is not an error of zoo
        refused = run("--format", name, "--task", "class", "--out", str(tmp_path))
        assert isinstance(refused.exception, MachineError), refused.exception
