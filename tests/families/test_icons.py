"""Every registered model trains at 32x32 in color on images with flat areas and saturated colors."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.families.icons import icons
from zoo_core.data.loading import Dataset
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import Run, build
from zoo_core.training.harness import Listener
from zoo_core.types import DataInfo
from zoo_gan import style_transfer

STEPS = 400
BATCH = 8
SMALLER = {
    "model.channels": 8,
    "model.width": 16,
    "model.generator_width": 8,
    "model.critic_width": 8,
    "model.max_width": 16,
    "model.blocks": 1,
    "model.layers": 2,
    "model.heads": 1,
}
"""Network sizes, below the defaults, at which all models take ten minutes of two cores; the optimizers,
losses and noise schedules are the defaults."""
HIDDEN = 64
"""Of each hidden layer, where a model has such layers."""
ENTRIES = [entry for entry in manager().entries("plugin") if entry.spec.family != "baseline"]

PARTS = {"ldm": ("plugins/zoo_vae",)}
"""Packages of the models that a model of another package is made of."""


def depends(entry: Entry) -> tuple[str, ...]:
    """Return what a model's training depends on: its package, and those of the core that it is made of."""
    package = entry.spec.target.partition(".")[0]
    diffusion = ("zoo_core/diffusion",) if entry.spec.family == "diffusion" else ()
    own = (f"plugins/{package}", *PARTS.get(entry.spec.name, ()))
    return (*own, "zoo_core/nn", "zoo_core/training", *diffusion, "tests/families/icons.py")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return icons()


def random_encoder(model: Any, info: DataInfo) -> style_transfer.FrozenEncoder:
    """Return random convolutions in place of VGG's, whose weights are a download."""
    widths = (info.shape[0], 16, 32, 64)
    parts = [
        nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        for inner, outer in itertools.pairwise(widths)
    ]
    return style_transfer.FrozenEncoder(parts)


def icon_run(name: str, data: Dataset, root: Path, **options: Any) -> Run:
    """Return a run of a model on the icons, with default optimizer and losses."""
    entry = manager().find("plugin", name)
    known = load_entry("plugin", entry, "config").model_fields["model"].annotation.model_fields
    smaller: dict[str, Any] = {
        key: value for key, value in SMALLER.items() if key.removeprefix("model.") in known
    }
    if "hidden" in known:
        several = isinstance(known["hidden"].default, tuple)
        smaller["model.hidden"] = (HIDDEN, HIDDEN) if several else HIDDEN
    given = {
        "plugin": name,
        "data": "folder",
        "data.path": str(root),
        "data.size": 32,
        "device": "cpu",
        "train.batch_size": BATCH,
        **smaller,
        **options,
    }
    return build(resolve(given), data, root, manager(), say=lambda line: None, warn=lambda line: None)


@pytest.mark.parametrize(
    "name",
    [pytest.param(entry.spec.name, marks=pytest.mark.slow(depends=depends(entry))) for entry in ENTRIES],
)
def test_it_trains_on_colored_icons_without_diverging(
    name: str, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a loss, a weight or a sample that is not finite, and a loss that explodes.

    The harness raises where a loss or a weight is not finite.
    """
    monkeypatch.setattr(style_transfer, "find_encoder", random_encoder)
    run = icon_run(name, data, tmp_path, **{"train.steps": STEPS, "train.log_every": 50})
    seen: list[dict[str, float]] = []
    run.harness.listener = Listener(log=lambda step, values: seen.append(dict(values)))
    run.harness.run()
    run.harness.checkpoint()
    for record in seen:
        assert all(math.isfinite(value) for value in record.values()), record
    losses = [(key, abs(value)) for record in seen for key, value in record.items() if key.endswith("/loss")]
    first, last = dict(reversed(losses)), dict(losses)  # of every phase of every stage
    assert last
    assert all(value < 20 * first[key] + 20 for key, value in last.items()), (first, last)
    assert bool(torch.isfinite(run.sample(2)).all())
