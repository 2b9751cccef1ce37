"""The data that the leaderboard's page is written from: ranks as computed, texts that make no markup."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.eval.made_results import result, seeds, write
from zoo_core.errors import MachineError, UsageError
from zoo_core.results.attachments import attachment_of, write_attachment
from zoo_eval.cli import leaderboard
from zoo_eval.leaderboard.facts import installed
from zoo_eval.leaderboard.page import plain_data, write_page, writing
from zoo_eval.leaderboard.table import make_groups, make_table
from zoo_eval.store import Bad, collect

HOSTILE = (
    "<script>window.owned = 1</script>",
    "</script><script>window.owned = 1</script>",
    '"><img src=x onerror="window.owned = 1">',
    "<!--<script>",
    "{{7*7}} {{board}} ${owned}",
    "__proto__",
    "abc\u202edrowssap\u202c\u0000\x1b[2J\u2028end",
    "x" * 190,
    "שלום <b>bold</b>",
)


def png(side=40):
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "PNG")
    return file.getvalue()


def groups_of(folder, *results):
    """Write results into a folder and return their groups."""
    write(folder, *results)
    found, bad = collect([folder])
    assert bad == []
    return make_groups(found, installed())


def opened(folder, plugin="ddpm", fd=1.0, **changes):
    """Return a result with all that an entry can show; its attachments are written to the folder."""
    contents = {
        "samples": (png(), "png"),
        "curves": (json.dumps({"loss": [[1, 5.0], [2, 0.02], [3, 0.01]]}).encode(), "json"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    attachments = {}
    for what, (content, suffix) in contents.items():
        record = attachment_of(what, content, suffix)
        write_attachment(folder, record, content)
        attachments[what] = record.model_dump()
    return result(plugin, fd) | {
        "family": "diffusion",
        "config": {"train.steps": 2500, "model.width": 32},
        "attachments": attachments,
        "sampling": {"sampler": "ancestral", "steps": 50},
        "provenance": {"command": ["zoo", "run", "plugin=ddpm", "note=a b"], "git": {"commit": "abc123"}},
    } | changes  # fmt: skip


def crowd(folder):
    first = opened(folder)
    first["metrics"]["bits_per_dim[vlb-1000]"] = {"value": 2.9, "standard_error": 0.01, "bound": "upper"}
    return [
        first,
        *seeds("wgan", [5.0, 5.2, 5.1]),
        *seeds("vae", [5.2, 5.4, 5.0]),
        result("copycat", 0.3, family="baseline", metrics={"memorization[pixels]": {"value": 0.9}}),
        result("other", 3.0, protocol={"data": "mnist"}),
        result("task", 2.0, task="class"),
    ]


def embedded(text, name):
    found = re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script>', text, re.S)
    return found.group(1)


def test_the_page_says_what_the_leaderboard_says(tmp_path):
    # catches a rank, tie or interval computed a second time, otherwise, for the page
    groups = groups_of(tmp_path, *crowd(tmp_path))
    board = json.loads(embedded(writing.html(groups), "board"))
    place = next(
        k for k, one in enumerate(groups) if (one.data.name, one.task) == ("digits", "unconditional")
    )
    shown = board["groups"][place]
    for metric in ("FD[digits]", "recall[digits]", "bits_per_dim[vlb-1000]"):
        table = make_table(groups[place], metric)
        ranking = shown["rankings"][metric]
        rows = [(shown["plugin"][k], ranking["rank"][k], ranking["mark"][k]) for k in ranking["order"]]
        assert rows == [(r.row.plugin, r.rank, r.mark) for r in table.rows]
        (column,) = (one for one in shown["metrics"] if one["name"] == metric)
        for ranked in table.rows:
            k = shown["plugin"].index(ranked.row.plugin)
            values = ranked.row.scores.get(metric)
            mean = sum(values) / len(values) if values else None
            assert column["mean"][k] == (mean and pytest.approx(mean, rel=1e-5))
            assert (column["width"][k] is None) == (values is None or len(values) == 1)
    assert "IS[digits]" not in shown["rankings"]
    assert [one["task"] for one in board["groups"]] == ["unconditional", "class", "unconditional"]


def test_the_asked_metric_comes_first_where_it_can_rank(tmp_path):
    # catches --metric that the page forgets
    groups = groups_of(tmp_path, *crowd(tmp_path))
    board = json.loads(embedded(writing.html(groups, metric="vlb-1000"), "board"))
    assert [one["metric"] for one in board["groups"]] == [
        "bits_per_dim[vlb-1000]",
        "FD[digits]",
        "FD[digits]",
    ]


def test_a_group_that_can_not_rank_is_listed_and_stops_no_other(tmp_path):
    # catches one odd protocol that takes the whole page with it
    odd = result(
        "odd", 1.0, protocol={"n_generated": 5}, metrics={"FD[digits]": None, "recall[digits]": None}
    )
    groups = groups_of(tmp_path, odd, result())
    board, _ = plain_data.page_data(groups, [Bad(Path("a/b.json"), "no")], None, "")
    assert [one["plugin"] for one in board["groups"]] == [["wgan"]]
    assert [reason for _, reason in board["bad"]] == ["no", "no column here can be ranked"]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, tuple(name for name, _ in attrs)))


def hostile(folder, payload, k=0):
    """Return a result with a text in every field that takes one, and a curve of that name."""
    one = opened(folder, f"model-{k}", 1.0 + k)
    curve = json.dumps({payload: [[1, 2.0]]}).encode()
    record = attachment_of("curves", curve, "json")
    write_attachment(folder, record, curve)
    one["attachments"]["curves"] = record.model_dump()
    one["config"] = {payload: payload}
    one["metrics"]["recall[digits]"] |= {"note": payload, "unranked": payload}
    one["provenance"] = {"command": ["zoo", payload], "notes": {payload: payload}}
    one["sampling"] = {"sampler": payload}
    return one


def test_no_text_of_a_result_makes_an_element(tmp_path):
    # catches a payload in any field that closes the data's block or opens another
    def tags(text):
        parser = Tags()
        parser.feed(text)
        return parser.seen

    bare = tags(writing.html(groups_of(tmp_path / "bare", result())))
    for k, payload in enumerate(HOSTILE):
        folder = tmp_path / str(k)
        groups = groups_of(folder, hostile(folder, payload))
        text = writing.html(groups, [Bad(Path(payload.replace("\0", "")), payload)])
        assert tags(text) == bare
        assert "\u202e" not in text
        assert "\\u202e" not in text
        assert "model-0" in text


def test_commands_are_quoted_and_other_programs_are_not_commands():
    # catches a copied command that does more than it shows
    made = plain_data.command
    assert made(["zoo", "run", "a b; rm -rf x"]) == "zoo run 'a b; rm -rf x'"
    assert made(["zoo", "run", "x\nrm y"]) == "zoo run 'x?rm y'"
    assert made(["curl", "evil"]) == ""
    assert made([]) == ""


def test_long_data_are_cut_and_secrets_redacted():
    # catches a config that fills the page, and a token that leaves with it
    many = plain_data.lines({f"k{k}": k for k in range(1000)})
    assert (len(many), many[-1]) == (plain_data.MOST + 1, ("…", "700 more"))
    assert plain_data.lines({"x": {"api_key": "abcdef"}, "list": [1, 2]}) == [
        ("x.api_key", "(hidden)"),
        ("list", "1, 2"),
    ]


def test_sample_grids_beyond_the_limit_are_left_out_and_it_is_said(tmp_path):
    # catches a page of hundreds of megabytes
    (group,) = groups_of(tmp_path, opened(tmp_path))
    (row,) = group.rows
    text = base64.b64encode(png()).decode()
    details = plain_data.Details({}, left=len(text))
    assert details.of(row)["runs"][0]["grid"] == text
    again = details.of(row)["runs"][0]
    assert again["grid"] is None
    assert "left out" in again["grid_note"]


def test_a_file_changed_since_it_was_ranked_is_not_shown(tmp_path):
    # catches the details of one result under the row of another
    (group,) = groups_of(tmp_path, opened(tmp_path))
    (row,) = group.rows
    path = row.entries[0].path
    (other,) = write(tmp_path / "other", result("vae", 3.0))
    path.write_bytes(other.read_bytes())
    assert plain_data.Details({}).of(row)["runs"] == []
    path.unlink()
    assert plain_data.Details({}).of(row)["runs"] == []


def test_a_users_index_is_left_as_it_is(tmp_path):
    # catches a home page overwritten by a leaderboard
    mine = tmp_path / "site" / "index.html"
    mine.parent.mkdir()
    mine.write_text("my page")
    with pytest.raises(UsageError, match="left as it is"):
        write_page([], mine.parent)
    assert mine.read_text() == "my page"
    with pytest.raises(UsageError, match="is a file"):
        write_page([], mine)
    mine.unlink()
    mine.symlink_to(tmp_path / "elsewhere.html")
    with pytest.raises(UsageError):
        write_page([], mine.parent)


def test_a_page_is_replaced_in_one_step_and_its_neighbors_stay(tmp_path, monkeypatch):
    # catches half a page after a full disk, and a temporary file left behind
    (tmp_path / "notes.txt").write_text("mine")
    path = write_page(groups_of(tmp_path / "r", result()), tmp_path / "page" / "deep")
    before = path.read_bytes()
    assert write_page([], path.parent) == path
    assert path.read_bytes() != before
    monkeypatch.setattr(writing.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(MachineError, match="No space left"):
        write_page([], path.parent)
    assert [one.name for one in path.parent.iterdir()] == ["index.html"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_command_writes_the_page(tmp_path, home):
    # catches an option that is wired to nothing, and filters that the page forgets
    write(tmp_path, *crowd(tmp_path))
    shown = CliRunner().invoke(
        leaderboard, [str(tmp_path), "--data", "digits", "--html", str(tmp_path / "p")]
    )
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == f"page: {tmp_path / 'p' / 'index.html'}\n"
    board = json.loads(embedded((tmp_path / "p" / "index.html").read_text(), "board"))
    assert [one["data"] for one in board["groups"]] == ["digits", "digits"]


def test_the_script_makes_no_markup_and_fetches_nothing():
    # catches a text that reaches the page as markup, whoever wrote it
    script = "".join(writing.asset(f"{name}.js") for name in writing.SCRIPTS)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "fetch(",
        "import(",
    ):
        assert word not in script
