"""VDM: the bound in closed form, by quadrature and beside exact likelihoods; the schedule's part in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.making import batch, context, made_of
from zoo_core.diffusion.likelihood import step_kl
from zoo_core.diffusion.samplers import posterior_std
from zoo_core.errors import UsageError
from zoo_core.interfaces import spreads_of
from zoo_core.seeds import Seeds, generator
from zoo_core.types import Cond, DataInfo, SampleRequest
from zoo_ddpm.log_snr import LogSNR
from zoo_ddpm.vdm import (
    VDM,
    VDMConfig,
    chain_terms,
    diffusion_term,
    prior_term,
    reconstruction_term,
    terms_of,
)
from zoo_eval.metrics.likelihood import flow_denoiser

DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
MOONS = DataInfo("moons", (2,), levels=None)
WORLD = DataInfo("pixels", (1, 1, 2), levels=3)
LOW, HIGH = -2.0, 3.0


def recipe(data=DIGITS, **options):
    return made_of(VDM, VDMConfig, data, **options).eval()


# -- quadrature


def hermite(dims: int, count: int) -> tuple[Tensor, Tensor]:
    """Return points (count^dims, dims) and weights of an expectation over N(0, I)."""
    node, weight = np.polynomial.hermite_e.hermegauss(count)
    weight = weight / weight.sum()
    points = torch.tensor(list(itertools.product(node, repeat=dims)))
    weights = torch.tensor(list(itertools.product(weight, repeat=dims))).prod(1)
    return points, weights


def legendre(pieces: int, count: int) -> tuple[Tensor, Tensor]:
    """Return points in [0, 1] and weights of an integral, exact for polynomials in each of equal pieces."""
    node, weight = np.polynomial.legendre.leggauss(count)
    starts = torch.arange(pieces).double()[:, None]
    points = (starts + torch.tensor((node + 1) / 2)) / pieces
    return points.flatten(), torch.tensor(weight / 2 / pieces).repeat(pieces)


def schedule(seed: int | None = None, *, low: float = LOW, high: float = HIGH, pieces: int = 4) -> LogSNR:
    """Return a schedule: a line, or, with a seed, uneven pieces."""
    made = LogSNR(low, high, pieces=1 if seed is None else pieces).double()
    if seed is not None:
        made.pieces.data = torch.randn(pieces, generator=generator(seed), dtype=torch.float64)
    return made.requires_grad_(False)


def mean_term(net, x0: Tensor, gamma: Tensor, weight: Tensor, count: int = 24) -> Tensor:
    """Return E_eps of `diffusion_term` for each x0 (n, D) and the sum over times (m,) of it, (n,) nats."""
    eps, p = hermite(x0.shape[1], count)
    n, m, k = len(x0), len(gamma), len(eps)
    rows = [values.expand(n, m, k, -1).flatten(0, 2) for values in (x0[:, None, None], eps[None, None])]
    g, w = (values[None, :, None].expand(n, m, k).flatten() for values in (gamma, weight))
    found = diffusion_term(net, rows[0], g, w, rows[1]).unflatten(0, (n, m, k))
    return (found @ p).sum(1)


def continuous(net, x0: Tensor, made: LogSNR, count: int = 24) -> Tensor:
    """Return L in continuous time for each x0, (n,) nats."""
    u, p = legendre(max(4, len(made.pieces)), 16)
    gamma, slope = terms_of(made, *made.shape(u))
    return mean_term(net, x0, gamma, slope * p, count)


def stepwise(net, x0: Tensor, made: LogSNR, steps: int, count: int = 24) -> Tensor:
    """Return the sum of the T terms of a chain for each x0, (n,) nats."""
    gamma, weight = chain_terms(made, (torch.arange(steps).double() + 0.5) / steps, steps)
    return mean_term(net, x0, gamma, weight / steps, count)


def eps_net(guess: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return the network eps^ of a guess at x0 from (x0 + sigma / alpha eps, SNR)."""

    def net(z: Tensor, gamma: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = ((torch.sigmoid(sign * gamma)).sqrt()[:, None] for sign in (-1, 1))
        return (z - alpha * guess(z / alpha, torch.exp(-gamma)[:, None])) / sigma

    return net


STATES = torch.tensor([[a, b] for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)]).double()
"""All images of 2 pixels of 3 levels."""
LAW = torch.tensor([0.3, 0.02, 0.1, 0.05, 0.13, 0.08, 0.04, 0.03, 0.25]).double()
"""Their probabilities; the pixels are dependent."""


