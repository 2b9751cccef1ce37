"""Images of what latents mean: drawn for whatever can encode, from the right examples and codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build, load_data
from zoo_core.training.recipe import Recipe
from zoo_core.types import SampleRequest
from zoo_core.viz import latents
from zoo_core.viz.drawing import to_uint8
from zoo_core.viz.image_grid import GAP, GROUP_GAP


def make_run(plugin: str, data: str, *words: str) -> Any:
    """Return an untrained run: what it draws does not depend on training."""
    config = resolve([f"plugin={plugin}", f"data={data}", "preset=tiny", "device=cpu", *words])
    return build(config, load_data(config), Path(), manager(), say=print, warn=print)


def pixels(path: Path) -> Tensor:
    """Return a written image, (H, W) gray."""
    import numpy as np
    from PIL import Image

    return torch.from_numpy(np.array(Image.open(path).convert("L")))


def test_lines_go_from_one_code_to_the_other() -> None:
    """Catches rows and steps mixed up, and a line that stops before its end."""
    start, end = torch.tensor([[0.0, 1.0], [5.0, 5.0]]), torch.tensor([[1.0, 3.0], [5.0, 9.0]])
    line = latents.along(start, end, 3)
    expected = [[0, 1], [0.5, 2], [1, 3], [5, 5], [5, 7], [5, 9]]
    torch.testing.assert_close(line, torch.tensor(expected))


def test_the_plane_holds_the_two_widest_directions() -> None:
    """Catches components of uncentred codes, the narrowest ones, and a map that mirrors itself by chance."""
    rng = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(6, 6, generator=rng)).Q
    scale = torch.tensor([9.0, 4.0, 0.1, 0.1, 0.1, 0.1])
    codes = torch.randn(500, 6, generator=rng) * scale @ axes.T + 100
    points, names = latents.planar(codes)
    centered = codes - codes.mean(0)
    for place in range(2):
        along = centered @ axes[:, place]
        assert abs(float(torch.corrcoef(torch.stack((points[:, place], along)))[0, 1])) > 0.999
    assert "PC 1 of 6" in names[0]
    shares = [int(name.rpartition("(")[2].partition("%")[0]) for name in names]
    assert shares[0] + shares[1] in (99, 100, 101)
    assert shares[0] > shares[1]
    torch.testing.assert_close(latents.planar(codes.flip(0))[0].flip(0), points, rtol=1e-3, atol=1e-2)
    flat = codes[:, :2]
    assert latents.planar(flat)[0] is flat


@pytest.mark.parametrize("data", ["digits", "ring"])
@pytest.mark.parametrize("plugin", ["vae", "hvae"])
def test_every_job_draws_its_image(plugin: str, data: str, tmp_path: Path) -> None:
    """Catches a image that needs images on points, and one that needs points on images."""
    run = make_run(plugin, data)
    jobs = latents.jobs(run)
    images = {"mean-and-draw", "reconstructions", "interpolation", "traversals", "latent-map"}
    assert set(jobs) == (images if data == "digits" else {"reconstructions", "latent-map"})
    for name, job in jobs.items():
        files = job().save(tmp_path / f"{name}.png")
        assert files[1].suffix == (".csv" if name == "latent-map" else ".npz")
        seen = pixels(tmp_path / f"{name}.png")
        assert min(seen.shape) > 300
        assert float(seen.double().std()) > 1


def test_reconstructions_stand_below_their_originals() -> None:
    """Catches training images shown as test ones, and rows of originals and reconstructions swapped."""
    run = make_run("vae", "digits")
    plot = latents.jobs(run)["reconstructions"]()
    x = run.harness.data.to_model(run.data.test.examples(torch.arange(40)))
    with run.harness.quiet():
        again = run.recipe.decode(run.recipe.encode(x))
    sheet = torch.from_numpy(plot.figure.axes[0].images[0].get_array()[..., 0].copy())
    scale = (sheet.shape[1] - 9 * GAP) // 10 // 8
    for place in (0, 7, 13):
        row, column = divmod(place, 10)
        for below, shown in enumerate((x, again)):
            top = (2 * row + below) * (8 * scale + GAP) + row * GROUP_GAP
            left = column * (8 * scale + GAP)
            cell = sheet[top : top + 8 * scale, left : left + 8 * scale]
            expected = to_uint8(shown[place, 0]).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
            assert torch.equal(cell, expected)


class Integers(Recipe):
    """Codes that nothing lies between."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1).gt(0).long()

    def decode(self, z: Tensor) -> Tensor:
        return (2.0 * z - 1).unflatten(1, (1, 8, 8))

    def sample(self, request: SampleRequest) -> Any:
        raise NotImplementedError


def test_integer_codes_are_reconstructed_only() -> None:
    """Catches interpolations between code numbers, which mean nothing."""
    run = make_run("vae", "digits")
    run.recipe = Integers()
    for name, job in latents.jobs(run).items():
        drawn = job()
        assert (drawn is not None) == (name == "reconstructions")
