"""Transition matrices of discrete diffusion: products, stationary laws, draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from zoo_core.seeds import generator
from zoo_discrete.transitions import CHAINS, Transition, between, categorical, gaussian_betas, gaussian_step

KINDS: tuple[Transition, ...] = ("uniform", "absorbing", "gaussian")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("levels", "steps"), [(2, 3), (5, 7), (17, 64)])
def test_cumulative_matrices_are_products_of_single_ones(kind: Transition, levels: int, steps: int) -> None:
    """numpy's float64 products; catches a schedule that is off by one step, and a wrong closed form."""
    chain = CHAINS[kind](levels, steps)
    product = np.eye(chain.states)
    np.testing.assert_array_equal(chain.cumulative[0], product)
    for single, cumulative in zip(chain.single.numpy(), chain.cumulative[1:], strict=True):
        product = product @ single
        np.testing.assert_allclose(cumulative, product, rtol=0, atol=1e-13)
    assert chain.steps == steps


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_laws_and_the_prior_is_stationary(kind: Transition) -> None:
    chain = CHAINS[kind](17, 64)
    assert float(chain.single.min()) >= 0
    ones = torch.ones(64, chain.states, dtype=torch.float64)
    torch.testing.assert_close(chain.single.sum(2), ones, rtol=0, atol=1e-13)
    torch.testing.assert_close(chain.prior @ chain.single, chain.prior.expand(64, -1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_uniform_and_gaussian_steps_are_doubly_stochastic(kind: Transition) -> None:
    """Catches normalization by the truncated sum of each row, whose stationary law is not uniform."""
    chain = CHAINS[kind](17, 64)
    ones = torch.ones(64, 17, dtype=torch.float64)
    torch.testing.assert_close(chain.single.sum(1), ones, rtol=0, atol=1e-13)
    assert chain.prior.tolist() == pytest.approx([1 / 17] * 17)


@pytest.mark.parametrize("beta", [0.002, 0.3, 5.0])
def test_a_gaussian_step_follows_its_formula(beta: float) -> None:
    """Each entry in plain arithmetic, with the diagonal as what is left of one."""
    levels = 6
    found = gaussian_step(levels, beta)

    def weight(n: int) -> float:
        return math.exp(-4 * n * n / ((levels - 1) ** 2 * beta))

    total = sum(weight(n) for n in range(1 - levels, levels))
    for i in range(levels):
        others = {j: weight(i - j) / total for j in range(levels) if j != i}
        for j, expected in others.items():
            assert float(found[i, j]) == pytest.approx(expected, rel=1e-12)
        assert float(found[i, i]) == pytest.approx(1 - sum(others.values()), rel=1e-12)


def test_gaussian_betas_are_linear_and_forget_the_data() -> None:
    """The law at T is uniform to one percent, for few levels and for many."""
    for levels in (2, 3, 17, 64):
        betas = gaussian_betas(levels, 64)
        assert float(betas[-1] / betas[0]) == pytest.approx(200)
        torch.testing.assert_close(betas.diff(), betas.diff()[:1].expand(63), rtol=1e-9, atol=0)
        end = CHAINS["gaussian"](levels, 64).cumulative[-1]
        assert 0.009 < float((end * levels - 1).abs().max()) <= 0.0101


@pytest.mark.parametrize("kind", ["uniform", "absorbing"])
def test_closed_chains_forget_the_data_exactly(kind: Transition) -> None:
    chain = CHAINS[kind](5, 9)
    torch.testing.assert_close(chain.cumulative[-1], chain.prior.expand(chain.states, -1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("s", "t"), [(0, 1), (2, 7), (0, 9), (8, 9)])
def test_steps_over_several_times_compose(kind: Transition, s: int, t: int) -> None:
    """Chapman and Kolmogorov: q(x_t | x_0) is q(x_s | x_0) times q(x_t | x_s)."""
    chain = CHAINS[kind](5, 9)
    product = chain.cumulative[s] @ between(chain.single, s, t)
    torch.testing.assert_close(product, chain.cumulative[t], rtol=0, atol=1e-13)


def test_draws_have_the_probabilities_of_their_weights() -> None:
    """Unnormalized weights; states of weight 0 at both ends are not drawn, even at the ends of u."""
    weight = torch.tensor([0.0, 3.0, 0.0, 1.0, 0.0])
    n = 40_000
    u = torch.rand(n, generator=generator(0, "draws"))
    counts = torch.bincount(categorical(weight.expand(n, 5), u), minlength=5)
    assert counts[[0, 2, 4]].tolist() == [0, 0, 0]
    assert abs(int(counts[1]) - 0.75 * n) < 4 * math.sqrt(n * 0.75 * 0.25)
    ends = torch.tensor([0.0, 1 - 2**-24])
    assert categorical(weight.expand(2, 5), ends).tolist() == [1, 3]
