"""What a run is conditioned on: which task it models, and the conditions of the samples it draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import DataConfig, comma_list
from zoo_core.data.dataset import Dataset
from zoo_core.data.levels import to_unit
from zoo_core.data.table import conds
from zoo_core.errors import UsageError, guess
from zoo_core.seeds import generator
from zoo_core.types import Cond, Task

GIVEN: tuple[Task, ...] = ("class", "text")
"""The tasks whose conditions are drawn from the training split: labels, captions."""
SHOWN: tuple[Task, ...] = ("paired", "unpaired")
"""The tasks whose conditions are held-out images, which samples are translations of."""
COLUMNS = 10
"""Most classes or captions side by side in a grid."""


def choose_task(
    dataset: Dataset, wanted: str, tasks: Sequence[str], plugin: str, able: Sequence[str]
) -> Task:
    """Return what a run models: what `data.task` asks for, or the first of the model's tasks the data serve.

    Args:
        dataset: as loaded.
        wanted: `data.task`; "" for the model's choice.
        tasks: of the model's spec, in its order of preference.
        plugin: its name.
        able: names of datasets that serve what is asked for, or any of the model's tasks; told in the error.

    Raises:
        UsageError: where the model can't do the task, or the data can't serve it.
    """
    name, served = dataset.info.name, dataset.tasks
    if wanted and wanted not in tasks:
        raise UsageError(
            f"data.task={wanted} was asked for and plugin {plugin!r} can't model it",
            f"expected: data.task={' or '.join(tasks)}",
        )
    able_here = [task for task in served if task in ((wanted,) if wanted else tasks)]
    if able_here:
        return min(able_here, key=list(tasks).index)
    raise UsageError(
        f"dataset {name!r} can't serve the task {wanted or ' or '.join(tasks)}",
        f"it serves: {', '.join(served)}",
        "next: one folder for each class in data.path" if dataset.by_content and name in able else "",
        f"datasets that can: {', '.join(one for one in able if one != name) or 'none is installed'}",
    )


def conditions(dataset: Dataset, n: int, seed: int = 0) -> Cond | None:
    """Return the conditions of samples 0 to n - 1, as frequent as in training; None where there are none.

    They are those of training rows drawn with replacement; condition k depends on (seed, k) alone. A text
    task's captions come with their images' labels, by which the samples are evaluated. A translation's are
    images of the test split (`dealt`), likewise with their labels.
    """
    if dataset.info.task in SHOWN:
        return source_images(dataset, dealt(dataset, n, seed))
    if dataset.info.task not in GIVEN:
        return None
    rows = torch.randint(len(dataset.train), (n,), generator=generator(seed, "labels"))
    return conds(dataset.train, rows).to("cpu")


def dealt(dataset: Dataset, n: int, seed: int = 0) -> Tensor:
    """Return which held-out source images samples 0 to n - 1 are translations of, (n,) int64.

    They are dealt in a shuffled order until all are used, and then again in the same one; row k depends on
    (seed, k) alone.
    """
    assert dataset.origin is not None
    held = len(dataset.origin.test)
    order = torch.randperm(held, generator=generator(seed, "sources"))
    return order[torch.arange(n) % held]


def source_images(dataset: Dataset, rows: Tensor) -> Cond:
    """Return held-out source images as a model sees them, with their labels, on the CPU."""
    assert dataset.origin is not None
    assert dataset.info.levels is not None
    split = dataset.origin.test
    return replace(
        conds(split, rows).to("cpu"), image=to_unit(split.examples(rows).cpu(), dataset.info.levels)
    )


def grid_conditions(dataset: Dataset, rows: int) -> tuple[int, Cond | None]:
    """Return (columns, conditions) of a grid with one class or caption a column, row by row.

    A text task's column has the commonest training caption of its class. Where nothing sets columns apart
    there are as many as rows, and the conditions are those of `conditions`.
    """
    info, label = dataset.info, dataset.train.label
    if info.task not in GIVEN or label is None or not info.classes:
        return rows, conditions(dataset, rows * rows)
    columns = min(info.classes, COLUMNS)
    shown = torch.arange(columns)
    tokens = None
    if info.task == "text":
        members = [conds(dataset.train, torch.nonzero(label == k).flatten()).tokens for k in range(columns)]
        tokens = torch.stack([_commonest(own) for own in members if own is not None])
    return columns, Cond(label=shown, tokens=tokens)[torch.arange(columns).repeat(rows)]


def _commonest(tokens: Tensor) -> Tensor:
    """Return the caption that occurs most among (n, length) tokens, the first of equals."""
    return torch.tensor(Counter(map(tuple, tokens.tolist())).most_common(1)[0][0])


def read_conditions(
    text: str,
    dataset: Dataset,
    n: int | None,
    config: DataConfig | None = None,
    say: Callable[[str], None] = print,
) -> Cond:
    """Return the conditions of n samples, given as text: classes or captions, separated by commas.

    Sample k takes condition k modulo their number.

    Args:
        text: "3", "three,seven" (names or numbers of classes), "a three" (a caption); for a translation, or
            for captions, a folder of the images that are given, which are used in the order of their names.
        dataset: of the run.
        n: number of samples; None for one of each condition.
        config: `data` of the run, as in `given_images`.
        say: called with each conversion of the images of a folder.

    Raises:
        UsageError: where the run takes no conditions; for an unknown class or word; for a folder that holds
            anything but images.
    """
    info = dataset.info
    if info.task in SHOWN or dataset.described is not None:
        _, image, report = given_images(text, dataset.described or dataset, config)
        for line in report:
            say(f"cond: {line}")
        return Cond(image=image[torch.arange(n or len(image)) % len(image)])
    if info.task not in GIVEN:
        raise UsageError(
            f"cond={text} was given and this run's task is {info.task!r}",
            f"expected: a run of task {' or '.join((*GIVEN, *SHOWN))}",
            "see: `zoo list` says which models have one",
        )
    whole = info.task == "class" and text.strip() in dataset.class_names
    parts = [text.strip()] if whole else [part.strip() for part in comma_list.split(text)]
    turns = torch.arange(n or len(parts)) % len(parts)
    if info.task == "text":
        assert dataset.tokenizer is not None
        return Cond(tokens=torch.tensor([dataset.tokenizer.encode(part) for part in parts])[turns])
    return Cond(label=torch.tensor([_class(part, dataset) for part in parts])[turns])


def given_images(
    folder: str, dataset: Dataset, config: DataConfig | None = None
) -> tuple[Sequence[str], Tensor, list[str]]:
    """Return the images of a folder that are to be translated, as images of the domain translated from.

    Args:
        folder: path of the folder, or of one image file.
        dataset: of the run; its size, channels and levels are those of the images returned.
        config: `data` of the run; its `resize` and `background` apply, where it has them, as in training.

    Returns:
        (file names; images (n, C', H, W) in [-1, 1]; what was converted, one line each).

    Raises:
        UsageError: for a path that does not exist, an empty folder, a file that is not an image; and
            where images of the run are not square.
    """
    from zoo_core.data.configs import FolderConfig
    from zoo_core.data.folder import read_images

    info = dataset.info
    _, height, width = info.shape
    assert info.levels is not None
    if height != width:
        raise UsageError(
            f"images of {info.name!r} are {height}x{width}",
            "expected: square ones, to read a folder as them",
        )
    channels = 1 if (info.image_channels or info.shape[0]) == 1 else 3
    as_trained = {name: getattr(config, name) for name in ("resize", "background") if hasattr(config, name)}
    options: dict[str, Any] = {"path": folder, "size": height, "channels": channels, **as_trained}
    names, found, report = read_images(FolderConfig(**options))
    levels = (found.double() * ((info.levels - 1) / 255)).round()
    rounded = int(((levels * (255 / (info.levels - 1))).round() != found).flatten(1).any(1).sum())
    if rounded:
        report.append(f"{rounded:,} images rounded to {info.levels} levels")
    return names, to_unit(levels, info.levels), report


def _class(text: str, dataset: Dataset) -> int:
    """Return the label of a class by name or by number; where names are numbers, by name only."""
    names, count = list(dataset.class_names), dataset.info.classes
    if text in names:
        return names.index(text)
    numbered = any(name.isdecimal() for name in names) and names != [str(label) for label in range(count)]
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < count and not numbered:
        return int(text)
    raise UsageError(
        f"no class {text!r} in {dataset.info.name!r}",
        guess(text, names, "cond={}"),
        f"expected: one of {', '.join(names)}"
        if numbered
        else f"expected: 0 to {count - 1}" + (f", or one of {', '.join(names)}" if names else ""),
    )


def mismatched(tokens: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return for each caption of a batch (row of another caption, whether there is one), (n,) each.

    Captions differ as captions, whatever rows they stand in: two images may share one. The row is drawn
    uniformly among those of other captions; where the whole batch has but one, it is the caption's own.

    Args:
        tokens: (n, length) int64.
        rng: on the tokens' device.
    """
    other = (tokens[:, None] != tokens[None]).any(2)
    found = other.any(1)
    own = torch.eye(len(tokens), dtype=torch.bool, device=tokens.device)
    weight = torch.where(found[:, None], other, own).float()
    return torch.multinomial(weight, 1, generator=rng).squeeze(1), found
