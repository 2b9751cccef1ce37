"""Numbers, definitions, commands and file formats of the leaderboard."""

from __future__ import annotations

import csv
import io
import json
import shlex

import pytest
from click.testing import CliRunner

from tests.eval.made_results import result, seeds, write
from zoo_core.config import flatten
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import config_hash, plain, resolve
from zoo_core.results.records import config_record
from zoo_eval.cli import leaderboard
from zoo_eval.leaderboard.facts import Facts, installed
from zoo_eval.leaderboard.formats import as_csv, as_latex
from zoo_eval.leaderboard.glossary import METRICS, OTHER, definition, group_of
from zoo_eval.leaderboard.notation import Notation, clock, decimals, notation
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
