"""Training speed: the harness, a bare loop over the same network, and diffusers' U-Net, interleaved.

    python ci/gpu/train.py [--device cuda] [--batch 256]

Prints images/s of each with its range, parameters, seconds of the first three steps (compilation among
them), the share of the card's peak, and the ratios that matter.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from unets import (
    CIFAR,
    WAYS,
    cold,
    flops,
    interleaved,
    ours,
    ours_as_recipe,
    prepared,
    small,
    summary,
    theirs,
    training_step,
)

from zoo_core.data.loading import Resident, TrainData
from zoo_core.training.harness import Harness, Listener

PEAK = 790e12
"""FLOP/s of bfloat16 matrix products that were measured on an H100 and on an H200."""


class Unsaved(Harness):
    """A harness that makes no checkpoint where it stops: it stops after each step here."""

    def _save(self, end: dict[str, Any] | None = None) -> None:
        pass


def harness_step(batch: int, device: torch.device, compiled: bool, smoke: bool) -> Callable[[], None]:
    """Return one step of the harness, with the network, batch, optimizer and EMA weights of the bare loop."""
    options = {"train.batch_size": batch, "train.compile": compiled, "train.precision": "bfloat16"}
    recipe, config = ours_as_recipe(smoke, device, **options)
    unbroken = {"steps": 10**9, "checkpoint_every": 10**9, "sample_every": 10**9}
    images = torch.randint(0, 256, (50_000 if device.type == "cuda" else 64, 3, 32, 32), dtype=torch.uint8)
    data = TrainData(Resident(images), CIFAR, 0, device)
    listener = Listener(stop=lambda: True)
    return Unsaved(recipe, config.train.model_copy(update=unbroken), data, listener=listener).run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    device, smoke = torch.device(args.device), args.smoke
    batch, rounds, calls = (2, 1, 1) if smoke else (args.batch, 7, 6)
    torch.set_float32_matmul_precision("high")
    contestants: dict[str, Callable[[], None]] = {}
    parameters, starts, cost = {}, {}, 0.0
    for who, make in (("zoo", ours), ("diffusers", theirs)):
        for layout in ("channels-first", "channels-last"):
            for way in WAYS[:2]:
                network = prepared(make(smoke), device, layout, way).train()
                parameters[who] = sum(p.numel() for p in network.parameters())
                if who == "zoo" and way == "eager":
                    cost = cost or flops(network, device)
                contestants[f"{who}, bare, {layout}, {way}"] = training_step(network, batch, device)
    for way in WAYS:
        network = prepared(ours(True) if smoke else small(), device, "channels-first", way).train()
        contestants[f"small, bare, {way}"] = training_step(network, batch, device)
    for compiled in (False, True):
        name = f"zoo, harness, {'compiled' if compiled else 'eager'}"
        contestants[name] = harness_step(batch, device, compiled, smoke)
    for name, run in contestants.items():
        starts[name] = round(cold(run, device), 2)
        print(f"{name}: first three steps {starts[name]} s", file=sys.stderr, flush=True)
    rates = {
        name: summary(each, batch) for name, each in interleaved(contestants, rounds, calls, device).items()
    }
    best = {
        kind: max(rate["per_s"] for name, rate in rates.items() if set(kind.split()) <= set(name.split(", ")))
        for kind in ("zoo bare eager", "zoo bare compiled", "diffusers eager", "diffusers compiled")
    }
    fastest = rates["zoo, harness, compiled"]["per_s"]
    found = {
        "batch": batch,
        "parameters": parameters,
        "images_per_s": rates,
        "first_three_steps_s": starts,
        "share_of_peak": fastest * 3 * cost / PEAK,
        "small, compiled / eager": rates["small, bare, compiled"]["per_s"]
        / rates["small, bare, eager"]["per_s"],
        "small, graphs / compiled": rates["small, bare, graphs"]["per_s"]
        / rates["small, bare, compiled"]["per_s"],
        "harness / bare, eager": rates["zoo, harness, eager"]["per_s"] / best["zoo bare eager"],
        "harness / bare, compiled": fastest / best["zoo bare compiled"],
        "harness / diffusers, eager": fastest / best["diffusers eager"],
        "harness / diffusers, compiled": fastest / best["diffusers compiled"],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
