"""The data that the leaderboard's page is written from: ranks as computed, texts that make no markup."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.eval.made_results import result, seeds, sha256_of, write
from zoo_core.errors import MachineError, UsageError
from zoo_core.results.attachments import attachment_of, write_attachment
from zoo_eval.cli import leaderboard
from zoo_eval.leaderboard.facts import installed
from zoo_eval.leaderboard.page import details, plain_data, sprites, values, write_page, writing
from zoo_eval.leaderboard.table import make_groups, make_table
from zoo_eval.store import Bad, Verdict, collect
from zoo_eval.store.states import record

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
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "PNG")
    return file.getvalue()


def grid_png(cells, factor=2, columns=8):
    """Return a grid of images (n, h, w[, 3]) as runs write it: gray lines, enlarged by a factor."""
    n, h, w = cells.shape[:3]
    shape = (-(-n // columns) * (h + 1) + 1, columns * (w + 1) + 1, *cells.shape[3:])
    sheet = np.full(shape, 110, np.uint8)
    for k, cell in enumerate(cells):
        top, left = 1 + k // columns * (h + 1), 1 + k % columns * (w + 1)
        sheet[top : top + h, left : left + w] = cell
    file = io.BytesIO()
    Image.fromarray(sheet.repeat(factor, 0).repeat(factor, 1)).save(file, "PNG")
    return file.getvalue()


def decoded(url):
    """Return the image of a data: address."""
    kind, _, text = url.partition(";base64,")
    assert kind == "data:image/webp"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def attached(folder, one, **contents):
    """Return a result with PNG attachments, whose files are written to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    records = dict(one.get("attachments", {}))
    for what, content in contents.items():
        record = attachment_of(what, content, "png")
        write_attachment(folder, record, content)
        records[what] = record.model_dump()
    return one | {"attachments": records}


@pytest.fixture
def rng_images():
    """Make random images of a shape."""
    rng = np.random.default_rng(0)
    return lambda shape: rng.integers(0, 256, shape, dtype=np.uint8)


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
    made = details.command
    assert made(["zoo", "run", "a b; rm -rf x"]) == "zoo run 'a b; rm -rf x'"
    assert made(["zoo", "run", "x\nrm y"]) == "zoo run 'x?rm y'"
    assert made(["curl", "evil"]) == ""
    assert made([]) == ""


def test_long_data_are_cut_and_secrets_redacted():
    # catches a config that fills the page, and a token that leaves with it
    many = values.lines({f"k{k}": k for k in range(1000)})
    assert (len(many), many[-1]) == (values.MOST + 1, ("…", "700 more"))
    assert values.lines({"x": {"api_key": "abcdef"}, "list": [1, 2]}) == [
        ("x.api_key", "(hidden)"),
        ("list", "1, 2"),
    ]


def test_sample_grids_beyond_the_limit_are_left_out_and_it_is_said(tmp_path):
    # catches a page of hundreds of megabytes, and one entry's second seed instead of another's first
    (group,) = groups_of(tmp_path, opened(tmp_path))
    (row,) = group.rows
    length = len(sprites.shown_grid(png()))
    made = details.Details(entries=2, left=length)
    assert decoded(made.of(row)["runs"][0]["grid"]).shape[:2] == (40, 40)
    again = made.of(row)["runs"][0]
    assert again["grid"] is None
    assert "left out" in again["grid_note"]
    other = opened(tmp_path, "wgan") | {"seed": 1}
    write(tmp_path / "two", opened(tmp_path / "two", "wgan"), other)
    (row,) = make_groups(collect([tmp_path / "two"]).entries, installed())[0].rows
    shared = details.Details(entries=3, left=3 * length)
    assert [one["grid"] is None for one in shared.of(row)["runs"]] == [False, True]


@pytest.mark.parametrize("shape", [(64, 8, 8), (64, 32, 32, 3), (64, 20, 12)])
@pytest.mark.parametrize("factor", [1, 3])
def test_a_strip_is_the_first_samples_pixel_for_pixel(rng_images, shape, factor):
    # catches samples picked by hand, a line of the grid in a sample, and an enlarged grid taken at its size
    images = rng_images(shape)
    one = sprites.strip(grid_png(images, factor))
    assert len(one) == sprites.CELLS
    for cell, image in zip(one, images, strict=False):
        assert (cell == image).all()


def test_a_grid_that_was_halved_in_size_is_cut_into_cells(rng_images):
    # catches a whole grid shown as one sample where its lines are mixed with their neighbors
    whole = Image.open(io.BytesIO(grid_png(rng_images((64, 64, 64, 3)), 1)))
    file = io.BytesIO()
    whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.BOX).save(file, "PNG")
    cells = sprites.strip(file.getvalue())
    assert len(cells) == 8
    assert all(29 <= side <= 33 for cell in cells for side in cell.shape[:2])


def test_what_is_not_a_grid_is_one_image(rng_images):
    # catches a plot of points cut into eight, and a file that is not an image
    plot = rng_images((1, 90, 200, 3))[0]
    file = io.BytesIO()
    Image.fromarray(plot).save(file, "PNG")
    (cell,) = sprites.strip(file.getvalue())
    assert cell.shape[0] <= sprites.SIDE
    assert sprites.strip(b"no image") is None
    assert sprites.sprite([None, None]) is None


def test_the_sprite_holds_every_strip_at_its_place(rng_images):
    # catches the samples of one entry beside the name of another
    grids = [rng_images((64, 8, 8)) for _ in range(70)]
    strips = [None if k == 3 else sprites.strip(grid_png(images, 1)) for k, images in enumerate(grids)]
    made = sprites.sprite(strips)
    sheet = decoded(made["src"])[..., 0]
    assert made["at"][3] is None
    for k in (0, 2, 4, 69):
        place, count = made["at"][k]
        top, left = place // made["across"] * 8, place % made["across"] * 64
        shown = sheet[top : top + 8, left : left + 8 * count].reshape(8, count, 8).swapaxes(0, 1)
        assert (shown == grids[k][:8]).all()


