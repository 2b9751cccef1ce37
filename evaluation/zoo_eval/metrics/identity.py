"""torchmetrics' metrics on features that are extracted already: an identity in the network's place.

Its metrics gather their states over processes by themselves, which would count every sample once a process:
here each process already has them all, so that is switched off (`LOCAL`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

SEED = 0
"""Of the random subsets and splits; figures are repeatable because of it."""
LOCAL = {"sync_on_compute": False}
"""Keywords of every metric."""


class Identity(nn.Module):
    """Features pass as they are; torchmetrics asks such a module for its `num_features`."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


@contextmanager
def repeatable() -> Iterator[None]:
    """Seed the global generator that torchmetrics draws from and restore it after; hush warnings."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(SEED)
        yield
