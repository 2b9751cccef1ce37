"""Classes or modes of samples and their frequencies, by a classifier, or by the known density of points.

The classifier has another architecture than the feature network. A point belongs to the mode of the true
density within three of whose standard deviations it lies (as Srivastava et al. 2017, arXiv:1705.07761,
section 4, count modes).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.data.loading import Dataset, Split
from zoo_core.distributed import share as share_of
from zoo_core.distributed import world
from zoo_core.interfaces import EvalContext
from zoo_core.results import Interval, NotApplicable, Value
from zoo_core.seeds import generator
from zoo_eval.extractors.classifiers import WEIGHTS, Classifier
from zoo_eval.features import Modes, check_examples, full_precision, gathered
from zoo_eval.statistics.intervals import RESAMPLES, TAIL, fraction, interval

WITHIN = 3.0
"""Standard deviations from a mode's mean within which a point is the mode's."""
LEAST = 0.1
"""Of a mode's frequency in the training split: with less it does not count as drawn."""


@runtime_checkable
class HasModes(Protocol):
    """A density that is a mixture of equally wide round Gaussians.

    Attributes:
        means: (K, D) float64.
        std: of every component.
    """

    means: Tensor
    std: float


def components(means: Tensor, std: float) -> Tensor:
    """Return which mode each mean belongs to, (K,) int64, numbered in order of their first mean.

    Means no farther apart than two standard deviations are one mode: there the density between two equal
    Gaussians has a single peak. So a curve of many is one mode.
    """
    near = torch.cdist(means, means) <= 2 * std
    mode = torch.arange(len(means))
    while True:
        joined = torch.where(near, mode, len(means)).amin(1)
        if torch.equal(joined, mode):
            return mode.unique(return_inverse=True)[1]
        mode = joined


def modes_of_points(points: Tensor, density: HasModes) -> Modes:
    """Return the mode of each point (n, D): its nearest mean's, -1 beyond `WITHIN` standard deviations."""
    distance, which = torch.cdist(points.double(), density.means).min(1)
    mode = components(density.means, density.std)
    index = torch.where(distance <= WITHIN * density.std, mode[which], -1)
    return Modes("density", index, int(mode.max()) + 1)


def classifier_name(dataset: Dataset) -> str:
    """Return the name of the classifier that ships for a dataset; a stack's is that of its channels."""
    return f"{dataset.stack_of or dataset.info.name}-classifier"


def classifier_card(dataset: Dataset) -> dict[str, Any] | None:
    """Return the card of the classifier that ships for a dataset; None where there is none."""
    path = WEIGHTS / f"{classifier_name(dataset)}.json"
    return json.loads(path.read_text()) if path.exists() else None


def mode_classifier(dataset: Dataset) -> str:
    """Return what assigns modes, as a protocol records it: a classifier with its weights' sha256, or the
    density.
    """
    card = classifier_card(dataset)
    if card is not None:
        return f"{card['name']} {card['sha256'][:16]}"
    return "density" if isinstance(dataset.density, HasModes) else "none"


def seen_by(classifier: Classifier, levels: Tensor, dataset: Dataset) -> Tensor:
    """Return the class that a classifier sees in each image, (n,) int64; of a stack, in all its channels."""
    info = dataset.info
    if not dataset.stack_of:
        return classifier(levels, info)
    channels = levels.split(1, dim=1)
    each = round(info.classes ** (1 / len(channels)))
    one = replace(info, shape=(1, *info.shape[1:]), classes=each)
    index = torch.zeros(len(levels), dtype=torch.int64, device=classifier.device)
    for channel in channels:
        index = index * each + classifier(channel, one)
    return index


@torch.no_grad()
@full_precision()
def modes_of_images(batches: Iterable[Tensor], dataset: Dataset, device: torch.device) -> Modes:
    """Return the class that the dataset's classifier sees in each image; each process gives its share."""
    classifier = Classifier(classifier_name(dataset), device)
    seen = [seen_by(classifier, check_examples(rows, dataset.info), dataset).cpu() for rows in batches]
    index = gathered(torch.cat(seen) if seen else None)
    assert index is not None
    return Modes(classifier.name, index, dataset.info.classes)


def modes_of_samples(rows: Tensor, dataset: Dataset, device: torch.device, batch_size: int) -> Modes | None:
    """Return the classes or modes of samples; None where nothing can assign them."""
    if classifier_card(dataset) is not None:
        own = share_of(len(rows), world())
        mine = rows[own.start : own.stop] if own else rows[:0]
        return modes_of_images(mine.split(batch_size) if len(mine) else (), dataset, device)
    if isinstance(dataset.density, HasModes):
        return modes_of_points(rows, dataset.density)
    return None


