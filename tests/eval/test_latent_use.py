"""The line that says how much of a latent is in use, and the record that it reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.digits import load
from zoo_core.seeds import Seeds
from zoo_core.types import Likelihood
from zoo_eval.metrics.likelihood import likelihoods
from zoo_eval.summary import latent_use


class Told:
    """A model whose latent has two levels, one of them unused."""

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> list[Likelihood]:
        n = len(x)
        kl = {"level 1": torch.arange(n).double(), "level 2": torch.full((n,), 0.01)}
        return [Likelihood(torch.full((n,), -64.0).double(), "elbo", kl=kl)]


def test_the_kl_of_each_part_is_recorded_over_all_examples() -> None:
    """Catches the mean of one batch taken for that of the split."""
    model: Any = Told()
    (record,) = likelihoods(model, load(DataConfig()), n=15, k=1, batch_size=10, device="cpu")
    assert record["kl"]["level 1"] == pytest.approx((sum(range(10)) + sum(range(5))) / 15)
    assert record["nats"] == pytest.approx(-64)
    line = latent_use([record])
    assert line is not None
    assert "3.68 nats of KL in 1 of 2 parts of the latent" in line
    assert line.endswith("collapsed: level 2")


def test_a_model_without_a_latent_has_no_such_line() -> None:
    assert latent_use([{"kind": "exact"}, {"kind": "ode", "kl": {}}]) is None
