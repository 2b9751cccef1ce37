"""What the harness costs: its step beside a plain loop's, interleaved in one process.

    python ci/bench/harness.py [--rounds 15] [--json]

Three loops train the same network on the same resident data, in turn, round after round:
  plain     a hand-written loop: default Adam, EMA in Python, a loss recorded every 50 steps
  fused     the same with fused Adam and torch._foreach_lerp_
  harness   zoo_core's
Printed: the median time of a step with its quartiles, and the median over rounds of the ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from zoo_core.config import EmaConfig, OptimizerConfig, TrainConfig
from zoo_core.data.loading import Resident, TrainData, to_unit
from zoo_core.nn.perceptron import perceptron
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.training.harness import Harness, Listener
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, DataInfo, Loss

INFO = DataInfo("bench", (1, 8, 8), 17)
EXAMPLES, BATCH, DECAY, LR, LOG_EVERY = 1437, 64, 0.999, 1e-3, 50


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), perceptron([64, 256, 256, 64]), nn.Unflatten(1, (1, 8, 8)))


class TimedUNet(nn.Module):
    """A small U-Net at one fixed time, so that both networks are called alike."""

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet(UNetConfig(attention=(4,)), INFO)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, torch.full((len(x),), 500.0), None)


def denoising_loss(net: nn.Module, x: Tensor, rng: torch.Generator) -> Tensor:
    noise = torch.randn(x.shape, generator=rng)
    return nn.functional.mse_loss(net(x + noise), noise)


class Bench(Recipe):
    """The same loss as a recipe."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def stages(self) -> Sequence[Stage]:
        phase = Phase("denoise", self.loss, updates=[self.net], optimizer="net")
        ema = {"net": EmaConfig(decay=DECAY, warmup=False)}
        return [Stage("train", [phase], {"net": OptimizerConfig(kind="adam", lr=LR)}, ema=ema)]

    def loss(self, batch: Batch, context: Context) -> Loss:
        return Loss(denoising_loss(self.net, batch.x, context.rng))


Loop = Callable[[int], None]


def hand_written(net: nn.Module, levels: Tensor, fused: bool) -> Loop:
    """Return a function that trains for a number of steps."""
    adam = (
        torch.optim.Adam(net.parameters(), lr=LR, fused=True)
        if fused
        else torch.optim.Adam(net.parameters(), lr=LR)
    )
    live = [p.detach() for p in net.parameters()]
    average = [p.clone() for p in live]
    rng = torch.Generator().manual_seed(0)
    order, place, step = torch.randperm(len(levels)), 0, 0
    recorded = []

    def run(steps: int) -> None:
        nonlocal order, place, step
        for _ in range(steps):
            if place + BATCH > len(levels):
                order, place = torch.randperm(len(levels)), 0
            x = to_unit(levels[order[place : place + BATCH]], 17)
            place += BATCH
            adam.zero_grad(set_to_none=True)
            loss = denoising_loss(net, x, rng)
            loss.backward()
            adam.step()
            with torch.no_grad():
                if fused:
                    torch._foreach_lerp_(average, live, 1 - DECAY)
                else:
                    for a, p in zip(average, live, strict=True):
                        a.mul_(DECAY).add_(p, alpha=1 - DECAY)
            step += 1
            if step % LOG_EVERY == 0:
                recorded.append(loss.item())

    return run


def with_harness(net: nn.Module, levels: Tensor) -> Loop:
    """Return a function that lets the harness train for a number of steps."""
    left = 0
    records = []

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    config = TrainConfig(
        steps=10**9, batch_size=BATCH, log_every=LOG_EVERY, checkpoint_every=10**9, sample_every=10**9
    )
    listener = Listener(log=lambda step, values: records.append(values), stop=stop)
    harness = Harness(Bench(net), config, TrainData(Resident(levels), INFO, 0), listener=listener)

    def run(steps: int) -> None:
        nonlocal left
        left = steps
        harness.run()

    return run


def compare(make: Callable[[], nn.Module], rounds: int, steps: int) -> dict[str, dict[str, float]]:
    """Return per loop the quartiles of milliseconds a step, and of the ratio harness / loop."""
    levels = torch.randint(0, 17, (EXAMPLES, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    loops = {
        "plain": hand_written(make(), levels, fused=False),
        "fused": hand_written(make(), levels, fused=True),
        "harness": with_harness(make(), levels),
    }
    times: dict[str, list[float]] = {name: [] for name in loops}
    for round_ in range(rounds + 2):
        names = list(loops)
        for name in names[round_ % 3 :] + names[: round_ % 3]:
            start = time.perf_counter()
            loops[name](steps)
            if round_ >= 2:  # the first rounds warm up
                times[name].append((time.perf_counter() - start) / steps * 1e3)
    ratio = {name: [h / t for h, t in zip(times["harness"], times[name], strict=True)] for name in loops}
    return {
        name: dict(zip(("low", "median", "high"), statistics.quantiles(times[name], n=4), strict=True))
        | dict(zip(("ratio_low", "ratio", "ratio_high"), statistics.quantiles(ratio[name], n=4), strict=True))
        for name in loops
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results = {"mlp": compare(mlp, args.rounds, 200), "unet": compare(TimedUNet, args.rounds, 20)}
    if args.json:
        print(json.dumps(results, indent=1))
        return
    print(f"threads {torch.get_num_threads()}, {args.rounds} rounds; ms a step: median (quartiles)")
    for net, rows in results.items():
        for name, row in rows.items():
            print(
                f"{net:5} {name:8} {row['median']:8.3f} ({row['low']:.3f} to {row['high']:.3f})   "
                f"harness/{name} {row['ratio']:.3f} ({row['ratio_low']:.3f} to {row['ratio_high']:.3f})"
            )


if __name__ == "__main__":
    main()