def posterior_mean(y: Tensor, snr: Tensor) -> Tensor:
    """Return E[x0 | x0 + eps / sqrt(SNR) = y] of LAW."""
    energy = LAW.log() - snr * torch.cdist(y, STATES).square() / 2
    return energy.softmax(1) @ STATES


def crooked(y: Tensor, snr: Tensor) -> Tensor:
    """Return a guess that is wrong and mixes the pixels."""
    return torch.tanh(1.3 * y * snr / (1 + snr) + 0.3 * y.flip(1) - 0.2)


exact_net, wrong_net = eps_net(posterior_mean), eps_net(crooked)


# -- the schedule's part in the bound


@pytest.mark.parametrize("net", [exact_net, wrong_net], ids=["exact", "wrong"])
def test_the_continuous_bound_depends_on_the_ends_alone(net):
    """Catches a slope that is not gamma's, and a network that is told the time in place of gamma."""
    x0 = STATES[[0, 5]]
    expected = continuous(net, x0, schedule())
    for seed in (0, 1):
        torch.testing.assert_close(continuous(net, x0, schedule(seed)), expected, rtol=0, atol=1e-6)
    moved = continuous(net, x0, schedule(high=HIGH + 1))
    assert float((moved - expected).abs().min()) > 1e-3


def test_the_bound_of_steps_depends_on_the_schedule_and_tends_to_the_continuous_one():
    """Catches expm1 of the wrong sign: the difference is O(1 / T), and from above."""
    x0, line, bent = STATES[[0, 5]], schedule(), schedule(0)
    limit = LAW[[0, 5]] @ continuous(exact_net, x0, line)
    gaps = [float(LAW[[0, 5]] @ stepwise(exact_net, x0, line, steps) - limit) for steps in (4, 16, 64, 256)]
    assert all(gap > 0 for gap in gaps)
    assert all(4.5 > a / b > 3 for a, b in itertools.pairwise(gaps[1:]))
    assert gaps[-1] < 0.01
    other = float(LAW[[0, 5]] @ stepwise(exact_net, x0, bent, 4) - limit)
    assert abs(other - gaps[0]) > 0.01


def test_a_term_of_steps_is_the_divergence_of_the_step():
    """Against the KL of two normals in sigma-space; catches a term at the wrong end of its step."""
    made, steps = schedule(0), 5
    u = torch.tensor([0.1, 0.5, 0.9]).double()
    x0 = STATES[[0, 4, 5]]
    eps = torch.randn(x0.shape, generator=generator(1), dtype=torch.float64)
    gamma, weight = chain_terms(made, u, steps)
    t, s = (((u * steps).floor() + part) / steps for part in (1, 0))
    t, s = ((made.gamma(at) / 2).exp()[:, None] for at in (t, s))  # sigma / alpha
    guess = crooked(x0 + t * eps, t**-2)
    expected = step_kl(x0, guess, t, s, posterior_std(t, s)).sum(1)
    torch.testing.assert_close(diffusion_term(wrong_net, x0, gamma, weight / steps, eps), expected)


def test_the_bound_is_the_same_for_both_outputs_of_the_network():
    """A network that says v^ = (eps^ - sigma z) / alpha; catches a wrong sign or factor of v."""
    x0, gamma = STATES, torch.linspace(-3, 4, len(STATES)).double()
    eps = torch.randn(x0.shape, generator=generator(1), dtype=torch.float64)
    weight = torch.full_like(gamma, 2.5)

    def of_v(z, gamma, cond):
        alpha, sigma = torch.sigmoid(-gamma).sqrt()[:, None], torch.sigmoid(gamma).sqrt()[:, None]
        return (wrong_net(z, gamma, cond) - sigma * z) / alpha

    expected = diffusion_term(wrong_net, x0, gamma, weight, eps)
    torch.testing.assert_close(diffusion_term(of_v, x0, gamma, weight, eps, prediction="v"), expected)


