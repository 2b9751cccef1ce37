"""The columns that say how much of a latent is in use."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data.digits import load
from zoo_core.seeds import Seeds
from zoo_core.types import Likelihood
from zoo_eval.metrics.likelihood import columns_of, latent_use, likelihoods


class Told:
    """A model whose latent has two levels, one of them unused."""

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> list[Likelihood]:
        n = len(x)
        kl = {"level 1": torch.arange(n).double(), "level 2": torch.full((n,), 0.01)}
        return [Likelihood(torch.full((n,), -64.0).double(), "elbo", kl=kl)]


def test_the_kl_of_each_part_is_recorded_over_all_examples() -> None:
    """Catches the mean of one batch taken for that of the split."""
    model: Any = Told()
    data = load(DataConfig())
    (found,) = likelihoods(model, data, n=15, k=1, batch_size=10, device="cpu")
    assert float(found.kl["level 1"].mean()) == pytest.approx((sum(range(10)) + sum(range(5))) / 15)
    columns = columns_of(found, data.info)
    assert "-64.0 nats" in columns["bits_per_dim[elbo]"].note
    assert columns["KL[elbo]"].value == pytest.approx(55 / 15 + 0.01)
    assert columns["active[elbo]"].value == 1
    assert columns["active[elbo]"].note == "of 2 parts of the latent; collapsed: level 2"


def test_a_model_without_a_latent_has_no_such_line() -> None:
    assert latent_use({}, "exact") == {}
