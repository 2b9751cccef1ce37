"""zoo sample with other options of sampling, zoo interpolate and zoo invert, on tiny runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo_core
from zoo_core.cli import invoke

QUICK: dict[str, Any] = {
    "preset": "tiny",
    "data": "digits",
    "train.steps": 3,
    "eval.protocol": "none",
    "track.progress": False,
    "track.plots": False,
    "track.wandb": "off",
}


def samples(path: str) -> np.ndarray[Any, Any]:
    with np.load(path) as numbers:
        found: np.ndarray[Any, Any] = numbers["samples"]
        return found


def test_a_run_is_sampled_with_another_sampler(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a run that was made with that sampler samples, since training does not depend on it."""
    moved = {**QUICK, "train.steps": 30, "optim.net.warmup": 0}  # the last layer starts at zero
    zoo_core.run(moved, plugin="ddpm", run_dir="mine")
    zoo_core.run(moved, plugin="ddpm", sampler="heun", **{"sample.steps": 5}, run_dir="other")
    assert invoke(["sample", "mine", "sampler=heun", "sample.steps=5", "-n", "4", "--out", "a.npz"]) == 0
    expected = zoo_core.load("other").sample(4).save("b.npz")
    np.testing.assert_array_equal(samples("a.npz"), samples(str(expected)))
    assert not np.array_equal(samples("a.npz"), samples(str(zoo_core.load("mine").sample(4).save("c.npz"))))
    again = zoo_core.load("mine", sampler="heun", **{"sample.steps": 5}).sample(4)
    assert torch.equal(again, zoo_core.load("other").sample(4))
    capsys.readouterr()
    assert invoke(["sample", "mine", "sampler=heun", "sample.steps=5", "-n", "4"]) == 0
    assert "sampler-heun" in capsys.readouterr().out  # the run's own samples are not replaced
    for words, message in (
        (["sampler=huen"], "did you mean: sampler=heun"),
        (["sampler.order=2"], "sampler.order needs a sampler that has it"),
        (["sampler=ddim", "sampler.eta=2"], "bad value for 'sampler.eta'"),
        (["sample.step=3"], "sample.steps"),
        (["train.steps=3"], "can't sample with train.steps="),
    ):
        assert invoke(["sample", "mine", *words, "-n", "1", "--out", "x.npz"]) == 2, words
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("plugin", "words"), [("ddpm", ["sampler=ddim", "sample.steps=4"]), ("wgan", []), ("vae", [])]
)
def test_rows_go_from_sample_to_sample(plugin: str, words: list[str], home: Path) -> None:
    zoo_core.run(QUICK, plugin=plugin, run_dir="mine")
    command = ["interpolate", "mine", *words, "-n", "2", "--points", "5", "--seed", "3", "--out", "x.npz"]
    assert invoke(command) == 0
    rows = samples("x.npz").reshape(2, 5, 8, 8).astype(float)
    assert np.abs(rows[:, 0] - rows[:, -1]).mean() > 0
    if plugin == "ddpm":
        options = dict(word.split("=") for word in words)
        ends = zoo_core.load("mine", **options).sample(4, seed=3).save("ends.npz")
        own = samples(str(ends)).reshape(4, 8, 8).astype(float)
        assert np.abs(rows[:, 0] - own[[0, 2]]).max() <= 16  # a level of 17, by rounding
        assert np.abs(rows[:, -1] - own[[1, 3]]).max() <= 16


def test_what_has_no_latent_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo_core.run(QUICK, plugin="ddpm", run_dir="mine")
    assert invoke(["interpolate", "mine", "sampler=ancestral", "sample.steps=4"]) == 2
    assert "adds noise in its steps" in capsys.readouterr().err
    zoo_core.run({**QUICK, "preset": ""}, plugin="histogram", run_dir="plain")
    assert invoke(["interpolate", "plain"]) == 2
    assert "no normal latent" in capsys.readouterr().err
    assert invoke(["invert", "plain", "test", "-n", "2"]) == 2
    assert "can't invert" in capsys.readouterr().err


@pytest.mark.parametrize(("plugin", "how"), [("edm", "ddim"), ("vae", "encoder"), ("wgan", "search")])
def test_images_are_inverted_and_the_error_is_that_of_the_files(
    plugin: str, how: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo_core.run(QUICK, plugin=plugin, run_dir="mine")
    capsys.readouterr()
    assert invoke(["invert", "mine", "test", "-n", "3", "--steps", "8", "--restarts", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"{how}: round-trip error ")
    record = json.loads(Path("inverted/inversion.json").read_text())
    with np.load("inverted/latents.npz") as numbers:
        error = np.sqrt(((numbers["images"] - numbers["again"]) ** 2).mean())
        assert len(numbers["latents"]) == 3
    assert record["rms_error"] == pytest.approx(float(error), rel=1e-4)
    assert Path("inverted/images.png").is_file()


def test_one_image_is_inverted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    zoo_core.run(QUICK, plugin="vae", run_dir="mine")
    levels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(levels).save("one.png")
    assert invoke(["invert", "mine", "one.png"]) == 0
    with np.load("inverted/latents.npz") as found:
        assert len(found["latents"]) == 1
        assert abs((found["images"][0, 0] + 1) * 127.5 - levels).max() <= 8  # half of a 17-level step
    Path("bad.png").write_text("not an image")
    capsys.readouterr()
    assert invoke(["invert", "mine", "bad.png", "--out", "other"]) == 2
    assert "bad.png: " in capsys.readouterr().err