def test_a_page_of_sixty_entries_with_color_samples_is_small(tmp_path, rng_images):
    # catches a page that nobody can send: noise is the worst case of an image
    folder = tmp_path / "r"
    for k in range(60):
        grid = grid_png(rng_images((64, 32, 32, 3)), 1)
        write(folder, attached(folder, result(f"m{k}", 1.0 + k), samples=grid))
    (group,) = make_groups(collect([folder]).entries, installed())
    assert len(group.rows) == 60
    assert write_page([group], tmp_path / "page").stat().st_size < 4_000_000


def test_the_worst_samples_are_beside_the_first_where_there_are_some(tmp_path, rng_images):
    # catches an attachment that the page forgets
    images, worst = rng_images((64, 8, 8)), rng_images((64, 8, 8))
    one = attached(tmp_path, result(), samples=grid_png(images), worst=grid_png(worst))
    (group,) = groups_of(tmp_path, one, result("vae", 3.0))
    runs = [details.Details().of(row)["runs"][0] for row in group.rows]
    shown = {
        name: decoded(runs[[r["worst"] is None for r in runs].index(False)][name])
        for name in ("grid", "worst")
    }
    assert (shown["grid"][1:9, 1:9, 0] == images[0]).all()
    assert (shown["worst"][1:9, 1:9, 0] == worst[0]).all()
    assert sorted(r["worst"] is None for r in runs) == [False, True]


def test_headings_are_distinct():
    # catches FD, FD and FD beside one another
    columns = ["FD[a]", "FD[b]", "recall[a]", "FD to test[a]", "L1[edges]", "FID"]
    heads = plain_data.headings(columns)
    assert heads == ["FD[a]", "FD[b]", "recall", "FD to test", "L1", "FID"]
    assert len(set(heads)) == len(heads)


def test_differences_on_the_page_are_those_of_the_ranks(tmp_path):
    # catches a comparison that calls significant what shares a rank
    tied = [*seeds("a", [1.0, 1.1, 0.9]), *seeds("b", [1.05, 1.2, 0.95])]
    (group,) = groups_of(tmp_path, *tied, *seeds("c", [5.0, 5.1, 4.9]), result("d", 2.0))
    made, rows = plain_data.group_data(group)
    ranking = made["rankings"]["FD[digits]"]
    tests = ranking["tests"]
    place = {row.plugin: k for k, row in enumerate(rows)}

    def differ(x, y):
        i, j = place[x], place[y]
        far = abs(np.log(tests["center"][i] / tests["center"][j]))
        least = tests["critical"]["reported"][min(tests["df"][i], tests["df"][j])]
        return bool(far >= least * np.hypot(tests["error"][i], tests["error"][j]))

    assert ranking["scale"] == "log"
    assert [ranking["rank"][place[name]] for name in "abcd"] == [1, 1, 3, None]
    assert (differ("a", "b"), differ("a", "c"), differ("b", "c")) == (False, True, True)
    assert tests["df"][place["d"]] is None


def test_rows_above_reproduced_are_tested_with_the_reproduced(tmp_path, home):
    # catches a pair whose tier has no critical values on the page
    good = write(tmp_path, *seeds("wgan", [5.0, 5.2, 5.1]), *seeds("vae", [7.0, 7.4, 7.1]))
    for path, state in zip(good, ["reproduced"] * 3 + ["audited"] * 3, strict=True):
        record(Verdict(state, (), False, sha256_of(path), ""))
    groups = make_groups(collect([tmp_path]).entries, installed())
    board, _ = plain_data.page_data(groups, [], None, "")
    (group,) = board["groups"]
    assert sorted(group["state"]) == ["audited", "reproduced"]
    assert set(board["tiers"]) == set(board["states"])
    tests = group["rankings"]["FD[digits]"]["tests"]
    assert {board["tiers"][state] for state in group["state"]} == set(tests["critical"])


def test_every_entry_has_the_commands_that_repeat_and_verify_it(tmp_path):
    # catches "not recorded" for a run whose config is known, and a run of another program
    own = result("wgan", config={"plugin": "wgan", "data.name": "digits", "train.steps": 77})
    outside = result("theirs", 3.0, family="outside", config={"plugin": "theirs"})
    (group,) = groups_of(tmp_path, own, outside)
    shown = {row.plugin: details.Details().of(row) for row in group.rows}
    assert shown["wgan"]["repeat"] == "zoo run plugin=wgan data=digits train.steps=77"
    assert shown["wgan"]["changed"] == ["train.steps"]
    assert shown["wgan"]["verify"].startswith("zoo verify ")
    assert shown["wgan"]["verify"].endswith("result-000.json --run RUN")
    assert shown["theirs"]["repeat"] == ""


def test_the_date_can_be_given(monkeypatch):
    # catches a page that differs every day although its results do not
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert plain_data.today() == "1970-01-01"


def test_a_file_changed_since_it_was_ranked_is_not_shown(tmp_path):
    # catches the details of one result under the row of another
    (group,) = groups_of(tmp_path, opened(tmp_path))
    (row,) = group.rows
    path = row.entries[0].path
    (other,) = write(tmp_path / "other", result("vae", 3.0))
    path.write_bytes(other.read_bytes())
    assert details.Details().of(row)["runs"] == []
    path.unlink()
    assert details.Details().of(row)["runs"] == []


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
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
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
