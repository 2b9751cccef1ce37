"""Conditions bound to a denoiser, and guidance, on mixtures whose conditional scores are known."""

from __future__ import annotations

import pytest
import torch

from tests.diffusion.analytic import Exact, Noise, mixture, vp
from zoo_core.diffusion import grids
from zoo_core.diffusion.guidance import (
    AutoGuided,
    ClassifierFree,
    ClassifierGuided,
    Conditioned,
    IntervalGuided,
)
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.samplers import ancestral, heun
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, HasPosterior
from zoo_core.types import Cond

WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTERS = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)
STD = 0.2
NULL = 2


class TwoClasses(Exact):
    """E[x0 | x, label] of one mode a class; of the mixture for the null class."""

    def __init__(self):
        super().__init__(mixture(WEIGHTS, CENTERS, STD), vp())

    def __call__(self, x, sigma, cond=None):
        both = super().__call__(x, sigma)
        if cond is None:
            return both
        var = STD**2 / (STD**2 + like(sigma, x) ** 2)
        one = CENTERS[cond.label.clamp(max=1)]
        return torch.where((cond.label == NULL)[:, None], both, one + var * (x - one))


def logits(x, sigma):
    """log p(label | x) up to a constant: the exact classifier of noisy data."""
    var = STD**2 + like(sigma, x) ** 2
    return WEIGHTS.log() - (x[:, None] - CENTERS).square().sum(-1) / (2 * var)


LABEL = torch.tensor([0, 1, 0, 1, 0])
COND = Cond(label=LABEL)


@pytest.fixture
def x():
    return torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


SIGMA = torch.tensor(0.8, dtype=torch.float64)


def test_a_bound_condition_is_asked_for(x):
    """Catches a condition that is dropped on its way to the network."""
    denoise = TwoClasses()
    bound = Conditioned(denoise, COND)
    torch.testing.assert_close(bound(x, SIGMA), denoise(x, SIGMA, COND))
    assert isinstance(bound, Denoiser)
    assert bound.calls == 1
    assert (bound.sigma_max, bound.prior_std) == (denoise.sigma_max, denoise.prior_std)


def test_classifier_free_guidance_is_linear_in_its_scale(x):
    """Catches w for 1 + w: 1 is the conditional model, 0 the unconditional, 3 as far beyond again, twice."""
    denoise = TwoClasses()
    with_cond, without = denoise(x, SIGMA, COND), denoise(x, SIGMA)
    for scale in (1.0, 0.0, 3.0):
        guided = ClassifierFree(denoise, COND, NULL, scale)
        torch.testing.assert_close(guided(x, SIGMA), without + scale * (with_cond - without))
        assert guided.calls == 2
    clipped = ClassifierFree(denoise, COND, NULL, 50.0, clip_x0=True)(x, SIGMA)
    assert float(clipped.abs().max()) <= 1


