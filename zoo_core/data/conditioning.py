"""What a run is conditioned on: which task it models, and the conditions of the samples it draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.data.loading import Dataset, conds
from zoo_core.errors import UsageError, nearest
from zoo_core.seeds import generator
from zoo_core.types import Cond, Task

GIVEN: tuple[Task, ...] = ("class", "text")
"""The tasks whose conditions are drawn from the training split: labels, captions."""
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
        f"datasets that can: {', '.join(able) or 'none is installed'}",
    )


def conditions(dataset: Dataset, n: int, seed: int = 0) -> Cond | None:
    """Return the conditions of samples 0 to n - 1, as frequent as in training; None where there are none.

    They are those of training rows drawn with replacement; condition k depends on (seed, k) alone. A text
    task's captions come with their pictures' labels, by which the samples are judged.
    """
    if dataset.info.task not in GIVEN:
        return None
    rows = torch.randint(len(dataset.train), (n,), generator=generator(seed, "labels"))
    return conds(dataset.train, rows).to("cpu")


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


def read_conditions(text: str, dataset: Dataset, n: int) -> Cond:
    """Return the conditions of n samples from what a user typed: classes or captions, apart by commas.

    Several are dealt out in turn: sample k gets number k modulo how many there are.

    Args:
        text: "3", "three,seven" (names of classes or their numbers), "a three" (a caption).

    Raises:
        UsageError: where the run takes no conditions, or for an unknown class or word.
    """
    info = dataset.info
    if info.task not in GIVEN:
        raise UsageError(
            f"cond={text} was given and this run's task is {info.task!r}",
            f"expected: a run of task {' or '.join(GIVEN)}; `zoo list` says which models have one",
        )
    parts = [part.strip() for part in text.split(",")]
    turns = torch.arange(n) % len(parts)
    if info.task == "text":
        assert dataset.tokenizer is not None
        return Cond(tokens=torch.tensor([dataset.tokenizer.encode(part) for part in parts])[turns])
    return Cond(label=torch.tensor([_class(part, dataset) for part in parts])[turns])


def _class(text: str, dataset: Dataset) -> int:
    """Return the label of a class by its name, or by its number."""
    names, count = list(dataset.class_names), dataset.info.classes
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < count:
        return int(text)
    match = nearest(text, names)
    raise UsageError(
        f"no class {text!r} in {dataset.info.name!r}",
        f"did you mean: cond={match}" if match else "",
        f"expected: 0 to {count - 1}" + (f", or one of {', '.join(names)}" if names else ""),
    )
