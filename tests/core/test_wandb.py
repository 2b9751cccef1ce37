"""What W&B is told, read back from its own file: the one test that knows that format."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from zoo_core.cli import invoke
from zoo_core.config.privacy import public
from zoo_core.events import trackers
from zoo_core.events.trackers import leaderboard_row, summary
from zoo_core.registry.metrics import direction
from zoo_core.registry.resolution import resolve
from zoo_core.results import Cost, DataRecord, ProtocolRecord, Result, Value, read_result
from zoo_core.results.result import fields_hash

HEADER, BLOCK = 7, 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a .wandb file: a LevelDB log of protocol buffers, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, place, whole = path.read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        if place + HEADER + length > len(data):
            return  # still being written
        whole += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def written(folder: Path) -> Path:
    """Return the run's one file once its background writer has put the last record, `exit`, into it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = list(folder.glob("wandb/offline-run-*/run-*.wandb"))
        if found and any(record.WhichOneof("record_type") == "exit" for record in records(found[0])):
            assert len(found) == 1
            return found[0]
        time.sleep(0.1)
    pytest.fail(f"no finished W&B file under {folder}")


def told(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Return the config, the rows of the history and the summary in a file."""
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for record in records(path):
        for item in record.run.config.update:
            config[item.key] = json.loads(item.value_json)
        row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
        history += [row] if row else []
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return config, history, summary


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of a logged table, by column."""
    (path,) = folder.glob(f"wandb/offline-run-*/files/media/table/{name}_*.table.json")
    found = json.loads(path.read_text())
    return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_wandb_gets_config_losses_images_tables_and_scores(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # catches a name there that is not the one in result.json, and a table or image that never arrives
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert invoke(["run", "plugin=wgan", "preset=tiny", "eval.baselines=false", "run_dir=here"]) == 0
    here = Path("here")
    config, history, summary = told(written(here))
    assert config["plugin"] == "wgan"
    assert config["model"]["clip"] == 0.01
    losses = {row["_step"]: row["critic/loss"] for row in history if "critic/loss" in row}
    lines = [json.loads(line) for line in (here / "metrics.jsonl").read_text().splitlines()]
    assert losses == {line["step"]: line["critic/loss"] for line in lines}
    result = read_result(here / "result.json")
    logged = {key.partition("/")[0].partition(".")[0] for row in history for key in row}
    assert {"samples", "metrics", "leaderboard"} <= logged
    for name, value in result.metrics.items():
        assert summary[name] == pytest.approx(value.value), name
    assert summary["cost.parameters"] == result.cost.parameters
    assert summary["protocol.hash"] == result.protocol.hash
    assert summary["samples_sha256"] == result.samples_sha256
    cells = {row["column"]: (row["value"], row["better"]) for row in table(here, "metrics")}
    assert cells == {
        name: (pytest.approx(one.value), direction(name)) for name, one in result.metrics.items()
    }
    (row,) = table(here, "leaderboard")
    assert (row["plugin"], row["seed"], row["config_hash"]) == ("wgan", 0, result.config_hash)
    assert row["FD[digits]"] == pytest.approx(result.metrics["FD[digits]"].value)
    assert row["cost.nfe"] == 1
    said = capsys.readouterr().err
    assert "wandb sync" in said
    assert Path(said.split("wandb sync ")[1].split()[0]).is_dir()


CANARY = "hf_" + "c" * 34


def test_wandb_is_told_no_secret_and_no_path_of_its_user(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # catches a token in the config, the environment or the project's name, and a folder that names the user
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("SOME_API_KEY", "env-canary-0123456789")
    monkeypatch.setenv("HOME", str(tmp_path / "alice-canary"))
    root = tmp_path / "alice-canary" / "private" / "data"
    root.mkdir(parents=True)
    words = [f"data.root={root}", f"eval.extractor_path={CANARY}", "run_dir=here", "eval.protocol=none"]
    assert invoke(["run", "plugin=histogram", "track.progress=false", *words]) == 0
    path = written(Path("here"))
    config, _, _ = told(path)
    assert config["data"]["root"] == "data"
    assert config["eval"]["extractor_path"] == "(hidden)"
    sent = path.read_bytes() + b"".join(
        file.read_bytes() for file in path.parent.joinpath("files").rglob("*") if file.is_file()
    )
    for canary in (CANARY, "env-canary", "alice-canary", "private"):
        assert canary.encode() not in sent, canary


KILLING = """
import os, signal, sys
from pathlib import Path
import wandb

begin = wandb.init

def children(parent):
    for place in Path("/proc").glob("[0-9]*"):
        try:
            stat = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(stat[1]) == parent:
            yield int(place.name)

def init(*args, **kwargs):
    made = begin(*args, **kwargs)
    killed = list(children(os.getpid()))
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    return made

wandb.init = init
from zoo_core.cli import main
main(sys.argv[1:])
"""


@pytest.mark.slow(depends=("zoo_core",))
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds W&B's process in /proc")
def test_a_run_outlives_wandbs_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's process is killed between its start and the first step."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    words = ["plugin=wgan", "preset=tiny", "train.steps=4", "train.log_every=1", "track.wandb=offline"]
    words += ["track.plots=false", "eval.protocol=none", f"run_dir={tmp_path / 'run'}"]
    command = [sys.executable, "-c", KILLING, "run", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "finished"
    assert done.stderr.count("warning: WandB failed") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"api_key": "x", "model": {"key_dim": 3}}, {"api_key": "(hidden)", "model": {"key_dim": 3}}),
        ({"path": "/home/alice/images"}, {"path": "images"}),
        ({"words": ["data.root=/mnt/alice/cifar", 5e-5]}, {"words": ["data.root=cifar", 5e-5]}),
        ({"url": "https://user:word@host/x"}, {"url": "https://(hidden)@host/x"}),
        ({"resize": "TensorFlow 1 bilinear to 299x299", "on": True, "n": None},) * 2,
    ],
)
def test_what_may_leave_the_machine(given: dict[str, Any], kept: dict[str, Any]) -> None:
    # catches a secret that passes, and an ordinary text that does not
    assert public(given) == kept


