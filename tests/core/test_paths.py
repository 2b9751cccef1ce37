"""Images of a sampler's way: the animation's frames and times, the forward process, its marginals."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from zoo_core.seeds import Seeds
from zoo_core.viz.denoising import spaced
from zoo_core.viz.drawing import write_animation
from zoo_core.viz.paths import Panel, draw_paths, forward_sde, kernels


def test_moments_are_evenly_spaced_from_the_first_to_the_last():
    """Catches a last state that is left out, and one state that is asked for twice where there are few."""
    states = [torch.tensor(float(k)) for k in range(101)]
    assert [int(s) for s in spaced(states, 5)] == [0, 25, 50, 75, 100]
    assert [int(s) for s in spaced(states[:3], 5)] == [0, 1, 2]
    assert len(spaced(states[:1], 5)) == 1


@pytest.mark.parametrize("count", [1, 4])
def test_an_animation_shows_its_last_frame_still_and_longest(tmp_path, count):
    """Catches times that are one frame off, and a still image of noise."""
    sheets = [torch.full((1, 8, 8), 60 * k, dtype=torch.uint8) for k in range(count)]
    write_animation(sheets, tmp_path / "a.png", seconds=1)
    image = Image.open(tmp_path / "a.png")
    assert image.convert("L").getpixel((0, 0)) == 60 * (count - 1)  # what a viewer of stills shows
    shown = []
    for frame in range(1, image.n_frames):
        image.seek(frame)
        shown.append((image.convert("L").getpixel((0, 0)), image.info["duration"]))
    assert shown == [(60 * k, 250) for k in range(count - 1)] + [(60 * (count - 1), 2000)]


def test_the_forward_process_has_the_levels_variance():
    """Catches noise added in the clock sigma, whose variance would not be sigma squared."""
    n = 20_000
    sigmas = torch.tensor([0.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    states = forward_sde(torch.full((n, 1), 2.0), sigmas, Seeds(0, range(n)))[..., 0].double()
    assert torch.equal(states[0], torch.full((n,), 2.0).double())
    for sigma, x in zip(sigmas[1:].tolist(), states[1:], strict=True):
        assert float(x.mean()) == pytest.approx(2, abs=4.5 * sigma / math.sqrt(n))
        assert float(x.var()) == pytest.approx(sigma**2, rel=4.5 * math.sqrt(2 / n))


def test_marginals_widen_with_the_level_and_are_drawn(tmp_path):
    """Catches a marginal of the data behind paths of noise, and a level of 0 on a log scale."""
    density = kernels(torch.tensor([-1.0, 1.0]), least=0.1)
    middle, mode = density(torch.tensor([0.0, 1.0]), 0.1).tolist()
    assert middle < 1e-6 * mode
    middle, mode = density(torch.tensor([0.0, 1.0]), 5.0).tolist()
    assert middle > mode
    panel = Panel("flow", torch.tensor([2.0, 1.0, 0.1, 0.0]), torch.randn(4, 3))
    draw_paths([panel], density, tmp_path / "paths.png", "title")
    assert Image.open(tmp_path / "paths.png").width > 300
