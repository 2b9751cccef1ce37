"""A trained model with exact probabilities as the law of data: its samples, and their log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.loading import to_unit
from zoo_core.errors import UsageError
from zoo_core.machine.terminal import untold
from zoo_core.runs import load, saved_config
from zoo_core.runs.exchange import run_folder
from zoo_core.runs.run import Run
from zoo_core.seeds import Seeds, derive
from zoo_core.training.randomness import random_states, set_random_states
from zoo_core.types import Cond

BATCH = 500
"""Images that go through the model at once."""


class Oracle:
    """The law of a trained run's samples.

    A run with classes is p(x) = sum_y p(y) p(x | y), with the frequencies p(y) that its recipe has.

    Args:
        run: of a model whose likelihood of images is exact.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def classes(self) -> int:
        """Number of classes that images are drawn by; 0 for none."""
        return self.run.data.info.classes if self.run.data.info.task == "class" else 0

    @property
    def frequencies(self) -> Tensor:
        """p(y), (classes,) float64."""
        recipe: Any = self.run.recipe
        found: Tensor = recipe.frequencies
        return found.double().cpu()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p of images, (n,) float64 nats.

        Args:
            x: (n, C, H, W), levels 0 to L - 1 of any type.

        Raises:
            UsageError: where the model has no exact probabilities of levels.
        """
        levels = self.run.data.info.levels
        assert levels is not None
        parts = []
        for k in range(0, len(x), BATCH):
            rows = to_unit(x[k : k + BATCH].to(self.run.device), levels)
            noise = Seeds(derive(0, "oracle"), range(k, k + len(rows)), self.run.device)
            found = self.run.likelihoods(rows, noise=noise, k=1)
            exact = [one for one in found if one.kind == "exact" and not one.is_bound]
            if not exact:
                raise UsageError(
                    f"plugin {self.run.config.plugin!r} has no exact probabilities of images",
                    "expected: one whose likelihood is exact, such as pixelcnn",
                )
            parts.append(exact[0].log_prob.double().cpu())
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def draw(self, n: int, seed: int) -> tuple[Tensor, Tensor | None]:
        """Return n independent images, (n, C, H, W) uint8 levels, and their classes, (n,) int64 or None.

        Image k is a function of (seed, k) alone, up to the rounding of the network.
        """
        label = None
        if self.classes:
            u = Seeds(derive(seed, "oracle classes"), range(n)).rand(()).double()
            label = torch.searchsorted(self.frequencies.cumsum(0)[:-1].contiguous(), u, right=True)
        cond = None if label is None else Cond(label=label.to(self.run.device))
        rows = [part.rows for part in self.run.draw(n, seed=derive(seed, "oracle images"), cond=cond)]
        return torch.cat(rows), label


def opened(folder: Path) -> Oracle:
    """Return the law of the run or bundle in a folder, on the CPU; global random states are as before.

    Another device would round the network's outputs in another way, and so be another law.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    states = random_states(device)
    try:
        run = run_folder(str(folder))
        config = saved_config(run).model_copy(update={"device": "cpu"})
        # Who trains another model did not ask for what opening this one says.
        return Oracle(load(run, config=config, say=untold))
    finally:
        set_random_states(states, device)


class Lazy:
    """An oracle that is opened when a probability is first asked for.

    Args:
        make: returns the oracle.
    """

    def __init__(self, make: Callable[[], Oracle]) -> None:
        self._make = make

    @cached_property
    def oracle(self) -> Oracle:
        """The oracle."""
        return self._make()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p of images, as `Oracle.log_prob`."""
        return self.oracle.log_prob(x)
