"""Forged and hostile files beside honest ones: none changes another's row, and none gives a traceback."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.eval.made_results import digest, fields, result, seeds, sha256_of, write
from zoo_core.results.result import Result, fields_hash
from zoo_eval.cli import leaderboard
from zoo_eval.store import Verdict, collect
from zoo_eval.store.states import record

Plain = dict[str, Any]
CASES = Path(__file__).parents[2] / "shared" / "cases" / "hostile"


def cell(column: str, **changes: Any) -> Plain:
    """Return a claim for `wgan`, seed 0, with one changed cell."""
    metrics = result()["metrics"]
    return result(metrics={column: {**metrics.get(column, {"value": 1.0}), **changes}})


def top(**changes: Any) -> Plain:
    return {**result(), **changes}


def protocol(**changes: Any) -> Plain:
    return {**result(), "protocol": {**result()["protocol"], **changes}}


FORGERIES: dict[str, Plain | list[Plain] | str | bytes] = {
    # an entry's identity claimed by somebody else
    "the same seed with another score": result("wgan", 0.2, 0),
    "the same seed with a bad score": result("wgan", 900.0, 0),
    "one more seed with a bad score": result("wgan", 900.0, 3),
    "many more seeds": seeds("wgan", [900.0 + k for k in range(9)]),
    "memorization claimed for a rival": cell("memorization[pixels]", value=0.99),
    "memorization of a rival's next seed": result(
        "wgan", 5.0, 3, metrics={"memorization[pixels]": {"value": 1.0}}
    ),
    "a rival without its column": result("wgan", 5.0, 3, metrics={"FD[digits]": None}),
    "a rival's column declared unranked": cell("FD[digits]", unranked="broken"),
    "a rival of another family": top(family="baseline"),
    "a rival's deterministic twin": seeds("wgan", [5.0, 5.0, 5.0], family="baseline"),
    "a rival with other bounds": cell("recall[digits]", bound="upper"),
    "a rival's cost": top(cost={"train_seconds": 1e29, "nfe": 0.0}, seed=3),
    "another seed with the same weights": result("wgan", 5.1, 4, weights_sha256=digest("wgan", 0, "weights")),
    # names
    "a Cyrillic look-alike": top(plugin="wg\u0430n"),
    "capitals": top(plugin="WGAN"),
    "full-width letters": top(plugin="\uff57gan"),
    "a zero-width joiner": top(plugin="wg\u200dan"),
    "right-to-left": top(plugin="\u202enagw"),
    "separators": seeds("w.gan", [1.0, 1.1]),
    "markup": top(plugin="<script>alert(1)</script>"),
    "a control sequence": top(plugin="\x1b[2Jwgan"),
    "an unhashable name": top(plugin=["wgan"]),
    "a name of 10^5 letters": top(plugin="w" * 10**5),
    # scores
    "a distance of 0": result("best", 0.0),
    "a distance of 10^308": seeds("loud", [1e308, 1e308]),
    "the largest accepted distances": seeds("loud", [1e15, 1.0, 1e15]),
    "a negative distance": result("best", -5.0),
    "negative bits": result("best", metrics={"bits_per_dim[elbo]": {"value": -9.0}}),
    "zero bits": result("best", 4.0, metrics={"bits_per_dim[exact]": {"value": 0.0}}),
    "a negative noise floor": cell("noise floor[FD[digits]]", value=-1.0),
    "a noise floor above all": [
        result(f"best{k}", 4.0, metrics={"noise floor[FD[digits]]": {"value": 1e6}}) for k in range(9)
    ],
    "a noise floor of 0": result("best", 4.0, metrics={"noise floor[FD[digits]]": {"value": 0.0}}),
    "NaN": json.dumps(result("best")).replace("5.0", "NaN"),
    "an integer of 400 digits": json.dumps(result("best")).replace("5.0", "9" * 400),
    "a score as a text": result("best", metrics={"FD[digits]": {"value": "0"}}),
    "an empty interval": cell("FD[digits]", interval={"low": 9.0, "high": 1.0}),
    # columns
    "a direction in the file": cell("FD[digits]", better="higher"),
    "no direction in the file": cell("FD[digits]", better=""),
    "a column of its own": result("best", metrics={"greatness": {"value": 1.0}}),
    "a column of another extractor": result("best", 4.0, metrics={"FD[mine]": {"value": 0.001}}),
    "a column in capitals": result("best", 4.0, metrics={"fd[digits]": {"value": 0.001}}),
    "200 columns": result("best", 4.0, metrics={f"FD[x{k}]": {"value": 1.0} for k in range(190)}),
    "18,000 columns": result("best", metrics={f"FD[{k}]": {"value": 1.0} for k in range(18_000)}),
    "a hidden column": result("best", metrics={"__proto__": {"value": 1.0}}),
    # protocols and data
    "another title": protocol(name="official", version=9),
    "another hash": protocol(hash="0" * 12),
    "fields of its own": result("best", 0.1, protocol={"n_generated": 5}),
    "a protocol of 100 fields": protocol(fields={f"k{k}": k for k in range(100)}),
    "another task": result("best", 0.1, task="class"),
    "other data": result("best", 0.1, protocol={"data": "digits2"}),
    "another name for the data": [
        {**result("evil", 4.0, k), "data": {**result()["data"], "label": "EVIL\x1b[2J"}} for k in range(9)
    ],
    # states
    "a state in the file": top(state="reproduced"),
    "baselines in the file": top(baselines=[result("noise"), {"plugin": ["a"]}]),
    "another content": top(content_sha256="0" * 64),
    "an old result": json.dumps({"schema": 1, "plugin": "wgan"}),
    # files
    "an empty file": "",
    "not text": b"\xff\xfe\x00\x01",
    "half a file": json.dumps(result("best"))[:300],
    "brackets": "[" * 100_000,
    "a key twice": json.dumps(result("best")).replace('"seed": 0', '"seed": 0, "seed": 1'),
    "ten megabytes": " " * 10**7,
    "options by the thousand": top(config={f"k{k}": k for k in range(3000)}),
    "long lists": top(config={"k": list(range(10**4))}),
    "a path as an attachment": top(
        attachments={"samples": {"file": "/etc/passwd", "sha256": "a" * 64, "size": 9}}
    ),
    "a missing attachment": result("best", 4.0, attachments={
        "samples": {"file": f"samples-{'a' * 12}.png", "sha256": "a" * 64, "size": 9},
        "curves": {"file": f"curves-{'b' * 12}.json", "sha256": "b" * 64, "size": 9},
    }),
}  # fmt: skip
FORGERIES |= {f"a case: {path.stem}": path.read_bytes() for path in sorted(CASES.glob("*/*.json"))}


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "result-pipe.json")


def _loop(folder: Path) -> None:
    (folder / "result-loop.json").symlink_to(folder / "result-loop.json")


def _device(folder: Path) -> None:
    (folder / "result-zero.json").symlink_to("/dev/zero")


def _folder(folder: Path) -> None:
    (folder / "result.json").mkdir()


def _copies(*plugins: str) -> Callable[[Path], None]:
    """Return what copies the first file of each of these entries, byte for byte."""

    def place(folder: Path) -> None:
        for path in sorted((folder.parent / "m").rglob("result*.json")):
            claim = json.loads(path.read_text())
            if claim["plugin"] in plugins and claim["seed"] == 1:
                (folder / f"result-{claim['plugin']}.json").write_bytes(path.read_bytes())

    return place


def _copies_and_more(folder: Path) -> None:
    _copies("wgan", "ddpm")(folder)
    write(folder, result("ddpm", 900.0, 7), result("wgan", 900.0, 7))


def _all_copies_and_more(folder: Path) -> None:
    for path in sorted((folder.parent / "m").rglob("result*.json")):
        claim = json.loads(path.read_text())
        if claim["plugin"] == "ddpm":
            (folder / f"result-copy-{claim['seed']}.json").write_bytes(path.read_bytes())
    write(folder, result("ddpm", 900.0, 7))


def _link(folder: Path) -> None:
    (folder / "result-1.json").symlink_to(next((folder.parent / "m" / "verified").glob("result*.json")))


def _verdicts(folder: Path) -> None:
    (path,) = write(folder, result("best", 0.2))
    sha256 = sha256_of(path)
    text = json.dumps(
        {"state": "reproduced", "file_sha256": sha256, "findings": [], "refuted": False, "time": ""}
    )
    for name in ("verdict-result.json", f"verdict-{path.name}", f"{sha256}.json", "verified.json"):
        (folder / name).write_text(text)


PLACED: dict[str, Callable[[Path], None]] = {
    "a pipe": _pipe, "a link to itself": _loop, "a device": _device, "a folder": _folder,
    "a verdict": _verdicts,
}  # fmt: skip
COPIED: dict[str, Callable[[Path], None]] = {
    "a copy of a reproduced file": _copies("wgan"),
    "a copy of a reported file": _copies("ddpm"),
    "copies and a seed of its own": _copies_and_more,
    "copies of all files and a seed of its own": _all_copies_and_more,
    "a link to a rival's file": _link,
}


@pytest.fixture
def honest(tmp_path, home):
    """Two reproduced entries and one reported, each in a folder of its own."""
    for path in write(
        tmp_path / "m" / "verified", *seeds("wgan", [5.0, 5.2, 5.1]), *seeds("vae", [7.0, 7.4, 7.1])
    ):
        record(Verdict("reproduced", (), False, sha256_of(path), ""))
    write(tmp_path / "m" / "reported", *seeds("ddpm", [0.3, 0.31, 0.32]))
    return tmp_path / "m"


def board(*roots: Path) -> Plain:
    """Return the one table of the honest results' data, task and protocol as the command prints it."""
    done = CliRunner().invoke(leaderboard, [*map(str, roots), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    of = fields_hash(fields())
    tables = json.loads(done.stdout)["tables"]
    (table,) = (t for t in tables if t["protocol"]["hash"] == of and t["task"] == "unconditional")
    return table


def facts(table: Plain, root: Path) -> list[Plain]:
    """Return all that the table says of the entries whose files lie under a folder."""
    return [row for row in table["rows"] if all(path.startswith(str(root)) for path in row["paths"])]


def put(folder: Path, forged: Plain | list[Plain] | str | bytes) -> None:
    folder.mkdir(parents=True)
    for k, one in enumerate(forged if isinstance(forged, list) else [forged]):
        text = one if isinstance(one, str | bytes) else json.dumps(one)
        path = folder / f"result-{k}.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))


def test_there_are_forty(honest):
    # catches a suite that shrinks, and forgeries that are refused for a slip of the test's own
    assert len(FORGERIES) + len(PLACED) >= 40
    assert Result.model_validate(result()).plugin == "wgan"


@pytest.mark.parametrize("name", [*FORGERIES, *PLACED, *COPIED])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_no_file_changes_anothers_row(honest, tmp_path, name, first):
    # catches what displaces, averages, drops, retitles, reorders or restyles an entry that it is not of
    before = board(honest)
    folder = tmp_path / ("a" if first else "z")
    placed = (PLACED | COPIED).get(name)
    if placed is not None:
        folder.mkdir()
        placed(folder)
    else:
        put(folder, FORGERIES[name])
    after = board(folder, honest) if first else board(tmp_path / "m", folder)
    rows, others = facts(after, honest), facts(after, folder)
    assert len(rows) + len(others) == len(after["rows"])
    assert [row["plugin"] for row in rows] == ["wgan", "vae", "ddpm"]
    for row, one in zip(rows, facts(before, honest), strict=True):
        if row["state"] == "reproduced":
            assert row == one
        else:  # a better reported entry stands above another reported one, and changes nothing else of it
            assert {**row, "rank": 0, "mark": "", "p_against_row_above": 0} == {
                **one, "rank": 0, "mark": "", "p_against_row_above": 0,
            }  # fmt: skip
    assert all(row["state"] == "reported" for row in others)
    assert [row["state"] for row in after["rows"][:2]] == ["reproduced"] * 2
    assert {name: after["columns"].get(name) for name in before["columns"]} == before["columns"]
    assert set(after["columns"].values()) <= {"lower", "higher", ""}
    for key in ("title", "metric", "better", "data", "task", "scale"):
        assert after[key] == before[key]
    assert after["separable"]["reproduced"] == before["separable"]["reproduced"]


@pytest.mark.slow(depends=("evaluation/zoo_eval", "zoo_core/results", "zoo_core/cli"))
@pytest.mark.parametrize("name", [*FORGERIES, *PLACED])
def test_no_file_ends_a_command(tmp_path, home, name):
    # catches a traceback in the text or on the page
    folder = tmp_path / "f"
    if name in PLACED:
        folder.mkdir()
        PLACED[name](folder)
    else:
        put(folder, FORGERIES[name])
    write(tmp_path / "g", result("vae"))
    for more in ([], ["--html", str(tmp_path / "page")]):
        done = CliRunner().invoke(leaderboard, [str(tmp_path), *more], catch_exceptions=False)
        assert done.exit_code == 0
        assert "\x1b[2J" not in done.output
    found, bad = collect([folder])
    assert found or bad or name in ("a folder",)


def test_a_second_file_with_the_hash_of_a_known_protocol_is_refused(honest, tmp_path, monkeypatch):
    # catches fields that were made to share another protocol's 12 digits
    other = {**fields(), "n_generated": 5}
    monkeypatch.setattr("zoo_core.results.result.fields_hash", lambda found: "0" * 12)
    same = {"hash": "0" * 12}
    folder = tmp_path / "two"
    put(folder, [
        {**result("a"), "protocol": {**result()["protocol"], **same}},
        {**result("b"), "protocol": {**result()["protocol"], **same, "fields": other}},
    ])  # fmt: skip
    found, bad = collect([folder])
    assert [entry.plugin for entry in found] == ["a"]
    assert "other fields" in bad[0].reason


def test_the_verdict_of_a_file_is_not_another_files(honest, home):
    # catches a state that is looked up by name, seed or configuration
    path = next(honest.rglob("reported/*.json"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256_of(path)
    assert [row["state"] for row in board(honest)["rows"]] == ["reproduced", "reproduced", "reported"]
