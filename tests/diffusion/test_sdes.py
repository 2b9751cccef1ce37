"""The three SDEs, and the likelihood along their probability flow, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from tests.diffusion.analytic import Exact, Noise, gaussian, vp
from zoo_core.diffusion.ode import flow_log_prob, standard_prior
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.diffusion.sdes import T_MIN, VE, VP, SubVP
from zoo_core.errors import UsageError

SDES = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
MEAN = torch.tensor([0.4, -0.2, 0.7], dtype=torch.float64)
ROOT = torch.tensor([[0.5, 0.0, 0.0], [0.3, 0.2, 0.0], [-0.1, 0.25, 0.4]], dtype=torch.float64)
COV = ROOT @ ROOT.T


@pytest.fixture(params=SDES)
def sde(request):
    return SDES[request.param]


def moments(sde, t_end, steps=20_000):
    """Mean and variance of x_t from x_0 = 1: dm = f m dt, dv = (2 f v + g^2) dt, by midpoints."""
    m, v = 1.0, float(sde.sigma(torch.zeros((), dtype=torch.float64))) ** 2
    h = t_end / steps
    times = (torch.arange(2 * steps, dtype=torch.float64) * h / 2).reshape(steps, 2)[:, 1]
    f, g2 = sde.f(times).tolist(), sde.g2(times).tolist()
    for a, b in zip(f, g2, strict=True):
        m *= (1 + a * h / 2) / (1 - a * h / 2)
        v = (v * (1 + a * h) + b * h) / (1 - a * h)
    return m, v


@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
def test_the_perturbation_kernel_solves_its_sde(sde, t):
    """Catches a wrong f, g, alpha or sigma: the moments' own equations end in the closed form."""
    m, v = moments(sde, t)
    at = torch.tensor(t, dtype=torch.float64)
    assert float(sde.alpha(at)) == pytest.approx(m, rel=1e-5)
    assert float(sde.sigma(at)) ** 2 == pytest.approx(v, rel=1e-5)


