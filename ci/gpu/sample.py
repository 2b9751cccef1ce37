"""Sampling speed: network calls a second in bfloat16 and float32, and 50,000 samples of 20 calls.

    python ci/gpu/sample.py [--device cuda] [--batch 1000]

First the noise: whether integers and uniforms have the same bits on the device as on the CPU, by how many
units in the last place normals differ (at most 1), and the time of a step's noise for 500 images.

The calls are interleaved. The samples are drawn by the sampler `dpmpp-2m` on the device's own noise, with
any wait of the host for the device made an error; their time is that of some batches, times as many as are
needed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from unets import (
    WAYS,
    called,
    cold,
    interleaved,
    ours,
    ours_as_recipe,
    prepared,
    small,
    summary,
    synchronized,
    theirs,
)

from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.guidance import ClassifierFree, Conditioned, IntervalGuided
from zoo_core.diffusion.sampling import bind
from zoo_core.diffusion.schedule import NoiseSchedule
from zoo_core.diffusion.specs import SAMPLERS
from zoo_core.machine.precision import Precision, autocast
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.registry.manager import manager
from zoo_core.seeds import Seeds
from zoo_core.training.compilation import compile_networks
from zoo_core.types import Cond, DataInfo, SampleRequest

SAMPLES, CALLS = 50_000, 20


def drawing(batch: int, calls: int, device: torch.device, smoke: bool) -> Callable[[], Any]:
    """Return a function that draws a batch of DDPM's samples by the zoo, in bfloat16, compiled."""
    recipe, config = ours_as_recipe(smoke, device, sampler="dpmpp-2m")
    recipe.eval()
    compile_networks([recipe])
    sampler = bind(manager().find("sampler", "dpmpp-2m").spec, config.sampler)

    def draw() -> None:
        request = SampleRequest(Seeds(0, range(batch), device), None, sampler, calls)
        with torch.no_grad(), autocast("bfloat16", device)():
            recipe.sample(request)

    return draw


def ulps(one: Tensor, other: Tensor) -> int:
    """Return the largest distance of two float32 tensors, in units in the last place."""
    ordered = []
    for x in (one, other):
        bits = x.contiguous().view(torch.int32).long()
        ordered.append(torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits))
    return int((ordered[0] - ordered[1]).abs().max())


def noise(device: torch.device, smoke: bool) -> dict[str, Any]:
    """Return whether noise on the device is that on the CPU, and the milliseconds of a step's noise."""
    shape, images, steps = (3, 32, 32), (4 if smoke else 500), (2 if smoke else 50)
    here, there = Seeds(0, range(images)), Seeds(0, range(images), device)
    levels = [seeds.randint(256, shape, name="levels").cpu() for seeds in (here, there)]
    uniforms = [seeds.rand(shape, name="uniforms").cpu() for seeds in (here, there)]
    normals = [seeds.randn(shape, name="normals").cpu() for seeds in (here, there)]
    synchronized(device)
    start = time.perf_counter()
    for step in range(1, 1 + steps):
        there.randn(shape, name="normals", step=step)
    synchronized(device)
    return {
        "images": images,
        "integers_equal": torch.equal(*levels),
        "uniforms_equal": torch.equal(*uniforms),
        "normals_ulps": ulps(*normals),
        "step_ms": 1e3 * (time.perf_counter() - start) / steps,
    }


def forward(network: nn.Module, precision: Precision, x: Tensor, t: Tensor) -> Callable[[], Any]:
    """Return a function that calls a network once."""
    call, cast = called(network), autocast(precision, x.device)

    def run() -> Tensor:
        with torch.no_grad(), cast():
            return call(x, t)

    return run


def waits(draw: Callable[[], Any], device: torch.device) -> str:
    """Return what in a drawing makes the host wait for the device; "" where nothing does."""
    if device.type != "cuda":
        return "not a GPU"
    torch.cuda.set_sync_debug_mode("error")
    try:
        draw()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


@torch.no_grad()
def loops_that_wait(batch: int, device: torch.device, smoke: bool) -> dict[str, str]:
    """Return what in each sampler's loop makes the host wait for the device, with guidance in an interval.

    `pf-ode`, whose steps adapt to an error, and the schedulers of diffusers are left out: they ask.
    """
    recipe, _ = ours_as_recipe(smoke, device)
    info = DataInfo("cifar10", (3, 32, 32), 256, classes=10, task="class")
    net = UNet(UNetConfig(channels=16), info).to(device).eval()
    inner = SigmaDenoiser(net, cast("NoiseSchedule", recipe.schedule), "eps", clip_x0=True)
    cond = Cond(label=torch.arange(batch, device=device) % 10)
    free = ClassifierFree(inner, cond, 10, 2.0, clip_x0=True)
    denoise = IntervalGuided(free, Conditioned(inner, cond), 0.3, 3.0)
    found = {}
    for spec in (spec for spec in SAMPLERS if spec.name not in ("pf-ode", "diffusers")):
        sampler, noise = bind(spec), Seeds(0, range(batch), device)
        sigmas, x = sampler.grid(inner, 6), noise.randn((3, 32, 32), name="start")
        run = partial(sampler.function, denoise, x, sigmas, noise=noise, **sampler.options)
        run()
        found[spec.name] = waits(run, device)
    return {name: fault for name, fault in found.items() if fault}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    device, smoke = torch.device(args.device), args.smoke
    batch, rounds, calls = (2, 1, 2) if smoke else (args.batch, 5, CALLS)
    print(json.dumps({"noise": noise(device, smoke)}), flush=True)
    x, t = torch.randn(batch, 3, 32, 32, device=device), torch.zeros(batch, device=device)
    contestants: dict[str, Callable[[], Any]] = {}
    for who, make in (("zoo", ours), ("diffusers", theirs)):
        for layout in ("channels-first", "channels-last"):
            for way in WAYS[:2]:
                network = prepared(make(smoke), device, layout, way).eval()
                for precision in ("bfloat16", "float32"):
                    if precision == "float32" and (way != "eager" or layout == "channels-last"):
                        continue
                    contestants[f"{who}, {layout}, {way}, {precision}"] = forward(network, precision, x, t)
    for way in WAYS:
        network = prepared(ours(True) if smoke else small(), device, "channels-first", way).eval()
        contestants[f"small, {way}, bfloat16"] = forward(network, "bfloat16", x, t)
    starts = {}
    for name, run in contestants.items():
        starts[name] = round(cold(run, device), 2)
        print(f"{name}: first three calls {starts[name]} s", file=sys.stderr, flush=True)
    print(json.dumps({"batch": batch, "first_three_calls_s": starts}), flush=True)
    seconds = interleaved(contestants, rounds, 3, device)
    rates = {name: summary(each, batch) for name, each in seconds.items()}
    print(json.dumps({"calls_per_s": rates}), flush=True)
    draw = drawing(batch, calls, device, smoke)
    first = cold(draw, device)
    fault = waits(draw, device)
    synchronized(device)
    start, batches = time.perf_counter(), 1 if smoke else 3
    for _ in range(batches):
        draw()
    synchronized(device)
    a_batch = (time.perf_counter() - start) / batches
    found = {
        "zoo_samples": {
            "calls": calls,
            "seconds_of_50000": a_batch * math.ceil(SAMPLES / batch),
            "calls_per_s": batch * calls / a_batch,
            "first_three_batches_s": first,
            "host_waits": fault,
            "loops_that_wait": loops_that_wait(2 if smoke else 64, device, smoke),
        },
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
