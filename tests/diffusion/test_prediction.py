"""The one conversion table, and the paper's identities between its kinds."""

from __future__ import annotations

import pytest
import torch

from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.likelihood import step_kl
from zoo_core.diffusion.prediction import like, target, to_x0
from zoo_core.diffusion.samplers import forward_std
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.errors import NotFoundError

KINDS = ("eps", "x0", "v", "score")


def pair(n=5):
    rng = torch.Generator().manual_seed(0)
    return (torch.randn(n, 3, 2, 2, generator=rng, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coefficients", [(0.8, 0.6), (1.0, 3.0), (0.5, 0.2)])
def test_round_trip(kind, coefficients):
    """Catches a wrong sign or factor in any kind, on schedules of every kind (E37)."""
    x0, eps = pair()
    alpha, sigma = torch.tensor(coefficients, dtype=torch.float64)
    x = alpha * x0 + sigma * eps
    torch.testing.assert_close(to_x0(target(x0, eps, alpha, sigma, kind), x, alpha, sigma, kind), x0)


def test_score_is_the_gradient_of_the_kernel():
    """Catches eps = +sigma score: the score target is autograd's gradient of log N(x; alpha x0, sigma^2)."""
    x0, eps = pair()
    alpha, sigma = torch.tensor(0.8).double(), torch.tensor(0.6).double()
    x = (alpha * x0 + sigma * eps).requires_grad_()
    (gradient,) = torch.autograd.grad(torch.distributions.Normal(alpha * x0, sigma).log_prob(x).sum(), x)
    torch.testing.assert_close(target(x0, eps, alpha, sigma, "score"), gradient)


def test_posterior_mean_of_the_paper():
    """Catches 1/sqrt(abar) outside (-0.32162) and sqrt(1 - a) inside (-0.06308): E2, E3 of the lecture."""
    schedule = DiscreteVP(linear_betas(1000))
    t, s = schedule.levels[500], schedule.levels[499]
    x0, eps = 0.7, -0.3
    mean = (x0 + (s / t) ** 2 * (t * eps)) * schedule.alpha_of(s)  # x_t / alpha - x0 is sigma / alpha * eps
    assert float(mean) == pytest.approx(-0.09016, abs=1e-5)
    beta, kept = linear_betas(1000)[500], schedule.alpha_bar[501]
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * eps
    paper = (x_t - beta / (1 - kept).sqrt() * eps) / (1 - beta).sqrt()  # Ho et al., Eq. 11
    assert float(mean) == pytest.approx(float(paper), abs=1e-12)


def test_simple_loss_is_the_weighted_kl():
    """Catches E4: each KL is beta^2 / (2 sigma^2 a (1 - abar)) times the squared error of eps."""
    betas = linear_betas(1000)
    schedule = DiscreteVP(betas)
    t, s = schedule.levels[1:], schedule.levels[:-1]
    eps, guess = torch.tensor(0.4).double(), torch.tensor(-0.9).double()
    std = forward_std(t, s, SigmaDenoiser(None, schedule, "eps"))
    zero = torch.zeros(999).double()
    kl = step_kl(zero, t * (eps - guess), t, s, std) - step_kl(zero, zero, t, s, std)
    beta, kept = betas[1:], schedule.alpha_bar[2:]
    weight = beta**2 / (2 * beta * (1 - beta) * (1 - kept))
    torch.testing.assert_close(kl, weight * (eps - guess) ** 2, rtol=1e-9, atol=0)


def test_unknown_kind_names_the_nearest():
    """Catches a KeyError reaching the user."""
    x = torch.zeros(1)
    for convert in (to_x0, target):
        with pytest.raises(NotFoundError, match="eps"):
            convert(x, x, x, x, "epsi")


@pytest.mark.parametrize("kind", KINDS)
def test_denoiser_reads_every_kind(kind):
    """Catches a net that is fed x / alpha, or the wrong time, or a rounded sigma in the conversion."""
    schedule = DiscreteVP(linear_betas(1000))
    var = 0.25

    def net(x, t, cond=None):  # the exact prediction for N(0, .25) at trained times
        assert t.shape == (len(x),)
        alpha, sigma = like(schedule.alpha(t), x), like(schedule.sigma(t), x)
        x0 = alpha * var / (alpha**2 * var + sigma**2) * x
        return target(x0, (x - alpha * x0) / sigma, alpha, sigma, kind)

    denoise = SigmaDenoiser(net, schedule, kind)
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(4, 3, 2, 2, generator=rng, dtype=torch.float64)
    sigmas = schedule.levels[torch.tensor([0, 9, 499, 999])]
    expected = x * like(var / (var + sigmas**2), x)
    torch.testing.assert_close(denoise(x, sigmas), expected)
    for row, sigma in enumerate(sigmas):
        torch.testing.assert_close(denoise(x, sigma)[row], expected[row])
    assert denoise.calls == 5


def test_clip_keeps_x0_in_range_only_where_asked():
    """Catches clipping that is always on, or that clips the network's output instead of x0."""
    schedule = DiscreteVP(linear_betas(10))
    x = torch.full((2, 2), 5.0)

    def net(x, t, cond=None):
        return torch.zeros_like(x)

    assert SigmaDenoiser(net, schedule, "eps")(x, schedule.levels[0]).max() > 4
    assert SigmaDenoiser(net, schedule, "eps", clip_x0=True)(x, schedule.levels[0]).max() == 1
