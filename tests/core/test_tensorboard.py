"""What TensorBoard is told, read back with its own reader."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zoo_core.cli import invoke
from zoo_core.events.tensorboard import TensorBoard
from zoo_core.results import read_result

pytest.importorskip("tensorboard", reason="TensorBoard is not installed (extra `tensorboard`)")

WORDS = ["data=digits", "preset=tiny", "track.wandb=off", "track.progress=false", "run_dir=here"]


def told(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def test_losses_scores_images_and_options_have_the_names_of_the_result(home: Path) -> None:
    words = [*WORDS, "track.tensorboard=true", "eval.baselines=false"]
    assert invoke(["run", "plugin=wgan", *words]) == 0
    found = told(Path("here/tensorboard"))
    lines = [json.loads(line) for line in Path("here/metrics.jsonl").read_text().splitlines()]
    losses = {event.step: event.value for event in found.Scalars("critic/loss")}
    assert losses == pytest.approx({line["step"]: line["critic/loss"] for line in lines})
    result = read_result(Path("here/result.json"))
    for name, value in result.metrics.items():
        (event,) = found.Scalars(name)
        assert event.value == pytest.approx(value.value, rel=1e-5), name
        assert event.step == result.cost.steps
    (parameters,) = found.Scalars("cost.parameters")
    assert parameters.value == result.cost.parameters
    image = found.Images("samples")[-1]
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert min(image.width, image.height) > 8
    assert b"optim.critic.lr" in b"".join(
        path.read_bytes() for path in Path("here/tensorboard").rglob("events*")
    )


def test_a_resumed_run_hides_what_was_logged_past_its_checkpoint(tmp_path: Path) -> None:
    for step, logged in ((0, (1, 2, 3, 4, 5)), (3, (4, 5, 6))):
        run: Any = SimpleNamespace(dir=tmp_path, step=step)
        board = TensorBoard()
        board.zoo_run_started(run)
        for at in logged:
            board.zoo_log(run, at, {"loss": 10.0 * step + at})
        board.zoo_run_failed(run)
    events = told(tmp_path / "tensorboard").Scalars("loss")
    assert [(event.step, event.value) for event in events] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 34),
        (5, 35),
        (6, 36),
    ]


def test_without_the_package_nothing_is_trained(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert invoke(["run", "plugin=wgan", *WORDS, "track.tensorboard=true"]) == 5
    assert "pip install 'genzoo[tensorboard]'" in capsys.readouterr().err
    assert not Path("here/checkpoints").exists()
