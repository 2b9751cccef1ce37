"""EDM: what its preconditioning promises, its levels, its weights."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import nn

from tests.making import batch, context, made_of
from zoo_core.diffusion.grids import karras
from zoo_core.diffusion.preconditioning import preconditioning, weight
from zoo_core.diffusion.prediction import like
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo, SampleRequest
from zoo_sde.edm import EDM, EDMConfig, Levels, Preconditioned, edm_loss

DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
PLANE = DataInfo("plane", (2,), levels=None)
SIGMA = torch.tensor([0.002, 0.05, 0.5, 3.0, 80.0], dtype=torch.float64)


class Zero(nn.Module):
    """F = 0."""

    def forward(self, x, t, cond=None):
        return torch.zeros_like(x)


def recipe(data=DIGITS, preset="tiny", **options):
    return made_of(EDM, EDMConfig, data, preset, **options)


def test_constants_are_the_papers():
    """Catches a default that has drifted from table 1."""
    model = EDMConfig().model
    assert (model.sigma_data, model.P_mean, model.P_std) == (0.5, -1.2, 1.2)
    assert (model.sigma_min, model.sigma_max) == (0.002, 80.0)


def test_inputs_and_targets_have_unit_variance():
    """Catches a wrong coefficient: Eq. 114 to 131 ask for unit variance of F's input and of its target."""
    var = 0.5**2
    c_skip, c_out, c_in = preconditioning(SIGMA, 0.5)
    torch.testing.assert_close(c_in**2 * (var + SIGMA**2), torch.ones_like(SIGMA))
    # The target is (x0 - c_skip (x0 + sigma eps)) / c_out.
    target = ((1 - c_skip) ** 2 * var + c_skip**2 * SIGMA**2) / c_out**2
    torch.testing.assert_close(target, torch.ones_like(SIGMA))


def test_c_skip_amplifies_errors_least():
    """Catches c_skip of another criterion: c_out, chosen for unit variance, is least there (Eq. 131)."""
    c_skip, c_out, _ = preconditioning(SIGMA, 0.5)
    for other in (c_skip + 0.01, c_skip - 0.01):
        assert bool((((1 - other) ** 2 * 0.5**2 + other**2 * SIGMA**2).sqrt() > c_out).all())


def test_the_weight_cancels_the_scale_of_the_output():
    """Catches a loss that is dominated by some level: lambda c_out^2 = 1 at each."""
    c_out = preconditioning(SIGMA, 0.5)[1]
    torch.testing.assert_close(weight(SIGMA, 0.5) * c_out**2, torch.ones_like(SIGMA), rtol=1e-12, atol=0)


def test_for_gaussian_data_the_best_f_is_zero():
    """Catches any slip in c_skip: on N(0, sigma_data^2), D = c_skip x is the posterior mean as it stands."""
    made = recipe(PLANE)
    made.net.net = Zero()
    denoise = made.denoiser()
    assert isinstance(denoise, Denoiser)
    x = torch.randn(4, 2, dtype=torch.float64)
    for level in SIGMA:
        torch.testing.assert_close(denoise(x * level, level), 0.25 / (0.25 + level**2) * x * level)


def test_without_noise_the_data_come_back():
    """Catches a skip that does not tend to 1: D(x; 0) = x, whatever F says."""
    net = Preconditioned(lambda x, t, cond=None: torch.full_like(x, 5.0), 0.5)
    x = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(net(x, torch.full((3,), -8.0).double()), x, rtol=0, atol=1e-12)


def test_f_is_told_a_quarter_of_log_sigma_and_a_scaled_image():
    """Catches c_noise = sigma and an input that is not scaled: what F sees at sampling is known."""
    made, seen = recipe(PLANE), {}

    class Spy(Zero):
        def forward(self, x, t, cond=None):
            seen.update(x=x, t=t)
            return torch.zeros_like(x)

    made.net.net = Spy()
    x = torch.ones(3, 2)
    made.denoiser()(x, torch.tensor(2.0, dtype=torch.float64))
    assert seen["t"].tolist() == pytest.approx([math.log(2) / 4] * 3)
    torch.testing.assert_close(seen["x"], x / math.sqrt(4.25))


