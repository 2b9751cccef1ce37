"""What the leaderboard's page is written from: ranks as they were computed, texts that make no markup."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from zoo_eval.page import plain_data, write_page, writing
from zoo_eval.results import Bad, Stored

from tests.eval.test_leaderboard import result, seeds
from zoo_core.errors import MachineError, UsageError
from zoo_eval.cli import leaderboard
from zoo_eval.leaderboard import tables

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
    return base64.b64encode(file.getvalue()).decode()


def stored(folder, *results):
    found = []
    for k, one in enumerate(results):
        path = folder / f"result-{k}.json"
        path.write_text(json.dumps(one))
        found.append(Stored(path, one))
    return found


def opened(plugin="ddpm", fd=1.0, **changes):
    return result(plugin, fd) | {
        "family": "diffusion",
        "config": {"train": {"steps": 2500}, "model": {"width": 32}},
        "curves": {"loss": [[1, 5.0], [2, 0.02], [3, 0.01]]},
        "sheet": png(),
        "entry": {"sampler": "ancestral", "steps": 50},
        "provenance": {"command": ["zoo", "run", "plugin=ddpm", "note=a b"], "git": {"commit": "abc123"}},
    } | changes  # fmt: skip


def crowd():
    first = opened()
    first["likelihood"] = [{"name": "vlb-1000", "bits_per_dim": 2.9, "se": 0.01, "bound": True}]
    return [
        first,
        *seeds("wgan", [5.0, 5.2, 5.1]),
        *seeds("vae", [5.2, 5.4, 5.0]),
        result("copycat", 0.01, memorises=True) | {"family": "baseline"},
        result("other", 3.0, data="mnist"),
    ]


def embedded(text, name):
    found = re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script>', text, re.S)
    return found.group(1)


def test_the_page_says_what_the_leaderboard_says(tmp_path):
    # catches a rank, tie or interval computed a second time, otherwise, for the page
    found = stored(tmp_path, *crowd())
    board = json.loads(embedded(writing.html(found), "board"))
    for metric in ("FD[digits]", "recall[digits]", "vlb-1000"):
        (table,) = tables(found, data="digits", metric=metric)
        shown = next(one for one in board["groups"] if one["data"] == "digits")
        ranking = shown["rankings"][metric]
        rows = [(shown["plugin"][k], ranking["rank"][k], ranking["mark"][k]) for k in ranking["order"]]
        said = [(r.row.plugin, r.rank, r.mark) for r in table.rows]
        assert [row for row in rows if row[2] != "n/a"] == [row for row in said if row[2] != "n/a"]
        assert set(rows) == set(said)
        (figure,) = (one for one in shown["figures"] if one["name"] == metric)
        for ranked in table.rows:
            k = shown["plugin"].index(ranked.row.plugin)
            assert figure["mean"][k] == (ranked.mean and pytest.approx(ranked.mean, rel=1e-5))
            assert figure["width"][k] == (ranked.width and pytest.approx(ranked.width, rel=1e-5))
    assert "IS[digits]" not in shown["rankings"]


def test_the_asked_metric_comes_first_where_it_can_rank(tmp_path):
    # catches --metric that the page forgets
    found = stored(tmp_path, *crowd())
    board = json.loads(embedded(writing.html(found, metric="vlb-1000"), "board"))
    assert [one["metric"] for one in board["groups"]] == ["vlb-1000", "FD[digits]"]


def test_a_group_that_can_not_rank_is_listed_and_stops_no_other(tmp_path):
    # catches one odd protocol that takes the whole page with it
    odd = result("odd", 1.0, n_generated=5)
    for cell in odd["metrics"].values():
        cell["better"] = ""
    board, _ = plain_data.page_data(stored(tmp_path, odd, result()), [Bad(Path("a/b.json"), "no")], None, "")
    assert [one["plugin"] for one in board["groups"]] == [["wgan"]]
    assert [reason for _, reason in board["bad"]] == ["no", "no column here can be ranked"]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, tuple(name for name, _ in attrs)))


def test_no_text_of_a_result_makes_an_element(tmp_path):
    # catches a payload in any field that closes the data's block or opens another
    def tags(text):
        parser = Tags()
        parser.feed(text)
        return parser.seen

    bare = tags(writing.html(stored(tmp_path, result())))
    for payload in HOSTILE:
        one = opened(payload) | {"family": payload, "config_hash": payload, "config": {payload: payload}}
        one["metrics"] |= {payload: {"value": 1.0, "better": "lower", "note": payload}}
        one["curves"] = {payload: [[1, 2.0]]}
        one["likelihood"] = [{"name": payload, "nats": 1.0, "note": payload}]
        one["provenance"] = {"command": ["zoo", payload], payload: payload}
        text = writing.html(stored(tmp_path, one), [Bad(Path(payload.replace("\0", "")), payload)])
        assert tags(text) == bare
        assert "\u202e" not in text
        assert "\\u202e" not in text


def test_commands_are_quoted_and_strangers_programs_are_not_commands():
    # catches a copied command that does more than it shows
    made = plain_data._command
    assert made(["zoo", "run", "a b; rm -rf x"]) == "zoo run 'a b; rm -rf x'"
    assert made(["zoo", "run", "x\nrm y"]) == "zoo run 'x?rm y'"
    assert made(["curl", "evil"]) == ""
    assert made("zoo run") == ""


def test_nested_data_are_cut_and_secrets_hidden():
    # catches a config that fills the page, and a token that leaves with it
    deep = inner = {}
    for _ in range(14):
        inner["a"] = {}
        inner = inner["a"]
    inner["end"] = 1
    assert plain_data.lines(deep) == [("a.a.a.a.a.a", "…")]
    many = plain_data.lines({f"k{k}": k for k in range(1000)})
    assert (len(many), many[-1]) == (plain_data.MOST + 1, ("…", "700 more"))
    assert plain_data.lines({"x": {"api_key": "abcdef"}, "list": [1, 2]}) == [
        ("x.api_key", "(hidden)"),
        ("list", "1, 2"),
    ]


def test_pictures_beyond_the_room_are_left_out_with_a_word(tmp_path):
    # catches a page of hundreds of megabytes
    (one,) = tables(stored(tmp_path, opened()))
    row = one.rows[0].row
    details = plain_data.Details({}, room=len(png()))
    assert details.of(row)["runs"][0]["sheet"] == png()
    again = details.of(row)["runs"][0]
    assert again["sheet"] is None
    assert "left out" in again["sheet_note"]


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


def test_a_page_is_replaced_in_one_step_and_its_neighbours_stay(tmp_path, monkeypatch):
    # catches half a page after a full disk, and a temporary file left behind
    (tmp_path / "notes.txt").write_text("mine")
    path = write_page(stored(tmp_path, result()), tmp_path / "page" / "deep")
    before = path.read_bytes()
    assert write_page([], path.parent) == path
    assert path.read_bytes() != before
    monkeypatch.setattr(writing.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(MachineError, match="No space left"):
        write_page(stored(tmp_path, result()), path.parent)
    assert [one.name for one in path.parent.iterdir()] == ["index.html"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_command_writes_the_page(tmp_path, home):
    # catches an option that is wired to nothing, and filters that the page forgets
    stored(tmp_path, *crowd())
    shown = CliRunner().invoke(
        leaderboard, [str(tmp_path), "--data", "digits", "--html", str(tmp_path / "p")]
    )
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == f"page: {tmp_path / 'p' / 'index.html'}\n"
    board = json.loads(embedded((tmp_path / "p" / "index.html").read_text(), "board"))
    assert [one["data"] for one in board["groups"]] == ["digits"]


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
