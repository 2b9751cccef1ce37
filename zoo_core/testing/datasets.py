"""Checks of a dataset: what it declares, what its rows are, and that it is the same every time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.loading import PREPARED, Dataset, Table, TrainData, conds
from zoo_core.data.splits import digests
from zoo_core.errors import ZooError
from zoo_core.interfaces import Density
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.seeds import generator
from zoo_core.testing.results import Failed, NotApplicable
from zoo_core.types import Task

ROWS = 2000
"""Rows of a split that are looked at, spread over it."""
SHARED = 0.01
"""Share of the test split that may also be in the training split, bit for bit, by chance."""
MARGIN, PITCH, SLACK = 0.3, 0.02, 0.02
"""Of the grid that a density of points is added up on, around the data; and what is allowed of its error."""


class DatasetSubject:
    """A registered dataset with its default options."""

    kind = "dataset"
    case = ""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def load(self) -> Dataset:
        """Load it.

        Raises:
            NotApplicable: where its files are not on this machine.
        """
        config = load_entry("dataset", self.entry, "config")
        if not (isinstance(config, type) and issubclass(config, DataConfig)):
            raise Failed(f"its config {config!r} is not a DataConfig", "extend zoo_core.config.DataConfig")
        try:
            made = load_entry("dataset", self.entry)(config(name=self.entry.spec.name))
        except ZooError as error:
            raise NotApplicable(f"it can't be loaded here: {error.what}") from error
        if not isinstance(made, Dataset):
            raise Failed(f"it loads a {type(made).__name__}", "return zoo_core.data.splits.resident(...)")
        return made

    @cached_property
    def _loaded(self) -> Dataset | NotApplicable:
        try:
            return self.load()
        except NotApplicable as reason:
            return reason

    @property
    def loaded(self) -> Dataset:
        """The dataset, loaded once."""
        if isinstance(self._loaded, NotApplicable):
            raise NotApplicable(str(self._loaded))
        return self._loaded

    @property
    def splits(self) -> dict[str, Table]:
        return {"train": self.loaded.train, "test": self.loaded.test}


def subjects(entry: Entry, data: tuple[str, ...] = ()) -> Iterator[DatasetSubject]:
    """Yield the dataset."""
    yield DatasetSubject(entry)


def _looked_at(split: Table) -> Tensor:
    n = min(ROWS, len(split))
    return torch.randperm(len(split), generator=generator(0, "rows"))[:n].sort().values


def it_is_what_its_spec_says(subject: DatasetSubject) -> None:
    """Name, shape, levels, classes and tasks are those that listings show without loading it."""
    spec, data = subject.entry.spec, subject.loaded
    info = data.info
    found: dict[str, Any] = {"name": info.name, "levels": info.levels, "classes": info.classes}
    if spec.shape:
        found["shape"] = info.shape
    for field, value in found.items():
        if getattr(spec, field) != value:
            raise Failed(
                f"its spec says {field}={getattr(spec, field)!r}, and DataInfo.{field} is {value!r}",
                "make DatasetSpec and DataInfo agree",
            )
    missing = [task for task in spec.tasks if task not in data.tasks]
    if missing:
        raise Failed(
            f"its spec declares the tasks {', '.join(spec.tasks)}, and it serves {', '.join(data.tasks)}",
            "class needs labels and info.classes; text needs tokens and a tokenizer",
        )
    names = {entry.spec.name for entry in manager().entries("extractor")}
    if names and spec.extractor.partition(":")[0] not in names:
        raise Failed(
            f"its extractor {spec.extractor!r} is not registered", f"one of: {', '.join(sorted(names))}"
        )


def rows_are_levels_or_points(subject: DatasetSubject) -> None:
    """Images are uint8 levels below L of shape (C, H, W); points are finite float32 near [-1, 1]."""
    info = subject.loaded.info
    for name, split in subject.splits.items():
        if len(split) == 0:
            raise Failed(f"its {name} split is empty", "both splits need examples")
        rows = split.examples(_looked_at(split))
        if tuple(rows.shape[1:]) != info.shape:
            raise Failed(f"rows of {name} have shape {tuple(rows.shape[1:])}", f"expected: {info.shape}")
        if info.levels is None:
            if (
                rows.dtype != torch.float32
                or not bool(torch.isfinite(rows).all())
                or float(rows.abs().max()) > 10
            ):
                raise Failed(
                    f"points of {name} are {rows.dtype}, up to {float(rows.abs().max()):.3g}",
                    "store finite float32, scaled so that most lie in [-1, 1]",
                )
        elif rows.dtype != torch.uint8 or int(rows.max()) >= info.levels:
            raise Failed(
                f"images of {name} are {rows.dtype}, up to {float(rows.max()):g}, and levels={info.levels}",
                "store integer levels 0 to L - 1 as uint8; the core turns them into floats",
            )


def labels_and_captions_fit(subject: DatasetSubject) -> None:
    """Labels are int64 in [0, classes), each class in both splits; tokens are in the vocabulary."""
    data = subject.loaded
    info = data.info
    if not info.classes and not info.vocabulary:
        raise NotApplicable("it has neither labels nor captions")
    for name, split in subject.splits.items():
        cond = conds(split, torch.arange(len(split)))
        if info.classes:
            label = cond.label
            if label is None or label.dtype != torch.int64 or label.shape != (len(split),):
                raise Failed(
                    f"{name} has {info.classes} classes and no int64 label for each row", "set label"
                )
            if (
                int(label.min()) < 0
                or len(label.unique()) != info.classes
                or int(label.max()) >= info.classes
            ):
                raise Failed(
                    f"labels of {name} are {label.unique()[:12].tolist()}",
                    f"expected: every class, 0 to {info.classes - 1}, in both splits (splits.stratified)",
                )
        if info.vocabulary:
            tokens = cond.tokens
            if (
                tokens is None
                or tokens.dtype != torch.int64
                or tokens.shape != (len(split), info.caption_length)
            ):
                raise Failed(f"{name} has a vocabulary and no tokens of (n, caption_length)", "set tokens")
            if int(tokens.min()) < 0 or int(tokens.max()) >= info.vocabulary or data.tokenizer is None:
                raise Failed(
                    f"tokens of {name} reach {int(tokens.max())}", f"expected: below {info.vocabulary}"
                )
            said = data.tokenizer.decode(tokens[0].tolist())
            if data.tokenizer.encode(said) != tokens[0].tolist():
                raise Failed(f"the caption {said!r} is encoded to other tokens", "fix its tokenizer")
    if info.classes and data.class_names and len(data.class_names) != info.classes:
        raise Failed(f"{len(data.class_names)} class names", f"expected: {info.classes}, or none")


def it_is_the_same_every_time(subject: DatasetSubject) -> None:
    """Loaded again, under another state of torch's generator, it has the same rows, order and sha256."""
    data = subject.loaded
    if not re.fullmatch(r"[0-9a-f]{64}", data.sha256):
        raise Failed(f"its sha256 is {data.sha256!r}", "make it with zoo_core.data.splits.resident")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        again = subject.load()
    for name, split in subject.splits.items():
        other: Table = getattr(again, name)
        index = _looked_at(split)
        if len(other) != len(split) or not torch.equal(split.examples(index), other.examples(index)):
            raise Failed(
                f"loaded twice, its {name} split differs",
                "draw from zoo_core.seeds.generator(0, name); sort whatever a file system lists",
            )
    if again.sha256 != data.sha256:
        raise Failed("loaded twice, its sha256 differs", "hash the examples in order, and nothing else")


