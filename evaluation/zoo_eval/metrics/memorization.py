"""Memorization: whether samples lie closer to training examples than new examples of the data do.

For every sample: its distance to the nearest training example over its distance to the nearest held-out one.
A flat, blurred or noisy image lies about as far from both; a copy does not. The ratios of new examples come
from the test split: each of its examples is compared with the training split and with the rest of the test
split. The comparison is that of Meehan et al. (2020, arXiv:2004.05675), example by example; it is made on
pixels and on features. Authenticity (Alaa et al. 2022, arXiv:2102.08921, section 4.3) is reported too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.data.loading import Dataset, Resident, Table, to_unit
from zoo_core.errors import UsageError
from zoo_core.interfaces import EvalContext
from zoo_core.results import NotApplicable, Value
from zoo_core.viz.image_grid import ImageGrid, draw_grids
from zoo_core.viz.plot import Plot
from zoo_eval.features import arithmetic_device
from zoo_eval.statistics.intervals import fraction

PERCENTILE = 0.05
"""Of the test split's ratios: a ratio below it is called close to the training split."""

_BLOCK = 512
_CANDIDATES = 4
VALUES = 8192 * 3072
"""Most values of a block of a split, as float32: fewer rows of larger images are compared at a time."""


@dataclass(frozen=True)
class Nearest:
    """The nearest example of a split.

    Attributes:
        distance: (n,) float64, root mean square over an example's values: in levels for images.
        index: (n,) int64, its row.
    """

    distance: Tensor
    index: Tensor


