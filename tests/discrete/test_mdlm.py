"""MDLM: its bound is the mean over all orders, by enumeration; samples, caching."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.discrete.worlds import (
    agrees,
    by_masks,
    by_orders,
    everything,
    frequencies_agree,
    images,
    log_prob,
    made,
    tabulated,
)
from zoo_core.seeds import Seeds, generator
from zoo_core.types import Batch, Cond, Context, SampleRequest
from zoo_discrete.mdlm import MDLM, hidden_by_order, reveal_steps
from zoo_discrete.recipe import strata

SHAPE, LEVELS, D = (1, 1, 3), 3, 3


def world(**options: object) -> MDLM:
    """Return a model of 3 pixels of 3 levels."""
    recipe: MDLM = tabulated(made("mdlm", SHAPE, LEVELS, **options), 0)
    return recipe


def by_time(recipe: MDLM, x: Tensor) -> Tensor:
    """Return the continuous-time bound (Eq. 10), (n,) nats: quadrature over t, and a sum over all masks."""
    node, weight = np.polynomial.legendre.leggauss(8)
    total = torch.zeros(len(x), dtype=torch.float64)
    for mask in itertools.product((False, True), repeat=D):
        hidden = torch.tensor(mask)
        m = sum(mask)
        if not m:
            continue
        with torch.no_grad():
            law = recipe.log_probs(x.masked_fill(hidden, LEVELS)).gather(2, x[..., None])[..., 0]
        own = (law * hidden).sum(1)
        for t, w in zip((node + 1) / 2, weight / 2, strict=True):
            total += w * t**m * (1 - t) ** (D - m) / t * own
    return total


def test_the_continuous_time_bound_is_the_mean_over_all_orders() -> None:
    """The paper's integral, the orders, and the model's own terms over all masks, for all 27 images.

    Catches a mask that a visible value can be drawn as, a weight other than 1 / t, and a network that depends
    on the number of steps taken.
    """
    recipe = world()
    x = everything(LEVELS, D)
    orders = by_orders(recipe, x)
    expected = orders.mean(0)
    assert float((orders.std(0)).min()) > 1e-3  # the network's orders differ
    torch.testing.assert_close(by_time(recipe, x), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(by_masks(recipe, x), expected, rtol=1e-9, atol=1e-9)


def test_the_bound_is_below_the_likelihood_which_sums_to_one() -> None:
    recipe = world()
    orders = by_orders(recipe, everything(LEVELS, D))
    log_p = orders.logsumexp(0) - math.log(6)
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-9)
    assert bool((orders.mean(0) < log_p).all())


@pytest.mark.parametrize("terms", [D, 2])
def test_the_estimate_of_the_bound_is_unbiased(terms: int) -> None:
    """The mean over 2,000 streams of noise; catches a wrong weight of a term and a biased order."""
    recipe = world(**{"model.bound_terms": terms})
    x = torch.tensor([[0, 2, 1]])
    expected = float(by_orders(recipe, x).mean())
    many = images(x, SHAPE, LEVELS).expand(2000, *SHAPE)
    (found,) = recipe.likelihoods(many, noise=Seeds(0, range(2000)), k=1)
    assert found.is_bound
    assert (found.kind, found.calls) == ("elbo", terms)
    assert agrees(found.log_prob, expected)


def test_the_training_loss_is_the_bound_in_bits() -> None:
    """Over 60 batches of two images; catches nats for bits, and numbers of hidden values that are uneven."""
    recipe = world()
    x = torch.tensor([[0, 2, 1], [1, 1, 0]])
    expected = -float(by_orders(recipe, x).mean()) / (D * math.log(2))
    rows = x[torch.randint(2, (500,), generator=generator(1))]
    batch = Batch(images(rows, SHAPE, LEVELS), Cond(), torch.arange(500))
    losses = []
    context = Context(0, 0.0, 0, generator(0))
    with torch.no_grad():
        for _ in range(60):
            rows = x[torch.randint(2, (500,), generator=context.rng)]
            batch = Batch(images(rows, SHAPE, LEVELS), Cond(), torch.arange(500))
            losses.append(recipe.loss(batch, context).loss)
    assert agrees(torch.stack(losses), expected)


def test_samples_have_the_law_of_all_orders() -> None:
    """27 images among 5,000 samples, one value at a time, within 4 standard errors."""
    recipe = world()
    every = everything(LEVELS, D)
    p = by_orders(recipe, every).exp().mean(0)
    with torch.no_grad():
        drawn = recipe.sample(SampleRequest(Seeds(0, range(5_000))))
    assert drawn.calls == D
    assert frequencies_agree(recipe.encode_flat(drawn.x), every, p)


@pytest.mark.parametrize("steps", [1, 2])
def test_samples_in_few_steps_have_the_law_of_ancestral_steps(steps: int) -> None:
    """Each value is revealed in one of equal steps, together with the others of its step, independently.

    The mean over all assignments of values to steps; catches values that a step sees too early, and a cached
    output that is used after the state has changed.
    """
    recipe = world()
    table = 2 * torch.randn(4**D, D, LEVELS, generator=generator(3), dtype=torch.float64)
    recipe.logits = lambda k, t, cond=None: table[(k * torch.tensor([16, 4, 1])).sum(1)]  # type: ignore[method-assign]
    every = everything(LEVELS, D)
    found = []
    for when in itertools.product(range(steps), repeat=D):
        groups = [tuple(i for i in range(D) if when[i] == step) for step in range(steps)]
        found.append(log_prob(recipe, every, [group for group in groups if group]).exp())
    with torch.no_grad():
        drawn = recipe.sample(SampleRequest(Seeds(0, range(20_000)), steps=steps))
    assert frequencies_agree(recipe.encode_flat(drawn.x), every, torch.stack(found).mean(0))


def test_steps_that_draw_nothing_are_not_evaluated() -> None:
    """1,000 steps of 3 values take 3 evaluations at most, and change nothing but the moments of the draws."""
    recipe = made("mdlm", SHAPE, LEVELS)
    calls = 0

    def count(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal calls
        calls += len(inputs[0])

    recipe.net.register_forward_pre_hook(count)
    with torch.no_grad():
        many = recipe.sample(SampleRequest(Seeds(0, range(50)), steps=10**6))
    assert many.calls == D
    assert calls == 50 * D
    with torch.no_grad():
        one = recipe.sample(SampleRequest(Seeds(0, range(50))))
    torch.testing.assert_close(many.x, one.x)  # in the same order: the limit of ever more steps


def test_a_random_order_hides_its_last_values() -> None:
    order = torch.tensor([[0.3, 0.1, 0.9], [0.3, 0.1, 0.9]])
    hidden = hidden_by_order(order, torch.tensor([1, 2]))
    assert hidden.tolist() == [[False, False, True], [True, False, True]]


def test_values_are_revealed_in_equal_steps_or_one_at_a_time() -> None:
    u = torch.tensor([[0.0, 0.49, 0.5, 0.99]])
    assert reveal_steps(u, 2).tolist() == [[0, 0, 1, 1]]
    assert reveal_steps(u.flip(1), None).tolist() == [[3, 2, 1, 0]]


def test_strata_cover_their_range_evenly() -> None:
    """Over u and all parts, each of 1..7 is expected 3 / 7 times; with as many parts as integers, once."""
    u = (torch.arange(7000) + 0.5) / 7000
    counts = sum(torch.bincount(strata(u, torch.full((7000,), part), 3, 7), minlength=8) for part in range(3))
    assert isinstance(counts, Tensor)
    assert counts[1:].tolist() == pytest.approx([3000] * 7, abs=2)
    each = [int(strata(torch.tensor([0.99]), torch.tensor([part]), 7, 7)) for part in range(7)]
    assert each == [1, 2, 3, 4, 5, 6, 7]
