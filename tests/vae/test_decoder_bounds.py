"""Every decoder's log-probability and its gradient at outputs that only a diverging network gives."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from zoo_core.nn.bounding import bounded
from zoo_vae.bounds import LOG_VAR_MAX, LOG_VAR_MIN, gaussian_kl, mean_and_log_var
from zoo_vae.decoders import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    OutputDistribution,
)

LEVELS = (2, 3, 17, 256)
DTYPES = (torch.float32, torch.bfloat16)
EXTREME = (0.0, 1.0, -1.0, -7.0, 7.1, -90.0, 89.0, 104.0, 1e4, -1e4, 1e20, -1e20, 3e38, -3e38)
"""Outputs: exp overflows float32 at 89 and vanishes at -104."""


def centers(levels: int) -> Tensor:
    return (2 * torch.arange(levels, dtype=torch.float64) / (levels - 1) - 1).float()


def every_output(count: int, dtype: torch.dtype) -> Tensor:
    """Return each combination of extreme outputs for one value, (n, count, 1)."""
    values = EXTREME if count <= 2 else EXTREME[::3]
    return torch.tensor(list(itertools.product(values, repeat=count)), dtype=dtype)[:, :, None]


def assert_finite(output: OutputDistribution, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return log p of every x (L,) under every extreme output, (n, L), after checking it and its gradient."""
    out = every_output(output.outputs, dtype).expand(-1, -1, len(x)).clone().requires_grad_()
    log_prob = output.log_prob(x.expand(len(out), -1), out)
    assert bool(torch.isfinite(log_prob).all())
    total = log_prob.sum()
    assert bool(torch.isfinite(total))
    (gradient,) = torch.autograd.grad(total, out)
    assert bool(torch.isfinite(gradient).all())
    assert bool(torch.isfinite(output.mean(out.detach())).all())
    return log_prob.detach().double()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("components", [1, 2])
def test_the_logistic_is_finite_and_sums_to_one(components: int, levels: int, dtype: torch.dtype) -> None:
    """Catches log(0) where the scale is huge: its inverse vanishes in float32 from a log-scale of 104 on."""
    log_prob = assert_finite(DiscretizedLogistic(levels, components), centers(levels), dtype)
    torch.testing.assert_close(
        log_prob.exp().sum(1), torch.ones(len(log_prob), dtype=torch.float64), rtol=0, atol=3e-4
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels", LEVELS)
def test_the_continuous_bernoulli_is_finite_and_sums_to_one(levels: int, dtype: torch.dtype) -> None:
    log_prob = assert_finite(ContinuousBernoulli(levels), centers(levels), dtype)
    torch.testing.assert_close(
        log_prob.exp().sum(1), torch.ones(len(log_prob), dtype=torch.float64), rtol=0, atol=3e-4
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bernoulli_is_finite_and_sums_to_one(dtype: torch.dtype) -> None:
    log_prob = assert_finite(Bernoulli(), centers(2), dtype)
    torch.testing.assert_close(log_prob.exp().sum(1), torch.ones(len(log_prob), dtype=torch.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("std", [None, 1e-4, 1.0])
def test_the_gaussian_is_finite(std: float | None, dtype: torch.dtype) -> None:
    """Catches a square or a precision that overflows."""
    assert_finite(Gaussian(std), torch.tensor([-3.0, 0.0, 1e3]), dtype)


def test_a_decoder_in_bfloat16_is_evaluated_in_float32() -> None:
    """Catches log-masses of three digits under autocast."""
    out = torch.randn(64, 5, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    x = centers(256)[torch.tensor([[0, 100, 255]])].expand(64, -1)
    output = DiscretizedLogistic(256, 2)
    assert output.log_prob(x, out).dtype == torch.float32
    torch.testing.assert_close(output.log_prob(x, out), output.log_prob(x, out.float()))


def test_bounds_do_not_move_what_lies_inside() -> None:
    x = torch.linspace(-3, 3, 13, requires_grad=True)
    (gradient,) = torch.autograd.grad((bounded(x, -3, 3) * 2).sum(), x)
    assert torch.equal(bounded(x, -3, 3), x)
    assert torch.equal(gradient, torch.full_like(x, 2))


def test_gradient_descent_leads_back_inside_the_bounds_and_no_further_out() -> None:
    """Catches `clamp`, outside of which nothing has a gradient, so that an output never returns."""
    x = torch.tensor([-5.0, -5.0, 5.0, 5.0], requires_grad=True)
    push = torch.tensor([-1.0, 1.0, 1.0, -1.0])  # descent moves against it: in, out, in, out
    (gradient,) = torch.autograd.grad((bounded(x, -1, 1) * push).sum(), x)
    assert bounded(x, -1, 1).tolist() == [-1, -1, 1, 1]
    assert gradient.tolist() == [-1, 0, 1, 0]


def test_a_posterior_has_a_finite_kl_at_any_log_variance() -> None:
    out = torch.tensor(EXTREME)[:, None]
    mean, log_var = mean_and_log_var(torch.cat((torch.zeros_like(out), out), 1).requires_grad_())
    kl = gaussian_kl(mean, log_var)
    assert bool(torch.isfinite(kl).all())
    assert float(log_var.detach().min()) == LOG_VAR_MIN
    assert float(log_var.detach().max()) == LOG_VAR_MAX
