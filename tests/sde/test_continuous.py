"""The three SDEs in the papers' own time and space, and the score models that are trained on them."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from scipy import integrate, stats
from torch import nn

from tests.making import batch, context, made_of
from zoo_core.diffusion.prediction import like, to_x0
from zoo_core.diffusion.sdes import T_MIN, VE, VP, SubVP
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, HasDenoiser, HasLikelihood
from zoo_core.seeds import Seeds
from zoo_core.types import Cond, DataInfo, SampleRequest
from zoo_sde.continuous import denoising_loss, likelihood_times
from zoo_sde.subvp_sde import SubVPSDE, SubVPSDEConfig
from zoo_sde.ve_sde import VESDE, VESDEConfig
from zoo_sde.vp_sde import VPSDE, VPSDEConfig

DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
PLANE = DataInfo("plane", (2,), levels=None, classes=2)
SDES = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
MODELS = {
    "vp": (VPSDE, VPSDEConfig),
    "subvp": (SubVPSDE, SubVPSDEConfig),
    "ve": (VESDE, VESDEConfig),
}


def recipe(name, data=DIGITS, **options):
    return made_of(*MODELS[name], data, **options)


# -- the SDEs


def beta(t):
    return 0.1 + 19.9 * t


def total(t):
    """The integral of beta, by quadrature."""
    return integrate.quad(beta, 0, t)[0]


DRIFT = {"vp": lambda t: -beta(t) / 2, "subvp": lambda t: -beta(t) / 2, "ve": lambda t: 0.0}
DIFFUSION2 = {
    "vp": beta,
    "subvp": lambda t: beta(t) * (1 - math.exp(-2 * total(t))),
    "ve": lambda t: (0.01 * 5000**t * math.sqrt(2 * math.log(5000))) ** 2,
}
"""f and g^2 as the paper writes them (Eq. 30, 32 and 35): no line of ours."""


@pytest.mark.parametrize("name", SDES)
def test_marginals_of_an_independent_implementation(name):
    """Catches a wrong beta, f, g, alpha or sigma: the paper's SDE, its moments solved by scipy."""
    start = 0.01**2 if name == "ve" else 0.0
    f, g2 = DRIFT[name], DIFFUSION2[name]

    def slope(t, state):
        return [f(t) * state[0], 2 * f(t) * state[1] + g2(t)]

    times = [0.05, 0.3, 0.7, 1.0]
    found = integrate.solve_ivp(slope, (0, 1), [1.0, start], t_eval=times, rtol=1e-8, atol=1e-12)
    t = torch.tensor(times, dtype=torch.float64)
    sde = SDES[name]
    assert sde.alpha(t).tolist() == pytest.approx(found.y[0].tolist(), rel=1e-5)
    assert (sde.sigma(t) ** 2).tolist() == pytest.approx(found.y[1].tolist(), rel=1e-5)
    assert sde.f(t).tolist() == pytest.approx([f(one) for one in times], rel=1e-9)
    assert sde.g2(t).tolist() == pytest.approx([g2(one) for one in times], rel=1e-9)


CENTERS, WEIGHTS, WIDTH = torch.tensor([-1.0, 0.8]).double(), torch.tensor([0.3, 0.7]).double(), 0.2


def mixture_score(x, alpha, sigma):
    """The score of alpha x0 + sigma eps where x0 is a mixture of two normals, in closed form."""
    var = (alpha * WIDTH) ** 2 + sigma**2
    away = alpha * CENTERS - x[:, None]
    share = (WEIGHTS.log() - away.square() / (2 * var)).softmax(1)
    return (share * away).sum(1) / var


def reversed_in_time(sde, n, *, loud=1.0, ode=False, steps=500):
    """Walk the reverse SDE, or the flow, from t = 1 to T_MIN: Euler's method, even in log(sigma / alpha)."""
    rng = torch.Generator().manual_seed(2)
    low, high = math.log(sde.ratio_min), math.log(sde.ratio_max)
    t = sde.t_of(torch.linspace(high, low, steps + 1, dtype=torch.float64).exp())
    mode = torch.multinomial(WEIGHTS, n, replacement=True, generator=rng)
    first = torch.stack((sde.alpha(t[0]), sde.sigma(t[0])))
    normal = torch.randn(2, n, generator=rng, dtype=torch.float64)
    x = first[0] * (CENTERS[mode] + WIDTH * normal[0]) + first[1] * normal[1]
    for now, after in pairwise(t):
        step, g2 = now - after, sde.g2(now)
        score = mixture_score(x, sde.alpha(now), sde.sigma(now))
        x = x - step * (sde.f(now) * x - (0.5 if ode else 1.0) * g2 * score)
        if not ode:
            x = x + (loud * g2 * step).sqrt() * torch.randn(n, generator=rng, dtype=torch.float64)
    return x


