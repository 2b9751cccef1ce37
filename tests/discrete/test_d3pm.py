"""D3PM: the bound by enumeration of all paths, the samples' law, points on a grid, refusals."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.discrete.worlds import agrees, everything, frequencies_agree, images, made, tabulated
from tests.making import made_of
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds, generator
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest
from zoo_discrete.d3pm import D3PM, D3PMConfig
from zoo_discrete.transitions import between
from zoo_discrete.values import Cells, values_of

KINDS = ("uniform", "absorbing", "gaussian")
SHAPE, LEVELS, T = (1, 1, 2), 3, 3


def small(kind: str, **options: object) -> Any:
    """Return a model of 2 pixels of 3 levels and a chain of 3 steps."""
    return tabulated(made("d3pm", SHAPE, LEVELS, **{"model.transition": kind, "model.T": T, **options}), T)


def reverse(recipe: D3PM, t: int, s: int) -> Tensor:
    """Return p(x_s | x_t) of all pairs of states, (states of x_t, states of x_s), by Eq. 4 value by value."""
    states = recipe.prior.shape[0]
    every = everything(states, 2)
    with torch.no_grad():
        law = recipe.logits(every, torch.full((len(every),), t)).softmax(-1)
    forward = between(recipe.single, s, t)
    found = torch.zeros(len(every), len(every), dtype=torch.float64)
    for row, x_t in enumerate(every.tolist()):
        parts = []
        for d in range(2):
            joint = torch.zeros(states, dtype=torch.float64)
            for x_s, x0 in itertools.product(range(states), range(LEVELS)):
                q = recipe.cumulative[s, x0, x_s] * forward[x_s, x_t[d]]
                joint[x_s] += q * law[row, d, x0]
            # A value that no step leaves visible at T has no law; its row is not reached from the prior.
            parts.append(joint / joint.sum().clamp_min(1e-300))
        found[row] = (parts[0][:, None] * parts[1]).flatten()
    return found


def pair(matrix: Tensor) -> Tensor:
    """Return the transition matrix of two independent values."""
    return torch.kron(matrix.contiguous(), matrix.contiguous())


def by_paths(recipe: D3PM) -> tuple[Tensor, Tensor]:
    """Return (log p(x_0), bound) in nats of the 9 images, each by the sum over all paths x_1, x_2, x_3."""
    states = recipe.prior.shape[0]
    every = everything(states, 2)
    data = everything(LEVELS, 2)
    place = {tuple(x): i for i, x in enumerate(every.tolist())}
    backward = {t: reverse(recipe, t, t - 1).tolist() for t in range(1, T + 1)}
    forward = [pair(step).tolist() for step in recipe.single]
    prior = pair(recipe.prior[None])[0].tolist()
    log_p, bound = [], []
    for x0 in data.tolist():
        evidence, lower = 0.0, 0.0
        for path in itertools.product(range(len(every)), repeat=T):
            nodes = (place[tuple(x0)], *path)
            q = math.prod(forward[t - 1][nodes[t - 1]][nodes[t]] for t in range(1, T + 1))
            p = prior[nodes[T]]
            p *= math.prod(backward[t][nodes[t]][nodes[t - 1]] for t in range(1, T + 1))
            evidence += p
            if q > 0:
                lower += q * math.log(p / q)
        log_p.append(math.log(evidence))
        bound.append(lower)
    return torch.tensor(log_p, dtype=torch.float64), torch.tensor(bound, dtype=torch.float64)


def by_terms(recipe: D3PM, x0: Tensor) -> Tensor:
    """Return the bound as the sum of the model's own terms, each expected over all x_t, (n,) nats."""
    states = recipe.prior.shape[0]
    every = everything(states, x0.shape[1])
    total = -recipe.prior_term(x0)
    with torch.no_grad():
        for t in range(1, recipe.config.model.T + 1):
            times = torch.full((len(every),), t)
            logits = recipe.logits(every, times)
            for row, one in enumerate(x0):
                q = recipe.cumulative[t][one[None], every].prod(1)
                seen = q > 0
                own = one.expand(int(seen.sum()), -1)
                term = recipe.term(own, every[seen], times[seen], logits[seen])
                total[row] -= (q[seen] * term).sum()
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_that_of_all_paths_and_below_the_likelihood(kind: str) -> None:
    """Catches a term that is missing or counted twice, Bayes' rule upside down, and a transposed matrix."""
    recipe = small(kind)
    log_p, bound = by_paths(recipe)
    torch.testing.assert_close(by_terms(recipe, everything(LEVELS, 2)), bound, rtol=1e-9, atol=1e-9)
    assert bool((bound < log_p).all())
    total = float(log_p.exp().sum())
    assert total == pytest.approx(1, abs=1e-9)  # for a mask too: at t = 1 the reverse step leaves none
    assert float(log_p.max() - log_p.min()) > 0.5  # the world is uneven enough to see a mistake


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("terms", [T, 2])
def test_the_estimate_of_the_bound_is_unbiased(kind: str, terms: int) -> None:
    """The mean over 2,000 streams of noise; catches a stratum's wrong weight and a wrong law of x_t."""
    recipe = small(kind, **{"model.vlb_terms": terms})
    x0 = torch.tensor([[0, 2]])
    expected = float(by_terms(recipe, x0))
    x = images(x0, SHAPE, LEVELS).expand(2000, *SHAPE)
    (found,) = recipe.likelihoods(x, noise=Seeds(0, range(len(x))), k=1)
    assert found.is_bound
    assert (found.kind, found.k, found.calls) == ("vlb", T, terms)
    assert kind in found.note
    assert agrees(found.log_prob, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_training_loss_is_the_bound_in_bits(kind: str) -> None:
    """Over 60 batches; catches a factor T that is missing, nats for bits, and a loss per example."""
    recipe = small(kind, **{"model.auxiliary": 0.0})
    x0 = torch.tensor([[0, 2], [1, 1]])
    expected = -float((by_terms(recipe, x0) + recipe.prior_term(x0)).mean()) / (2 * math.log(2))
    x = images(x0.repeat(100, 1), SHAPE, LEVELS)
    batch = Batch(x, Cond(), torch.arange(len(x)))
    context = Context(0, 0.0, 0, generator(0, kind))
    with torch.no_grad():
        losses = torch.stack([recipe.loss(batch, context).loss for _ in range(60)])
    assert agrees(losses, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_auxiliary_loss_is_of_the_posterior_of_the_reverse_step(kind: str) -> None:
    """A reverse step is the mean of q(x_{t-1} | x_t, x_0) over r(x_0 | x_t), whose cross-entropy is added.

    Catches a cross-entropy of p~ alone, which has another optimum than the bound.
    """
    recipe = small(kind, **{"model.T": 2, "model.auxiliary": 1.0})
    every = everything(recipe.prior.shape[0], 2)
    t = torch.full((len(every),), 2)
    with torch.no_grad():
        logits = recipe.logits(every, t)
    r = logits.softmax(-1) * recipe.evidence(every, t)
    r = r / r.sum(-1, keepdim=True).clamp_min(1e-300)
    mixed = torch.zeros(len(every), 2, recipe.prior.shape[0], dtype=torch.float64)
    for x0 in range(LEVELS):
        q = recipe.single[1].T[every] * recipe.cumulative[1, x0]
        mixed += r[..., x0, None] * q / q.sum(-1, keepdim=True).clamp_min(1e-300)
    joint = (mixed[:, 0, :, None] * mixed[:, 1, None]).flatten(1)
    torch.testing.assert_close(joint, reverse(recipe, 2, 1), rtol=1e-9, atol=1e-12)
    x0 = torch.tensor([[0, 2]])
    expected = 0.0
    for time in (1, 2):
        times = torch.full((len(every),), time)
        q = recipe.cumulative[time][x0, every].prod(1)
        with torch.no_grad():
            r = recipe.logits(every, times).softmax(-1) * recipe.evidence(every, times)
        own = (r / r.sum(-1, keepdim=True).clamp_min(1e-300)).gather(2, x0.expand(len(every), -1)[..., None])
        expected -= float(torch.xlogy(q, own.flatten(1).prod(1)).sum()) / 2 / (2 * math.log(2))
    x = images(x0, SHAPE, LEVELS).expand(200, *SHAPE)
    batch, context = Batch(x, Cond(), torch.arange(len(x))), Context(0, 0.0, 0, generator(0, kind))
    with torch.no_grad():
        losses = [recipe.loss(batch, context) for _ in range(60)]
    assert agrees(torch.stack([one.log["cross_entropy"] for one in losses]), expected)
    one = losses[0]
    assert float(one.loss) == pytest.approx(float(one.log["bound"] + one.log["cross_entropy"]))


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_two_correlated_bits_cost_one_bit_and_1_over_T(steps: int) -> None:
    """Absorbing, with the best factorized network: both bits cost a bit each if one step reveals both.

    Catches a schedule that does not absorb uniformly over the steps.
    """
    recipe = made("d3pm", (1, 1, 2), 2, **{"model.transition": "absorbing", "model.T": steps})

    def best(x: Tensor, t: Tensor) -> Tensor:
        other = x.flip(1)[..., None]
        return torch.where(other == torch.arange(2), 200.0, 0.0).double()

    recipe.logits = best
    bits = -by_terms(recipe, torch.tensor([[0, 0], [1, 1]])) / math.log(2)
    assert bits.tolist() == pytest.approx([1 + 1 / steps] * 2, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("steps", "times"), [(None, [3, 2, 1, 0]), (2, [3, 2, 0]), (1, [3, 0])])
def test_samples_have_the_law_of_the_reverse_chain(kind: str, steps: int | None, times: list[int]) -> None:
    """9 images among 5,000 samples, within 4 standard errors, for the whole chain and for fewer steps."""
    recipe = small(kind)
    assert recipe.times(steps) == times
    law = pair(recipe.prior[None])[0]
    for t, s in itertools.pairwise(times):
        law = law @ reverse(recipe, t, s)
    with torch.no_grad():
        drawn = recipe.sample(SampleRequest(Seeds(0, range(5_000)), steps=steps))
    assert drawn.calls == len(times) - 1
    every = everything(recipe.prior.shape[0], 2)
    assert frequencies_agree(recipe.encode_flat(drawn.x), every, law)


# -- points


def grid() -> Cells:
    """Return a grid of 6 cells per axis from -1 to 2 and from 0 to 3."""
    cells = Cells(2, 6)
    cells.low.copy_(torch.tensor([-1.0, 0.0]))
    cells.width.fill_(0.5)
    return cells


def test_the_density_of_points_in_their_cells_integrates_to_one() -> None:
    """By cell, on a fine grid that reaches 20 cells beyond; catches a missing width and a wrong tail."""
    cells = grid()
    step = 0.01
    x = torch.arange(-11, 12, step, dtype=torch.float64) + step / 2
    at = torch.stack((x, torch.full_like(x, 0.7)), 1)
    other = -math.log(0.5)  # log-density of the second axis, in an inner cell
    mass = torch.zeros(6, dtype=torch.float64)
    mass.index_add_(0, cells.encode(at)[:, 0], (cells.log_density(at) - other).exp() * step)
    assert mass.tolist() == pytest.approx([1.0] * 6, abs=1e-3)


def test_points_of_a_cell_have_its_density() -> None:
    """The mean and the end of each cell from evenly spaced u; an outer cell's mean is a width beyond."""
    cells = grid()
    u = (torch.arange(4000) + 0.5) / 4000
    for k, mean in ((0, -1.0), (1, -0.25), (4, 1.25), (5, 2.0)):
        level = torch.full((4000, 2), k)
        x = cells.points(level, u[:, None].expand(-1, 2))
        assert bool((cells.encode(x) == level).all())
        assert float(x[:, 0].mean()) == pytest.approx(mean, abs=0.01)


def test_the_grid_spans_the_training_data() -> None:
    """The extreme points are at the ends of the inner cells."""

    class Points:
        seed, device = 0, "cpu"
        x = torch.tensor([[-1.0, 3.0], [1.0, 5.0], [0.0, 4.0]])

        def __len__(self) -> int:
            return 3

        def batch(self, rows: Tensor) -> Batch:
            return Batch(self.x[rows], Cond(), rows)

    cells = Cells(2, 6)
    cells.fit(Points())  # type: ignore[arg-type]
    assert cells.width.tolist() == pytest.approx([0.5, 0.5])
    assert cells.low.tolist() == pytest.approx([-1.5, 2.5])
    assert cells.encode(torch.tensor([[-0.99, 3.01], [0.99, 4.99]])).tolist() == [[1, 1], [4, 4]]


def test_the_bound_of_points_is_that_of_their_cells_and_the_density_in_them() -> None:
    options = {"model.T": 3, "model.grid": 8, "model.width": 8}
    recipe = made_of(D3PM, D3PMConfig, DataInfo("points", (2,), levels=None), "", **options).eval()
    x = torch.tensor([[0.1, -0.3], [5.0, 0.0]]).double()
    (found,) = recipe.likelihoods(x, noise=Seeds(0, range(2)), k=1)
    wide = Seeds(0, range(2))
    recipe.values.width.mul_(2)
    recipe.values.low.mul_(2)
    (wider,) = recipe.likelihoods(2 * x, noise=wide, k=1)
    torch.testing.assert_close(found.log_prob - wider.log_prob, torch.full((2,), 2 * math.log(2)).double())
    assert "grid of 8 levels per axis" in found.note


def test_what_can_not_be_modeled_is_refused_before_training() -> None:
    with pytest.raises(UsageError, match="plugin=d3pm"):
        values_of("mdlm", DataInfo("ring", (2,), levels=None), 0)
    with pytest.raises(UsageError, match="at most 4,096"):
        values_of("d3pm", DataInfo("photographs", (3, 64, 64), levels=256), 64)
    with pytest.raises(UsageError, match=r"sample\.steps=9 and the chain has 4 steps"):
        made("d3pm", (1, 2, 2), 3, **{"model.T": 4, "sample.steps": 9})