def nearest(
    x: Tensor,
    split: Table,
    *,
    own: Tensor | None = None,
    block: int = 8192,
    device: torch.device | str = "cpu",
) -> Nearest:
    """Return each example's nearest example of a split.

    Candidates are found in float32 and their distances computed in float64, so a copy is at exactly 0.

    Args:
        x: (n, *shape), integer levels, float points or features.
        split: its rows are read `block` at a time, fewer where they are large.
        own: (n,) for each example a row of the split that does not count, because it is the example itself.
        device: where distances are computed, if it has float64; the result is on the CPU.
    """
    device = arithmetic_device(device)
    flat = x.flatten(1).to(device)
    own = None if own is None else own.to(device)
    best = torch.full((len(flat),), torch.inf, dtype=torch.float64, device=device)
    place = torch.zeros(len(flat), dtype=torch.int64, device=device)
    width = max(1, flat.shape[1])
    at_once = min(_BLOCK, max(1, VALUES // (16 * width)))  # float64, of each of its candidates
    for index in torch.arange(len(split)).split(min(block, max(1, VALUES // width))):
        rows = split.examples(index).to(device).flatten(1)
        index = index.to(device)
        shift = rows[:1].float()
        near = rows.float() - shift
        norm = near.square().sum(1)
        for start in range(0, len(flat), at_once):
            these = slice(start, min(start + at_once, len(flat)))
            part = flat[these]
            rough = torch.addmm(norm, part.float() - shift, near.T, alpha=-2)
            candidates = rough.topk(min(_CANDIDATES, len(rows)), largest=False).indices
            exact = (part[:, None].double() - rows[candidates].double()).square().mean(2)
            if own is not None:
                exact.masked_fill_(index[candidates] == own[these, None], torch.inf)
            least, which = exact.min(1)
            closer = least < best[these]
            found = index[candidates.gather(1, which[:, None])[:, 0]]
            place[these] = torch.where(closer, found, place[these])
            best[these] = torch.minimum(best[these], least)
    return Nearest(best.sqrt().cpu(), place.cpu())


def ratios(to_train: Tensor, to_held_out: Tensor) -> Tensor:
    """Return distance to the training split over distance to held-out examples, (n,); 1 where both are 0."""
    neither = (to_train == 0) & (to_held_out == 0)
    return torch.where(neither, 1.0, to_train / to_held_out.clamp_min(torch.finfo(torch.float64).tiny))


@dataclass(frozen=True)
class Closeness:
    """How close samples are to the training split, in one space.

    Attributes:
        median_ratio: median ratio of samples over that of the test split; 0 for copies, about 1 for new
            examples of the same distribution.
        close: fraction of samples whose ratio is within the test split's lowest `PERCENTILE`.
        expected: that fraction of the test split itself: 0.05, more where it repeats training examples.
    """

    median_ratio: float
    close: float
    expected: float

    @property
    def excess(self) -> float:
        """Fraction of close samples beyond the expected one: about 0 for new examples, 0.95 for copies."""
        return self.close - self.expected


def compare_ratios(generated: Tensor, test: Tensor) -> Closeness:
    """Return how the ratios of samples compare with those of the test split.

    Args:
        generated, test: (n,) and (m,) ratios.

    Raises:
        UsageError: where a set is empty.
    """
    if not len(generated) or not len(test):
        raise UsageError(
            "no distances to compare for memorization", "expected: at least 1 sample and 1 test example"
        )
    limit = test.quantile(PERCENTILE, interpolation="lower")
    median = float(test.median())
    return Closeness(
        # A test split that mostly repeats the training split has median 0: the ratio then says nothing.
        median_ratio=float(generated.median()) / median if median > 0 else 1.0,
        close=float((generated <= limit).double().mean()),
        expected=float((test <= limit).double().mean()),
    )


@dataclass(frozen=True)
class Reference:
    """The splits of the data in one space, and the ratios of held-out examples.

    Attributes:
        train, test: the splits, as pixels or as features.
        held_out: (m,) ratios of test examples: to the training split over to the rest of the test split.
    """

    train: Table
    test: Table
    held_out: Tensor


def held_out_ratios(train: Table, test: Table, n: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the ratios of the first n test examples, each left out of the split that it is compared with."""
    own = torch.arange(min(n, len(test)))
    x = test.examples(own)
    to_train = nearest(x, train, device=device).distance
    return ratios(to_train, nearest(x, test, own=own, device=device).distance)


@dataclass(frozen=True)
class Neighbors:
    """Samples and their nearest real examples in one space.

    Attributes:
        train, test: the samples' nearest examples of each split.
        closeness: how the samples compare with new examples.
    """

    train: Nearest
    test: Nearest
    closeness: Closeness

    @property
    def ratio(self) -> Tensor:
        """(n,) of the samples."""
        return ratios(self.train.distance, self.test.distance)


def neighbors(
    x: Tensor, reference: Reference, device: torch.device | str = "cpu", to_train: Nearest | None = None
) -> Neighbors:
    """Return the nearest real examples of samples, (n, *shape), in one space.

    Args:
        to_train: of the training split, where they are known.
    """
    to_train = nearest(x, reference.train, device=device) if to_train is None else to_train
    to_test = nearest(x, reference.test, device=device)
    closeness = compare_ratios(ratios(to_train.distance, to_test.distance), reference.held_out)
    return Neighbors(to_train, to_test, closeness)


def authentic(found: Nearest, train: Table, device: torch.device | str = "cpu") -> Tensor:
    """Return which samples are authentic, (n,) bool: farther from their nearest training example than that is
    from its own nearest other one. Alaa et al. 2022, arXiv:2102.08921, Eq. 10.
    """
    rows, back = found.index.unique(return_inverse=True)
    return found.distance > nearest(train.examples(rows), train, own=rows, device=device).distance[back]


COLUMNS = 12
"""Samples of the plot of neighbors."""


def draw_neighbors(rows: Tensor, found: Neighbors, dataset: Dataset, subtitle: str = "") -> Plot | None:
    """Return the samples closest to the training split above their nearest training and held-out images.

    Args:
        rows: (n, C, H, W) integer levels.
        found: neighbors among the pixels.

    Returns:
        Three rows of at most `COLUMNS` images, closest to a copy first, with distances; None for points.
    """
    levels = dataset.info.levels
    if levels is None or not dataset.info.is_image:
        return None
    worst = found.ratio.argsort()[:COLUMNS]
    train, test = found.train, found.test
    shown = (
        rows[worst],
        dataset.train.examples(train.index[worst]).cpu(),
        dataset.test.examples(test.index[worst]).cpu(),
    )
    distances = [[f"{d:.2g}" for d in near.distance[worst].tolist()] for near in (train, test)]
    grid = ImageGrid(
        list(to_unit(torch.cat(shown), levels)),
        len(worst),
        row_labels=("sample", "nearest\ntraining image", "nearest\nheld-out image"),
        cell_labels=[
            *(f"{ratio:.2f}" for ratio in found.ratio[worst].tolist()),
            *distances[0],
            *distances[1],
        ],
    )
    note = (
        "Samples are sorted by the ratio below them, the closest to a copy first: distance to the nearest "
        "training image over distance to the nearest held-out image. Distances are root mean squares over "
        "pixels, in gray levels."
    )
    figure = draw_grids([grid], "Nearest neighbors of samples", subtitle, note)
    numbers = {
        "sample": worst,
        "training_row": train.index[worst],
        "training_distance": train.distance[worst],
        "held_out_row": test.index[worst],
        "held_out_distance": test.distance[worst],
        "ratio": found.ratio[worst],
    }
    return Plot(figure, numbers)


# -- as a registered metric


def memorization(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return `memorization[space]`, the excess fraction of close samples, and `authenticity[extractor]`.

    The spaces are the examples themselves (`pixels`, or `points`) and the features. An excess above
    `verdicts.EXCESS` is reported as memorization. None of the columns is ranked.
    """
    n, data, settings = ctx.protocol.memorization_n, ctx.data, ctx.protocol
    space = "pixels" if data.info.is_image else "points"
    if n == 0:
        return {"memorization": NotApplicable(reason="eval.memorization_n=0")}
    own = _among(ctx, ctx.rows[:n], data.train, data.test, space)
    splits = [Resident(x.values.float()) for x in (ctx.train, ctx.test)]
    name = f"{settings.extractor} {settings.extractor_sha256} {settings.resize}"
    generated = ctx.generated.values[:n].float()
    features = _among(ctx, generated, splits[0], splits[1], name, nearest_training(ctx, n))

    def compute() -> dict[str, Tensor]:
        held_out = nearest(splits[1].x[:n], splits[0], device=ctx.device)
        return {"authentic": authentic(held_out, splits[0], ctx.device)}

    key = (name, str(n), str(settings.metrics_version))
    expected = float(ctx.cached("authentic", key, compute)["authentic"].double().mean())
    found = fraction(authentic(features.train, splits[0], ctx.device))
    if ctx.config.track.plots:
        drawn = draw_neighbors(ctx.rows[:n], own, data, f"{ctx.config.plugin} on {data.info.name}")
        if drawn is not None:
            ctx.attach("neighbors", drawn.png(), "png")
    return {
        f"memorization[{space}]": _value(own.closeness, n),
        ctx.column("memorization"): _value(features.closeness, n),
        ctx.column("authenticity"): found.noted(f"test split {expected:.3f}"),
    }


def nearest_training(ctx: EvalContext, n: int) -> Nearest:
    """Return the nearest training examples of the first n samples in features; computed once."""

    def compute() -> Nearest:
        train = Resident(ctx.train.values.float())
        return nearest(ctx.generated.values[:n].float(), train, device=ctx.device)

    return ctx.once(f"nearest training features of {n}", compute)


def _among(
    ctx: EvalContext, x: Tensor, train: Table, test: Table, space: str, to_train: Nearest | None = None
) -> Neighbors:
    """Return the neighbors of samples in one space; the ratios of held-out examples are cached.

    Args:
        space: names it in the cache.
        to_train: the nearest training examples, where they are known.
    """

    def compute() -> dict[str, Tensor]:
        return {"ratios": held_out_ratios(train, test, len(x), ctx.device)}

    key = (space, str(len(x)), str(ctx.protocol.metrics_version))
    held_out = ctx.cached("nearest", key, compute)["ratios"]
    return neighbors(x, Reference(train, test, held_out), ctx.device, to_train)


def _value(closeness: Closeness, n: int) -> Value:
    note = (
        f"close samples {closeness.close:.1%}, expected {closeness.expected:.1%}, "
        f"median ratio {closeness.median_ratio:.3g}"
    )
    return Value(value=closeness.excess, n=n, note=note)
