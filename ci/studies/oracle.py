"""What metrics say where the truth is known: samples of an oracle itself, and of laws at a known distance.

Run from the checkout, with the weights package installed:

    python ci/studies/oracle.py --data oracle-digits

All samples are new draws of the oracle, other ones for each repeat.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import EvalConfig
from zoo_core.data.loading import Dataset, to_unit
from zoo_eval.extractors.classifiers import Classifier, digits
from zoo_eval.metrics.frechet import cell, limit_cell
from zoo_eval.metrics.memorization import Reference, held_out_ratios, neighbors
from zoo_eval.metrics.prdc import prdc
from zoo_eval.metrics.truth import divergence, plausibility
from zoo_eval.verdicts import EXCESS
from zoo_oracle.dataset import OracleConfig, load

NOISE = (0.01, 0.1, 0.5)
"""Parts of uniform noise in a mixture with the truth."""
KEPT = 5
"""Classes that a model with missing classes has."""


class World:
    """An oracle, its data and their features.

    Args:
        name: of the dataset.
    """

    def __init__(self, name: str) -> None:
        self.data: Dataset = load(OracleConfig(name=name))
        density: Any = self.data.density
        self.oracle = density.oracle
        self.extractor = digits(EvalConfig(), "cpu")
        self.classifier = Classifier("digits-classifier", "cpu")
        self.train = self.features(self.data.train.x)
        self.seed = 5_000_000
        self.true = self.oracle.log_prob(self.data.test.x[:2000])

    @property
    def dims(self) -> int:
        """Values of an image."""
        return self.data.info.dims

    @property
    def levels(self) -> int:
        """Levels of a value."""
        assert self.data.info.levels is not None
        return self.data.info.levels

    def features(self, rows: Tensor) -> Tensor:
        """Return the features of images, (n, d) float64."""
        return torch.cat([self.extractor(part, self.data.info)[0] for part in rows.split(1000)]).double()

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Return images that were not drawn before, and their classes."""
        self.seed += 1
        rows, label = self.oracle.draw(n, self.seed)
        assert label is not None
        return rows, label

    def noise(self, n: int) -> Tensor:
        """Return images of independent uniform levels."""
        self.seed += 1
        rng = torch.Generator().manual_seed(self.seed)
        shape = self.data.info.shape
        return torch.randint(self.levels, (n, *shape), generator=rng).to(torch.uint8)


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    """Print a table."""
    print(f"| {' | '.join(head)} |\n| {' | '.join('---' for _ in head)} |")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print(flush=True)


def with_noise(world: World, log_p: Tensor, part: float) -> Tensor:
    """Return log q of q = (1 - e) p + e u, u the uniform law of images."""
    uniform = math.log(part) - world.dims * math.log(world.levels)
    return torch.logaddexp(math.log1p(-part) + log_p, log_p.new_tensor(uniform))


def mixtures(world: World, n: int, repeats: int) -> Iterator[Sequence[str]]:
    """Yield KL(p || (1 - e) p + e u), which is -log(1 - e) but for images that noise could be."""
    log_p = world.oracle.log_prob(world.draw(n * repeats)[0]).split(n)
    for part in NOISE:
        found = [divergence(one, with_noise(world, one, part), bound=False, dims=world.dims) for one in log_p]
        values = torch.tensor([one.value for one in found])
        expected = -math.log1p(-part)
        yield f"{part:g}", f"{expected:.6f}", f"{float(values.mean()):.6f}", f"{float(values.max()):.6f}"


def reweighted(world: World, n: int, repeats: int) -> Iterator[Sequence[str]]:
    """Yield KL of the oracle to itself with other class frequencies, beside the KL of the frequencies."""
    p = world.oracle.frequencies
    for name, factor in (("up to 2 times", 2.0), ("up to 10 times", 10.0)):
        q = p * torch.logspace(-1, 1, len(p), base=factor, dtype=torch.float64)
        q = q / q.sum()
        rows, _ = world.draw(n)
        x, recipe = to_unit(rows, world.levels), world.oracle.run.recipe
        with world.oracle.run.inference(), torch.no_grad():
            given = torch.stack([recipe.log_prob(x, torch.full((n,), y)).double() for y in range(len(p))], 1)
        log_p, log_q = ((given + prior.log()).logsumexp(1) for prior in (p, q))
        found = divergence(log_p, log_q, bound=False, dims=world.dims)
        expected = float((p * (p / q).log()).sum())
        yield name, f"{expected:.4f}", f"{found.value:.4f}", f"{found.standard_error or 0:.4f}"


