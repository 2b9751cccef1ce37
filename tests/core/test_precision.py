"""Precision of float32 matrix products in training, set and given back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.core.recipes import Single, harness
from zoo_core.machine.precision import tf32
from zoo_core.training import harness as training
from zoo_core.types import Batch, Context


def now() -> str:
    return torch.get_float32_matmul_precision()


@pytest.mark.parametrize(("device", "within"), [("cuda", "high"), ("cpu", "highest")])
def test_tf32_is_set_for_a_gpu_and_given_back(device: str, within: str) -> None:
    """Catches a CPU's products rounded, and a setting that outlives the block or an error in it."""
    assert now() == "highest"
    with tf32(torch.device(device)):
        assert now() == within
    assert now() == "highest"
    with pytest.raises(ZeroDivisionError), tf32(torch.device(device)):
        raise ZeroDivisionError
    assert now() == "highest"


def test_a_setting_of_the_caller_s_is_given_back() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        with tf32(torch.device("cuda")):
            assert now() == "high"
        assert now() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_losses_of_a_run_on_a_gpu_are_computed_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a harness that trains outside of the block, or leaves the setting to what follows."""
    seen: list[str] = []
    monkeypatch.setattr(training, "tf32", lambda device: tf32(torch.device("cuda")))

    def loss(net: nn.Module, batch: Batch, context: Context) -> Tensor:
        seen.append(now())
        return net(batch.x).square().mean()

    harness(Single(nn.Linear(2, 2), loss), steps=2).run()
    assert seen == ["high", "high"]
    assert now() == "highest"
