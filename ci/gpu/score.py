"""Scoring on the device: each metric of given features there and on the CPU, in seconds and in its values.

    python ci/gpu/score.py [--device cuda] [--rows 50000] [--dims 2048]

Features are normal numbers with a few directions of large variance, as features of images have them. The CPU
takes a fraction of the rows where all of them would take minutes; values are compared on these. Pairs of
images are compared as translations are.

The whole evaluation of as many given 32x32 images, all default metrics of eval.protocol=standard, is timed
against a reference of as many random images whose features were cached by an evaluation of 10,000.

Extraction and the taking of samples are timed as they are, the host at work on one batch while the device
computes the next, and with a wait for each batch. What makes the host wait within a batch is listed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from unets import synchronized

from zoo_core.config import DataConfig, EvalConfig, RunConfig
from zoo_core.data.levels import nearest_levels
from zoo_core.data.loading import Resident
from zoo_core.data.splits import resident
from zoo_core.errors import ZooError
from zoo_core.interfaces import Extractor
from zoo_core.machine.readback import Arriving, arriving, one_behind
from zoo_core.results import Cost, Provenance, SamplingRecord
from zoo_core.types import DataInfo
from zoo_eval import features as extraction
from zoo_eval.extractors.classifiers import mnist
from zoo_eval.extractors.effnet import effnet_lite0
from zoo_eval.metrics import frechet, kernel, prdc, translation, trivial
from zoo_eval.metrics.inception_score import inception_score
from zoo_eval.metrics.memorization import nearest
from zoo_eval.pipeline import Identity, Setup, evaluate, prepare
from zoo_eval.sampling import source_of_rows
from zoo_eval.statistics.intervals import resampled_means

Way = Callable[[Iterable[Arriving[Any]]], Iterator[Any]]
"""How batches are taken: `one_behind`, or `one_by_one`."""
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


def translations(target: Tensor, made: Tensor) -> list[float]:
    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for one in zip(*(x.split(translation.at_once(x[0])) for x in (target, made)), strict=True):
            yield translation.unit(one[0], 256), translation.unit(one[1], 256)

    makes = trivial.translations(pairs(), "lowres")
    parts = [[translation.compared(b, a) for a, b in pairs()]]
    parts += [[translation.compared(make(a), a) for a, _ in pairs()] for make in makes.values()]
    return [float(values.mean()) for each in parts for values in translation.joined(each).values()]


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


def images(n: int, shape: tuple[int, ...], seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), generator=rng, dtype=torch.uint8)


def timed(metric: Metric, real: Tensor, fake: Tensor) -> tuple[list[float], float]:
    start = time.perf_counter()
    found = metric(real, fake)
    synchronized(fake.device)
    return found, round(time.perf_counter() - start, 3)


def measured(metric: Metric, real: Tensor, fake: Tensor, few: int, device: torch.device) -> dict[str, float]:
    """Return the seconds of a metric on a device, those of few rows on the CPU, and how the values differ."""
    there = real.to(device), fake.to(device)
    timed(metric, there[0][:few], there[1][:few])  # loads the libraries' kernels
    _, seconds = timed(metric, *there)
    ours, _ = timed(metric, there[0][:few], there[1][:few])
    theirs, on_cpu = timed(metric, real[:few], fake[:few])
    gap = max(abs(a - b) / max(1e-12, abs(b)) for a, b in zip(ours, theirs, strict=True))
    return {"seconds": seconds, f"cpu_seconds_of_{few}": on_cpu, "largest_relative_gap": gap}


def one_by_one(work: Iterable[Arriving[Any]]) -> Iterator[Any]:
    """Wait for each batch before the next is begun: what `one_behind` is compared with."""
    for one in work:
        yield one.wait()


def overlapped(run: Callable[[Way], object], device: torch.device, rounds: int) -> dict[str, Any]:
    """Return the median seconds of work as it is and with a wait for each batch, interleaved."""
    seconds: dict[str, list[float]] = {"seconds": [], "seconds_waiting": []}
    for _ in range(rounds + 1):  # the first loads the libraries' kernels
        for name, way in (("seconds", one_behind), ("seconds_waiting", one_by_one)):
            synchronized(device)
            start = time.perf_counter()
            run(way)
            synchronized(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(each[1:]), 4) for name, each in seconds.items()}


def extractors(device: torch.device) -> Iterator[tuple[Extractor, tuple[int, ...]]]:
    """Yield the feature networks whose weights are here, and the shape of their images."""
    yield mnist(EvalConfig(), device), (1, 28, 28)
    with contextlib.suppress(ZooError, ImportError):
        yield effnet_lite0(EvalConfig(), device), (3, 32, 32)


def extracting(network: Extractor, levels: Tensor, batch: int) -> Callable[[Way], object]:
    """Return what passes images through a feature network."""
    info = DataInfo("images", tuple(levels.shape[1:]), 256)

    def run(way: Way) -> object:
        with mock.patch.object(extraction, "one_behind", way):
            return extraction.passed(levels.split(batch), network, info)

    return run


def taking(batch: int, batches: int, device: torch.device) -> Callable[[Way], object]:
    """Return what draws batches from a network and takes them as `zoo_eval.sampling.sample` does: into one
    array, with a hash.
    """
    convolutions = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(20)]
    network = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), *convolutions, nn.Conv2d(64, 3, 3, padding=1))
    network = network.to(device)
    start = torch.randn(batch, 3, 32, 32, device=device)
    rows = torch.empty(batch * batches, 3, 32, 32, dtype=torch.uint8)

    def begun() -> Iterator[Arriving[Tensor]]:
        for _ in range(batches):
            yield arriving(lambda levels: levels, nearest_levels(network(start), 256))

    @torch.no_grad()
    def run(way: Way) -> str:
        digest = hashlib.sha256()
        for k, levels in enumerate(way(begun())):
            rows[k * batch : (k + 1) * batch] = levels
            digest.update(levels.numpy().data)
        return digest.hexdigest()

    return run


def overlaps(rows: int, batch: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Return how long extraction and the taking of samples last with and without an overlap."""
    found: dict[str, Any] = {}
    for network, shape in extractors(device):
        levels = images(rows, shape, 0)
        run = extracting(network, levels, batch)
        waits = asked(extracting(network, levels[:1], 1), device)
        found[f"extraction, {network.name}"] = overlapped(run, device, rounds) | {"host_waits": waits}
    found["samples"] = overlapped(taking(batch, max(1, rows // batch), device), device, rounds)
    return found


def whole(info: DataInfo, extractor: str, rows: int, few: int, device: torch.device) -> dict[str, Any]:
    """Return the seconds of an evaluation of given images against a cached reference.

    Args:
        info: of the images; its name is that of a registered dataset.
        extractor: registered name.
        rows: images, and training examples; a fifth as many test examples.
        few: images of the evaluation that caches the reference's features and distances.
        device: of the evaluation.
    """
    scoring = EvalConfig(protocol="standard", extractor=extractor)
    config = RunConfig(plugin="given", data=DataConfig(name=info.name), eval=scoring)
    assert info.levels is not None
    train, test, given = (
        images(n, info.shape, k) % info.levels for k, n in enumerate((rows, rows // 5, rows))
    )
    data = resident(info, Resident(train), Resident(test))
    source = source_of_rows(given, config, data, device, lambda line: None)
    who = Identity("given", "outside", 0, "0" * 12, Cost(), Provenance(), SamplingRecord())
    try:
        setup = prepare(source)
    except ZooError as error:  # the network's weights are not here
        return {"absent": str(error)}
    seconds = {}
    for count in (few, rows):
        protocol = replace(setup.protocol, n_generated=count)
        synchronized(device)
        start = time.perf_counter()
        result = evaluate(source, who, Setup(protocol, setup.extractor))
        seconds[count] = round(time.perf_counter() - start, 2)
    return {
        "rows": rows,
        "extractor": extractor,
        "seconds": seconds[rows],
        f"seconds_of_{few}_and_reference": seconds[few],
        "metric_seconds": dict(result.cost.metric_seconds),
        "columns": len(result.metrics),
    }


def asked(run: Callable[[Way], object], device: torch.device) -> str:
    """Return what makes the host wait for the device while a batch is begun; "" where nothing does."""
    if device.type != "cuda":
        return "not a GPU"

    def begin(work: Iterable[Arriving[Any]]) -> Iterator[Any]:
        torch.cuda.set_sync_debug_mode("error")
        begun = list(work)
        torch.cuda.set_sync_debug_mode("default")
        yield from one_by_one(begun)

    try:
        run(begin)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


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
    found = {}
    print(json.dumps({"rows": rows, "dims": dims}), flush=True)
    for name, metric in METRICS.items():
        found[name] = measured(metric, real, fake, few, device)
        print(json.dumps({"metrics": {name: found[name]}}), flush=True)
    pairs = images(rows, (3, 32, 32), 0), images(rows, (3, 32, 32), 1)
    with torch.no_grad(), extraction.full_precision():
        found["translations"] = measured(translations, *pairs, min(few, 500), device)
    total = sum(each["seconds"] for each in found.values())
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    print(json.dumps({"metrics": found, "seconds_of_all": total, "peak_bytes": peak}), flush=True)
    sizes = (20, 8, 1) if args.smoke else (10_000, 500, 3)
    print(json.dumps({"overlap": overlaps(*sizes, device)}), flush=True)
    info, extractor = DataInfo("cifar10", (3, 32, 32), 256), "effnet-lite0"
    if args.smoke:
        info, extractor = DataInfo("digits", (1, 8, 8), 17), "digits"
    with tempfile.TemporaryDirectory() as home, mock.patch.dict(os.environ, ZOO_HOME=home):
        print(json.dumps({"evaluation": whole(info, extractor, rows, min(rows, 10_000), device)}))


if __name__ == "__main__":
    main()
