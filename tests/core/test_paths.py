"""Images of a sampler's way: the animation's frames and times, the forward process, its marginals."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from zoo_core.seeds import Seeds
from zoo_core.viz.denoising import VISIBLE, by_noise_level, spaced
from zoo_core.viz.paths import Panel, draw_paths, forward_sde, kernels
from zoo_core.viz.plot import Animation


def test_moments_are_evenly_spaced_from_the_first_to_the_last():
    """Catches a last state that is left out, and one state that is asked for twice where there are few."""
    states = [torch.tensor(float(k)) for k in range(101)]
    assert [int(s) for s in spaced(states, 5)] == [0, 25, 50, 75, 100]
    assert [int(s) for s in spaced(states[:3], 5)] == [0, 1, 2]
    assert len(spaced(states[:1], 5)) == 1


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("suffix", ["webp", "gif"])
def test_an_animation_plays_every_frame_and_pauses_at_the_last(tmp_path, count, suffix):
    """Catches times that are one frame off, frames left out, and gray values that change."""
    frames = [torch.full((1, 8, 8), 60 * k, dtype=torch.uint8) for k in range(count)]
    files = Animation(frames).save(tmp_path / "a.png")
    assert [file.name for file in files] == ["a.webp", "a.gif"]
    image = Image.open(tmp_path / f"a.{suffix}")
    shown = []
    for frame in range(getattr(image, "n_frames", 1)):
        image.seek(frame)
        image.load()
        shown.append(image.convert("L").getpixel((0, 0)))
    assert shown == [60 * k for k in range(count)]
    if count > 1:
        assert image.info["duration"] == 2000


def test_columns_of_a_strip_are_spaced_by_noise_level():
    """Catches columns that are even in steps, a state shown twice, and one that is out of order."""
    sigmas = [*torch.logspace(2, -3, 101).tolist(), 0.0]
    places = by_noise_level(sigmas, 10)
    assert places[0] == 0
    assert places[-1] == 101
    assert places == sorted(set(places))
    logs = torch.tensor([sigmas[k] for k in places[1:-1]]).log()
    assert logs.diff().std() < 0.1 * logs.diff().abs().mean()
    assert sigmas[places[1]] == pytest.approx(VISIBLE[1], rel=0.1)
    assert sigmas[places[-2]] == pytest.approx(VISIBLE[0], rel=0.1)
    assert by_noise_level([3.0, 1.0, 0.0], 10) == [0, 1, 2]


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
    draw_paths([panel], density, "title").save(tmp_path / "paths.png")
    assert Image.open(tmp_path / "paths.png").width > 300
