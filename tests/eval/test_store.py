"""The store of results: what is refused, and an index that is fast and never wrong."""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import zlib
from pathlib import Path

import pytest

from tests.eval.test_leaderboard import dump, result
from zoo_core.home import home as home_folder
from zoo_eval import index as indexing
from zoo_eval.results import Bad, collect, read
from zoo_eval.schema import content_hash, parse


def png(width=8, height=8, extra=b""):
    """Return a grey PNG, written by hand."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes((width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"") + extra


def whole(**more):
    """Return a submitted result with all that one may hold."""
    made = {
        **result(),
        "config": {"plugin": "wgan", "model": {"clip": 0.01}},
        "curves": {"critic/loss": [[0, 1.5], [50, 1]]},
        "sheet": base64.b64encode(png()).decode(),
        **more,
    }
    return {**made, "content_sha256": content_hash(made)}


def test_a_whole_submission_is_a_result():
    # catches an optional key that is refused, or that changes on the way
    assert parse(json.dumps(whole(), indent=3)) == whole()


def deep(levels):
    return json.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"curves": {"loss": [[0, True]]}}, "something else than [step, value]"),
        ({"curves": {"loss": [[0, 1, 2]]}}, "something else than [step, value]"),
        ({"curves": {"loss": [[k, 1] for k in range(201)]}}, "at most 200 points"),
        ({"curves": {str(k): [] for k in range(65)}}, "at most 64 series"),
        ({"curves": [[0, 1]]}, "no object"),
        ({"config": ["plugin"]}, "'config' is no object"),
        ({"config": {"x": deep(20)}}, "nested too deeply"),
        ({"sheet": "<script>"}, "no PNG"),
        ({"sheet": base64.b64encode(b"GIF89a" + bytes(40)).decode()}, "no PNG"),
        ({"sheet": base64.b64encode(png(extra=bytes(200 * 1024))).decode()}, "at most 204,800"),
        ({"sheet": base64.b64encode(png(5000, 1)).decode()}, "5000x1"),
        ({"samples_sha256": "abc"}, "samples_sha256 is no sha256"),
        ({"weights_sha256": None}, "weights_sha256 is no sha256"),
        ({"baselines": ["noise"]}, "no list of objects"),
        ({"seed": -1}, "no 'seed'"),
        ({"cost": {"train_seconds": -5.0}}, "below 0"),
        ({"plugin": "x" * 201}, "201 characters"),
    ],
)
def test_what_a_submission_may_not_hold(changes, reason):
    # catches a file that would fill the page, or break what reads it
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(json.dumps(whole(**changes)))


def test_a_share_beyond_one_and_an_interval_of_text_are_refused():
    # catches a recall of 1.2
    one = result()
    one["metrics"]["recall[digits]"]["value"] = 1.2
    with pytest.raises(ValueError, match="no share"):
        parse(json.dumps(one))
    one = result()
    one["metrics"]["FD[digits]"] |= {"low": "a", "high": 6}
    with pytest.raises(ValueError, match="no finite interval"):
        parse(json.dumps(one))


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('"value": 5.0', '"value": 4.9', "was changed after it was written"),
        ('"seed": 0', '"seed": 1', "was changed after it was written"),
        ('"clip": 0.01', '"clip": 0.02', "was changed after it was written"),
        ('"seed": 0', '"seed": 0, "seed": 0', "stands twice"),
        ('"seed": 0', f'"seed": {10**30}', "64 bits"),
        ('"nfe": 1', '"nfe": 1e400', "no finite value"),
    ],
)
def test_a_changed_file_is_told(before, after, reason):
    # catches a figure, a seed or an option that was edited by hand
    text = json.dumps(whole())
    assert before in text
    with pytest.raises(ValueError, match=reason):
        parse(text.replace(before, after, 1))


# -- the index


@pytest.fixture
def reads(monkeypatch):
    """The paths that were read and parsed, rather than taken from the index."""
    seen: list[Path] = []

    def counted(path):
        seen.append(path)
        return read(path)

    monkeypatch.setattr(indexing, "read", counted)
    return seen


def folder_of(root, count=5):
    for k in range(count):
        dump(root / f"{k:02d}" / "result.json", result(f"model-{k}", 1.0 + k))
    dump(root / "bad" / "result.json", "{}")
    return root


def names(found):
    return [one.result["plugin"] for one in found[0]]


def test_the_index_answers_as_the_files_do(tmp_path, reads):
    # catches an index that drops a field, loses the bad files, or is never used
    root = folder_of(tmp_path / "runs")
    first = collect([root])
    assert len(reads) == 6
    assert collect([root]) == first
    assert len(reads) == 6
    assert [one.result for one in first[0]] == [result(f"model-{k}", 1.0 + k) for k in range(5)]
    assert [one.reason for one in first[1]] == ["schema None; this zoo reads 1"]


def test_a_changed_a_new_and_a_removed_file_are_noticed(tmp_path, reads):
    # catches a figure shown after its file was replaced, and rows that outlive their files
    root = folder_of(tmp_path / "runs")
    collect([root])
    reads.clear()
    changed = root / "01" / "result.json"
    status = changed.stat()
    changed.write_text(changed.read_text().replace("model-1", "model-X"))
    assert changed.stat().st_size == status.st_size
    dump(root / "05" / "result-more.json", result("model-5"))
    (root / "02" / "result.json").unlink()
    assert names(collect([root])) == ["model-0", "model-X", "model-3", "model-4", "model-5"]
    assert reads == [changed, root / "05" / "result-more.json"]
    with sqlite3.connect(home_folder() / "index.sqlite") as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (6,)


def test_a_file_replaced_within_a_tick_of_the_clock_is_noticed(tmp_path, reads):
    # catches a rename that keeps time and size
    path = tmp_path / "result.json"
    dump(path, result("wgan", 5.0))
    collect([tmp_path])
    status = path.stat()
    other = tmp_path / "other"
    dump(other, result("wgan", 7.0))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, path)
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    (one,) = collect([tmp_path])[0]
    assert one.result["metrics"]["FD[digits]"]["value"] == 7.0


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + bytes(200), b""])
def test_a_damaged_index_is_made_again(tmp_path, content):
    # catches a leaderboard that a torn cache takes away
    root = folder_of(tmp_path / "runs")
    path = home_folder() / "index.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert len(names(collect([root]))) == 5
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (6,)


def test_another_release_starts_with_an_empty_index(tmp_path, reads, monkeypatch):
    # catches a verdict of old checks that outlives them
    root = folder_of(tmp_path / "runs")
    collect([root])
    monkeypatch.setattr(indexing, "VERSION", indexing.VERSION + 1)
    reads.clear()
    assert len(names(collect([root]))) == 5
    assert len(reads) == 6


def test_without_a_home_to_write_in_files_are_read(tmp_path, monkeypatch):
    # catches a read-only home that hides every result
    root = folder_of(tmp_path / "runs")
    (tmp_path / "blocked").write_text("a file where the folder would be")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "blocked"))
    assert len(names(collect([root]))) == 5


def test_a_listing_goes_without_pictures_and_curves(tmp_path):
    # catches 200 KB a row carried through a listing of 10,000
    dump(tmp_path / "result-x.json", whole())
    for _ in range(2):  # read, then from the index
        (one,) = collect([tmp_path])[0]
        assert not {"sheet", "curves", "config"} & set(one.result)
    assert "sheet" in read(tmp_path / "result-x.json").result


def test_one_root_does_not_forget_anothers_files(tmp_path, reads):
    # catches runs-2 emptied because runs was listed
    one, other = folder_of(tmp_path / "runs"), folder_of(tmp_path / "runs-2")
    collect([one, other])
    reads.clear()
    collect([one])
    collect([one / "00" / "result.json"])
    collect([other])
    assert reads == []


def test_names_that_are_no_text_and_things_that_are_no_files(tmp_path):
    # catches a pipe that blocks for ever, a name that SQLite refuses, a folder called result.json
    dump(tmp_path / os.fsdecode(b"\xff\xfe") / "result.json", result())
    os.mkfifo(tmp_path / "result-pipe.json")
    (tmp_path / "result-folder.json").mkdir()
    (tmp_path / "result-link.json").symlink_to(tmp_path / "nowhere")
    for _ in range(2):
        found, bad = collect([tmp_path])
        assert len(found) == 1
        assert sorted(one.path.name for one in bad) == ["result-link.json", "result-pipe.json"]
    assert isinstance(read(tmp_path / "result-pipe.json"), Bad)


def test_an_index_in_use_elsewhere_is_no_obstacle(tmp_path, reads, monkeypatch):
    # catches a listing that fails or waits for long while another process writes
    root = folder_of(tmp_path / "runs")
    collect([root])
    lock = sqlite3.connect(home_folder() / "index.sqlite", isolation_level=None)
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, timeout, real=sqlite3.connect: real(path, timeout=0.01)
    )
    lock.execute("BEGIN EXCLUSIVE")
    reads.clear()
    assert len(names(collect([root]))) == 5
    assert len(reads) == 6
    lock.close()
