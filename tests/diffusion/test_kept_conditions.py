"""Labels and captions are embedded once for all steps of a sampler; samples are the same to the bit."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.diffusion.analytic import vp
from zoo_core.diffusion import sampling
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.guidance import ClassifierFree, Conditioned, IntervalGuided
from zoo_core.diffusion.sampling import bind, draw
from zoo_core.diffusion.specs import DDIM
from zoo_core.interfaces import Denoiser
from zoo_core.nn.conditioning import ConditionEmbedding, kept_conditions
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.seeds import Seeds
from zoo_core.types import Cond, DataInfo, SampleRequest

N, STEPS = 3, 5
KINDS = {
    "class": (DataInfo("digits", (1, 8, 8), 17, classes=4, task="class"), Cond(label=torch.arange(N))),
    "text": (
        DataInfo("digits", (1, 8, 8), 17, vocabulary=6, caption_length=4, task="text"),
        Cond(tokens=torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0], [0, 0, 0, 0]])),
    ),
}


def counted(module: nn.Module) -> list[int]:
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def model(kind: str) -> tuple[UNet, Cond]:
    torch.manual_seed(0)
    info, cond = KINDS[kind]
    net = UNet(UNetConfig(channels=8, attention=(8,)), info).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.05)
    return net, cond


def drawn(net: UNet, cond: Cond, how: str) -> Tensor:
    inner = SigmaDenoiser(net, vp(50), "eps", clip_x0=True)
    plain = Conditioned(inner, cond)
    denoise: Denoiser = ClassifierFree(inner, cond, 4, 2.0) if how == "free" else plain
    if how == "interval":
        denoise = IntervalGuided(ClassifierFree(inner, cond, 4, 2.0), plain, 0.5, 3.0)
    return draw(denoise, (1, 8, 8), SampleRequest(Seeds(1, range(N)), steps=STEPS), bind(DDIM)).x


@pytest.mark.parametrize(("how", "times"), [("plain", 1), ("free", 1), ("interval", 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_is_embedded_once_for_all_steps(
    kind: str, how: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an encoder that runs in every step, and an embedding of one condition given to another."""
    net, cond = model(kind)
    made: Any = net.condition.label if kind == "class" else net.condition.encoder
    calls = counted(made)
    kept = drawn(net, cond, how)
    assert len(calls) == times
    monkeypatch.setattr(sampling, "kept_conditions", contextlib.nullcontext)
    calls.clear()
    assert torch.equal(drawn(net, cond, how), kept)
    assert len(calls) > times


def test_what_is_kept_is_of_these_weights_and_conditions() -> None:
    """Within one block other conditions and another network get their own; after it nothing is kept."""
    torch.manual_seed(0)
    one, two = (ConditionEmbedding(4, 0, 8).eval() for _ in range(2))
    time = torch.zeros(N, 8)
    a, b = Cond(label=torch.tensor([0, 1, 2])), Cond(label=torch.tensor([3, 3, 4]))
    with torch.no_grad(), kept_conditions():
        for net in (one, two):
            for cond in (a, b):
                assert torch.equal(net(cond, time)[0], net.label.weight[cond.label])
        assert torch.equal(one(None, time)[0], one.label.weight[[4] * N])
    one.label.weight.data.add_(1)
    with torch.no_grad():
        assert torch.equal(one(a, time)[0], one.label.weight[a.label])


def test_nothing_is_kept_where_gradients_are_recorded() -> None:
    """Catches a graph that is used for two backward passes."""
    net = ConditionEmbedding(4, 0, 8)
    cond = Cond(label=torch.tensor([0, 1, 2]))
    with kept_conditions():
        for _ in range(2):
            net(cond, torch.zeros(N, 8))[0].sum().backward()
    assert net.label.weight.grad is not None
    assert float(net.label.weight.grad.sum()) == 2 * N * 8
