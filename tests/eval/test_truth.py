"""Divergences from a known law of images: exact numbers of enumerated worlds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.eval.fakes import context, protocol
from zoo_core.data.loading import Resident
from zoo_core.registry.metrics import direction
from zoo_core.results import Value
from zoo_core.types import DataInfo, Likelihood
from zoo_eval.metrics.truth import divergence, log_likelihood_error, plausibility, truth

LEVELS, SHAPE = 3, (1, 2, 2)
IMAGES = torch.cartesian_prod(*(torch.arange(LEVELS),) * 4).reshape(-1, *SHAPE).to(torch.uint8)
"""Every image of 2x2 pixels and 3 levels."""
N = 20_000


def some_law(seed: int) -> Tensor:
    """Probabilities of all images."""
    return torch.randn(len(IMAGES), dtype=torch.float64, generator=generator(seed)).softmax(0)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(p: Tensor, seed: int, n: int = N) -> Tensor:
    return torch.multinomial(p, n, replacement=True, generator=generator(seed))


def kl(p: Tensor, q: Tensor) -> float:
    there = p > 0
    return float((p[there] * (p[there] / q[there]).log()).sum())


@pytest.mark.parametrize("e", [0.05, 0.5])
def test_divergence_is_the_enumerated_one_of_a_mixture_with_noise(e: float) -> None:
    """q = (1 - e) p + e u: the estimate is within its errors of the exact KL, which is below -log(1 - e)."""
    p = some_law(0)
    q = (1 - e) * p + e / len(IMAGES)
    exact, rows = kl(p, q), drawn(p, 1)
    found = divergence(p.log()[rows], q.log()[rows], bound=False, dims=4)
    assert 0 < exact <= -math.log(1 - e)
    assert found.standard_error is not None
    assert abs(found.value - exact) < 4 * found.standard_error
    assert found.standard_error < exact / 4  # so that the comparison says something
    assert found.bound == "exact"
    assert found.note == f"{found.value / (4 * math.log(2)):.4g} bits/dim"


def test_divergence_of_other_class_frequencies_is_that_of_the_frequencies() -> None:
    """Where classes do not overlap, p(y | x) is 0 or 1, and log p - log q is log pi_y - log pi'_y."""
    label = IMAGES.flatten(1)[:, 0].long()  # the class can be read off the first pixel
    within = some_law(2)
    within = within / torch.zeros(3, dtype=torch.float64).index_add_(0, label, within)[label]
    ours, theirs = (torch.tensor(w, dtype=torch.float64) for w in ((0.2, 0.3, 0.5), (0.5, 0.3, 0.2)))
    p, q = within * ours[label], within * theirs[label]
    rows = drawn(p, 3)
    found = divergence(p.log()[rows], q.log()[rows], bound=False, dims=4)
    expected = float((ours * (ours / theirs).log()).sum())
    assert kl(p, q) == pytest.approx(expected)
    assert found.standard_error is not None
    assert abs(found.value - expected) < 4 * found.standard_error


def test_intervals_of_the_divergence_hold_it() -> None:
    p, q = some_law(4), some_law(5)
    exact, held = kl(p, q), 0
    for seed in range(200):
        rows = drawn(p, seed, 500)
        found = divergence(p.log()[rows], q.log()[rows], bound=False, dims=4)
        assert found.standard_error is not None
        held += abs(found.value - exact) < 1.96 * found.standard_error
    assert 180 <= held <= 198


def test_errors_are_paired() -> None:
    """What both log-probabilities share cancels in the standard error of their difference."""
    p = some_law(6)
    rows = drawn(p, 7)
    same = divergence(p.log()[rows], p.log()[rows] - 0.5, bound=False, dims=4)
    assert same.value == pytest.approx(0.5)
    assert same.standard_error == pytest.approx(0, abs=1e-12)