def test_the_denoiser_reads_what_the_network_is_trained_to_say():
    """x0 from the sampler's denoiser and from the loss agree; catches an option that reaches one of them."""
    x0 = torch.linspace(-1, 1, 4 * 64).reshape(4, 1, 8, 8)
    eps = torch.randn(x0.shape, generator=generator(2))
    for kind in ("eps", "v"):
        made = recipe(**{"model.prediction": kind, "model.clip_x0": False})
        with torch.no_grad():
            for parameter in made.net.parameters():
                parameter.add_(0.05)  # a network that is zero at first says the same of everything
            u = torch.full((4,), 0.4)
            sigma = (made.schedule.gamma(u[:1]) / 2).exp().to(x0)
            guess = made.denoiser()(x0 + sigma * eps, sigma.expand(4))
            _, weight = terms_of(made.schedule, *made.schedule.shape(u))
            error = (guess - x0).square().flatten(1).sum(1) / sigma**2  # of eps
            torch.testing.assert_close(made.diffusion(x0, u, eps), weight * error / 2, rtol=1e-3, atol=1e-3)


def test_the_schedule_is_monotone_between_its_ends():
    """Catches a slope that is not the derivative, and pieces that do not meet."""
    made = schedule(0, pieces=5)
    u = torch.linspace(0, 1, 1001).double()
    gamma = made.gamma(u)
    torch.testing.assert_close(gamma[[0, -1]], torch.tensor([LOW, HIGH]).double(), rtol=0, atol=1e-6)
    assert bool((gamma.diff() > 0).all())
    inner = u[1:-1:7]
    (slope,) = torch.autograd.grad(made.gamma(at := inner.clone().requires_grad_()).sum(), at)
    torch.testing.assert_close(terms_of(made, *made.shape(inner))[1], slope)
    ratio = torch.tensor([0.1, 1.0, 7.0]).double()
    t = made.t_of(ratio)
    torch.testing.assert_close(made.sigma(t) / made.alpha(t), ratio)
    torch.testing.assert_close(made.alpha(t), made.alpha_of(ratio))
    assert made.ratio_max == pytest.approx(math.exp(HIGH / 2), rel=1e-6)
    assert made.ratio_min == pytest.approx(math.exp(LOW / 2), rel=1e-6)
    with pytest.raises(UsageError, match="gamma_min < gamma_max"):
        LogSNR(1.0, 1.0)


# -- closed forms


@pytest.mark.parametrize("var", [0.25, 2.0])
def test_the_bound_of_gaussian_data_in_closed_form(var):
    """Catches 1/2 that is lost: E L = 1/2 log((1 + v SNR_0) / (1 + v SNR_1)) for x ~ N(0, v)."""
    net = eps_net(lambda y, snr: var * snr / (1 + var * snr) * y)
    points, p = hermite(1, 12)
    found = float(p @ continuous(net, var**0.5 * points, schedule(1)))
    snr = [math.exp(-LOW), math.exp(-HIGH)]
    assert found == pytest.approx(math.log((1 + var * snr[0]) / (1 + var * snr[1])) / 2, abs=1e-6)


def test_the_prior_term_is_the_divergence():
    gamma = torch.tensor(1.3).double()
    x0 = torch.tensor([[0.7, -1.0], [0.0, 0.2]]).double()
    q = torch.distributions.Normal(torch.sigmoid(-gamma).sqrt() * x0, torch.sigmoid(gamma).sqrt())
    p = torch.distributions.Normal(torch.zeros(2).double(), torch.ones(2).double())
    torch.testing.assert_close(prior_term(x0, gamma), torch.distributions.kl_divergence(q, p).sum(1))


@pytest.mark.parametrize("gamma", [-9.0, -3.0, 0.5])
@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_the_reconstruction_is_a_law_over_all_levels(levels, gamma):
    """Against the sum over all levels; catches a window that is too narrow, and levels beyond the ends."""
    rng = generator(levels)
    own = torch.randint(levels, (200,), generator=rng)
    eps = 2 * torch.randn(200, 1, generator=rng).double()
    every = torch.linspace(-1, 1, levels, dtype=torch.float64)
    x0 = every[own][:, None]
    y = x0 + math.exp(gamma / 2) * eps
    log_p = (-(y - every).square() / (2 * math.exp(gamma))).log_softmax(1)
    expected = -log_p.gather(1, own[:, None])[:, 0]
    found = reconstruction_term(x0, eps, torch.tensor(gamma).double(), levels)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


# -- a world of 9 images


def reconstruction(x0: Tensor, gamma: float) -> Tensor:
    """Return E of the reconstruction's term for each x0, (n,) nats."""
    eps, p = hermite(2, 40)
    rows = x0[:, None].expand(-1, len(eps), -1).flatten(0, 1)
    term = reconstruction_term(rows, eps.repeat(len(x0), 1), torch.tensor(gamma).double(), 3)
    return term.unflatten(0, (len(x0), -1)) @ p


