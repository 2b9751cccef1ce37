"""What compilation gains in sampling: a chain of steps through a U-Net as it is and compiled, interleaved.

    python ci/bench/compilation.py [--steps 1000] [--batch 16] [--size 28] [--channels 32]

Prints the seconds of the first compiled step from a cold start and, in a second process, from a warm one; the
median seconds of a step each way with its range; and what a chain takes each way, the start included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch
from torch import Tensor

from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.training.compilation import CACHE, compile_networks, eager
from zoo_core.types import DataInfo


def timed(work: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def quartiles(seconds: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(seconds, n=4)
    return {"median": median, "low": low, "high": high}


@torch.no_grad()
def measured(args: argparse.Namespace) -> dict[str, object]:
    """Return the seconds of the first compiled step, and of a step each way over interleaved rounds."""
    torch.manual_seed(0)
    info = DataInfo("toy", (1, args.size, args.size), 256)
    net = UNet(UNetConfig(channels=args.channels, mult=(1, 2, 2), blocks=1), info).eval()
    net = net.to(memory_format=torch.channels_last)
    x, t = torch.randn(args.batch, 1, args.size, args.size), torch.rand(args.batch)
    plain: list[float] = []
    compiled: list[float] = []
    net(x, t)
    compile_networks([net])
    first = timed(lambda: net(x, t))
    for _ in range(args.rounds):
        with eager():
            plain.append(timed(lambda: net(x, t)))
        compiled.append(timed(lambda: net(x, t)))
    return {"first": first, "plain": quartiles(plain), "compiled": quartiles(compiled)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="this process alone, as JSON")
    args = parser.parse_args()
    if args.json:
        print(json.dumps(measured(args)))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for start in ("cold", "warm"):
            done = subprocess.run(
                [sys.executable, __file__, "--json", *sys.argv[1:]],
                env={**os.environ, CACHE: folder},
                stdout=subprocess.PIPE,
                check=True,
            )
            found[start] = json.loads(done.stdout)
    print(
        f"threads {torch.get_num_threads()}, batch {args.batch}, {args.size}x{args.size}, {args.channels} "
        f"channels, {args.rounds} rounds"
    )
    for start, one in found.items():
        plain, compiled = one["plain"]["median"], one["compiled"]["median"]
        chain, quicker = args.steps * plain, one["first"] + args.steps * compiled
        print(
            f"{start} start {one['first']:.1f} s; a step {plain * 1e3:.1f} ms "
            f"({one['plain']['low'] * 1e3:.1f} to {one['plain']['high'] * 1e3:.1f}), compiled "
            f"{compiled * 1e3:.1f} ms ({one['compiled']['low'] * 1e3:.1f} to "
            f"{one['compiled']['high'] * 1e3:.1f}); {args.steps:,} steps {chain:.0f} s, compiled "
            f"{quicker:.0f} s with the start"
        )


if __name__ == "__main__":
    main()