@pytest.mark.slow(depends=("zoo_core/diffusion", "plugins/zoo_sde"))
@pytest.mark.parametrize("name", SDES)
def test_reverse_sde_and_flow_have_the_datas_marginal(name):
    """Catches a factor of 2 in either drift: dx = (f x - g^2 score) dt + g dw; g^2 off by 10% is refused."""
    sde, n = SDES[name], 20_000

    def truth(x):
        return sum(
            float(w) * stats.norm.cdf(x, float(c), WIDTH) for w, c in zip(WEIGHTS, CENTERS, strict=True)
        )

    right, flow = reversed_in_time(sde, n), reversed_in_time(sde, n, ode=True)
    wrong = reversed_in_time(sde, n, loud=1.1)
    assert stats.kstest(right, truth).pvalue > 0.001
    assert stats.kstest(flow, truth).pvalue > 0.001
    assert stats.ks_2samp(right, flow).pvalue > 0.001
    assert stats.kstest(wrong, truth).pvalue < 1e-5


# -- the loss and its weighting


@pytest.mark.parametrize("name", SDES)
def test_likelihood_times_have_the_density_of_g2_over_sigma2(name):
    """Catches times that are uniform: the weight g^2 / sigma^2 would then be missing from the loss."""
    sde = SDES[name]
    u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    t = likelihood_times(sde, u)

    def mass(a, b):
        # In s = log t, where the density is nearly flat.
        def density(s):
            at = torch.tensor(math.exp(s), dtype=torch.float64)
            return float(sde.g2(at) / sde.sigma(at) ** 2 * at)

        return integrate.quad(density, math.log(a), math.log(b))[0]

    whole = mass(sde.t_min, 1.0)
    for place in (200, 1000, 1800):
        assert mass(sde.t_min, float(t[place])) / whole == pytest.approx(float(u[place]), abs=1e-5)
    assert sde.t_min < float(t.min()) < float(t.max()) < 1


@pytest.mark.parametrize("name", SDES)
def test_training_draws_the_weightings_own_times(name):
    """Catches an option that is not read, and a time of 0, where the score is not defined (E38)."""
    rng = torch.Generator().manual_seed(0)
    drawn = {}
    for weighting in ("score", "likelihood"):
        made = recipe(name, PLANE, **{"model.weighting": weighting})
        drawn[weighting] = made.levels(20_000, rng, torch.device("cpu"))
        assert T_MIN <= float(drawn[weighting].min()) < float(drawn[weighting].max()) <= 1
        ratio = made.schedule.sigma(drawn[weighting]) / made.schedule.alpha(drawn[weighting])
        low, high = math.log(made.schedule.ratio_min), math.log(made.schedule.ratio_max)
        even = stats.kstest((ratio.log() - low) / (high - low), "uniform").pvalue
        # A variance-exploding clock is even in log sigma as it stands: its weightings are one.
        assert (even > 1e-3) == (weighting == "likelihood" or name == "ve")
    assert stats.kstest(drawn["score"], "uniform").pvalue > 1e-3


def test_a_batch_covers_the_times_evenly():
    """Catches times drawn one by one, and an even grid that never moves: one of n in each n-th, anew."""
    made, rng = recipe("vp"), torch.Generator().manual_seed(0)
    drawn = [made.levels(8, rng, torch.device("cpu")) for _ in range(500)]
    for t in drawn[:20]:
        assert sorted((t * 8).long().tolist()) == list(range(8))
    assert stats.kstest(torch.stack(drawn)[:, 3], "uniform").pvalue > 1e-3


def test_the_loss_is_the_weighted_error_of_the_score():
    """Catches eps of another sign or scale: sigma^2 |score + eps / sigma|^2, with the score of the net."""
    sde = SDES["subvp"]
    x0, eps = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    seen = {}

    def net(x, t, cond=None):
        seen["x"] = x
        return 0.3 * x

    found = denoising_loss(net, x0, t, eps, sde)
    alpha, sigma = like(sde.alpha(t), x0), like(sde.sigma(t), x0)
    torch.testing.assert_close(seen["x"], alpha * x0 + sigma * eps)
    score = -0.3 * seen["x"] / sigma
    torch.testing.assert_close(found, (sigma**2 * (score + eps / sigma) ** 2).mean())


@pytest.mark.parametrize("name", ["vp", "subvp"])
def test_an_error_of_v_is_one_of_eps_and_of_the_score(name):
    """Catches v of another sign or scale: lambda of its squared error, from the score that it implies."""
    sde = SDES[name]
    x0, eps = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    alpha, sigma = like(sde.alpha(t), x0), like(sde.sigma(t), x0)
    x = alpha * x0 + sigma * eps
    found = denoising_loss(lambda x, t, cond: 0.3 * x, x0, t, eps, sde, prediction="v")
    guess = to_x0(0.3 * x, x, alpha, sigma, "v")
    score = -(x - alpha * guess) / sigma**2
    weight = sigma**2 * (alpha**2 + sigma**2) ** 2 / alpha**2
    torch.testing.assert_close(found, (weight * (score + eps / sigma) ** 2).mean())