def whole(net, made: LogSNR, steps: int = 0, count: int = 24) -> Tensor:
    """Return the bound of each of the 9 images, (9,) nats."""
    low, high = made.gamma(torch.tensor([0.0, 1.0]).double())
    middle = stepwise(net, STATES, made, steps, 40) if steps else continuous(net, STATES, made, count)
    return prior_term(STATES, high) + reconstruction(STATES, float(low)) + middle


def test_the_bound_is_at_least_the_entropy_and_tends_to_it():
    """Of the exact network, as the ends of the schedule widen; a wrong network's is above."""
    entropy = -float(LAW @ LAW.log())
    near, far = (float(LAW @ whole(exact_net, schedule(0, low=low, high=high, pieces=5), count=16))
                 for low, high in ((-1.0, 2.0), (-5.0, 9.0)))  # fmt: skip
    assert entropy < far < near
    assert far == pytest.approx(entropy, abs=2e-3)
    assert float(LAW @ whole(wrong_net, schedule())) > near


@pytest.mark.parametrize("net", [exact_net, wrong_net], ids=["exact", "wrong"])
def test_the_bound_is_above_the_exact_likelihood_of_each_image(net):
    """The chain of one step, whose likelihood is an integral over z_1 and z_0; the sum over images is 1."""
    made = schedule(low=-1.0, high=2.0)
    low, high = made.gamma(torch.tensor([0.0, 1.0]).double())
    one, p_one = hermite(2, 30)  # z_1
    two, p_two = hermite(2, 30)
    alpha, sigma = torch.sigmoid(-low).sqrt(), torch.sigmoid(low).sqrt()
    alpha_1, sigma_1 = torch.sigmoid(-high).sqrt(), torch.sigmoid(high).sqrt()
    guess = (one - sigma_1 * net(one, high.expand(len(one)))) / alpha_1
    step = -torch.expm1(low - high)  # sigma_{1|0}^2 / sigma_1^2
    mean = alpha / alpha_1 * (1 - step) * one + alpha * step * guess
    z = mean[:, None] + sigma * step.sqrt() * two
    energy = -(z[..., None, :] / alpha - STATES).square().sum(-1) / (2 * low.exp())
    p = torch.einsum("i,j,ijk->k", p_one, p_two, energy.softmax(-1))
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)
    assert bool((whole(net, made, 1) > -p.log()).all())


# -- the recipe


