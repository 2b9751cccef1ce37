"""Scores of translations: against the formula, against other packages, and in a run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

import zoo_core
from tests.eval.fakes import context, values
from zoo_core.data.conditioning import dealt
from zoo_core.data.loading import Dataset
from zoo_core.registry.metrics import direction
from zoo_core.results import Value
from zoo_core.seeds import generator
from zoo_eval.metrics import translation, trivial
from zoo_eval.metrics.translation import (
    compared,
    pair_scores,
    pairs,
    perceptual_distance,
    structural_similarity,
    trivial_scores,
)


def images(n: int = 40, channels: int = 1, side: int = 8) -> tuple[Tensor, Tensor]:
    rng = generator(0, "pairs")
    target = torch.rand(n, channels, side, side, generator=rng)
    noise = torch.randn(target.shape, generator=rng)
    return (target + 0.1 * noise).clamp(0, 1), target


def test_l1_and_psnr_are_their_formulas() -> None:
    """PSNR is of the mean of all squares; catches a mean of decibels, infinite for one good image."""
    made, target = images()
    columns = pair_scores(made, target, "edges")
    assert "AlexNet" in columns["LPIPS[edges]"].reason
    off = (made - target).double()
    assert columns["L1[edges]"].value == pytest.approx(float(off.abs().mean()))
    assert columns["PSNR[edges]"].value == pytest.approx(-10 * math.log10(float(off.square().mean())))
    made[0] = target[0]
    assert math.isfinite(pair_scores(made, target, "edges")["PSNR[edges]"].value)
    for column, better in (("L1", "lower"), ("PSNR", "higher"), ("SSIM", "higher")):
        cell = columns[f"{column}[edges]"]
        assert cell.interval.low < cell.value < cell.interval.high
        assert direction(f"{column}[edges]") == better


def test_images_that_are_their_targets_leave_no_infinity() -> None:
    _, target = images()
    columns = pair_scores(target, target, "edges")
    assert columns["L1[edges]"].value == 0
    assert columns["SSIM[edges]"].value == pytest.approx(1)
    assert "exactly" in columns["PSNR[edges]"].reason


def test_an_interval_holds_the_figure_of_most_other_sets() -> None:
    """The interval of PSNR against that of 300 other sets; catches an influence of wrong scale."""
    rng = generator(1, "sets")
    target = torch.full((200, 1, 8, 8), 0.5)

    def draw() -> Tensor:
        scale = 0.02 + 0.1 * torch.rand(200, 1, 1, 1, generator=rng)
        return target + scale * torch.randn(target.shape, generator=rng)

    cell = pair_scores(draw(), target, "x")["PSNR[x]"]
    off = [-10 * math.log10(float((draw() - target).square().mean())) for _ in range(300)]
    width = np.quantile(off, 0.975) - np.quantile(off, 0.025)
    assert cell.interval.high - cell.interval.low == pytest.approx(width, rel=0.3)


@pytest.mark.parametrize("side", [8, 32])
def test_structural_similarity_is_its_formula(side: int) -> None:
    """Against Wang et al.'s with scipy's windows; catches a wrong range, and a border that is left out."""
    made, target = images(5, 1, side)
    found = structural_similarity(made, target)
    assert found is not None

    def mean(a: np.ndarray) -> np.ndarray:
        return gaussian_filter(a, 1.5, truncate=3.5, mode="mirror")

    for k in range(5):
        x, y = made[k, 0].double().numpy(), target[k, 0].double().numpy()
        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        one, two = 0.01**2, 0.03**2
        ssim = ((2 * mx * my + one) * (2 * cov + two)) / ((mx**2 + my**2 + one) * (vx + vy + two))
        assert float(found[k]) == pytest.approx(ssim.mean(), abs=1e-4)
    assert structural_similarity(*(x[..., :5, :5] for x in (made, target))) is None


def test_perceptual_distance_says_why_it_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Catches a download in the middle of a score, and images that are too small for the network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert "AlexNet needs a side of 32 or more" in str(perceptual_distance(*images()))
    assert "no weights" in str(perceptual_distance(*images(2, 3, 32)))


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins/zoo_gan"))
def test_a_run_that_translates_has_the_columns(home: Path) -> None:
    """Both plugins end to end; catches samples held against the targets of other images."""
    words = [
        "preset=tiny",
        "eval.baselines=false",
        "track.wandb=off",
        "track.progress=false",
        "train.steps=60",
    ]
    from zoo_core.registry.resolution import resolve

    paired = zoo_core.run(resolve(["plugin=pix2pix", "run_dir=pairs", "optim.generator.lr=3e-3", *words]))
    cells = paired.metrics
    assert {"L1[edges]", "PSNR[edges]", "SSIM[edges]", "FD[digits]"} <= set(cells)
    assert "LPIPS[edges]" in paired.scored.not_applicable
    assert cells["L1[edges]"].value < 0.25  # of the targets of other images it is above 0.3
    made = zoo_core.load("pairs")
    rows = made.sample(360)
    from zoo_core.data.conditioning import dealt

    target = made.harness.data.to_model(made.data.test.examples(dealt(made.data, 360)))
    assert cells["L1[edges]"].value == pytest.approx(float((rows - target).abs().mean() / 2), abs=1e-4)
    assert (Path("pairs") / paired.images["translations"]).exists()

    both = zoo_core.run(resolve(["plugin=cyclegan", "run_dir=domains", *words]))
    assert {"L1[lowres]", "cycle[lowres]", "FD to source[digits]"} <= set(both.metrics)
    assert both.metrics["FD to source[digits]"].value > 0
    assert both.cost.train_flops > 0
    assert (Path("domains") / both.images["cycles"]).exists()


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins/zoo_gan"))
def test_a_folder_of_images_is_translated(home: Path, tmp_path: Path) -> None:
    """From the command line: files under their names, or a grid; catches an order that is not the names'."""
    from PIL import Image

    from zoo_core.cli import invoke

    words = ["preset=tiny", "eval.protocol=none", "track.wandb=off", "track.progress=false", "train.steps=5"]
    assert invoke(["run", "plugin=pix2pix", "run_dir=here", *words]) == 0
    folder = tmp_path / "given"
    for k in range(3):
        folder.mkdir(exist_ok=True)
        Image.new("L", (16, 16), 80 * k).save(folder / f"n{k}.jpg")
    assert invoke(["sample", "here", f"cond={folder}", "--out", "done"]) == 0
    assert sorted(path.name for path in Path("done").iterdir()) == ["n0.png", "n1.png", "n2.png"]
    assert Image.open("done/n0.png").size == (8, 8)
    assert invoke(["sample", "here", f"cond={folder}", "-n", "4", "--out", "again"]) == 0
    assert sorted(path.name for path in Path("again").iterdir())[0:2] == ["n0-2.png", "n0.png"]
    assert invoke(["sample", "here", f"cond={folder}", "--out", "grid.png"]) == 0
    assert invoke(["sample", "here", "-n", "5", "--out", "held-out.npz"]) == 0
    assert np.load("held-out.npz")["samples"].shape == (5, 8, 8, 1)
    assert invoke(["sample", "here", "cond=nowhere"]) == 2