class Counting(TwoClasses):
    """Keeps the number of rows of each call."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def __call__(self, x, sigma, cond=None):
        self.rows.append((len(x), len(cond.label), tuple(sigma.shape)))
        return super().__call__(x, sigma, cond)


def test_both_evaluations_are_one_batch(x):
    """Catches two calls of half the rows, conditions out of order, and a level for half of the rows."""
    denoise = Counting()
    guided = ClassifierFree(denoise, COND, NULL, 3.0)
    guided(x, SIGMA)
    assert denoise.rows == [(10, 10, ())]
    levels = torch.linspace(0.2, 1.0, 5, dtype=torch.float64)
    of_rows = guided(x, levels)
    assert denoise.rows[1] == (10, 10, (10,))
    for k in range(5):
        torch.testing.assert_close(of_rows[k], guided(x, levels[k])[k])


def test_guidance_changes_nothing_where_the_condition_changes_nothing(x):
    """Catches weights that do not add up to 1: of two equal answers any scale makes the same one."""
    denoise = Exact(mixture(WEIGHTS, CENTERS, STD), vp())
    for scale in (0.0, 1.0, 1.5, 8.0):
        guided = ClassifierFree(denoise, COND, NULL, scale)(x, SIGMA)
        torch.testing.assert_close(guided, denoise(x, SIGMA), rtol=0, atol=1e-12)


def test_an_exact_classifier_makes_the_unconditional_model_conditional(x):
    """Catches a wrong sign or power of sigma: the score given y is the score plus grad log p(y | x)."""
    denoise = TwoClasses()
    guided = ClassifierGuided(Exact(mixture(WEIGHTS, CENTERS, STD), vp()), logits, COND, 2.0)
    torch.testing.assert_close(guided(x, SIGMA), denoise(x, SIGMA, COND), rtol=1e-9, atol=1e-9)
    assert guided.calls == 2


def test_both_guides_agree_where_the_classifier_is_the_models_own(x):
    """Catches scales that do not mean the same for the two kinds of guidance."""
    denoise = TwoClasses()
    free = ClassifierFree(denoise, COND, NULL, 2.5)(x, SIGMA)
    by_classifier = ClassifierGuided(denoise, logits, COND, 2.5)(x, SIGMA)
    torch.testing.assert_close(free, by_classifier, rtol=1e-9, atol=1e-9)


def test_guided_samples_are_of_their_class():
    """Catches rows of conditions that meet the wrong rows of samples."""
    n = 400
    label = torch.arange(n) % 2
    denoise = TwoClasses()
    for bound in (
        Conditioned(denoise, Cond(label=label)),
        ClassifierFree(denoise, Cond(label=label), NULL, 2.0),
        ClassifierGuided(denoise, logits, Cond(label=label), 2.0),
    ):
        start = denoise.prior_std * Noise(n, seed=3).randn((2,))
        drawn = heun(bound, start, grids.karras(denoise, 30), noise=Noise(n))
        nearest = (drawn[:, None] - CENTERS).norm(dim=-1).argmin(1)
        assert float((nearest == label).double().mean()) > 0.99


def test_a_learned_variance_is_found_through_the_wrapper():
    """Catches guidance that silently takes the learned variance away from the sampler."""

    class Learned(TwoClasses):
        def log_var(self, x, sigma, sigma_next):
            return torch.full_like(x, -3.0)

    plain, learned = Conditioned(TwoClasses(), COND), Conditioned(Learned(), COND)
    assert not isinstance(plain, HasPosterior)
    assert isinstance(learned, HasPosterior)
    sigmas = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    x = torch.zeros(5, 2, dtype=torch.float64)
    a, b = (ancestral(d, x, sigmas, noise=Noise(5)) for d in (plain, learned))
    assert not torch.allclose(a, b)


def test_no_guidance_by_a_classifier_without_labels():
    """Catches a crash deep in a sampler."""
    with pytest.raises(UsageError, match="without labels"):
        ClassifierGuided(TwoClasses(), logits, Cond(), 1.0)


# -- autoguidance


def test_autoguidance_is_its_formula(x):
    """Catches the two models exchanged, and w for s: s D + (1 - s) W, in score s log p + (1 - s) log q."""
    strong, weak = TwoClasses(), Exact(mixture(WEIGHTS, CENTERS, 0.5), vp())
    d, w = strong(x, SIGMA, COND), weak(x, SIGMA)
    for scale in (1.0, 0.0, 2.5):
        guided = AutoGuided(strong, weak, COND, scale)
        torch.testing.assert_close(guided(x, SIGMA), w + scale * (d - w))
        assert guided.calls == 2
    unconditional = AutoGuided(strong, weak, None, 2.0)
    torch.testing.assert_close(unconditional(x, SIGMA), 2 * strong(x, SIGMA) - w)
    assert float(AutoGuided(strong, weak, COND, 50.0, clip_x0=True)(x, SIGMA).abs().max()) <= 1


def test_autoguidance_by_itself_changes_nothing(x):
    """Catches weights that do not add up to 1."""
    denoise = TwoClasses()
    guided = AutoGuided(denoise, denoise, COND, 3.0)(x, SIGMA)
    torch.testing.assert_close(guided, denoise(x, SIGMA, COND), rtol=0, atol=1e-12)


# -- an interval of levels


def test_guidance_in_an_interval(x):
    """Catches an interval inside out, an end that is left out, and calls that are made and not needed."""
    denoise = TwoClasses()
    guided, plain = ClassifierFree(denoise, COND, NULL, 3.0), Conditioned(denoise, COND)
    limited = IntervalGuided(guided, plain, 0.5, 2.0)
    for level, inside in ((0.49, False), (0.5, True), (1.0, True), (2.0, True), (2.01, False)):
        sigma, before = torch.tensor(level, dtype=torch.float64), limited.calls
        expected = (guided if inside else plain)(x, sigma)
        torch.testing.assert_close(limited(x, sigma), expected, rtol=0, atol=0)
        assert limited.calls - before == (2 if inside else 1)
    each = torch.tensor([0.1, 0.6, 1.0, 5.0, 2.0], dtype=torch.float64)
    rows = torch.where((each >= 0.5)[:, None] & (each <= 2)[:, None], guided(x, each), plain(x, each))
    torch.testing.assert_close(limited(x, each), rows, rtol=0, atol=0)


def test_an_interval_of_all_levels_is_plain_guidance():
    """Catches a level of a sampler's walk that is missed."""
    denoise = TwoClasses()
    guided = ClassifierFree(denoise, COND, NULL, 2.0)
    start = denoise.prior_std * Noise(5, seed=3).randn((2,))
    sigmas = grids.karras(denoise, 9)
    whole = IntervalGuided(guided, Conditioned(denoise, COND), 0.0, float("inf"))
    drawn, expected = (heun(d, start, sigmas, noise=Noise(5)) for d in (whole, guided))
    assert torch.equal(drawn, expected)
