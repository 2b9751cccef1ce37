"""Tasks of a table: what a sample is made from, and which columns matter for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zoo_core.results.result import DataRecord


@dataclass(frozen=True)
class Task:
    """What the entries of a table have in common.

    Attributes:
        about: one sentence: what a model is asked for.
        given: what each sample is made from besides noise, e.g. "class label"; "" for nothing.
        ranks: base names of columns, the first of which ranks by default where enough entries have it.
        columns: base names of columns that are shown by default beside the one that ranks.
        axis: cost on the horizontal axis of the plot.
    """

    about: str
    given: str = ""
    ranks: tuple[str, ...] = ("FD", "FID")
    columns: tuple[str, ...] = ("precision", "recall", "SW", "on-modes")
    axis: str = "train_seconds"


_TRANSLATION = ("L1", "LPIPS", "PSNR", "SSIM", "FD", "FID")

TASKS: Mapping[str, Task] = {
    "unconditional": Task("Models generate images from noise alone."),
    "class": Task(
        "Models are given a class label with every sample.",
        "class label",
        columns=("accuracy", "precision", "recall"),
    ),
    "text": Task(
        "Models are given a caption with every sample.",
        "caption",
        columns=("accuracy", "precision", "recall"),
    ),
    "paired": Task(
        "Models translate held-out real images and learn from pairs.",
        "held-out real image",
        ranks=("LPIPS", "L1"),
        columns=_TRANSLATION,
        axis="seconds_per_sample",
    ),
    "unpaired": Task(
        "Models translate held-out real images and learn from two unpaired sets.",
        "held-out real image",
        columns=_TRANSLATION,
        axis="seconds_per_sample",
    ),
    "caption": Task(
        "Models generate captions from noise alone; the likelihood is that of held-out captions.",
        ranks=("bits_per_token",),
        columns=("captioning", "captioning rank", "copied captions"),
    ),
    "views": Task("Models learn from pairs of views of one object and generate such pairs from noise alone."),
}
"""By `data.task`."""


def task_of(data: DataRecord) -> Task:
    """Return what is known of a task; a task that is not known is named and has no other properties."""
    known = TASKS.get(data.task) or Task(f"Task: {data.task}.")
    if not data.source or not known.given:
        return known
    return Task(
        known.about.replace("held-out real images", f"held-out real images ({data.source})"),
        f"{known.given} ({data.source})",
        known.ranks,
        known.columns,
        known.axis,
    )


def task_name(data: DataRecord) -> str:
    """Return the task, with what images are translated from: "paired from edges"."""
    return f"{data.task} from {data.source}" if data.source else data.task