@pytest.mark.parametrize("source", ["lowres", "edges"])
def test_pairs_in_parts_are_pairs_in_one(
    digits: Dataset, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a part that is left out, weighted by its place, or held against the targets of another."""
    data = digits.for_task("paired", source)
    n, rng = 130, generator(0, "rows")
    index = dealt(data, n)
    noise = torch.randint(-2, 3, (n, 1, 8, 8), generator=rng)
    rows = (data.test.examples(index).int() + noise).clamp(0, 16).to(torch.uint8)
    ctx = context(rows=rows, data=data)
    whole = pairs(ctx)
    sizes = []
    monkeypatch.setattr(translation, "VALUES", 7 * 64)
    monkeypatch.setattr(translation, "compared", lambda *x: sizes.append(len(x[0])) or compared(*x))
    parts = pairs(ctx)
    assert whole.keys() == parts.keys()
    for column, one in whole.items():
        assert values({"x": parts[column]}) == pytest.approx(values({"x": one}), rel=1e-6), column
    assert max(sizes) == 7  # whatever the number of pairs
    made, target = rows / 16, data.test.examples(index) / 16
    assert whole[f"L1[{source}]"].value == pytest.approx(float((made - target).abs().mean()), rel=1e-6)
    mean = (data.train.examples(torch.arange(len(data.train))) / 16).mean(0)
    said = whole[f"trivial L1[{source}]"].note
    assert f"mean image {float((mean - target).abs().mean()):.4g}" in said


def uniform(n: int, channels: int, side: int = 16) -> Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(channels))


def test_trivial_translations_are_what_they_are_called() -> None:
    """Catches a color that is fitted to the wrong channel, and blocks that are taken for another size."""
    gray = uniform(40, 1)
    mix = torch.tensor([0.5, 0.2, 0.3]).reshape(1, 3, 1, 1)
    color = gray * mix + torch.tensor([0.1, 0.0, 0.4]).reshape(1, 3, 1, 1)
    found = trivial.translations(zip(gray[:30].split(11), color[:30].split(11), strict=True), "gray")
    assert set(found) == {"mean image", "copy", "linear in color"}
    torch.testing.assert_close(found["linear in color"](gray[30:]), color[30:])
    assert torch.equal(found["copy"](gray[30:]), gray[30:].expand(-1, 3, -1, -1))
    torch.testing.assert_close(found["mean image"](gray[30:])[4], color[:30].mean(0))
    blocks = uniform(4, 3, 8)[..., ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert trivial.block_side(blocks) == 4
    assert trivial.block_side(uniform(4, 3, 8)) == 1
    smooth = trivial.translations([(blocks, blocks)], "lowres")["bicubic"](blocks)
    small = blocks[..., ::4, ::4]
    expected = torch.nn.functional.interpolate(small, (8, 8), mode="bicubic").clamp(0, 1)
    torch.testing.assert_close(smooth, expected)


def test_the_best_trivial_translation_is_named() -> None:
    """Catches the worst for the best where lower is better, and the reverse."""
    target = uniform(20, 3)
    source = (target + 0.02).clamp(0, 1)
    makes = trivial.translations([(source, target)], "jpeg")
    columns = trivial_scores({kind: compared(make(source), target) for kind, make in makes.items()}, "jpeg")
    l1, psnr = columns["trivial L1[jpeg]"], columns["trivial PSNR[jpeg]"]
    assert isinstance(l1, Value)
    assert isinstance(psnr, Value)
    assert l1.value <= 0.02
    assert psnr.value >= 33
    assert not l1.note.startswith("mean image")
    assert not psnr.note.startswith("mean image")
    assert "SSIM" in "".join(columns)