class Analytic(nn.Module):
    """The exact network of WORLD under LAW, with a weight that does nothing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, z, gamma, cond=None):
        return exact_net(z.flatten(1).double(), gamma.double()).view_as(z) + self.weight


NARROW = {"model.mult": (1,), "model.gamma_min": -1.5, "model.gamma_max": 4.0}


def world(**options):
    made = recipe(WORLD, **{**NARROW, "model.bound_terms": 4} | options)
    made.net = Analytic()
    return made


def drawn_images(n: int, seed: int = 0) -> Tensor:
    rows = torch.multinomial(LAW, n, replacement=True, generator=generator(seed))
    return STATES[rows].view(n, 1, 1, 2)


@pytest.mark.parametrize(("steps", "terms"), [(0, 1), (0, 4), (3, 2)])
def test_the_estimate_and_the_loss_are_the_bound(steps, terms):
    """Catches a biased stratum, a wrong weight of a term, and nats for bits."""
    made = world(**{"model.T": steps, "model.bound_terms": terms})
    lines = schedule(low=-1.5, high=4.0)
    expected = float(LAW @ whole(exact_net, lines, steps))
    x = drawn_images(6000)
    (found,) = made.likelihoods(x, noise=Seeds(0, range(len(x))), k=1)
    name = f"vlb-{steps}" if steps else "elbo"
    assert (found.name, found.calls, found.is_bound) == (name, terms, True)
    error = float(found.log_prob.std()) / math.sqrt(len(x))
    assert -float(found.log_prob.mean()) == pytest.approx(expected, abs=4.5 * error)
    loss = made.loss(batch(x), context()).loss
    assert float(loss.detach()) == pytest.approx(expected / (2 * math.log(2)), abs=0.05)
    log = made.loss(batch(x), context()).log
    parts = sum(float(log[name]) for name in ("prior", "reconstruction", "diffusion"))
    assert parts == pytest.approx(float(log["loss"]), abs=1e-5)


def test_the_shape_lowers_the_square_and_the_ends_the_bound():
    """Against autograd of both objectives; catches a factor that reaches the ends or the network."""
    made = world()
    made.schedule.pieces.data = torch.randn(32, generator=generator(2)) / 2
    x, u = drawn_images(50), torch.linspace(0.01, 0.98, 50).double()
    eps = torch.randn(x.shape, generator=generator(3), dtype=torch.float64)
    parameters = [made.schedule.low, made.schedule.log_span, made.schedule.pieces, made.net.weight]
    found = torch.autograd.grad(made.diffusion(x, u, eps).mean(), parameters)
    plain = diffusion_term(made.net, x, *terms_of(made.schedule, *made.schedule.shape(u)), eps)
    of_bound = torch.autograd.grad(plain.mean(), parameters, retain_graph=True)
    (of_square,) = torch.autograd.grad(plain.square().mean(), [made.schedule.pieces])
    for i in (0, 1, 3):
        torch.testing.assert_close(found[i], of_bound[i])
    torch.testing.assert_close(found[2], of_square / (2 * math.log(2)))
    steps = world(**{"model.T": 5})
    steps.schedule.load_state_dict(made.schedule.state_dict())
    (own,) = torch.autograd.grad(steps.diffusion(x, u, eps).mean(), [steps.schedule.pieces])
    plain = diffusion_term(steps.net, x, *chain_terms(steps.schedule, u, 5), eps)
    torch.testing.assert_close(own, torch.autograd.grad(plain.mean(), [steps.schedule.pieces])[0])


def test_training_the_shape_lowers_the_variance_and_keeps_the_bound():
    """The ends held, 300 steps of Adam; the mean moves by less than its error."""
    made = world()
    optimizer = torch.optim.Adam([made.schedule.pieces], 0.05)
    x, rng = drawn_images(4000, 1), generator(5)

    def estimates(seed):
        own = generator(seed)
        u = torch.rand(len(x), generator=own, dtype=torch.float64)
        eps = torch.randn(x.shape, generator=own, dtype=torch.float64)
        return made.diffusion(x, u, eps).detach()

    before = estimates(7)
    for _ in range(300):
        rows = torch.randint(len(x), (256,), generator=rng)
        u = torch.rand(256, generator=rng, dtype=torch.float64)
        eps = torch.randn(256, 1, 1, 2, generator=rng, dtype=torch.float64)
        optimizer.zero_grad()
        made.diffusion(x[rows], u, eps).mean().backward()
        optimizer.step()
    after = estimates(7)
    assert float(after.var()) < 0.8 * float(before.var())
    error = math.sqrt((float(before.var()) + float(after.var())) / len(x))
    assert float(after.mean()) == pytest.approx(float(before.mean()), abs=4 * error)


def test_options_of_the_schedule():
    """Catches an option that nothing reads: what is trained, and where the schedule starts."""
    trained = {
        kind: {name for name, _ in recipe(**{"model.schedule": kind}).schedule.named_parameters()}
        for kind in ("learned", "ends", "fixed")
    }
    assert trained == {"learned": {"low", "log_span", "pieces"}, "ends": {"low", "log_span"}, "fixed": set()}
    made = recipe()
    assert made.schedule.low.item() == pytest.approx(-2 * math.log(48))
    assert made.schedule.gamma(torch.ones(())).item() == pytest.approx(5.0)
    moved = recipe(**{"model.gamma_min": -4.0, "model.gamma_max": 3.0}).schedule
    assert moved.gamma(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([-4.0, 3.0])
    for kind in ("learned", "fixed"):
        (stage,) = recipe(**{"model.schedule": kind}).stages()
        assert len(stage.phases[0].updates) == (2 if kind == "learned" else 1)


def test_samples_and_capabilities():
    """Catches a start at another noise level than the schedule's end, and a flow of bare levels."""
    made = recipe()
    drawn = made.sample(SampleRequest(Seeds(0, range(3)), steps=4))
    assert drawn.x.shape == (3, 1, 8, 8)
    assert float(drawn.x.abs().max()) <= 1
    denoise = made.denoiser()
    assert denoise.sigma_max == pytest.approx(math.exp(2.5))
    assert denoise.prior_std == pytest.approx(math.sqrt(1 + math.exp(5.0)))
    assert spreads_of(made) is False
    assert flow_denoiser(made, DIGITS) is None
    (found,) = made.likelihoods(torch.zeros(2, 1, 8, 8), noise=Seeds(0, range(2)), k=1)
    assert "8 stratified times" in found.note


def test_points_are_refused():
    with pytest.raises(UsageError, match="pixel levels"):
        recipe(MOONS)
