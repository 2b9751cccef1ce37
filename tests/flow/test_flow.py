"""Flow matching: the path, the couplings, exact fields of Gaussians, the reflow stage."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.making import batch, context, made_of
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.guidance import ClassifierGuided, Conditioned
from zoo_core.diffusion.ode import flow_log_prob
from zoo_core.diffusion.prediction import like, target, to_x0
from zoo_core.diffusion.samplers import ancestral, euler
from zoo_core.diffusion.sampling import bind, check_score
from zoo_core.diffusion.specs import SAMPLERS
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.types import Cond, DataInfo
from zoo_flow.matching import FlowMatching, FlowMatchingConfig, velocity_loss
from zoo_flow.path import T_MAX, T_MIN, StraightPath, even_in_t, straightness
from zoo_flow.rectified import RectifiedFlow, RectifiedFlowConfig
from zoo_flow.samplers import FLOW_EULER, FLOW_HEUN
from zoo_flow.transport import OTFlowMatching, groups_of, pairing

POINTS = DataInfo("moons", (2,), levels=None)
DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
MEAN, STD = 0.4, 0.5
NONE = Seeds(0, range(1))
"""For samplers that draw nothing."""


def independent_velocity(x, t, cond=None):
    """E[eps - x0 | x_t] for x0 from N(MEAN, STD^2) and independent noise, in closed form."""
    t = like(t, x)
    var = (1 - t) ** 2 * STD**2 + t**2
    x0 = MEAN + (1 - t) * STD**2 / var * (x - (1 - t) * MEAN)
    eps = t / var * (x - (1 - t) * MEAN)
    return eps - x0


def monotone_velocity(x, t, cond=None):
    """The velocity for 1-D optimal transport: x0 = MEAN + STD eps on every path."""
    t = like(t, x)
    eps = (x - (1 - t) * MEAN) / ((1 - t) * STD + t)
    return eps - (MEAN + STD * eps)


def denoiser(velocity, coupling="independent"):
    return SigmaDenoiser(velocity, StraightPath(), "velocity", coupling=coupling)


def made(kind, config, data=POINTS, **options):
    return made_of(kind, config, data, **options)


def test_the_velocity_is_a_prediction_with_an_inverse():
    x0, eps = torch.randn(2, 5, 2, dtype=torch.float64)
    for alpha, sigma in ((0.7, 0.3), (0.6, 0.8), (1.0, 4.0)):
        a, s = torch.tensor(alpha), torch.tensor(sigma)
        out = target(x0, eps, a, s, "velocity")
        torch.testing.assert_close(out, eps - x0)
        torch.testing.assert_close(to_x0(out, a * x0 + s * eps, a, s, "velocity"), x0)


def test_the_clock_of_the_path_and_of_sigma_are_inverse():
    path, t = StraightPath(), torch.linspace(T_MIN, T_MAX, 7, dtype=torch.float64)
    ratio = path.sigma(t) / path.alpha(t)
    torch.testing.assert_close(path.t_of(ratio), t)
    torch.testing.assert_close(path.alpha_of(ratio), path.alpha(t))
    assert (path.ratio_min, path.ratio_max) == pytest.approx((float(ratio[0]), float(ratio[-1])))


def test_the_grid_is_even_in_t_and_ends_in_zero():
    sigmas = even_in_t(denoiser(independent_velocity), 10)
    t = sigmas / (1 + sigmas)
    torch.testing.assert_close(t.diff(), torch.full((10,), -T_MAX / 10, dtype=torch.float64))
    assert float(sigmas[-1]) == 0
    assert float(sigmas[0]) == StraightPath.ratio_max


def test_the_denoiser_is_the_posterior_mean():
    denoise = denoiser(independent_velocity)
    for sigma in (0.1, 1.0, 20.0):
        x = torch.randn(50, 1, dtype=torch.float64) * sigma
        exact = MEAN + STD**2 / (STD**2 + sigma**2) * (x - MEAN)
        torch.testing.assert_close(denoise(x, torch.tensor(sigma, dtype=torch.float64)), exact)


@pytest.mark.parametrize("spec", [FLOW_EULER, FLOW_HEUN], ids=lambda spec: spec.name)
@pytest.mark.parametrize("velocity", [independent_velocity, monotone_velocity])
def test_deterministic_samplers_have_the_right_moments_for_any_coupling(spec, velocity):
    sampler, denoise = bind(spec), denoiser(velocity, "dependent")
    eps = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    eps = math.sqrt(2) * torch.erfinv(2 * eps - 1)[:, None]
    x = sampler.function(denoise, eps * denoise.prior_std, sampler.grid(denoise, 1000), noise=NONE)
    assert float(x.mean()) == pytest.approx(MEAN, abs=2e-3)
    assert float(x.std()) == pytest.approx(STD, rel=5e-3)


def test_a_stochastic_sampler_would_have_the_wrong_variance_for_a_dependent_coupling():
    """Why it is refused: the ancestral chain keeps about a third of the variance of N(0, 1)."""

    def velocity(x, t, cond=None):  # optimal transport of N(0, 1) to itself: nothing moves
        return torch.zeros_like(x)

    denoise = denoiser(velocity)  # claims to be independent
    sigmas = even_in_t(denoise, 1000)
    x = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = euler(denoise, x * denoise.prior_std, sigmas, noise=NONE)
    assert float(kept.var()) == pytest.approx(1, rel=0.05)
    walked = ancestral(denoise, x * denoise.prior_std, sigmas, noise=Seeds(0, range(20_000)))
    assert float(walked.var()) == pytest.approx(1 / 3, rel=0.05)


STOCHASTIC = {spec.name for spec in SAMPLERS if spec.score == "always"}
STOCHASTIC |= {"edm-stochastic", "restart"}  # unless S_churn or repeats is 0


@pytest.mark.parametrize("spec", [*SAMPLERS, FLOW_EULER, FLOW_HEUN], ids=lambda spec: spec.name)
def test_samplers_that_use_the_score_are_refused_for_a_dependent_coupling_only(spec):
    sampler = bind(spec)
    check_score(denoiser(monotone_velocity), sampler)
    dependent = denoiser(monotone_velocity, "dependent")
    for denoise in (dependent, Conditioned(dependent, None)):
        if spec.name in STOCHASTIC:
            with pytest.raises(UsageError, match=f"sampler={spec.name} uses the score"):
                check_score(denoise, sampler)
        else:
            check_score(denoise, sampler)


def test_ddim_is_refused_only_with_noise():
    (ddim,) = (spec for spec in SAMPLERS if spec.name == "ddim")
    sampler = bind(ddim)
    noisy = sampler.__class__(**{**vars(sampler), "options": {"eta": 0.5}})
    with pytest.raises(UsageError, match=r"sampler\.eta=0"):
        check_score(denoiser(monotone_velocity, "dependent"), noisy)


def test_classifier_guidance_is_refused_for_a_dependent_coupling():
    cond = Cond(label=torch.zeros(1, dtype=torch.int64))
    logits = lambda x, sigma: torch.zeros(len(x), 2)  # noqa: E731
    ClassifierGuided(denoiser(monotone_velocity), logits, cond, 2.0)
    with pytest.raises(UsageError, match=r"sample\.guide=free"):
        ClassifierGuided(denoiser(monotone_velocity, "dependent"), logits, cond, 2.0)


@pytest.mark.parametrize("velocity", [independent_velocity, monotone_velocity])
def test_the_likelihood_of_the_flow_is_the_closed_form(velocity):
    x = MEAN + STD * torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    found = flow_log_prob(denoiser(velocity), x, noise=Seeds(0, range(9)), probe="exact", tolerance=1e-8)
    # At the lowest level of the path, t = T_MIN, the density is that of x_t.
    if velocity is independent_velocity:
        std = math.hypot((1 - T_MIN) * STD, T_MIN)
    else:
        std = (1 - T_MIN) * STD + T_MIN
    exact = torch.distributions.Normal((1 - T_MIN) * MEAN, std).log_prob(x)[:, 0]
    torch.testing.assert_close(found.log_prob, exact, atol=5e-3, rtol=0)


def test_straight_paths_have_straightness_zero_and_bent_ones_have_not():
    eps = torch.randn(200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert straightness(denoiser(monotone_velocity), eps) < 1e-12
    assert straightness(denoiser(independent_velocity), eps) > 0.01


def brute_force(x0, eps):
    orders = itertools.permutations(range(len(x0)))
    return min(orders, key=lambda order: float((x0 - eps[list(order)]).square().sum()))


def test_the_transport_plan_is_the_best_permutation():
    rng = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 6, 2, generator=rng)
    assert pairing(x0, eps).tolist() == list(brute_force(x0, eps))


def test_noise_is_permuted_within_conditions_only():
    rng = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 8, 2, generator=rng)
    group = torch.tensor([0, 1, 0, 1, 0, 1, 2, 0])
    index = pairing(x0, eps, group)
    assert index.sort().values.tolist() == list(range(8))
    assert torch.equal(group[index], group)
    for one in (0, 1, 2):
        rows = (group == one).nonzero()[:, 0]
        best = brute_force(x0[rows], eps[rows])
        assert index[rows].tolist() == rows[list(best)].tolist()


def test_the_groups_are_the_conditions_of_the_task():
    label = torch.tensor([3, 1, 3])
    tokens = torch.tensor([[1, 2], [5, 6], [1, 2]])
    cond = Cond(label=label, tokens=tokens)
    assert groups_of(cond, "unconditional") is None
    assert torch.equal(groups_of(cond, "class"), label)
    text = groups_of(cond, "text").tolist()
    assert text[0] == text[2] != text[1]


def test_ot_pairs_a_batch_and_flow_matching_does_not():
    x0 = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    costs = {}
    for kind in (FlowMatching, OTFlowMatching):
        recipe = made(kind, FlowMatchingConfig)
        eps = recipe.noise_for(x0, Cond(), torch.Generator().manual_seed(0))
        costs[kind] = float((x0 - eps).square().sum())
    assert costs[OTFlowMatching] < 0.5 * costs[FlowMatching]
    assert made(OTFlowMatching, FlowMatchingConfig).denoiser().coupling == "dependent"
    assert made(FlowMatching, FlowMatchingConfig).denoiser().coupling == "independent"


def test_the_loss_is_least_at_the_velocity():
    rng = torch.Generator().manual_seed(0)
    x0, eps = MEAN + STD * torch.randn(20_000, 1, generator=rng), torch.randn(20_000, 1, generator=rng)
    t = torch.full((20_000,), 0.4)
    least = float(velocity_loss(independent_velocity, x0, t, eps))
    for shift in (-0.1, 0.1):
        moved = lambda x, t, cond, by=shift: independent_velocity(x, t) + by  # noqa: E731
        assert float(velocity_loss(moved, x0, t, eps)) > least


def test_times_are_uniform_over_the_path():
    recipe = made(FlowMatching, FlowMatchingConfig)
    t = recipe.levels(1000, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert float(t.min()) >= T_MIN
    assert float(t.max()) <= T_MAX
    assert float(t.mean()) == pytest.approx(0.5, abs=2e-3)
    assert float(t.std()) == pytest.approx((T_MAX - T_MIN) / 12**0.5, rel=5e-3)


def test_reflow_trains_on_the_samples_of_the_first_flow():
    recipe = made(RectifiedFlow, RectifiedFlowConfig, DIGITS)
    flow, reflow = recipe.stages()
    assert (flow.fraction, reflow.fraction) == (0.75, 0.25)
    with torch.no_grad():
        for parameter in recipe.net.parameters():
            parameter.add_(0.01)
    reflow.begin(None)
    for mine, its in zip(recipe.net.parameters(), recipe.teacher.parameters(), strict=True):
        assert torch.equal(mine, its)
        assert not its.requires_grad
    recipe.train()
    assert not recipe.teacher.training
    eps = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    sampler = bind(FLOW_HEUN)
    denoise = recipe.denoiser()
    drawn = sampler.function(denoise, eps * denoise.prior_std, sampler.grid(denoise, 8), noise=NONE)
    recipe.eval()
    torch.testing.assert_close(recipe.samples_of(eps, None), drawn)
    loss = recipe.reflow_loss(batch(torch.zeros(4, 1, 8, 8)), context())
    assert torch.isfinite(loss.loss)


def test_reflow_can_be_left_out_and_the_score_stays():
    recipe = made(RectifiedFlow, RectifiedFlowConfig, **{"model.reflow": 0.0})
    assert len(recipe.stages()) == 1
    assert recipe.teacher is None
    assert recipe.denoiser().coupling == "independent"
    assert made(RectifiedFlow, RectifiedFlowConfig).denoiser().coupling == "dependent"