def test_the_loss_is_the_papers():
    """Catches a weight at another level than the noise's: lambda |D(x0 + sigma eps) - x0|^2, by hand."""
    rng = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 5, 3, generator=rng, dtype=torch.float64)
    t = SIGMA.log() / 4
    net = Preconditioned(lambda x, t, cond=None: 0.3 * x, 0.5)
    sigma = like(SIGMA, x0)
    x = x0 + sigma * eps
    both = sigma**2 + 0.25
    guess = 0.25 / both * x + sigma * 0.5 / both.sqrt() * 0.3 * x / both.sqrt()
    expected = (both / (sigma * 0.5) ** 2 * (guess - x0) ** 2).mean()
    torch.testing.assert_close(edm_loss(net, x0, t, eps, 0.5), expected)


def test_a_fresh_network_starts_at_loss_one():
    """Catches a last layer that does not start at 0: on unit targets F = 0 costs 1 at every level."""
    rng = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 200_000, 1, generator=rng, dtype=torch.float64)
    for level in SIGMA:
        t = (level.log() / 4).expand(len(x0))
        assert float(edm_loss(Preconditioned(Zero(), 0.5), 0.5 * x0, t, eps, 0.5)) == pytest.approx(
            1, rel=0.02
        )


def test_levels_are_log_normal():
    """Catches a standard deviation that is a variance: log sigma is N(-1.2, 1.2^2)."""
    made = recipe(PLANE)
    t = made.levels(20_000, torch.Generator().manual_seed(0), torch.device("cpu"))
    logs = made.schedule.sigma(t).log()
    assert stats.kstest(logs, stats.norm(-1.2, 1.2).cdf).pvalue > 1e-3


def test_the_clock_and_its_ends():
    """Catches a schedule that a sampler can't turn into times: sigma -> c_noise -> sigma."""
    levels = Levels(0.002, 80.0)
    torch.testing.assert_close(levels.sigma(levels.t_of(SIGMA)), SIGMA)
    assert levels.prior_std == 80.0
    assert levels.levels is None
    with pytest.raises(UsageError, match="sigma from 2"):
        Levels(2.0, 1.0)


def test_the_grid_is_the_papers():
    """Catches another curvature: Eq. 5 with rho 7 from 80 to 0.002, and then 0."""
    grid = karras(recipe(PLANE).denoiser(), 18)
    power = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert grid.tolist() == pytest.approx([*power, 0.0])


def test_default_is_heun_in_35_calls():
    """Catches another default than the paper's for CIFAR-10: 18 steps of Heun's method."""
    made = recipe(preset="", **{"model.channels": 8}).eval()
    drawn = made.sample(SampleRequest(Seeds(0, range(2))))
    assert drawn.calls == 35
    assert drawn.x.shape == (2, 1, 8, 8)


@pytest.mark.parametrize(("steps", "calls"), [(18, 35), (40, 79), (256, 511)])
def test_n_steps_are_2n_minus_1_calls(steps, calls):
    """Catches a second slope in the step to 0: the paper's numbers of calls, for each of its data sets."""
    drawn = recipe().eval().sample(SampleRequest(Seeds(0, range(1)), steps=steps))
    assert drawn.calls == calls


def test_images_are_spread_in_the_loss():
    """Catches a density learned of bare levels: at the least level the net sees values between them."""
    made, seen = recipe(), []

    class Spy(Zero):
        def forward(self, x, t, cond=None):
            seen.append(x)
            return torch.zeros_like(x)

    made.net.net = Spy()
    made.levels = lambda n, rng, device: torch.full((n,), math.log(1e-6) / 4, dtype=torch.float64)
    x = torch.full((16, 1, 8, 8), 0.25)
    made.loss(batch(x), context())
    assert float((seen[0] * 0.5 - x).abs().max()) == pytest.approx(1 / 16, rel=0.01)
