"""No sampling loop asks the device for a number: on a GPU the host would wait for it in every step.

The samplers run on the device `meta`, whose tensors have shapes and no values: whatever asks one for a
number, or copies it to the host, raises. A dispatch mode sees what is copied from the host within the loop.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.diffusion.analytic import vp
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.guidance import AutoGuided, ClassifierFree, ClassifierGuided, IntervalGuided
from zoo_core.diffusion.levels import on_device, on_host
from zoo_core.diffusion.sampling import bind
from zoo_core.diffusion.specs import SAMPLERS
from zoo_core.interfaces import Denoiser
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.seeds import Seeds
from zoo_core.types import Cond, DataInfo

N = 3
INFO = DataInfo("digits", (1, 8, 8), 17, classes=4, task="class")
META = torch.device("meta")
ASKS = {
    "pf-ode": "its steps adapt to an error on the device",
    "diffusers": "their schedulers are another's code",
}
"""Samplers that have to ask."""


class Copies(TorchDispatchMode):
    """Counts copies from the host to the device and back, after the loop's first call of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if self.calls and func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[1] if func is torch.ops.aten.copy_.default else args[0]
            if source.device != made.device:
                self.found.append(f"{func}: {source.device} to {made.device}")
        return made


def network(watch: Copies) -> SigmaDenoiser:
    net = UNet(UNetConfig(channels=8), INFO).to(META).eval()
    net.register_forward_pre_hook(lambda *_: setattr(watch, "calls", watch.calls + 1))
    return SigmaDenoiser(net, vp(50).to(META), "eps", clip_x0=True)


def conditions() -> Cond:
    return Cond(label=torch.zeros(N, dtype=torch.int64, device=META))


def guided(how: str, watch: Copies) -> Denoiser:
    inner = network(watch)
    free = ClassifierFree(inner, conditions(), 4, 2.0, clip_x0=True)
    match how:
        case "free":
            return free
        case "interval":
            return IntervalGuided(free, inner, 0.3, 2.0)
        case "auto":
            return AutoGuided(inner, inner, conditions(), 2.0)
        case "classifier":

            def logits(x: Tensor, sigma: Tensor) -> Tensor:
                return x.flatten(1)[:, :4] / (1 + sigma)

            return ClassifierGuided(inner, logits, conditions(), 2.0)
    return inner


NAMES = [spec.name for spec in SAMPLERS if spec.name not in ASKS]


@pytest.mark.parametrize("how", ["none", "free", "interval", "auto", "classifier"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_no_loop_asks_the_device_for_a_number(name: str, how: str) -> None:
    (spec,) = (spec for spec in SAMPLERS if spec.name == name)
    sampler = bind(spec)
    here = SigmaDenoiser(torch.nn.Identity(), vp(50), "eps")
    sigmas = sampler.grid(here, 6)
    watch = Copies()
    denoise = guided(how, watch)
    noise = Seeds(0, range(N), META)
    x = noise.randn((1, 8, 8), name="start")
    with watch:
        made = sampler.function(denoise, x, sigmas, noise=noise, callback=None, **sampler.options)
    assert made.shape == (N, 1, 8, 8)
    assert made.device == META
    assert watch.calls >= 5
    assert watch.found == []


def test_what_asks_is_caught() -> None:
    """The check itself: a number that is asked for, a truth value, a list, a copy either way."""
    x = torch.ones(2, device=META)
    for ask in (lambda: x[0].item(), lambda: bool(x[0] > 0), x.tolist, x.cpu, lambda: float(x[0])):
        with pytest.raises((RuntimeError, NotImplementedError)):
            ask()
    watch = Copies()
    watch.calls = 1
    with watch:
        torch.ones(2).to(META)
    assert len(watch.found) == 1


def test_a_level_on_the_device_is_known_on_the_host() -> None:
    sigmas = torch.tensor([2.0, 0.7, 0.0], dtype=torch.float64)
    levels = on_device(sigmas, META)
    assert [float(on_host(level)) for level in levels] == [2.0, 0.7, 0.0]
    here = on_device(sigmas, torch.device("cpu"))
    assert all(on_host(level) is level for level in here)
    other = torch.tensor(1.0)
    assert on_host(other) is other