def test_known_values():
    """Catches betas that are not 0.1 to 20 and a sub-VP whose variance is VP's."""
    one, half = torch.ones((), dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    vp_, sub = SDES["vp"], SDES["subvp"]
    assert float(vp_.alpha(one)) == pytest.approx(math.exp(-5.025), rel=1e-12)
    assert float(vp_.alpha(one)) ** 2 == pytest.approx(4.3186e-5, rel=1e-4)
    assert float(vp_.sigma(half)) ** 2 == pytest.approx(0.9209, abs=5e-5)
    assert float(sub.sigma(half)) ** 2 == pytest.approx(0.8481, abs=5e-5)
    assert float(SDES["ve"].sigma(half)) == pytest.approx(math.sqrt(0.01 * 50), rel=1e-12)


def test_variance_preserving_preserves_and_sub_stays_below():
    """Catches alpha and sigma of two different clocks."""
    t = torch.linspace(T_MIN, 1, 101, dtype=torch.float64)
    vp_, sub = SDES["vp"], SDES["subvp"]
    torch.testing.assert_close(vp_.alpha(t) ** 2 + vp_.sigma(t) ** 2, torch.ones_like(t))
    torch.testing.assert_close(sub.alpha(t), vp_.alpha(t))
    assert bool((sub.sigma(t) < vp_.sigma(t)).all())


def test_the_chain_of_ddpm_tends_to_vp():
    """Catches betas that are not beta(t) / T: the limit of a chain of T steps is the SDE."""
    t = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    errors = []
    for steps in (1000, 10_000):
        chain = DiscreteVP(linear_betas(steps, 0.1 / steps, 20 / steps))
        found = chain.alpha((t * steps).long())
        errors.append(float((found / SDES["vp"].alpha(t) - 1).abs().max()))
    assert errors[0] < 0.04
    assert errors[1] < errors[0] / 8


def test_time_and_level_are_inverses(sde):
    """Catches a clock that a network was not trained by: t -> sigma / alpha -> t, and alpha with it."""
    t = torch.linspace(0.002, 1, 200, dtype=torch.float64)
    ratio = sde.sigma(t) / sde.alpha(t)
    assert bool((ratio.diff() > 0).all())
    torch.testing.assert_close(sde.t_of(ratio), t, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sde.alpha_of(ratio), sde.alpha(t), rtol=1e-9, atol=1e-12)
    assert sde.ratio_min < float(ratio[0])
    assert sde.ratio_max == pytest.approx(float(ratio[-1]), rel=1e-12)


def test_where_each_starts():
    """Catches sub-VP started at sqrt(1 + ratio^2): its prior N(0, I) is that of x, 1 / alpha of x / alpha."""
    one = torch.ones((), dtype=torch.float64)
    for name in ("vp", "subvp"):
        assert SDES[name].prior_std == pytest.approx(1 / float(SDES[name].alpha(one)), rel=1e-12)
    assert SDES["ve"].prior_std == 50.0
    ends = SDES["vp"]
    assert ends.prior_std == pytest.approx(math.hypot(1, ends.ratio_max), rel=1e-9)


# -- likelihood


def log_normal(x, mean, cov):
    return torch.distributions.MultivariateNormal(mean, cov).log_prob(x)


def at_level(sde):
    """Exact density at the end of the flow: data plus noise of sigma_max."""
    cov = COV + sde.ratio_max**2 * torch.eye(3, dtype=torch.float64)
    return lambda x: log_normal(x, MEAN, cov)


def truth(sde, x):
    """Closed form: x = alpha y at the least level, y data plus noise of the least ratio."""
    alpha = float(sde.alpha_of(torch.tensor(sde.ratio_min, dtype=torch.float64)))
    cov = alpha**2 * (COV + sde.ratio_min**2 * torch.eye(3, dtype=torch.float64))
    return log_normal(x, alpha * MEAN, cov)


@pytest.fixture
def x():
    rng = torch.Generator().manual_seed(4)
    return MEAN + torch.randn(16, 3, generator=rng, dtype=torch.float64) @ ROOT.T


def test_the_flows_likelihood_is_the_closed_form(sde, x):
    """Catches a wrong divergence, a lost -D log alpha, a wrong clock: within 1e-5 nats a dimension."""
    denoise = Exact(gaussian(MEAN, COV), sde)
    found = flow_log_prob(denoise, x, noise=Noise(16), probe="exact", tolerance=1e-9, prior=at_level(sde))
    assert float((found.log_prob - truth(sde, x)).abs().max()) / 3 < 1e-5
    assert found.calls > 6


def test_the_models_own_prior_differs_by_its_mismatch(sde, x):
    """Catches a prior of another width than the one that samplers start from."""
    denoise = Exact(gaussian(MEAN, COV), sde)
    own = flow_log_prob(denoise, x, noise=Noise(16), probe="exact", tolerance=1e-9)
    values, vectors = torch.linalg.eigh(COV)
    alpha = float(sde.alpha_of(torch.tensor(sde.ratio_min, dtype=torch.float64)))
    stretch = ((values + sde.ratio_max**2) / (values + sde.ratio_min**2)).sqrt()
    end = MEAN + ((x / alpha - MEAN) @ vectors * stretch) @ vectors.T
    torch.testing.assert_close(own.end, end, rtol=1e-6, atol=1e-6)
    prior = torch.distributions.Normal(0.0, sde.prior_std).log_prob(end).sum(1)
    expected = truth(sde, x) + prior - at_level(sde)(end)
    assert float((own.log_prob - expected).abs().max()) / 3 < 1e-5
    torch.testing.assert_close(standard_prior(denoise)(end), prior)


def test_hutchinson_is_exact_for_a_diagonal_jacobian_with_rademacher_probes(x):
    """Catches probes that are not +-1: v . J v is the trace of a diagonal J for each of them."""
    var = torch.tensor([0.5, 0.2, 0.1], dtype=torch.float64)
    denoise = Exact(lambda x, sigma: x * var / (var + sigma**2), SDES["vp"])
    kinds = {
        probe: flow_log_prob(denoise, x, noise=Noise(16), probe=probe, tolerance=1e-8).log_prob
        for probe in ("exact", "rademacher", "gaussian")
    }
    torch.testing.assert_close(kinds["rademacher"], kinds["exact"], rtol=0, atol=1e-6)
    assert float((kinds["gaussian"] - kinds["exact"]).abs().max()) > 0.1


@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased(probe, x):
    """Catches a probe that is drawn anew on the way, and one that is not scaled."""
    denoise = Exact(gaussian(MEAN, COV), SDES["vp"])
    one = x[:1]
    exact = flow_log_prob(denoise, one, noise=Noise(1), probe="exact", tolerance=1e-7).log_prob
    many = one.expand(4000, 3)
    found = flow_log_prob(denoise, many, noise=Noise(4000), probe=probe, tolerance=1e-6).log_prob
    assert float(found.mean() - exact) == pytest.approx(0, abs=4.5 * float(found.std()) / 4000**0.5 + 1e-6)
    averaged = flow_log_prob(denoise, many[:500], noise=Noise(500), probe=probe, probes=8, tolerance=1e-6)
    assert float(averaged.log_prob.var() / found.var()) == pytest.approx(1 / 8, rel=0.4)


def test_no_level_is_asked_for_but_the_models_own(sde, x):
    """Catches a first step guessed by how slowly x moves there, and a last one that goes beyond the end."""
    exact, asked = gaussian(MEAN, COV), []

    def spy(x, sigma):
        asked.append(float(sigma.flatten()[0]))
        return exact(x, sigma)

    flow_log_prob(Exact(spy, sde), x.float(), noise=Noise(16), probe="exact", tolerance=1e-4)
    assert min(asked) == pytest.approx(sde.ratio_min, rel=1e-6)
    assert max(asked) == pytest.approx(sde.ratio_max, rel=1e-6)


def test_there_and_back_again(x):
    """Catches an encoder and a sampler that are not of one flow: pf-ode undoes the likelihood's walk."""
    from zoo_core.diffusion.flow import pf_ode

    sde = SDES["ve"]
    denoise = Exact(gaussian(MEAN, COV), sde)
    end = flow_log_prob(denoise, x, noise=Noise(16), probe="exact", tolerance=1e-9).end
    sigmas = torch.tensor([sde.ratio_max, sde.ratio_min, 0.0], dtype=torch.float64)
    last = []
    pf_ode(
        denoise,
        end,
        sigmas,
        noise=Noise(16),
        rtol=1e-9,
        atol=1e-9,
        callback=lambda i, s, x, x0: last.append(x),
    )
    torch.testing.assert_close(last[-1], x, rtol=0, atol=1e-5)


def test_no_likelihood_of_a_latent_or_of_levels_with_nothing_between(x):
    """Catches a figure for a net that was never asked about the levels between."""
    with pytest.raises(UsageError, match="none between"):
        flow_log_prob(Exact(gaussian(MEAN, COV), vp()), x, noise=Noise(16))
    latent = Exact(gaussian(MEAN, COV), SDES["vp"])
    latent.space = "latent"
    with pytest.raises(UsageError, match="latent"):
        flow_log_prob(latent, x, noise=Noise(16))
