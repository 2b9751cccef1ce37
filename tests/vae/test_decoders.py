"""Decoders as likelihoods: against other implementations, and as distributions that add up to one."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import logistic as scipy_logistic
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli
from torch.distributions import Normal

from zoo_core.data.loading import quantize, to_unit
from zoo_core.errors import UsageError
from zoo_core.nn.logistic import logistic_log_prob
from zoo_core.seeds import Seeds, generator
from zoo_vae.decoders import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    OutputDistribution,
    bernoulli_log_prob,
    check_levels,
    continuous_bernoulli_log_prob,
    continuous_bernoulli_mean,
    gaussian_log_prob,
)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "decoders"), dtype=torch.float64)


def centers(levels: int) -> Tensor:
    """Return all level centers, float64."""
    return 2 * torch.arange(levels, dtype=torch.float64) / (levels - 1) - 1


def test_bernoulli_is_torchs() -> None:
    """Catches -1 and 1 swapped, probabilities taken for logits, and an overflow at large logits."""
    logits = randn(500) * 20
    for x in (-1.0, 1.0):
        ours = bernoulli_log_prob(torch.full_like(logits, x), logits)
        theirs = TorchBernoulli(logits=logits).log_prob(torch.full_like(logits, (x + 1) / 2))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_continuous_bernoulli_is_torchs() -> None:
    """Catches cross-entropy taken for a density: the constant that depends on the logits, at 0 too."""
    logits = torch.cat((randn(500) * 6, torch.tensor([0.0, 1e-9, -0.3, 0.59, 0.61, -30.0])))
    u = torch.rand(506, generator=generator(2, "u"), dtype=torch.float64)
    theirs = TorchContinuousBernoulli(logits=logits, lims=(0.499999, 0.500001))
    torch.testing.assert_close(
        continuous_bernoulli_log_prob(u, logits), theirs.log_prob(u), rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(continuous_bernoulli_mean(logits), theirs.mean, rtol=1e-6, atol=1e-6)
    line = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    for one in (0.0, 0.7, -12.0):
        mass = torch.trapezoid(continuous_bernoulli_log_prob(line, torch.tensor(one).double()).exp(), line)
        assert float(mass) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_levels_mass_is_the_continuous_bernoullis_over_its_bin(levels: int) -> None:
    """Catches a density at the bin's center taken for its mass, and bins that don't tile [0, 1]."""
    logits = torch.cat((randn(40) * 6, torch.zeros(1, dtype=torch.float64), torch.tensor([300.0, -300.0])))
    x = centers(levels)[:, None].expand(levels, 43)
    output = ContinuousBernoulli(levels)
    log_mass = output.log_prob(x, logits.expand(levels, 43)[:, None])
    ones = torch.ones(43, dtype=torch.float64)
    torch.testing.assert_close(log_mass.exp().sum(0), ones, rtol=1e-12, atol=0)
    law = TorchContinuousBernoulli(logits=logits[:40], lims=(0.499999, 0.500001))
    edges = torch.arange(levels + 1, dtype=torch.float64)[:, None] / levels
    between = law.cdf(edges.expand(levels + 1, 40)).diff(dim=0)
    torch.testing.assert_close(log_mass[:, :40].exp(), between, rtol=1e-6, atol=1e-9)
    mean = (log_mass.exp() * x).sum(0)
    torch.testing.assert_close(output.mean(logits[None, None])[0], mean, rtol=1e-9, atol=1e-9)
    grad = torch.autograd.functional.jacobian(
        lambda at: output.log_prob(x, at.expand(levels, 43)[:, None]).sum(), logits
    )
    assert bool(torch.isfinite(grad).all())


def test_gaussian_is_torchs() -> None:
    """Catches a flipped sign (E11), the missing log 2 pi, and a log-variance taken for a log-std (E14)."""
    x, mean, log_var = randn(3, 500)
    torch.testing.assert_close(
        gaussian_log_prob(x, mean, log_var), Normal(mean, torch.exp(log_var / 2)).log_prob(x)
    )
    at_mean = gaussian_log_prob(torch.zeros(3), torch.zeros(3), torch.zeros(3)).sum()
    assert float(at_mean) == pytest.approx(-3 / 2 * math.log(2 * math.pi))


def test_a_fixed_and_a_learned_std_mean_the_same() -> None:
    """Catches a factor 2 between std and log-variance in one of the two."""
    x, mean = randn(2, 4, 1, 2, 3)
    learned = torch.stack((mean, torch.full_like(mean, math.log(0.3))), 1)
    fixed = Gaussian(std=0.3).log_prob(x, mean[:, None])
    torch.testing.assert_close(Gaussian().log_prob(x, learned), fixed)
    torch.testing.assert_close(fixed, Normal(mean, 0.3).log_prob(x))


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_discretized_logistic_is_a_difference_of_cdfs(levels: int) -> None:
    """Catches a wrong half-width, outer bins without their tails, and lost digits, by scipy's CDF."""
    x = centers(levels)[:, None]
    mean, log_scale = randn(1, 40) * 0.8, randn(1, 40, seed=1) - 2
    half = 1 / (levels - 1)
    cdf = scipy_logistic(loc=mean.numpy(), scale=log_scale.exp().numpy()).cdf
    upper, lower = torch.from_numpy(cdf((x + half).numpy())), torch.from_numpy(cdf((x - half).numpy()))
    upper[-1], lower[0] = 1, 0
    ours = logistic_log_prob(x, mean, log_scale, levels)
    torch.testing.assert_close(ours.exp(), upper - lower, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("components", [1, 3])
def test_the_masses_add_up_to_one(levels: int, components: int) -> None:
    """Catches tails left out and weights that are no probabilities, also for means outside [-1, 1]."""
    output = DiscretizedLogistic(levels, components)
    out = randn(1, output.outputs, 50) * 2
    log_prob = output.log_prob(centers(levels)[:, None].expand(levels, 50), out.expand(levels, -1, -1))
    torch.testing.assert_close(log_prob.exp().sum(0), torch.ones(50, dtype=torch.float64), rtol=1e-12, atol=0)


def test_far_tails_stay_finite_in_float32() -> None:
    """Catches log(0) and a gradient of NaN where a level is very far from a very narrow logistic."""
    x = centers(17).float()
    for mean in (-50.0, 0.0, 50.0):
        for log_scale in (-200.0, -7.0, 30.0):
            out = torch.tensor([mean, log_scale]).view(1, 2, 1).expand(17, 2, 1).clone().requires_grad_()
            log_prob = DiscretizedLogistic(17).log_prob(x[:, None], out)
            (grad,) = torch.autograd.grad(log_prob.sum(), out)
            assert torch.isfinite(log_prob).all()
            assert torch.isfinite(grad).all()


def test_the_mixture_is_the_sum_over_its_components() -> None:
    """Catches weights that meet another component's mean, against a loop in plain probabilities."""
    k, levels = 3, 17
    out = randn(4, 3 * k - 1, 1, 2, 2)
    x = to_unit(torch.randint(levels, (4, 1, 2, 2), generator=generator(1, "x")), levels).double()
    logits = torch.cat((out[:, 2 * k :], torch.zeros(4, 1, 1, 2, 2)), 1)
    weights = logits.exp() / logits.exp().sum(1, keepdim=True)
    total = sum(
        weights[:, j] * logistic_log_prob(x, out[:, j], out[:, k + j], levels).exp() for j in range(k)
    )
    torch.testing.assert_close(DiscretizedLogistic(levels, k).log_prob(x, out).exp(), total)


OUTPUTS: dict[str, OutputDistribution] = {
    "bernoulli": Bernoulli(),
    "continuous-bernoulli": ContinuousBernoulli(17),
    "gaussian": Gaussian(),
    "gaussian-fixed": Gaussian(0.5),
    "logistic": DiscretizedLogistic(17, 2),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_each_value_has_its_own_outputs(output: OutputDistribution) -> None:
    """Catches channels, rows and columns mixed up: one output moves the log-probability of one value."""
    shape = (3, 2, 5)
    out = randn(1, output.outputs, *shape).requires_grad_()
    x = torch.ones(1, *shape, dtype=torch.float64)
    (grad,) = torch.autograd.grad(output.log_prob(x, out)[0, 2, 1, 3], out)
    touched = grad[0].abs().sum(0)
    assert float(touched[2, 1, 3]) > 0
    assert int((touched > 0).sum()) == 1


@pytest.mark.parametrize(
    ("output", "levels"),
    [
        (Bernoulli(), 2),
        (ContinuousBernoulli(2), 2),
        (ContinuousBernoulli(17), 17),
        (DiscretizedLogistic(17, 3), 17),
    ],
    ids=["bernoulli", "continuous-2", "continuous-17", "logistic"],
)
def test_mean_and_draws_follow_the_masses(output: OutputDistribution, levels: int) -> None:
    """Catches a mean of locations instead of levels, and draws with other weights or scales than log_prob."""
    out = randn(1, output.outputs, 4, seed=3)
    x = centers(levels)
    mass = output.log_prob(x[:, None].expand(levels, 4), out.expand(levels, -1, -1)).exp()
    torch.testing.assert_close(output.mean(out)[0], (mass * x[:, None]).sum(0))
    n = 20_000
    drawn = quantize(output.sample(out.expand(n, -1, -1), Seeds(0, range(n))), levels).long()
    counts = torch.stack([torch.bincount(drawn[:, d], minlength=levels) for d in range(4)], 1)
    error = (mass * (1 - mass) / n).sqrt() + 1e-4
    assert float(((counts / n - mass) / error).abs().max()) < 4.5


def test_gaussian_draws_have_their_mean_and_std() -> None:
    """Catches a variance used as a standard deviation in a draw."""
    n, mean, std = 20_000, 0.7, 0.2
    out = torch.tensor([mean, math.log(std)]).view(1, 2, 1).expand(n, 2, 1)
    x = Gaussian().sample(out, Seeds(0, range(n)))
    assert abs(float(x.mean()) - mean) < 4.5 * std / math.sqrt(n)
    assert abs(float(x.std()) - std) < 4.5 * std / math.sqrt(2 * n)
    torch.testing.assert_close(Gaussian().mean(out), torch.full((n, 1), mean))


def test_values_between_levels_are_refused() -> None:
    """Catches a probability of levels that is asked for grays it has no mass for, as BCE on floats is."""
    check_levels(to_unit(torch.arange(17), 17), 17)
    with pytest.raises(UsageError, match="1 of 2 values lie between"):
        check_levels(torch.tensor([[0.5, -1.0]]), 2)
