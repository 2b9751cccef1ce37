"""The U-Net of DDPM for CIFAR-10, ours and that of diffusers, with their loops: what the parts compare."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.config import RunConfig
from zoo_core.machine.precision import image_layout
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.training.compilation import GRAPHS, compile_network, mark_step
from zoo_core.training.recipe import Recipe
from zoo_core.types import DataInfo

CIFAR = DataInfo("cifar10", (3, 32, 32), 256)
Network = Callable[[Tensor, Tensor], Tensor]
WAYS = ("eager", "compiled", "graphs")
"""As it is, its blocks compiled, and their kernels recorded as CUDA graphs too."""


TINY = {"channels": 16, "mult": (1, 2), "blocks": 1}


def small() -> nn.Module:
    """Return a U-Net of 1.5 M parameters, of which CUDA graphs are expected to pay."""
    return UNet(UNetConfig(channels=32, mult=(1, 2, 2), blocks=1, attention=(16,)), CIFAR)


def ours(smoke: bool) -> nn.Module:
    """Return our U-Net: that of preset=paper, of 35.7 M parameters."""
    whole = {"channels": 128, "mult": (1, 2, 2, 2), "blocks": 2, "attention": (16,), "dropout": 0.1}
    return UNet(UNetConfig(**(TINY if smoke else whole)), CIFAR)


def ours_as_recipe(smoke: bool, device: torch.device, **options: Any) -> tuple[Recipe, RunConfig]:
    """Return `ddpm` with our U-Net on CIFAR-10's shape, preset=paper, and its config with other options."""
    small = {"model.channels": 16, "model.mult": (1, 2), "model.blocks": 1, "model.attention": ()}
    given = {"plugin": "ddpm", "data": "cifar10", "preset": "paper", **options}
    config = resolve({**given, **(small if smoke else {})})
    recipe: Recipe = load_entry("plugin", manager().find("plugin", "ddpm"))(config, CIFAR)
    return recipe.to(device).to(memory_format=image_layout(device)), config


def theirs(smoke: bool) -> nn.Module:
    """Return the U-Net of diffusers with the same numbers."""
    from diffusers import UNet2DModel

    plain, attends = ("DownBlock2D", "AttnDownBlock2D"), ("UpBlock2D", "AttnUpBlock2D")
    layout = (0, 1) if smoke else (0, 1, 0, 0)
    return UNet2DModel(
        sample_size=32,
        block_out_channels=(32, 64) if smoke else (128, 256, 256, 256),
        layers_per_block=1 if smoke else 2,
        down_block_types=[plain[i] for i in layout],
        up_block_types=[attends[i] for i in reversed(layout)],
        attention_head_dim=None,
        dropout=0.1,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )


def called(network: nn.Module) -> Network:
    """Return a network as a function of images and times to images, whoever made it."""

    def call(x: Tensor, t: Tensor) -> Tensor:
        out = network(x, t)
        return out if isinstance(out, Tensor) else out.sample

    return call


def prepared(network: nn.Module, device: torch.device, layout: str, way: str) -> nn.Module:
    """Return the network on a device, in a layout ("channels-first" or "channels-last") and one of WAYS."""
    kind = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    network = network.to(device).to(memory_format=kind)
    if way != "eager":
        compile_network(network, GRAPHS if way == "graphs" else None)
    return network


def training_step(network: nn.Module, batch: int, device: torch.device) -> Callable[[], None]:
    """Return one step of a bare loop: batch, noise, loss in bfloat16, clipping, fused Adam, EMA weights."""
    images = torch.rand(50_000 if device.type == "cuda" else 64, 3, 32, 32, device=device) * 2 - 1
    signal = torch.linspace(1, 0.01, 1000, device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4, fused=True)
    parameters: list[torch.Tensor] = list(network.parameters())
    average = [p.detach().clone() for p in parameters]
    call = called(network)

    def step() -> None:
        mark_step()
        x = images[torch.randint(len(images), (batch,), device=device)]
        t = torch.randint(1000, (batch,), device=device)
        noise = torch.randn_like(x)
        a = signal[t][:, None, None, None]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            loss = (call(a.sqrt() * x + (1 - a).sqrt() * noise, t).float() - noise).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1e-4)

    return step


def synchronized(device: torch.device) -> None:
    """Wait until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    contestants: Mapping[str, Callable[[], Any]], rounds: int, calls: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds of a call of each contestant, over rounds in which all take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            run()  # what another left in the caches
            synchronized(device)
            start = time.perf_counter()
            for _ in range(calls):
                run()
            synchronized(device)
            seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def cold(run: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of the first calls: kernels chosen, code compiled."""
    start = time.perf_counter()
    for _ in range(3):
        run()
    synchronized(device)
    return time.perf_counter() - start


def summary(seconds: list[float], images: int) -> dict[str, float]:
    """Return the median images a second, with the least and the most."""
    rates = sorted(images / each for each in seconds)
    return {"per_s": statistics.median(rates), "least": rates[0], "most": rates[-1]}


def flops(network: nn.Module, device: torch.device) -> float:
    """Return the FLOPs of one image's forward pass, two for each multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode

    x, t = torch.zeros(1, 3, 32, 32, device=device), torch.zeros(1, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        called(network)(x, t)
    return float(counter.get_total_flops())
