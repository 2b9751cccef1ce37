"""Result files on disk: what is refused, what verifies one, and which files share a row."""

from __future__ import annotations

import hashlib
import json
import os
import zlib

import pytest

from tests.eval.made_results import result, seeds, sha256_of, write
from zoo_core.errors import UsageError
from zoo_core.results import Result, read_result, write_result
from zoo_core.results.attachments import LARGEST_IMAGE, attachment_of, write_attachment
from zoo_core.results.files import LARGEST_FILE
from zoo_eval.leaderboard.facts import installed
from zoo_eval.leaderboard.rows import make_row
from zoo_eval.store import STATES, Bad, Reader, Verdict, collect, separate
from zoo_eval.store.media import curves, sample_grid
from zoo_eval.store.states import record, recorded_states, shipped, verdicts_folder


def png(width=8, height=8, extra=b""):
    """Return a gray PNG, written by hand."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes((width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"") + extra


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def raw(**changes):
    return json.dumps({**result(), **changes})


def metric(column, **cell):
    return raw(metrics={**result()["metrics"], column: {"value": 1.0} | cell})


# -- what is refused


REFUSED = {
    "empty": ("", "Invalid JSON"),
    "deep": ("[" * 15_000, "recursion"),
    "list": ("[]", "object"),
    "nan": (raw().replace('"value": 5.0', '"value": NaN'), "finite"),
    "infinity": (raw().replace('"value": 5.0', '"value": -Infinity'), "finite"),
    "overflow": (raw().replace('"value": 5.0', '"value": 1e999'), "metrics.FD[digits].value"),
    "huge": (raw().replace('"value": 5.0', '"value": 1e308'), "metrics.FD[digits].value"),
    "key twice": (raw().replace('"seed": 0', '"seed": 0, "seed": 1'), "duplicate key 'seed'"),
    "large integer": (raw().replace('"seed": 0', f'"seed": {10**30}'), "seed"),
    "boolean": (metric("FD[digits]", value=True), "FD[digits].value"),
    "text": (metric("FD[digits]", value="5"), "FD[digits].value"),
    "negative distance": (metric("FD[digits]", value=-0.1), "FD[digits]: -0.1 is impossible"),
    "negative bits": (metric("bits_per_dim[elbo]", value=-3.0), "bits_per_dim[elbo]: -3 is impossible"),
    "negative floor": (metric("noise floor[FD[digits]]", value=-1.0), "noise floor[FD[digits]]: -1"),
    "recall above 1": (metric("recall[digits]", value=1.2), "expected 0 to 1"),
    "IS below 1": (metric("IS[digits]", value=0.5), "expected at least 1"),
    "interval": (metric("FD[digits]", interval={"low": 6.0, "high": 4.0}), "above high"),
    "better": (metric("FD[digits]", better="higher"), "FD[digits].better"),
    "baselines": (raw(baselines=[]), "baselines"),
    "state": (raw(state="reproduced"), "state"),
    "schema": (raw(schema=3), "schema"),
    "old schema": (raw(schema=1), "schema 1: made by version 0.1"),
    "seed": (raw(seed="0"), "seed"),
    "negative seed": (raw(seed=-1), "seed"),
    "no name": (raw(plugin=""), "plugin"),
    "Cyrillic": (raw(plugin="wg\u0430n"), "plugin"),
    "capitals": (raw(plugin="WGAN"), "plugin"),
    "markup": (raw(plugin="<b>wgan</b>"), "plugin"),
    "path": (raw(plugin="../wgan"), "plugin"),
    "other data": (raw(data={"name": "mnist", "sha256": "a" * 64}), "other data"),
    "data hash": (raw(data={"name": "digits", "sha256": "d" * 64}), "data_sha256"),
    "protocol hash": (raw(protocol={**result()["protocol"], "hash": "0" * 12}), "protocol.hash"),
    "not scored": (json.dumps({k: v for k, v in result().items() if k != "metrics"}), "metrics"),
    "columns": (raw(metrics={f"FD[{k}]": {"value": 1.0} for k in range(201)}), "metrics"),
    "hash": (raw(weights_sha256="abc"), "weights_sha256"),
    "cost": (raw(cost={"train_seconds": -5.0}), "cost.train_seconds"),
    "edited": (raw(content_sha256="0" * 64), "was changed after it was written"),
    "large": (raw(config={f"k{k}": "x" * 300 for k in range(200)}), f"at most {LARGEST_FILE:,}"),
    "attachment": (raw(attachments={"samples": {"file": "../a.png", "sha256": "a" * 64, "size": 1}}), "file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_is_listed_with_its_reason(tmp_path, name):
    # catches a forged or broken file on the board, or one that takes the others with it
    content, reason = REFUSED[name]
    put(tmp_path / "bad" / "result.json", content)
    write(tmp_path / "good", result())
    found, bad = collect([tmp_path])
    assert [one.plugin for one in found] == ["wgan"]
    (one,) = bad
    assert reason in one.reason
    assert "\n" not in one.reason


def test_a_hash_of_a_files_own_bytes_excuses_nothing(tmp_path):
    # catches a key that is there twice, and a hash that covers only what stands before it
    one = Result.model_validate(result())
    text = one.text().removesuffix(b'"content_sha256":null}')
    twice = text.replace(b'"seed":0', b'"seed":0,"seed":1')
    path = put(tmp_path / "twice.json", twice + b'"content_sha256":"%s"}' % sealed(twice))
    with pytest.raises(UsageError, match="duplicate key 'seed'"):
        read_result(path)
    first = b'{"content_sha256":"%s",' % sealed(b"{") + text.removeprefix(b"{").removesuffix(b",") + b"}"
    with pytest.raises(UsageError, match="was changed after it was written"):
        read_result(put(tmp_path / "first.json", first))
    whole = text + b'"content_sha256":"%s"}' % sealed(text)
    assert read_result(put(tmp_path / "whole.json", whole)).seed == 0


def sealed(head):
    """Return the hash of a file that begins with these bytes and ends with its content_sha256."""
    return hashlib.sha256(head + b'"content_sha256":null').hexdigest().encode()


def test_a_large_old_file_is_recognized(tmp_path):
    # catches "too large" for a result that a new version no longer reads
    path = put(tmp_path / "result.json", json.dumps({"curves": "x" * 40_000, "schema": 1}))
    with pytest.raises(UsageError, match="schema 1: made by version 0"):
        read_result(path)


def test_a_written_result_is_read_back_and_an_edit_is_found(tmp_path):
    # catches a field that changes on the way, and a score edited by hand
    (path,) = write(
        tmp_path, result(metrics={"KD[digits]": {"value": 1e-7, "note": 'a "quoted"\u2028 note'}})
    )
    one = read_result(path)
    assert one.content_sha256 == one.content_hash()
    assert Result.model_validate_json(path.read_bytes()) == one
    put(tmp_path / "b" / "result.json", json.dumps(json.loads(path.read_bytes())))  # another layout
    assert read_result(tmp_path / "b" / "result.json") == one
    path.write_text(path.read_text().replace('"value":5.0', '"value":4.9'))
    with pytest.raises(UsageError, match="was changed after it was written"):
        read_result(path)


def test_names_that_are_not_text_and_things_that_are_not_files(tmp_path):
    # catches a FIFO that blocks for ever, and a folder called result.json
    odd = tmp_path / os.fsdecode(b"\xff\xfe") / "result.json"
    odd.parent.mkdir()
    write_result(Result.model_validate(result()), odd)
    os.mkfifo(tmp_path / "result-pipe.json")
    (tmp_path / "result-folder.json").mkdir()
    (tmp_path / "result-link.json").symlink_to(tmp_path / "nowhere")
    put(tmp_path / "result-bytes.json", b"\xff\xfe\x00")
    found, bad = collect([tmp_path])
    assert len(found) == 1
    assert sorted(one.path.name for one in bad) == [
        "result-bytes.json",
        "result-link.json",
        "result-pipe.json",
    ]
    assert isinstance(Reader({}).read(tmp_path / "none.json"), Bad)


def test_the_same_file_in_two_folders_counts_once(tmp_path):
    # catches an interval that shrinks because a file was copied
    (path,) = write(tmp_path / "runs", result())
    put(tmp_path / "results" / "result.json", path.read_bytes())
    write(tmp_path / "results", result(protocol={"n_generated": 50_000}))
    found, bad = collect([tmp_path / "runs", tmp_path / "results", path])
    assert bad == []
    rows, _ = separate(found)
    assert sorted(len(row) for row in rows) == [1, 1]


# -- states


def verdict(path, state="reproduced"):
    return Verdict(state, ("found",), False, sha256_of(path), "2026-01-01T00:00:00Z")


def state_of(path):
    return Reader(recorded_states()).read(path).state


def test_a_verdict_in_the_users_store_holds_for_those_very_bytes(tmp_path, home):
    # catches a state that follows a file's name
    (path,) = write(tmp_path, result())
    assert state_of(path) == "reported"
    record(verdict(path))
    assert state_of(path) == "reproduced"
    path.write_text(path.read_text() + " ")
    assert state_of(path) == "reported"


def test_a_better_verdict_on_the_same_bytes_stays(tmp_path, home):
    # catches what was reproduced here undone by a later check on another machine or version
    (path,) = write(tmp_path, result())
    for given, recorded in (
        ("reported", "reported"),
        ("reproduced", "reproduced"),
        ("resampled", "reproduced"),
        ("reported", "reproduced"),
    ):
        assert record(verdict(path, given)) == recorded
        assert state_of(path) == recorded


def test_a_verdict_beside_a_file_proves_nothing(tmp_path, home):
    # catches a state that whoever writes a result gives it
    (path,) = write(tmp_path, result())
    text = json.dumps(
        {"state": "reproduced", "file_sha256": sha256_of(path), "findings": [], "refuted": False}
    )
    for name in (
        f"verdict-{path.name}",
        "verdict.json",
        f"{sha256_of(path)}.json",
        f"verdicts/{sha256_of(path)}.json",
    ):
        put(tmp_path / name, text)
    assert state_of(path) == "reported"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"state": "reproduced"}',
     '{"state": "believe me", "file_sha256": "HERE"}', "[" * 100_000,
     '{"state": ["reproduced"], "file_sha256": "HERE"}', '{"state": "reproduced", "file_sha256": "00"}'],
)  # fmt: skip
def test_a_damaged_verdict_changes_nothing(tmp_path, home, text):
    # catches a traceback, or a state that was never found
    (path,) = write(tmp_path, result())
    put(verdicts_folder() / f"{sha256_of(path)}.json", text.replace("HERE", sha256_of(path)))
    put(verdicts_folder() / "notes.json", "{}")
    assert state_of(path) == "reported"


def test_the_shipped_states_are_sha256_and_the_better_state_counts(tmp_path, home, monkeypatch):
    # catches a list that names something else than files, and a state lost to the user's own store
    assert all(len(sha256) == 64 and state in STATES[1:] for sha256, state in shipped().items())
    (path,) = write(tmp_path, result())
    monkeypatch.setattr("zoo_eval.store.states.shipped", lambda: {sha256_of(path): "reproduced"})
    assert state_of(path) == "reproduced"
    record(verdict(path, "resampled"))
    assert state_of(path) == "reproduced"


# -- rows and conflicts


def claims(*folders):
    return separate(collect(folders).entries)


def shown(rows):
    return sorted((row[0].plugin, row[0].state, tuple(entry.seed for entry in row)) for row in rows)


def test_runs_of_one_configuration_share_a_row(tmp_path):
    # catches seeds that are rows of their own, because each has a folder
    for k, one in enumerate(seeds("wgan", [5.0, 5.2])):
        write_result(
            Result.model_validate(one), put(tmp_path / f"{one['config_hash']}-s{k}" / "result.json", "")
        )
    third = put(tmp_path / "by-hand" / "result.json", "")
    put(tmp_path / "by-hand" / "config.yaml", "plugin: wgan")
    write_result(Result.model_validate(result("wgan", 5.1, 2)), third)
    rows, conflicts = claims(tmp_path)
    assert shown(rows) == [("wgan", "reported", (0, 1, 2))]
    assert conflicts == []


def test_the_better_verified_files_displace_the_others(tmp_path, home):
    # catches a file earlier in path order that displaces a verified one, and an extra seed in its row
    good = write(tmp_path / "z", *seeds("wgan", [5.0, 5.2]))
    for path in good:
        record(verdict(path))
    forged = write(tmp_path / "a", *seeds("wgan", [0.1, 0.2, 0.3]))
    same_folder = write(tmp_path / "z", result("wgan", 99.0, 7))
    rows, (conflict,) = claims(tmp_path)
    assert shown(rows) == [("wgan", "reproduced", (0, 1))]
    assert sorted(entry.path for entry in conflict.left_out) == sorted([*forged, *same_folder])
    assert "4 less verified files (seeds 0, 1, 2, 7) left out: 2 files are reproduced" in conflict.reason


def test_an_audit_of_one_seed_leaves_the_other_seeds_in_its_row(tmp_path, home):
    # catches a row that loses its reproduced seeds as one of them is audited, and a row better than its files
    first, *others = write(tmp_path / "z", *seeds("wgan", [5.0, 5.2, 5.1]))
    record(verdict(first, "audited"))
    for path in others:
        record(verdict(path))
    rows, conflicts = claims(tmp_path)
    assert [[(one.seed, one.state) for one in row] for row in rows] == [
        [(0, "audited"), (1, "reproduced"), (2, "reproduced")]
    ]
    assert make_row(rows[0], installed()).state == "reproduced"
    assert conflicts == []


def test_equally_verified_claims_are_rows_of_their_own(tmp_path):
    # catches a row that another file displaces or averages with
    write(tmp_path / "a", *seeds("wgan", [5.0, 5.2]))
    write(tmp_path / "b", *seeds("wgan", [9.0, 9.2, 9.4]))
    write(tmp_path / "a", result("wgan", 1.0, 1), result("wgan", 2.0, 1))
    rows, (conflict,) = claims(tmp_path)
    assert [seeds_ for *_, seeds_ in shown(rows)] == [(0, 1), (0, 1, 2), (1,), (1,)]
    assert "claimed 4 times, reported, in 2 folders" in conflict.reason
    assert conflict.left_out == ()


def test_names_that_differ_in_separators_only_are_a_conflict(tmp_path):
    # catches a name made to be mistaken for another's
    write(tmp_path, result("beta-vae"), result("beta_vae"), result("beta.vae"), result("betavae"))
    rows, (conflict,) = claims(tmp_path)
    assert len(rows) == 4
    assert "beta-vae, beta.vae, beta_vae" in conflict.reason


# -- attachments


def attached(folder, what, content, suffix):
    record_ = attachment_of(what, content, suffix)
    write_attachment(folder, record_, content)
    return Result.model_validate(result(attachments={what: record_.model_dump()}))


def test_a_sample_grid_is_the_recorded_png(tmp_path):
    # catches a swapped, oversized or disguised image
    one = attached(tmp_path, "samples", png(), "png")
    assert sample_grid(one, tmp_path) == png()
    (tmp_path / one.attachments["samples"].file).write_bytes(png(9, 9))
    assert sample_grid(one, tmp_path) is None
    assert sample_grid(one, tmp_path / "elsewhere") is None
    for content in (b"GIF89a" + bytes(40), png(5000, 1), png(extra=bytes(LARGEST_IMAGE))):
        assert sample_grid(attached(tmp_path, "samples", content, "png"), tmp_path) is None


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    # catches a file of the reader's machine on a page
    secret = put(tmp_path / "secret.png", png())
    one = attached(tmp_path, "samples", png(), "png")
    path = tmp_path / one.attachments["samples"].file
    path.unlink()
    path.symlink_to(secret)
    assert sample_grid(one, tmp_path) is None


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b'{"loss": [[0, 1.5], [50, 1]]}', True),
        (b'{"loss": [[0, true]]}', False),
        (b'{"loss": [[0, 1, 2]]}', False),
        (b'{"loss": [[0, 1e999]]}', False),
        (b'{"loss": [[0, NaN]]}', False),
        (b'{"loss": [[0, ' + b"9" * 400 + b"]]}", False),
        (b'{"loss": []}', False),
        (json.dumps({"loss": [[k, 1] for k in range(201)]}).encode(), False),
        (json.dumps({str(k): [[0, 1]] for k in range(65)}).encode(), False),
        (b"[[0, 1]]", False),
        (b"[" * 100_000, False),
        (b"\xff", False),
    ],
)
def test_curves_are_bounded_series_of_numbers(tmp_path, content, kept):
    # catches a file that would fill the page, or break what reads it
    one = attached(tmp_path, "curves", content, "json")
    assert curves(one, tmp_path) == (json.loads(content) if kept else {})


def test_the_shipped_list_is_checked(monkeypatch):
    # catches a sha256 that is of no committed file, listed twice, or out of order
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location(
        "verified", Path(__file__).parents[2] / "ci" / "verified.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files = {"a" * 64: Path("a"), "b" * 64: Path("b")}
    good = {"resampled": ["b" * 64], "reproduced": ["a" * 64], "consistent": [], "audited": []}
    assert module.faults(good, files) == []
    assert module.faults(json.loads(module.LIST.read_text()), module.committed()) == []
    for wrong in (
        [],
        {"reproduced": []},
        {**good, "reported": []},
        {**good, "reproduced": ["c" * 64]},
        {**good, "resampled": ["a" * 64]},
        {**good, "resampled": [], "reproduced": ["b" * 64, "a" * 64]},
    ):
        assert module.faults(wrong, files)
