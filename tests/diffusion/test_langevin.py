"""Two conventions for the length of a Langevin step, and the paper's last step, which does not denoise."""

from __future__ import annotations

import pytest
import torch

from tests.diffusion.analytic import Exact, Noise, OneAtATime
from zoo_core.diffusion import grids
from zoo_core.diffusion.langevin import annealed_langevin, langevin
from zoo_core.errors import UsageError

VAR = 0.3
DENOISE = Exact(lambda x, s: x * VAR / (VAR + s**2))


def stationary(step, sigma, **options):
    """The variance that steps at one level settle at, seen through the last call, which denoises."""
    steps = 400
    sigmas = torch.cat((torch.full((steps,), sigma, dtype=torch.float64), torch.zeros(1).double()))
    x = torch.zeros(steps, 1, dtype=torch.float64)
    found = langevin(DENOISE, x, sigmas, noise=OneAtATime(steps), step=step, level=sigma, **options)
    return float((found / (VAR / (VAR + sigma**2))).square().sum())


def test_the_papers_step_is_half_the_lectures():
    """Catches E30: with length a one settles at v / (1 - a / (4 v)), the other at v / (1 - a / (2 v))."""
    step, sigma = 0.4, 0.5
    v, a = VAR + sigma**2, step * sigma**2
    assert stationary(step, sigma) == pytest.approx(v / (1 - a / (2 * v)), rel=1e-9)
    assert stationary(step, sigma, convention="paper") == pytest.approx(v / (1 - a / (4 * v)), rel=1e-9)


def test_a_paper_step_of_twice_the_length_is_the_same_walk():
    """Catches a half that the noise has and the drift has not: epsilon 2e-5 of one is 1e-5 of the other."""
    sigmas = grids.geometric(DENOISE, 12)
    x = 80 * Noise(50, seed=1).randn((2,))
    lecture = annealed_langevin(DENOISE, x, sigmas, noise=Noise(50), step=0.2)
    paper = annealed_langevin(DENOISE, x, sigmas, noise=Noise(50), step=0.4, convention="paper")
    torch.testing.assert_close(lecture, paper, rtol=1e-12, atol=1e-12)


def test_steps_shrink_with_the_levels_variance():
    """Catches E34: alpha_i = epsilon sigma_i^2 / sigma_min^2, so each level moves alike in its own units."""
    still = Exact(lambda x, s: torch.zeros_like(x))  # all data at 0: x / sigma goes alike at every level
    seen = {}
    for sigma in (0.1, 1.0):
        sigmas = torch.tensor([sigma, 0.0], dtype=torch.float64)
        x = torch.full((5, 1), 3 * sigma, dtype=torch.float64)
        walked = annealed_langevin(still, x, sigmas, noise=Noise(5), repeats=3, clean=False)
        seen[sigma] = walked / sigma
    torch.testing.assert_close(seen[0.1], seen[1.0], rtol=1e-9, atol=1e-12)


def test_unclean_samples_keep_the_noise_of_the_least_level():
    """Catches E36: exactly N T calls, T noises at each of N levels, and no step that denoises after them."""
    sigmas, called, noise = grids.geometric(DENOISE, 5), [], Noise(20_000)
    x = annealed_langevin(
        DENOISE,
        80 * Noise(20_000, seed=1).randn((1,)),
        sigmas,
        noise=noise,
        callback=lambda step, sigma, x, x0: called.append(float(sigma)),
        repeats=6,
        clean=False,
    )
    assert called == [float(s) for s in sigmas[:-1] for _ in range(6)]
    assert noise.draws == 30
    calls = len(called)
    clean = annealed_langevin(
        DENOISE,
        80 * Noise(20_000, seed=1).randn((1,)),
        sigmas,
        noise=Noise(20_000),
        callback=lambda step, sigma, x, x0: called.append(float(sigma)),
        repeats=6,
    )
    assert len(called) - calls == 31
    level = sigmas[-2]
    torch.testing.assert_close(clean, DENOISE(x, level), rtol=1e-12, atol=1e-12)


class Silent(Noise):
    """No noise at all: a walk is then plain ascent of the log-density."""

    def randn(self, shape, **address):
        return torch.zeros(len(self), *shape, dtype=torch.float64)


def test_without_its_noise_a_walk_climbs_to_a_mode_and_with_it_samples():
    """Catches a walk that forgets its noise (s111): all of it ends at the mode, and no width is drawn."""
    n, sigma = 4000, 0.5
    sigmas = torch.cat((torch.full((200,), sigma, dtype=torch.float64), torch.zeros(1).double()))
    start = Noise(n, seed=1).randn((1,))
    options = {"step": 0.2, "level": sigma}
    climbed = langevin(DENOISE, start, sigmas, noise=Silent(n), **options)
    walked = langevin(DENOISE, start, sigmas, noise=Noise(n, seed=2), **options)
    assert float(climbed.abs().max()) < 1e-6
    share = VAR / (VAR + sigma**2)  # of the last call, which denoises
    v, a = VAR + sigma**2, options["step"] * sigma**2
    assert float(walked.var()) == pytest.approx(share**2 * v / (1 - a / (2 * v)), rel=0.1)


def test_walks_may_begin_in_uniform_noise():
    """Catches the paper's start taken for N(0, sigma_max^2): uniform in a image's range, whatever x was."""
    seen = []
    start = torch.full((4000, 1), 77.0, dtype=torch.float64)
    sigmas = torch.tensor([2.0, 0.0], dtype=torch.float64)
    annealed_langevin(
        DENOISE,
        start,
        sigmas,
        noise=Noise(4000),
        start="uniform",
        callback=lambda i, s, x, x0: seen.append(x),
    )
    assert float(seen[0].min()) >= -1
    assert float(seen[0].max()) <= 1
    assert float(seen[0].mean()) == pytest.approx(0, abs=0.05)
    assert float(seen[0].var()) == pytest.approx(1 / 3, rel=0.05)


@pytest.mark.parametrize("level", [1e-9, 1e6])
def test_a_level_that_was_not_trained_is_refused(level):
    """Catches figures of a network far outside of what it was trained for."""
    with pytest.raises(UsageError, match=r"0\.002 to 80"):
        langevin(DENOISE, torch.zeros(2, 1), torch.tensor([1.0, 0.0]), noise=Noise(2), level=level)
