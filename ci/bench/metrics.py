"""What scoring costs: all figures of the evaluator beside other tools' fewer ones, interleaved in a process.

    python ci/bench/metrics.py [--images 512] [--rounds 3] [--json]

Each contestant sees the same images through the same InceptionV3 with the same random weights, from
images to figures, the building of its network included:
  zoo              FID, KID, IS, precision, recall, density, coverage, spatial FID, with their intervals
  torch-fidelity   FID, IS, KID, precision and recall, in one call
  torchmetrics     FID, KID and IS, run apart
Printed: the median seconds of each with its range, and the median over rounds of zoo's share of the others'.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.machine.files import sha256_of
from zoo_core.types import DataInfo
from zoo_eval.extractors.inception import Inception
from zoo_eval.features import Features, extract
from zoo_eval.pipeline import chosen_metrics, run_metrics
from zoo_eval.protocol import Protocol

BATCH, SUBSETS = 32, 100
INFO = DataInfo("bench", (3, 32, 32), 256)
MOST = {"torch-fidelity": 0.65, "torchmetrics": 0.4}
"""What zoo's share of each may be."""

METRICS = ("frechet", "spatial", "kernel", "inception-score", "prdc")
"""Metrics that the zoo computes here."""

Contestant = Callable[[], Any]


def save_random_weights(path: Path) -> None:
    """Write random weights of the literature's InceptionV3 in the published format."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    kept: dict[str, Tensor] = {}
    read, load = theirs.torch.load, nn.Module.load_state_dict

    def keep(self: nn.Module, state: Any, *args: Any, **kwargs: Any) -> Any:
        kept.update({name: value.clone() for name, value in self.state_dict().items()})
        return load(self, kept)

    try:  # the class reads its weights as it is built, so it is given none and asked what it had
        theirs.torch.load, nn.Module.load_state_dict = lambda *a, **k: {}, keep  # type: ignore[assignment]
        theirs.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], "none")
    finally:
        theirs.torch.load, nn.Module.load_state_dict = read, load  # type: ignore[method-assign]
    for name, value in kept.items():
        if name.endswith("conv.weight"):  # kept from vanishing on the way, as training keeps them
            nn.init.kaiming_normal_(value)
    torch.save(kept, path)


def settings(n: int) -> Protocol:
    """Return a protocol of n images a side."""
    return Protocol(
        name="bench",
        version=1,
        n_generated=n,
        data=INFO.name,
        data_sha256="none",
        n_reference=n,
        extractor="inception-random",
        extractor_sha256="none",
        resize="none",
        weights="ema",
        precision_k=3,
        density_k=5,
        neighbors_n=n,
        is_splits=10,
        kid_subsets=SUBSETS,
        kid_subset_size=n // 2,
        likelihood_n=n,
        iwae_k=1,
    )


def zoo(real: Tensor, fake: Tensor, weights: Path) -> Contestant:
    """Return what scores with this project."""

    def run() -> Any:
        extractor, protocol = Inception(weights, sha256_of(weights), "cpu"), settings(len(real))
        sides = []
        for rows in (real, fake):
            found = extract(rows.split(BATCH), extractor, INFO, "bench")
            doubles = [None if one is None else one.double() for one in found]
            sides.append(Features(doubles[0], doubles[1], spatial=doubles[2]))  # type: ignore[arg-type]
        context: Any = SimpleNamespace(
            train=sides[0],
            generated=sides[1],
            protocol=protocol,
            device="cpu",
            column=lambda base: f"{base}[{protocol.extractor}]",
            missing=lambda needs: "",
            source=SimpleNamespace(progress=lambda *done: None),
        )
        return run_metrics(context, chosen_metrics(METRICS)).values

    return run


def torch_fidelity(real: Tensor, fake: Tensor, weights: Path) -> Contestant:
    """Return what scores with torch-fidelity."""
    from torch_fidelity import calculate_metrics

    class Rows(torch.utils.data.Dataset[Tensor]):
        def __init__(self, rows: Tensor) -> None:
            self.rows = rows

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, place: int) -> Tensor:
            return self.rows[place]

    def run() -> Any:
        return calculate_metrics(
            input1=Rows(fake),
            input2=Rows(real),
            fid=True,
            isc=True,
            kid=True,
            prc=True,
            kid_subsets=SUBSETS,
            kid_subset_size=len(real) // 2,
            feature_extractor="inception-v3-compat",
            feature_extractor_weights_path=str(weights),
            batch_size=BATCH,
            cuda=False,
            cache=False,
            verbose=False,
            save_cpu_ram=True,
        )

    return run


def torchmetrics(real: Tensor, fake: Tensor, weights: Path) -> Contestant:
    """Return what scores with torchmetrics, each metric with its own passes."""
    from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    def net(layer: str) -> nn.Module:
        made = NoTrainInceptionV3("inception-v3-compat", [layer], str(weights))
        made.num_features = 2048 if layer == "2048" else 1008
        return made

    def run() -> Any:
        found = {}
        size = len(real) // 2
        for name, metric in (
            ("fid", FrechetInceptionDistance(net("2048")).set_dtype(torch.float64)),
            ("kid", KernelInceptionDistance(net("2048"), subsets=SUBSETS, subset_size=size)),
        ):
            for rows, is_real in ((real, True), (fake, False)):
                for batch in rows.split(BATCH):
                    metric.update(batch, real=is_real)
            found[name] = metric.compute()
        score = InceptionScore(net("logits_unbiased"), splits=10)
        for batch in fake.split(BATCH):
            score.update(batch)
        return found | {"isc": score.compute()}

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rng = torch.Generator().manual_seed(0)
    shape = (args.images, *INFO.shape)
    real, fake = (torch.randint(0, 256, shape, generator=rng).to(torch.uint8) for _ in range(2))
    times: dict[str, list[float]] = {"zoo": [], "torch-fidelity": [], "torchmetrics": []}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "inception.pth"
        save_random_weights(weights)
        made = (make(real, fake, weights) for make in (zoo, torch_fidelity, torchmetrics))
        contestants = dict(zip(times, made, strict=True))
        with torch.no_grad():
            zoo(real[:16], fake[:16], weights)()  # what is imported and read once is not a contestant's
        for round_ in range(args.rounds):
            names = list(contestants)
            for name in names[round_ % 3 :] + names[: round_ % 3]:
                start = time.perf_counter()
                with torch.no_grad():
                    contestants[name]()
                times[name].append(time.perf_counter() - start)
    share = {
        name: statistics.median(z / t for z, t in zip(times["zoo"], theirs, strict=True))
        for name, theirs in times.items()
        if name != "zoo"
    }
    if args.json:
        print(json.dumps({"seconds": times, "share": share, "most": MOST}, indent=1))
        return
    print(f"{args.images} images a side, {torch.get_num_threads()} threads, {args.rounds} rounds; seconds")
    for name, theirs in times.items():
        print(f"{name:15} {statistics.median(theirs):8.1f} ({min(theirs):.1f} to {max(theirs):.1f})")
    for name, part in share.items():
        print(f"zoo / {name:15} {part:.3f} (at most {MOST[name]})")


if __name__ == "__main__":
    main()