def test_values_are_named_as_in_the_result() -> None:
    # catches a renamed column, a nested value or a list sent as a value
    fields = {"data": "digits", "data_sha256": "a" * 64}
    result = Result(
        plugin="wgan",
        family="gan",
        seed=3,
        config_hash="0" * 12,
        data=DataRecord(name="digits", sha256="a" * 64),
        protocol=ProtocolRecord(name="quick", version=1, hash=fields_hash(fields), fields=fields),
        metrics={"FD[digits]": Value(value=2.5), "bits_per_dim[elbo]": Value(value=1.5, bound="upper")},
        cost=Cost(nfe=1, updates={"train/critic": 5}),
        samples_sha256="b" * 64,
    )
    assert summary(result) == {
        "FD[digits]": 2.5,
        "bits_per_dim[elbo]": 1.5,
        "cost.nfe": 1,
        "protocol.name": "quick",
        "protocol.version": 1,
        "protocol.hash": fields_hash(fields),
        "samples_sha256": "b" * 64,
    }
    row = leaderboard_row(result)
    assert list(row)[:6] == ["plugin", "family", "config_hash", "seed", "data", "FD[digits]"]


def test_a_server_that_can_not_be_reached_is_said(monkeypatch, capsys, tmp_path):
    """Catches a run that was to be online and is silently kept offline."""
    seen = []

    def init(mode, **facts):
        seen.append(mode)
        if mode == "online":
            raise ConnectionError("no route to host")
        return SimpleNamespace(id="x", _unregister_telemetry_import_hooks=lambda name: None)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config = resolve(["plugin=wgan", "track.wandb=online"])
    trackers.WandB().zoo_run_started(SimpleNamespace(config=config, dir=tmp_path))
    assert seen == ["online", "offline"]
    assert "warning: W&B can't be reached (ConnectionError: no route to host)" in capsys.readouterr().err