def test_v_is_predicted_in_training_and_in_sampling():
    """Catches a denoiser that takes v for eps; the likelihood's weighting is of eps alone."""
    torch.manual_seed(0)
    made = recipe("vp", PLANE, **{"model.prediction": "v"})
    denoise, x, level = made.denoiser(), torch.randn(5, 2), torch.tensor(0.7)
    t = made.schedule.t_of(level.double())
    alpha, sigma = made.schedule.alpha(t), made.schedule.sigma(t)
    with torch.no_grad():
        v = made.net((alpha * x).float(), t.expand(5), Cond())
        expected = to_x0(v, alpha * x, alpha, sigma, "v")
        torch.testing.assert_close(denoise(x, level), expected.float(), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match=r"model\.weighting=likelihood with model\.prediction=v"):
        recipe("vp", PLANE, **{"model.prediction": "v", "model.weighting": "likelihood"})


class ExactEps(nn.Module):
    """E[eps | x_t] where x0 is N(0, var), at the times and the scale that a network is given."""

    def __init__(self, schedule, var, scaled):
        super().__init__()
        self.schedule, self.var, self.scaled = schedule, var, scaled

    def forward(self, x, t, cond=None):
        alpha, sigma = like(self.schedule.alpha(t), x), like(self.schedule.sigma(t), x)
        x = x * (alpha**2 + sigma**2).sqrt() if self.scaled else x
        return sigma * x / (alpha**2 * self.var + sigma**2)


@pytest.mark.parametrize("name", SDES)
def test_an_exact_net_is_the_exact_denoiser(name):
    """Catches a network that is told another time or scale in sampling than in training."""
    made, var = recipe(name, PLANE), 0.3
    exact = ExactEps(made.schedule, var, scaled=name == "ve")
    if name == "ve":
        made.net.net = exact
    else:
        made.net = exact
    denoise = made.denoiser()
    assert isinstance(denoise, Denoiser)
    assert denoise.levels is None
    x = torch.randn(5, 2, dtype=torch.float64)
    for level in (0.05, 1.0, 8.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        torch.testing.assert_close(denoise(sigma * x, sigma), var / (var + level**2) * sigma * x)
    # The same net leaves the loss of the best eps: var / (var + ratio^2) of its variance.
    t = torch.tensor([0.4], dtype=torch.float64).expand(200_000)
    rng = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, len(t), 1, generator=rng, dtype=torch.float64)
    ratio2 = float(made.schedule.sigma(t[0]) / made.schedule.alpha(t[0])) ** 2
    best = float(denoising_loss(made.net, var**0.5 * x0, t, eps, made.schedule))
    assert best == pytest.approx(var / (var + ratio2), rel=0.02)


@pytest.mark.parametrize("name", SDES)
def test_images_are_spread_over_their_bins(name):
    """Catches a density learned of bare levels, which has none: x stays in its bin, and moves each step."""
    made = recipe(name)
    levels = torch.randint(0, 17, (40, 1, 8, 8))
    given = batch(levels / 8 - 1.0)
    rng = torch.Generator().manual_seed(0)
    first, second = made.training_x(given, rng), made.training_x(given, rng)
    inside = (first - given.x) * 8 + 0.5
    assert 0 <= float(inside.min()) < float(inside.max()) <= 1
    assert stats.kstest(inside.flatten(), "uniform").pvalue > 1e-3
    assert not torch.equal(first, second)
    points = batch(torch.randn(4, 2))
    assert torch.equal(recipe(name, PLANE).training_x(points, rng), points.x)


def test_the_loss_learns_what_was_spread():
    """Catches a loss that reads batch.x: where no noise is added, the net sees values between levels."""
    made, seen = recipe("vp"), []

    class Spy(nn.Module):
        def forward(self, x, t, cond=None):
            seen.append(x)
            return torch.zeros_like(x)

    made.net = Spy()
    made.schedule = SimpleNamespace(levels=None, alpha=torch.ones_like, sigma=torch.zeros_like)
    x = torch.full((16, 1, 8, 8), 0.25)
    made.loss(batch(x), context())
    assert float((seen[0] - x).abs().max()) == pytest.approx(1 / 16, rel=0.01)


@pytest.mark.parametrize("name", SDES)
def test_a_model_has_a_flow_and_no_likelihood_of_its_own(name):
    """Catches a likelihood that is counted twice: the evaluator follows the flow of any such denoiser."""
    made = recipe(name).eval()
    assert isinstance(made, HasDenoiser)
    assert not isinstance(made, HasLikelihood)
    drawn = made.sample(SampleRequest(Seeds(0, range(3)), steps=4))
    assert drawn.x.shape == (3, 1, 8, 8)
    assert drawn.calls == 4


def test_the_network_of_exploding_data_sees_unit_variance():
    """Catches an input of standard deviation 10, which a small network does not learn to divide."""
    made = recipe("ve", PLANE)
    seen = {}

    class Spy(nn.Module):
        def forward(self, x, t, cond=None):
            seen["std"] = float(x.std())
            return torch.zeros_like(x)

    made.net.net = Spy()
    x0, eps = torch.randn(2, 20_000, 2, generator=torch.Generator().manual_seed(0))
    for level in (0.01, 1.0, 10.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        made.denoiser()(x0 + level * eps, sigma)
        assert seen["std"] == pytest.approx(1, rel=0.02)