def splits_are_disjoint(subject: DatasetSubject) -> None:
    """No example is both trained on and tested on, but for what coincides by chance."""
    train, test = subject.splits.values()
    held = digests(test.examples(_looked_at(test)).contiguous())
    seen: set[bytes] = set()
    for start in range(0, len(train), 4096):
        seen |= set(digests(train.examples(torch.arange(start, min(start + 4096, len(train))))))
    shared = sum(digest in seen for digest in held) / len(held)
    if shared > SHARED:
        raise Failed(
            f"{shared:.1%} of the test examples are in the training split, bit for bit",
            "split once, by row (splits.stratified); a model that copies would score best",
        )


def batches_are_in_the_models_range(subject: DatasetSubject) -> None:
    """A training batch of images is float32 in [-1, 1]; batch number b is a function of (seed, b)."""
    data = subject.loaded
    first, again = (TrainData(data.train, data.info, seed=0).next(8) for _ in range(2))
    if not torch.equal(first.x, again.x):
        raise Failed(
            "the same batch number gave other examples", "a column's rows(index) must depend on index alone"
        )
    if data.info.levels is not None and float(first.x.abs().max()) > 1:
        raise Failed(f"a batch reaches {float(first.x.abs().max()):.3g}", "store levels below info.levels")


def pairs_have_their_form(subject: DatasetSubject) -> None:
    """Of pairs, two domains, views and captions each example comes with an image, of the channels said."""
    tasks = [task for task in PREPARED if task in subject.entry.spec.tasks]
    if not tasks:
        raise NotApplicable("it serves no task of two images")
    for task in tasks:
        data = subject.loaded.for_task(cast("Task", task))
        batch = TrainData(data.training, data.info, seed=0).next(8)
        other = batch.cond.image if task in ("paired", "caption") else batch.second
        channels = data.info.shape[0] if task == "views" else data.info.image_channels
        expected = (8, channels, *subject.loaded.info.shape[1:])
        if other is None or tuple(other.shape) != expected or float(other.abs().max()) > 1:
            found = (
                "no image" if other is None else f"{tuple(other.shape)}, up to {float(other.abs().max()):.3g}"
            )
            raise Failed(
                f"{task}: beside its examples stands {found}",
                f"expected: {expected} in [-1, 1]; set info.image_channels where it brings its own sources",
            )


