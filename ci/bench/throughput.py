"""Training and sampling speed of the diffusion models: images a second, on the device at hand.

    python ci/bench/throughput.py [--data cifar10] [--preset paper] [--plugins ddpm,edm] [--rounds 5]

Each model trains through the harness at its preset's batch, on random images of the data's shape, then
draws with its preset's own sampler. Printed, as medians over rounds: training images a second; network
calls a second times the batch; and from it the images a second that the preset's number of calls allows.
Nothing is downloaded, and the number of calls is read off two short samplings: it is linear in the steps.
On a CPU: --batch 2 --steps 1 --rounds 3, and minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from zoo_core.data.loading import Resident, TrainData
from zoo_core.diffusion.sampling import bind
from zoo_core.machine.precision import image_layout
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import choose_device
from zoo_core.seeds import Seeds
from zoo_core.training.harness import Harness, Listener
from zoo_core.training.recipe import Recipe
from zoo_core.types import DataInfo, SampleRequest, Samples

MODELS = ("ddpm", "iddpm", "ncsn", "vp-sde", "ve-sde", "edm")
WARM = 2
"""Rounds that are not counted: kernels are chosen, graphs compiled."""
SHORT, LONG = 3, 6
"""Steps of the two samplings that tell the calls of a long one."""


def timed(run: Callable[[], Any], rounds: int, device: torch.device) -> float:
    """Return the median seconds of a call, once the device has done all of it."""
    seconds = []
    for round_ in range(rounds + WARM):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if round_ >= WARM:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def training(recipe: Recipe, config: Any, info: DataInfo, device: torch.device, steps: int) -> Any:
    """Return a function that trains for so many steps, and the harness, whose weights are then drawn from."""
    levels = info.levels or 2
    images = torch.randint(0, levels, (512, *info.shape), generator=torch.Generator().manual_seed(0))
    left = 0

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    unbroken = {"steps": 10**9, "checkpoint_every": 10**9, "sample_every": 10**9}
    data = TrainData(Resident(images.to(torch.uint8)), info, 0, device)
    harness = Harness(recipe, config.train.model_copy(update=unbroken), data, listener=Listener(stop=stop))

    def run() -> None:
        nonlocal left
        left = steps
        harness.run()

    return run, harness


def measure(words: list[str], batch: int | None, steps: int, rounds: int) -> dict[str, float]:
    """Return a model's speeds.

    Args:
        words: of a run, as `zoo run` takes them.
        batch: of both; None for the preset's in training, and as many again in sampling.
        steps: of training in a round.
        rounds: of each measurement.
    """
    config = resolve(words + ([f"train.batch_size={batch}"] if batch else []))
    spec = manager().find("dataset", config.data.name).spec
    info = DataInfo(spec.name, spec.shape, spec.levels, spec.classes)
    device = choose_device(config.device)
    recipe = load_entry("plugin", manager().find("plugin", config.plugin))(config, info)
    recipe = recipe.to(device).to(memory_format=image_layout(device))
    train, harness = training(recipe, config, info, device, steps)
    n = config.train.batch_size
    a_step = timed(train, rounds, device) / steps

    name = config.sampler.name
    sampler = bind(manager().find("sampler", name).spec, config.sampler) if name else None
    default = sampler or bind(recipe.default_sampler)

    def draw(count: int) -> Samples:
        with harness.quiet("ema"):
            return recipe.sample(SampleRequest(Seeds(0, range(n), device), None, sampler, count))

    short, long = draw(SHORT).calls, draw(LONG).calls
    a_call = timed(lambda: draw(SHORT), rounds, device) / short
    levels = recipe.denoiser().levels
    most = default.steps if levels is None else min(default.steps, len(levels))
    wanted = config.sample.steps or most
    calls = short + (long - short) / (LONG - SHORT) * (wanted - SHORT)
    return {
        "parameters": sum(p.numel() for p in recipe.parameters()),
        "batch": n,
        "train_per_s": n / a_step,
        "calls_per_s": n / a_call,
        "calls": round(calls),
        "samples_per_s": n / a_call / calls,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plugins", default=",".join(MODELS))
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--preset", default="paper", help='of every model; "" for its defaults')
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    device = choose_device(args.device)
    machine = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    if not args.json:
        print(f"{machine}, data={args.data}, preset={args.preset}")
    results = {}
    for plugin in args.plugins.split(","):
        words = [f"plugin={plugin}", f"data={args.data}", f"device={device}"]
        words += [f"preset={args.preset}"] if args.preset else []
        row = results[plugin] = measure(words, args.batch, args.steps, args.rounds)
        if not args.json:
            print(
                f"{plugin:8} {row['parameters'] / 1e6:6.1f} M  batch {row['batch']:4}  "
                f"{row['train_per_s']:9.1f} images/s in training  "
                f"{row['calls_per_s']:9.1f} NFE x images/s  "
                f"{row['samples_per_s']:9.3f} samples/s at {row['calls']} calls",
                flush=True,
            )
    if args.json:
        print(json.dumps({"machine": machine, "data": args.data, "models": results}, indent=1))


if __name__ == "__main__":
    main()