def test_samples_of_the_truth_are_plausible() -> None:
    p = some_law(8)
    entropy = -float((p * p.log()).sum()) / (4 * math.log(2))
    found = plausibility(p.log()[drawn(p, 9)], p.log()[drawn(p, 10)], dims=4)
    bits = found["sample bits"]
    assert bits.standard_error is not None
    assert abs(bits.value - entropy) < 4 * bits.standard_error
    assert found["implausible"].value == pytest.approx(0.05, abs=0.02)


def test_noise_is_implausible() -> None:
    p = (6 * some_law(11).log()).softmax(0)  # most images are unlikely
    uniform = torch.full_like(p, 1 / len(p))
    found = plausibility(p.log()[drawn(uniform, 12)], p.log()[drawn(p, 13)], dims=4)
    own = plausibility(p.log()[drawn(p, 14)], p.log()[drawn(p, 13)], dims=4)
    assert found["implausible"].value > 0.5
    assert found["sample bits"].value > own["sample bits"].value + 1


def test_what_plausibility_does_not_see() -> None:
    """A model that leaves out classes, each with the same law of log p, looks like the truth itself."""
    one = some_law(15)[:27].softmax(0)
    p = one.repeat(3) / 3  # three classes of 27 images
    missing = torch.cat((one, torch.zeros(54, dtype=torch.float64)))
    found = plausibility(p.log()[drawn(missing, 16)], p.log()[drawn(p, 17)], dims=4)
    truth_of = plausibility(p.log()[drawn(p, 18)], p.log()[drawn(p, 17)], dims=4)
    for name in ("sample bits", "implausible"):
        assert found[name].value == pytest.approx(truth_of[name].value, abs=0.02)


# -- as registered metrics


def known(p: Tensor, kind: str = "exact") -> SimpleNamespace:
    """A context of data drawn from p, and a model whose likelihood is off by 0.25 nats an image."""
    place = 3 ** torch.arange(3, -1, -1)

    def log_prob(x: Tensor) -> Tensor:
        return p.log()[(x.flatten(1).long() * place).sum(1)]

    test = IMAGES[drawn(p, 19, 400)]
    data = SimpleNamespace(
        info=DataInfo("world", SHAPE, LEVELS),
        test=Resident(test),
        density=SimpleNamespace(log_prob=log_prob),
    )

    class Model:
        def likelihoods(self, x: Tensor, *, noise: object, k: int) -> list[Likelihood]:
            levels = (x + 1) * (LEVELS - 1) / 2
            return [Likelihood(log_prob(levels.round()) - 0.25, kind)]

    config = SimpleNamespace(eval=SimpleNamespace(batch_size=64, ode="never"), plugin="fake")
    return context(
        settings=protocol(likelihood_n=100),
        data=data,
        recipe=Model(),
        config=config,
        rows=IMAGES[drawn(p, 20, 300)],
    )


@pytest.mark.parametrize(("kind", "bound"), [("exact", "exact"), ("elbo", "upper")])
def test_the_columns_of_images_with_a_known_law(kind: str, bound: str) -> None:
    """KL is signed, in nats an image, and of a bound an upper one; the absolute difference is of points."""
    ctx = known(some_law(21), kind)
    found = log_likelihood_error(ctx)
    assert list(found) == [f"KL from truth[{kind}]"]
    value = found[f"KL from truth[{kind}]"]
    assert isinstance(value, Value)
    assert value.value == pytest.approx(0.25)
    assert (value.n, value.bound) == (100, bound)
    columns = truth(ctx)
    assert set(columns) == {"true density[bits_per_dim]", "sample bits", "implausible"}
    assert all(isinstance(one, Value) and one.n == 100 for one in columns.values())


def test_directions() -> None:
    """The divergence is ranked; what a model that leaves classes out can have is not."""
    assert direction("KL from truth[exact]") == "lower"
    assert direction("sample bits") == ""
    assert direction("implausible") == ""