def its_density_is_the_datas(subject: DatasetSubject) -> None:
    """A closed-form density is normalized, and its score is the gradient of its logarithm; of levels, the
    law gives probabilities.
    """
    data = subject.loaded
    if data.density is None:
        raise NotApplicable("its law is not known")
    points = data.test.examples(torch.arange(min(64, len(data.test)))).double()
    if data.info.levels is not None:
        log_prob = data.density.log_prob(points)
        if tuple(log_prob.shape) != (len(points),) or not bool((log_prob <= 0).all()):
            raise Failed("log_prob(x) is not one log-probability per image", "expected: (n,) nats, at most 0")
        return
    if not isinstance(data.density, Density):
        raise Failed("its density has no score", "expected: score(x), the gradient of log_prob(x)")
    points.requires_grad_()
    log_prob = data.density.log_prob(points)
    (gradient,) = torch.autograd.grad(log_prob.sum(), points)
    if not torch.allclose(data.density.score(points.detach()).double(), gradient, rtol=1e-3, atol=1e-3):
        raise Failed("score(x) is not the gradient of log_prob(x)", "fix one of the two")
    if data.info.shape == (2,):
        rows = data.test.examples(torch.arange(len(data.test))).double()
        axes = [torch.arange(float(low) - MARGIN, float(high) + MARGIN, PITCH, dtype=torch.float64)
                for low, high in zip(rows.amin(0), rows.amax(0), strict=True)]  # fmt: skip
        total = float(data.density.log_prob(torch.cartesian_prod(*axes)).exp().sum() * PITCH**2)
        if abs(total - 1) > SLACK:
            raise Failed(f"its density integrates to {total:.4g} where the data are", "normalize it")


CHECKS = (
    it_is_what_its_spec_says,
    rows_are_levels_or_points,
    labels_and_captions_fit,
    it_is_the_same_every_time,
    splits_are_disjoint,
    batches_are_in_the_models_range,
    pairs_have_their_form,
    its_density_is_the_datas,
)
