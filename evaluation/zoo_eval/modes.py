"""Assignment of classes or modes to samples, by a classifier, or by the known density of points.

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

from zoo_core.data.loading import Dataset, Table
from zoo_core.machine.leading import rows_to_first
from zoo_core.machine.readback import one_behind
from zoo_eval.extractors.classifiers import WEIGHTS, Classifier
from zoo_eval.features import Growing, Modes, added, check_examples, full_precision

WITHIN = 3.0
"""Standard deviations from a mode's mean within which a point is the mode's."""


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
    """Return the class that the dataset's classifier sees in each image.

    Each process gives its share; there are no rows in the others than the first.
    """
    classifier = Classifier(classifier_name(dataset), device)

    def seen() -> list[Tensor | None]:
        found, info = Growing(), dataset.info
        begun = (seen_by(classifier, check_examples(rows, info), dataset) for rows in batches)
        for _ in one_behind(added([(found, index)]) for index in begun):
            pass
        return [found.rows]

    (index,) = rows_to_first(seen)
    if index is None:
        index = torch.empty(0, dtype=torch.int64)
    return Modes(classifier.name, index, dataset.info.classes, classifier.accuracy)


def modes_of_samples(rows: Tensor, dataset: Dataset, device: torch.device, batch_size: int) -> Modes | None:
    """Return the classes or modes of samples; None where nothing can assign them.

    Args:
        rows: this process's share.

    Returns:
        of all samples in the first process.
    """
    if classifier_card(dataset) is not None:
        return modes_of_images(rows.split(batch_size) if len(rows) else (), dataset, device)
    density = dataset.density
    if not isinstance(density, HasModes):
        return None
    found = modes_of_points(rows if len(rows) else density.means[:0], density)  # none have no shape
    (index,) = rows_to_first(lambda: [found.index])
    return replace(found, index=torch.empty(0, dtype=torch.int64) if index is None else index)


def modes_of_split(split: Table, dataset: Dataset) -> Modes | None:
    """Return the classes or modes of a split: its own labels, or where the density puts its points."""
    if isinstance(dataset.density, HasModes):
        return modes_of_points(split.examples(torch.arange(len(split))), dataset.density)
    if split.label is None or classifier_card(dataset) is None:
        return None
    return Modes("labels", split.label.cpu(), dataset.info.classes)
