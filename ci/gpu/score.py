"""Scoring on the device: each metric of given features there and on the CPU, in seconds and in its values.

    python ci/gpu/score.py [--device cuda] [--rows 50000] [--dims 2048]

Features are normal numbers with a few directions of large variance, as features of images have them. The CPU
takes a fraction of the rows where all of them would take minutes; values are compared on these.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from zoo_core.data.loading import Resident
from zoo_eval.metrics import frechet, kernel, prdc
from zoo_eval.metrics.inception_score import inception_score
from zoo_eval.metrics.memorization import nearest
from zoo_eval.statistics.intervals import resampled_means

Metric = Callable[[Tensor, Tensor], list[float]]


def distance(real: Tensor, fake: Tensor) -> list[float]:
    return [frechet.cell(*frechet.check_pair(real, fake)).value]


def kernels(real: Tensor, fake: Tensor) -> list[float]:
    return list(kernel.kernel_distance(real, fake, subset_size=min(1000, len(real))))


def neighborhoods(real: Tensor, fake: Tensor) -> list[float]:
    return list(prdc.prdc(real[:10_000], fake[:10_000]).values())


def scores(real: Tensor, fake: Tensor) -> list[float]:
    return [inception_score(fake)[0]]


def bootstrap(real: Tensor, fake: Tensor) -> list[float]:
    return [float(resampled_means(fake[:, 0]).std())]


def neighbors(real: Tensor, fake: Tensor) -> list[float]:
    found = nearest(fake[:2000].float(), Resident(real.float()), device=fake.device)
    return [float(found.distance.mean())]


METRICS: dict[str, Metric] = {
    "FD": distance,
    "KD": kernels,
    "neighborhoods": neighborhoods,
    "IS": scores,
    "bootstrap": bootstrap,
    "neighbors": neighbors,
}


def features(n: int, d: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    spread = 4 * torch.arange(1, d + 1, dtype=torch.float64) ** -0.5
    return torch.randn(n, d, generator=rng, dtype=torch.float64) * spread


def timed(metric: Metric, real: Tensor, fake: Tensor) -> tuple[list[float], float]:
    start = time.perf_counter()
    found = metric(real, fake)
    if fake.device.type == "cuda":
        torch.cuda.synchronize(fake.device)
    return found, round(time.perf_counter() - start, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    device = torch.device(args.device)
    rows, dims, few = (200, 16, 200) if args.smoke else (args.rows, args.dims, 5000)
    real, fake = features(rows, dims, 0), features(rows, dims, 1) * 1.1
    there, found = (real.to(device), fake.to(device)), {}
    for name, metric in METRICS.items():
        timed(metric, there[0][:few], there[1][:few])  # loads the libraries' kernels
        _, seconds = timed(metric, *there)
        ours, _ = timed(metric, there[0][:few], there[1][:few])
        theirs, on_cpu = timed(metric, real[:few], fake[:few])
        gap = max(abs(a - b) / max(1e-12, abs(b)) for a, b in zip(ours, theirs, strict=True))
        found[name] = {"seconds": seconds, f"cpu_seconds_of_{few}": on_cpu, "largest_relative_gap": gap}
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    total = sum(each["seconds"] for each in found.values())
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    print(
        json.dumps(
            {"rows": rows, "dims": dims, "metrics": found, "seconds_of_all": total, "peak_bytes": peak}
        )
    )


if __name__ == "__main__":
    main()