def coverage(world: World, n: int, repeats: int) -> Iterator[Sequence[str]]:
    """Yield how often 95 % intervals of a divergence hold it, for a law that errs in both directions."""
    rows, _ = world.draw(n * repeats)
    log_p = world.oracle.log_prob(rows)
    inks = rows.flatten(1).double().mean(1) / world.levels
    log_q = log_p + 2 * (inks - inks.mean()) - 0.3  # more ink is likelier; its constant does not matter here
    exact = float((log_p - log_q).mean())
    held = 0
    for one, two in zip(log_p.split(n), log_q.split(n), strict=True):
        found = divergence(one, two, bound=False, dims=world.dims)
        held += abs(found.value - exact) <= 1.96 * (found.standard_error or 0)
    yield f"{n:,}", f"{repeats}", f"{100 * held / repeats:.1f} %"


def likelihoods_of_samples(world: World, n: int, repeats: int) -> Iterator[Sequence[str]]:
    """Yield what samples of some laws look like under the truth, and what recall and classes say of them."""
    rows, _ = world.draw(n)
    kept, _ = world.draw(4 * n)
    seen = world.classifier(kept, world.data.info)
    kept = kept[seen < KEPT]
    by_likelihood = world.oracle.log_prob(kept).sort()
    of_truth = world.oracle.log_prob(rows)
    place = torch.searchsorted(by_likelihood.values, of_truth).clamp_max_(len(kept) - 1)
    noisy = rows.clone()
    noisy[: n // 10] = world.noise(n // 10)
    sharpened = rows[of_truth > of_truth.median()].repeat(2, 1, 1, 1)
    cases = {
        "the truth": rows,
        "10 % uniform noise": noisy,
        "the likelier half, twice": sharpened,
        f"{KEPT} classes with the truth's law of log p": kept[by_likelihood.indices[place]],
    }
    for name, images in cases.items():
        found = plausibility(world.oracle.log_prob(images), world.true, world.dims)
        near = prdc(world.train[:n], world.features(images)[:n])
        classes = world.classifier(images, world.data.info).bincount(minlength=10)
        there = int((classes >= 0.01 * len(images)).sum())
        cells = (found["sample bits"].value, found["implausible"].value, near["recall"])
        yield name, *(f"{one:.3f}" for one in cells), f"{there}"


def distances(world: World, n: int, repeats: int) -> Iterator[Sequence[str]]:
    """Yield FD and FD-inf of samples of the truth: the right value of both is 0."""
    for size in (n // 4, n, 5 * n):
        plain, limits, held = [], [], []
        for _ in range(repeats):
            fake = world.features(world.draw(size)[0])
            plain.append(cell(world.train, fake).value)
            limit: Any = limit_cell(world.train, fake)
            if hasattr(limit, "value"):
                limits.append(limit.value)
                if limit.interval is not None:
                    held.append(limit.interval.low <= 0 <= limit.interval.high)
        share = f"{sum(held)} of {len(held)}" if held else "-"
        mean = f"{torch.tensor(limits).mean():.4f}" if limits else "-"
        yield f"{size:,}", f"{torch.tensor(plain).mean():.4f}", mean, share


def copies(world: World, n: int, repeats: int) -> Iterator[Sequence[str]]:
    """Yield how often samples with a part of copies are called memorization."""
    train, test = world.data.train.take(torch.arange(n)), world.data.test.take(torch.arange(n))
    reference = Reference(train, test, held_out_ratios(train, test, n))
    for part in (0.0, 0.02, 0.1):
        excess = []
        for _ in range(repeats):
            rows, _ = world.draw(n)
            rows[: int(part * n)] = train.x[: int(part * n)]
            excess.append(neighbors(rows, reference).closeness.excess)
        found = torch.tensor(excess)
        called = int((found > EXCESS).sum())
        yield (
            f"{part:.0%}",
            f"{float(found.mean()):+.4f}",
            f"{float(found.max()):+.4f}",
            f"{called} of {repeats}",
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="oracle-digits")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    world, n, repeats = World(given.data), given.n, given.repeats
    print(f"{given.data}, {n:,} samples, {repeats} repeats; KL in nats\n")
    table(("part of noise", "-log(1 - e)", "mean KL", "largest KL"), mixtures(world, n // 4, repeats))
    table(("class frequencies", "their KL", "KL", "standard error"), reweighted(world, n, repeats))
    table(("n", "repeats", "intervals that hold the KL"), coverage(world, n // 10, 10 * repeats))
    head = ("samples", "sample bits", "implausible", "recall", "classes")
    table(head, likelihoods_of_samples(world, n, repeats))
    table(("n", "mean FD", "mean FD-inf", "intervals that hold 0"), distances(world, n, repeats))
    table(("copies", "mean excess", "largest excess", "called memorization"), copies(world, n, repeats))


if __name__ == "__main__":
    main()
