"""Improved DDPM: the cosine schedule, the learned variance, and the loss that trains it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.making import batch, context, made_of
from zoo_core.diffusion.likelihood import bound, gaussian_log_prob
from zoo_core.diffusion.samplers import forward_std, posterior_std
from zoo_core.diffusion.schedule import DiscreteVP, cosine_betas
from zoo_core.interfaces import HasPosterior
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo, SampleRequest
from zoo_ddpm.iddpm import IDDPM, IDDPMConfig, LearnedVariance, interpolated_log_var

DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
POINT = DataInfo("line", (1,), levels=None)


def recipe(data=DIGITS, **options):
    return made_of(IDDPM, IDDPMConfig, data, **options).eval()


def test_the_estimate_of_a_point_at_the_highest_level_has_the_scale_of_the_data():
    """Points are not clipped: there an error of the network must not count sigma-fold (samples at 25)."""
    model = made_of(IDDPM, IDDPMConfig, DataInfo("plane", (2,), levels=None), "default@points").eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the last layer starts at zero
            parameter.add_(0.01 * torch.randn_like(parameter))
    denoiser = model.denoiser()
    assert denoiser.sigma_max > 1e4
    x = denoiser.sigma_max * torch.randn(500, 2)
    estimate = denoiser(x, torch.tensor(denoiser.sigma_max))
    assert 0 < estimate.norm(dim=1).max() < 5


def test_the_cosine_schedule_is_the_papers():
    """Catches an offset that is left out, and a last beta of 1; another implementation agrees."""
    betas = cosine_betas(1000)
    alpha_bar = (1 - betas).cumprod(0)
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    f = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(alpha_bar[:-1], f[:-1], rtol=1e-9, atol=1e-12)
    assert float(betas[-1]) == 0.999
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2").betas
    torch.testing.assert_close(betas.float(), theirs, rtol=1e-5, atol=1e-7)


def test_the_offset_sets_the_first_step():
    """Catches an option that is not read: on few levels a chain must end where two can be told apart."""
    for data, preset in (("digits", "default@digits"), ("mnist", "default@image<=48")):
        options = IDDPMConfig.PRESETS[preset].overrides
        made = recipe(**{"model.T": 1000, **options, "model.channels": 16, "model.mult": (1, 2)})
        offset = made.config.model.offset
        angles = torch.tensor([offset, offset + 0.001], dtype=torch.float64) / (1 + offset) * math.pi / 2
        kept = float((angles[1].cos() / angles[0].cos()) ** 2)
        assert float(made.schedule.levels[0]) == pytest.approx(((1 - kept) / kept) ** 0.5, rel=1e-9)
        # In bins of width 2 / (L - 1), half of which tells a level from its neighbor.
        bins = float(made.schedule.levels[0]) / (2 / ((17 if data == "digits" else 256) - 1))
        assert 0.2 < bins < 1


class Fixed(nn.Module):
    """Predicts no noise, and v everywhere."""

    def __init__(self, v):
        super().__init__()
        self.v = v

    def forward(self, x, t, cond=None):
        return torch.cat((torch.zeros_like(x), torch.full_like(x, self.v)), dim=1)


@pytest.mark.parametrize("s_at", [299, 0])
def test_v_runs_from_beta_tilde_to_beta(s_at):
    """Catches v and 1 - v swapped (Eq. 15), and variances of two different scales."""
    chain = DiscreteVP(cosine_betas(1000))
    denoise = LearnedVariance(Fixed(0.0), chain, "eps")
    t, s = chain.levels[s_at + 1], chain.levels[s_at]
    x = torch.zeros(2, 1, dtype=torch.float64)
    ends = [float(interpolated_log_var(x + v, t, s, denoise)[0]) for v in (-1, 0, 1)]
    small, large = 2 * posterior_std(t, s).log(), 2 * forward_std(t, s, denoise).log()
    assert ends == pytest.approx([float(small), float(small + large) / 2, float(large)], rel=1e-9)


def test_the_last_step_has_a_variance():
    """Catches log 0: beta-tilde of the step to the data is 0, and the one before stands in for it."""
    chain = DiscreteVP(cosine_betas(100))
    denoise = LearnedVariance(Fixed(0.0), chain, "eps")
    zero = torch.zeros((), dtype=torch.float64)
    found = interpolated_log_var(torch.full((1, 1), -1.0).double(), chain.levels[0], zero, denoise)
    # beta-tilde_2 of the paper, (1 - abar_1) / (1 - abar_2) beta_2, on the scale of x itself
    abar = chain.alpha_bar
    expected = (1 - abar[1]) / (1 - abar[2]) * (1 - abar[2] / abar[1])
    assert float(found.exp()) == pytest.approx(float(expected), rel=1e-9)


def test_the_denoiser_knows_its_variance():
    """Catches a capability that samplers do not find, and a variance of another call than the mean's."""
    made = recipe()
    denoise = made.denoiser()
    assert isinstance(denoise, HasPosterior)
    x = torch.randn(3, 1, 8, 8)
    denoise(x, denoise.levels[50])
    found = denoise.log_var(x, denoise.levels[50], denoise.levels[40])
    assert found.shape == x.shape