def modes_of_split(split: Split, dataset: Dataset) -> Modes | None:
    """Return the classes or modes of a split: its own labels, or where the density puts its points."""
    if isinstance(dataset.density, HasModes):
        return modes_of_points(split.rows(torch.arange(len(split))), dataset.density)
    if split.label is None or classifier_card(dataset) is None:
        return None
    return Modes("labels", split.label.cpu(), dataset.info.classes)


# -- as a registered metric


def modes(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the columns modes (how many are drawn), balance (1 - total variation from the training split's
    frequencies) and, for points, on-modes (fraction within three standard deviations of a mode).
    """
    real, fake = ctx.train.modes, ctx.generated.modes
    if real is None or fake is None:
        why = NotApplicable(reason="no classifier ships for these data, and their density is unknown")
        return {"modes": why, "balance": why}
    name, index, count = fake.name, fake.index, fake.count
    n = len(index)
    expected = _frequencies(real.index, count)
    drawn = _frequencies(index, count)
    columns: dict[str, Value | NotApplicable] = {}
    seen = int(_seen(drawn, expected))
    low, high = _seen_again(index, expected)
    ends = Interval(low=min(low, seen), high=max(high, seen))
    columns[f"modes[{name}]"] = Value(value=seen, interval=ends, n=n, note=f"of {count}")
    value, towards = balance(real.index, index, count)
    columns[f"balance[{name}]"] = interval(value, towards[index], least=0.0, most=1.0)
    if (real.index < 0).any():
        columns[f"on-modes[{name}]"] = fraction(index >= 0)
    return columns


def class_accuracy(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the fraction of conditional samples in which the classifier sees the requested class."""
    fake, label = ctx.generated.modes, ctx.label
    if fake is None or label is None:
        why = "no classifier ships for these data, and their density is unknown"
        return {"accuracy": NotApplicable(reason=why)}
    return {f"accuracy[{fake.name}]": fraction(fake.index == label.cpu())}


def balance(real: Tensor, fake: Tensor, count: int) -> tuple[float, Tensor]:
    """Return 1 - the total variation between the frequencies of modes in two sets, and its influences.

    Points on no mode count as one more mode, of which real data have some too. Frequencies of finite sets
    differ by chance: a difference within two of its standard errors is lowered by its expectation under equal
    frequencies, sqrt(2 / pi) standard errors, so that perfect samples have 1 within noise, not 1 minus noise.

    Args:
        real, fake: (m,) and (n,) int64 in [0, count), -1 for none.
        count: number of modes.

    Returns:
        The balance, in [0, 1], and (count + 1,) what a sample of each mode moves it by, times n; the last
        is of samples on no mode, as an index of -1 finds it.
    """
    expected, drawn = (
        torch.bincount(x % (count + 1), minlength=count + 1).double() / len(x) for x in (real, fake)
    )
    difference = drawn - expected
    pooled = (len(real) * expected + len(fake) * drawn) / (len(real) + len(fake))
    error = (pooled * (1 - pooled) * (1 / len(real) + 1 / len(fake))).sqrt()
    chance = torch.where(difference.abs() < 2 * error, (2 / torch.pi) ** 0.5 * error, 0.0)
    variation = float((difference.abs() - chance).sum()) / 2
    return min(1.0, 1 - variation), -difference.sign() / 2


def _frequencies(index: Tensor, count: int) -> Tensor:
    return torch.bincount(index[index >= 0], minlength=count).double() / len(index)


def _seen(frequencies: Tensor, expected: Tensor) -> Tensor:
    return ((frequencies >= LEAST * expected) & (frequencies > 0)).sum(-1)


def _seen_again(index: Tensor, expected: Tensor) -> tuple[int, int]:
    """Return the 95 % interval of the number of modes seen, by the bootstrap of their counts."""
    n, count = len(index), len(expected)
    shares = torch.bincount(index + 1, minlength=count + 1).double() / n
    again = torch.multinomial(
        shares, min(n, 2000) * RESAMPLES, replacement=True, generator=generator(0, "modes")
    ).view(RESAMPLES, -1)
    counts = torch.zeros(RESAMPLES, count + 1).scatter_add_(1, again, torch.ones(again.shape))
    found = _seen(counts[:, 1:].double() / again.shape[1], expected).double()
    low, high = torch.quantile(found, torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64)).tolist()
    return round(low), round(high)
