"""The command restore, from a trained run to the files that it writes; and the trivial restorations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo_core
from tests.restore import linear
from zoo_core.cli import invoke
from zoo_core.registry.spec import load_target
from zoo_core.runs.job import run
from zoo_core.types import DataInfo
from zoo_restore.baselines import gaussian_posterior_mean, nearest_training_image
from zoo_restore.registry import operator, options_of
from zoo_restore.restoration import condition, denoiser_of, read_images
from zoo_restore.scores import scores

QUIET = {"eval.protocol": "none", "track.wandb": "off", "track.plots": False, "track.progress": False}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a ddpm of a few steps."""
    root = tmp_path_factory.mktemp("trained")
    options = {"plugin": "ddpm", "preset": "tiny", "train.steps": 2, "train.batch_size": 8}
    return run(options | QUIET, run_dir=str(root / "ddpm")).run_dir


def made(name: str, info: DataInfo) -> Any:
    return load_target(operator(name).target)(options_of(operator(name), {}), info)


def test_images_are_restored_scored_and_written(
    trained: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["operator=inpaint", "method=repaint,ddrm,pigdm,dps,sdedit", "steps=4", "-n", "3"]
    assert invoke(["restore", trained, "test", *words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    rows = {row["method"]: row for row in record["rows"]}
    trivial = ["pseudo-inverse", "nearest training image", "Gaussian posterior mean"]
    assert list(rows) == ["repaint", "ddrm", "pigdm", "dps", "sdedit", *trivial]
    for name, row in rows.items():
        assert row["PSNR"] > 0
        assert -1 <= row["SSIM"] <= 1
        assert row["feature distance"] > 0
        assert (row["diversity"] is None) == (name in trivial)
    # known pixels stay what they are, up to the rounding of stored images
    for name in ("repaint", "ddrm", "pseudo-inverse", "Gaussian posterior mean"):
        assert rows[name]["consistency"] < 1 / 30
    assert rows["pigdm"]["NFE"] == 4
    assert rows["repaint"]["NFE"] == 3 * 5 + 1
    assert json.loads(Path("restored/scores.json").read_text()) == record
    assert sorted(path.name for path in Path("restored/ddrm").iterdir()) == sorted(
        f"test-{k}{draw}.png" for k in range(3) for draw in ("", "-2")
    )
    assert Image.open("restored/grid.png").size[0] > 300


def test_a_restoration_depends_on_the_seed_alone(trained: str, home: Path) -> None:
    def restored(out: str, *words: str) -> bytes:
        base = ["restore", trained, "test", "operator=lowres", "method=pigdm", "steps=3", "-n", "2"]
        assert invoke([*base, *words, "--out", out]) == 0
        return Path(out, "pigdm", "test-1.png").read_bytes()

    assert restored("a") == restored("b")
    assert restored("a2", "noise=0.2") != restored("c", "noise=0.2", "--seed", "1")


def test_degraded_images_of_a_folder_are_restored(
    trained: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(f"mine/{name}.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save("mask.png")
    words = ["operator=inpaint", "operator.mask=mask.png", "method=ddrm", "steps=3", "given=degraded"]
    assert invoke(["restore", trained, "mine", *words]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert "PSNR" not in head  # the originals are not known
    assert "consistency" in head
    given = np.asarray(Image.open("mine/a.png")).astype(int)
    kept = np.asarray(Image.open("restored/ddrm/a.png"))[:, :4].astype(int)
    assert abs(kept - given[:, :4]).max() <= 8  # half of a 17-level step


def test_one_image_is_restored_as_a_folder_of_it_is(
    trained: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(f"mine/{name}.png")
    made_run = zoo_core.load(trained)
    names, every = read_images(made_run, "mine", None, print)
    one_name, one = read_images(made_run, "mine/b.png", None, print)
    assert (list(names), list(one_name)) == (["a.png", "b.png"], ["b.png"])
    assert torch.equal(one, every[1:])
    words = ["operator=lowres", "method=ddrm", "steps=3"]
    assert invoke(["restore", trained, "mine/b.png", *words]) == 0
    assert {path.name for path in Path("restored/ddrm").iterdir()} == {"b.png", "b-2.png"}
    Path("mine/notes.txt").write_text("not an image")
    Path("mine/cut.png").write_bytes(Path("mine/a.png").read_bytes()[:40])
    capsys.readouterr()
    for path, message in (
        ("mine/notes.txt", "notes.txt: "),
        ("mine/cut.png", "cut.png: "),
        ("mine/c.png", "no image file or folder 'mine/c.png'"),
    ):
        assert invoke(["restore", trained, path, *words, "--out", "other"]) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert "Traceback" not in shown


def test_a_denoiser_of_codes_restores_by_sdedit(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"plugin": "ldm", "preset": "tiny", "train.steps": 4, "train.batch_size": 8}
    folder = run(options | QUIET).run_dir
    words = ["restore", folder, "test", "operator=lowres", "steps=3", "-n", "2"]
    assert invoke([*words, "method=sdedit"]) == 0
    assert Image.open("restored/sdedit/test-1.png").size == (8, 8)
    capsys.readouterr()
    assert invoke([*words, "method=pigdm", "--out", "other"]) == 2
    error = capsys.readouterr().err
    assert "one of codes" in error
    assert "next: method=sdedit" in error


def test_a_conditional_model_needs_a_condition_for_each_image(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"plugin": "ddpm", "preset": "tiny", "train.steps": 2, "data.task": "class"}
    folder = run(options | QUIET).run_dir
    words = ["restore", folder, "test", "operator=uncrop", "method=ddrm", "steps=3", "-n", "2"]
    assert invoke(words) == 2
    assert "expected: cond=CLASS" in capsys.readouterr().err
    assert invoke([*words, "cond=1,0"]) == 0
    made_run = zoo_core.load(folder)
    cond = condition(made_run, "1,0", 2, print)
    assert cond is not None
    assert cond.label is not None
    assert cond.label.tolist() == [1, 0]
    bound = denoiser_of(made_run, cond)
    x, sigma = torch.zeros(2, *made_run.data.info.shape), torch.tensor(1.0)
    recipe: Any = made_run.recipe
    with made_run.inference():
        assert torch.equal(bound(x, sigma), recipe.denoiser().unclipped()(x, sigma, cond))


def test_what_can_not_be_restored_is_said(
    trained: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        assert invoke(["restore", *words]) == 2
        return capsys.readouterr().err

    assert "next: method=ddrm or method=pigdm or method=sdedit" in refused(
        trained, "test", "operator=jpeg", "method=dps"
    )
    assert "did you mean: method=pigdm" in refused(trained, "test", "operator=blur", "method=pigmd")
    assert "no operator was given" in refused(trained, "test", "method=dps")
    assert "needs color images" in refused(trained, "test", "operator=gray", "method=dps")
    assert "method.scale" in refused(trained, "test", "operator=blur", "method=dps", "method.scale=-1")
    Path("restored").mkdir()
    Path("restored/mine.txt").write_text("mine")
    assert "is not empty" in refused(trained, "test", "operator=blur", "method=dps")
    fitted = run({"plugin": "gaussian"} | QUIET)
    assert "no denoiser" in refused(fitted.run_dir, "test", "operator=blur", "method=dps", "--out", "other")


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["inpaint", "lowres", "blur", "gray"])
def test_the_posterior_mean_of_a_gaussian_is_the_closed_form(name: str, noise: float) -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(linear.D, linear.D)) / 4
    prior = linear.Normal(rng.normal(size=linear.D), root @ root.T + 0.1 * np.eye(linear.D))
    degrade = made(name, DataInfo("small", linear.SHAPE, 256))
    unit = torch.eye(linear.D, dtype=torch.float64).reshape(-1, *linear.SHAPE)
    a = degrade(unit).flatten(1).numpy().T
    x = torch.from_numpy(rng.normal(size=(2, *linear.SHAPE)))
    y = degrade(x)
    factor = torch.linalg.cholesky(torch.from_numpy(prior.cov))
    found = gaussian_posterior_mean(torch.from_numpy(prior.mean), factor, degrade.spectrum, y, noise)
    for k in range(2):
        expected = linear.posterior(prior, a, y[k].flatten().numpy(), noise).mean
        assert np.allclose(found[k].flatten().numpy(), expected, atol=1e-6)


def test_the_nearest_training_image_is_found_by_its_measurement(trained: str, home: Path) -> None:
    made_run = zoo_core.load(trained)
    degrade = made("lowres", made_run.data.info)
    rows = torch.tensor([5, 700, 1200])
    x = made_run.to_model(made_run.data.train.examples(rows))
    assert torch.equal(nearest_training_image(made_run, degrade, degrade(x)), x)


def test_scores_of_a_perfect_restoration(trained: str, home: Path) -> None:
    made_run = zoo_core.load(trained)
    _, image = read_images(made_run, "test", 4, print)
    degrade = made("inpaint", made_run.data.info)
    found = scores([image, image], degrade(image), degrade, image, None)
    assert found["PSNR"] is None  # every image equals its target
    assert found["SSIM"] == pytest.approx(1)
    assert found["consistency"] == 0
    assert found["diversity"] == 0
    off = scores([image * 0.9], degrade(image), degrade, image, None)
    mse = float(((image * 0.9 - image) / 2).square().mean())
    assert off["PSNR"] == pytest.approx(-10 * np.log10(mse), rel=1e-5)
    assert off["diversity"] is None