class Told(nn.Module):
    """Says what it was made with."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x, t, cond=None):
        return self.outputs


def test_the_variance_loss_moves_no_mean():
    """Catches L_vlb that trains the mean too: its gradient reaches the second half of the outputs alone."""
    outputs = torch.zeros(4, 2, 8, 8, requires_grad=True)
    x = torch.rand(4, 1, 8, 8) * 2 - 1
    grads = []
    for weight in (1.0, 0.0):
        made = recipe(**{"model.vlb_weight": weight})
        made.net = Told(outputs)
        loss = made.loss(batch(x), context()).loss
        grads.append(torch.autograd.grad(loss, outputs)[0])
    hybrid, simple = grads
    torch.testing.assert_close(hybrid[:, :1], simple[:, :1])
    assert bool((hybrid[:, 1:] != 0).any())
    assert not simple[:, 1:].any()


def test_the_best_v_minimizes_the_bound():
    """Catches a KL with the variances swapped: on N(0, .25) the exact net's best step variance is known.

    Given the exact mean, the reverse step's true variance is beta-tilde plus what the data's posterior adds;
    the expected term is least there.
    """
    chain, var = DiscreteVP(cosine_betas(50)), 0.25
    made = recipe(POINT, **{"model.T": 50})
    t = torch.full((200_000,), 25)
    ratio, ratio_next = chain.levels[24], chain.levels[23]
    rng = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(len(t), 1, generator=rng, dtype=torch.float64) for _ in range(2))
    x0 = 0.5 * x0
    x = x0 + ratio * eps
    guess = x * var / (var + ratio**2)
    true = posterior_std(ratio, ratio_next) ** 2
    true = true + (1 - (ratio_next / ratio) ** 2) ** 2 * var * ratio**2 / (var + ratio**2)
    small = 2 * posterior_std(ratio, ratio_next).log()
    large = 2 * forward_std(ratio, ratio_next, made.denoiser()).log()
    best = float(2 * (true.log() - small) / (large - small) - 1)
    assert -1 < best < 1
    terms = {
        v: float(made.vlb_term(x0, guess, torch.full_like(x0, v), t).mean())
        for v in (best - 0.2, best, best + 0.2)
    }
    assert min(terms, key=terms.get) == best


@pytest.mark.parametrize("v", [-1.0, 1.0])
def test_the_bound_with_a_learned_variance_is_that_of_its_fixed_ends(v):
    """Catches a bound that uses another variance than it asks for: v = 1 is beta, -1 beta-tilde."""
    chain = DiscreteVP(cosine_betas(30))
    x0 = torch.linspace(-0.8, 0.8, 12)[:, None]
    pieces = {
        variance: bound(
            LearnedVariance(Fixed(v), chain, "eps"),
            x0,
            noise=Seeds(0, range(12)),
            variance=variance,
            decoder=gaussian_log_prob,
        )
        for variance in ("learned", "beta" if v > 0 else "beta-tilde")
    }
    learned, fixed = pieces.values()
    torch.testing.assert_close(learned[:, :-1], fixed[:, :-1], rtol=1e-5, atol=1e-6)
    if v > 0:
        torch.testing.assert_close(learned, fixed, rtol=1e-5, atol=1e-6)


def test_it_samples_and_bounds():
    """Catches a sampler that meets two outputs, and a note that does not say whose variance it is."""
    made = recipe()
    drawn = made.sample(SampleRequest(Seeds(0, range(3)), steps=5))
    assert drawn.x.shape == (3, 1, 8, 8)
    assert drawn.calls == 5
    x = torch.randint(0, 17, (5, 1, 8, 8)) / 8 - 1.0
    (found,) = made.likelihoods(x, noise=Seeds(0, range(5)), k=1)
    assert "variance learned" in found.note
    assert bool(torch.isfinite(found.log_prob).all())
