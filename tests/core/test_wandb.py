"""What W&B is told, read back from its own file: the one test that knows that format."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zoo_core.cli import invoke

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


def test_wandb_gets_config_losses_pictures_and_scores(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = [
        "run",
        "plugin=wgan",
        "preset=tiny",
        "eval.baselines=false",
        "track.progress=false",
        "run_dir=here",
    ]
    assert invoke(words) == 0
    path = written(Path("here"))
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
    assert config["plugin"] == "wgan"
    assert config["model"]["clip"] == 0.01
    told = {row["_step"]: row["critic/loss"] for row in history if "critic/loss" in row}
    lines = [json.loads(line) for line in (Path("here") / "metrics.jsonl").read_text().splitlines()]
    assert told == {line["step"]: line["critic/loss"] for line in lines}
    assert any(key.startswith(("samples", "curves")) for row in history for key in row)
    result = json.loads((Path("here") / "result.json").read_text())
    assert summary["FD[digits]"] == pytest.approx(result["metrics"]["FD[digits]"]["value"])
