"""A data set: its splits as tables, what is known of it, and the tasks that it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo_core.data.captions import Tokenizer
from zoo_core.data.table import Table
from zoo_core.data.transforms import Transform
from zoo_core.interfaces import Law
from zoo_core.registry.spec import load_target
from zoo_core.types import DataInfo, Task


@dataclass(frozen=True)
class Domain:
    """Images that others are made from.

    Attributes:
        name: what they are: "edges".
        train: what a translation is trained on.
        test: held-out ones, which samples and scores are made from.
    """

    name: str
    train: Table
    test: Table


PREPARED: Mapping[str, str] = {
    "paired": "zoo_core.data.tasks:with_origin",
    "unpaired": "zoo_core.data.tasks:unpaired",
    "views": "zoo_core.data.tasks:views",
    "caption": "zoo_core.data.tasks:captions",
}
"""Task -> "module:function" that prepares a data set for it, called with (dataset, data.source)."""


@dataclass(frozen=True)
class Dataset:
    """What `DatasetSpec.target` returns.

    Attributes:
        info: what recipes may know.
        train, test: the splits.
        sha256: of all examples and labels, in order.
        density: the true law: a density of points in closed form, or exact probabilities of images; or None.
        class_names: by label, where known.
        report: what was inferred, left out or changed while reading, one line each.
        tokenizer: of its captions, where it has any.
        origin: the domain that its images are made from, where it brings one or the task has one.
        subset: what training draws from, where that is not the whole of `train`.
        stack_of: the data set whose images its channels are, where each shows one: its classes are then
            numbers whose digits are the classes of the channels. Of one channel, the data set that it looks
            like, by whose classifier its classes are told.
        validation: held-out part of the training split for every selection (stopping, tuning); or None.
        augmentations: random transforms of training examples.
        by_content: whether its files are the user's and may change: the content names its runs.
        described: the images that its examples are captions of, as a data set with rows in the same order;
            None where examples are no captions.
        reread: returns the sha256 of the content, read again from its files; None where nothing is cached.
    """

    info: DataInfo
    train: Table
    test: Table
    sha256: str
    density: Law | None = None
    class_names: Sequence[str] = ()
    report: Sequence[str] = ()
    tokenizer: Tokenizer | None = None
    origin: Domain | None = None
    subset: Table | None = None
    stack_of: str = ""
    validation: Table | None = None
    augmentations: tuple[Transform, ...] = ()
    by_content: bool = False
    described: Dataset | None = None
    reread: Callable[[], str] | None = None

    @property
    def training(self) -> Table:
        """What training draws from: the training split, or a part of it, with all random transforms."""
        return (self.train if self.subset is None else self.subset).then(*self.augmentations)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What can be modeled: what its loader says, x alone, x given labels, captions or images."""
        labeled: tuple[Task, ...] = ("class",) if self.train.label is not None and self.info.classes else ()
        captioned: tuple[Task, ...] = ("text", "caption") if self.tokenizer is not None else ()
        imaged: tuple[Task, ...] = ()
        redrawn = any(t.random and "image" in t.makes for t in self.train.transforms)
        if self.info.is_image and not redrawn:
            apart = self.origin is not None and "source" not in self.train
            imaged = ("unpaired",) if apart else ("paired", "unpaired")
            if self.origin is None:
                imaged = (*imaged, "views")
        every = (self.info.task, "unconditional", *labeled, *captioned, *imaged)
        return tuple(dict.fromkeys(every))

    def then(self, transform: Transform, **changes: Any) -> Dataset:
        """Return the data set with one more transform of the rows of every split, and with other changes."""
        held = self.validation
        splits: dict[str, Any] = {"train": self.train.then(transform), "test": self.test.then(transform)}
        splits["validation"] = None if held is None else held.then(transform)
        return replace(self, **splits, **changes)

    def for_task(self, task: Task, source: str = "edges") -> Dataset:
        """Return the same data for a run that models `task`.

        Args:
            task: one of `tasks`.
            source: `data.source`, the images that pairs and second domains are made from.

        Raises:
            UsageError: where the data have no such source.
        """
        chosen = replace(self, info=replace(self.info, task=task))
        if task not in PREPARED:
            return chosen
        prepared: Dataset = load_target(PREPARED[task])(chosen, source)
        return prepared
