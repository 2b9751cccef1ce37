"""Scoring a run: samples drawn once, features extracted once, every figure from them."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Interface

import torch
from torch import Tensor

from zoo_core.config import EvalConfig, RunConfig
from zoo_core.data.loading import Dataset, Split
from zoo_core.errors import PluginError, UsageError, ZooError
from zoo_core.interfaces import Extractor, HasLikelihood
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.spec import DatasetSpec
from zoo_core.runs import Drawn
from zoo_core.seeds import generator
from zoo_core.types import Cond
from zoo_eval.classifiers import WEIGHTS, Judge
from zoo_eval.distances import frechet_distance
from zoo_eval.features import Features, extract, in_batches
from zoo_eval.likelihood import likelihoods, truth
from zoo_eval.memorisation import judge_distances, nearest_distances
from zoo_eval.protocol import Protocol, make_protocol
from zoo_eval.statistics import cached


class Scorable(Interface):
    """What scoring reads of a `zoo_core.runs.Run`."""

    @property
    def config(self) -> RunConfig: ...
    @property
    def data(self) -> Dataset: ...
    @property
    def recipe(self) -> Any: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def cost(self) -> Mapping[str, Any]: ...
    @property
    def harness(self) -> Any: ...
    @property
    def say(self) -> Callable[[str], None]: ...

    def draw(
        self, n: int, *, start: int = 0, seed: int | None = None, cond: Cond | None = None
    ) -> Iterator[Drawn]: ...


def choose_extractor(config: EvalConfig, data: str, device: torch.device | str) -> Extractor:
    """Return the feature network that a config asks for, or the dataset's own.

    Raises:
        NotFoundError: for a name that nothing is registered under.
        UsageError, MachineError: where its weights are missing or damaged.
    """
    here = manager()
    spec: DatasetSpec = here.find("dataset", data).spec
    name = config.extractor or spec.extractor
    entry = here.find("extractor", "timm" if name.startswith("timm:") else name)
    made = load_entry("extractor", entry)(config.model_copy(update={"extractor": name}), device)
    if not isinstance(made, Extractor):
        raise PluginError(
            f"extractor {name!r} of {entry.distribution} is no Extractor: {type(made).__name__}"
        )
    return made


def preflight(run: Scorable) -> tuple[Protocol, Extractor]:
    """Return the run's protocol and extractor, once a training picture went through it.

    Raises:
        ZooError: where the run could not be scored after training.
    """
    extractor = choose_extractor(run.config.eval, run.data.info.name, run.device)
    protocol = make_protocol(run.config.eval, run.data, extractor)
    first = run.data.train.rows(torch.arange(min(2, len(run.data.train))))
    extract([first], extractor, run.data.info, "training")
    return protocol, extractor


@dataclass(frozen=True)
class Drawing:
    """All samples of a run, as they are scored.

    Attributes:
        rows: uint8 levels (n, C, H, W), or float32 points (n, D).
        label: the classes that were asked for, or None.
        calls: network calls per sample.
        clipped: share of values outside [-1, 1].
        seconds: wall-clock time of drawing.
    """

    rows: Tensor
    label: Tensor | None
    calls: int
    clipped: float
    seconds: float


def samples_hash(rows: Tensor) -> str:
    """Return the sha256, in hex, of samples in order: of their uint8 levels, or float32 points."""
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()


def conditions(dataset: Dataset, n: int) -> Cond | None:
    """Return labels for n samples, as frequent as in training; None where data are unconditional."""
    if dataset.info.task != "class" or dataset.train.label is None:
        return None
    label = dataset.train.label.cpu()
    rows = torch.randint(len(label), (n,), generator=generator(0, "labels"))
    return Cond(label=label[rows])


def draw(run: Scorable, n: int) -> Drawing:
    """Draw samples 0 to n - 1 of a run."""
    cond = conditions(run.data, n)
    device_cond = None if cond is None else cond.to(run.device)
    start = time.monotonic()
    parts = list(run.draw(n, cond=device_cond))
    sizes = [len(part.rows) for part in parts]
    return Drawing(
        rows=torch.cat([part.rows for part in parts]).cpu(),
        label=None if cond is None else cond.label,
        calls=max(part.calls for part in parts),
        clipped=sum(part.clipped * size for part, size in zip(parts, sizes, strict=True)) / sum(sizes),
        seconds=time.monotonic() - start,
    )


def real_features(run: Scorable, name: str, extractor: Extractor, protocol: Protocol) -> Features:
    """Return the features of a split of the data, from the cache where they were computed before."""
    split: Split = getattr(run.data, name)

    def compute() -> dict[str, Tensor]:
        run.say(f"features of the {name} split ({len(split):,}), once for {extractor.name}")
        values, _ = extract(in_batches(split, run.config.eval.batch_size), extractor, run.data.info, name)
        return {"values": values}

    key = (run.data.sha256, name, extractor.name, extractor.sha256, protocol.resize)
    return Features(cached("features", key, compute, run.say)["values"].double(), None, protocol)


def memorisation(run: Scorable, rows: Tensor) -> dict[str, Any]:
    """Return the record of the memorisation check."""
    data = run.data
    n = min(len(data.test), len(rows))

    def compute() -> dict[str, Tensor]:
        return {"distances": nearest_distances(data.test.rows(torch.arange(n)), data.train)}

    held_out = cached("nearest", (data.sha256, "test", str(n)), compute, run.say)["distances"]
    return judge_distances(nearest_distances(rows, data.train), held_out).record()


def floor(train: Features, test: Features, n: int) -> dict[str, Any]:
    """Return what n new real pictures would be expected to score: the distance is biased by c (1/n + 1/m).

    n test pictures tell it; where there are fewer, c is had from their distance to the training split.
    """
    measured = frechet_distance(train.values, test.values)
    value, k = measured, min(n, len(test))
    if k < len(test):
        rows = torch.randperm(len(test), generator=generator(0, "floor"))[:k]
        value = frechet_distance(train.values, test.values[rows])
    share = (1 / n + 1 / len(train)) / (1 / k + 1 / len(train))
    return {"value": value * share, "test_vs_train": measured, "n_test": len(test), "n_train": len(train)}


def figures(real: Features, fake: Features) -> dict[str, dict[str, Any]]:
    """Return every registered metric's columns: {"value", "better", ...} each; one that fails says why."""
    columns: dict[str, dict[str, Any]] = {}
    for entry in manager().entries("metric"):
        try:
            found = load_entry("metric", entry)(real, fake)
        except ZooError:
            raise
        except Exception as error:
            raise PluginError(
                f"metric {entry.spec.name!r} of {entry.distribution} failed: {type(error).__name__}: {error}",
                "next: ZOO_DEBUG=1 shows the traceback",
            ) from error
        for column, cell in found.items():
            columns[column] = {"better": entry.spec.better, **cell}
    return columns


def score(run: Scorable) -> dict[str, Any]:
    """Return all figures of a trained run, ready for strict JSON.

    Raises:
        ZooError: where samples, features or likelihoods are unfit to be scored.
    """
    protocol, extractor = preflight(run)
    info, settings = run.data.info, run.config
    run.say(f"drawing {protocol.n_generated:,} samples")
    drawing = draw(run, protocol.n_generated)
    batches = drawing.rows.split(settings.eval.batch_size)
    values, logits = extract(batches, extractor, info, "generated")
    fake = Features(values.double(), None if logits is None else logits.double(), protocol)
    train = real_features(run, "train", extractor, protocol)
    test = real_features(run, "test", extractor, protocol)
    metrics = figures(train, fake)
    against_test = fake.column("FD") + " to test"
    metrics[against_test] = {"value": frechet_distance(test.values, fake.values), "better": ""}
    metrics |= class_accuracy(run, drawing)
    result = {
        "protocol": {
            "name": protocol.name,
            "version": protocol.version,
            "hash": protocol.hash,
            "fields": protocol.fields,
        },
        "entry": {
            "sampler": settings.sampler.name,
            "steps": settings.sample.steps,
            "weights": settings.eval.weights,
            "seed": settings.sample.seed,
            "precision": settings.train.precision,
            "clipped": drawing.clipped,
        },
        "metrics": metrics,
        "likelihood": measured_likelihoods(run, protocol),
        "truth": truth(run.data, protocol.likelihood_n),
        "memorisation": memorisation(run, drawing.rows),
        "floor": floor(train, test, protocol.n_generated),
        "cost": {
            **run.cost,
            "sample_seconds": round(drawing.seconds, 3),
            "seconds_per_sample": drawing.seconds / protocol.n_generated,
            "nfe": drawing.calls,
        },
        "samples_sha256": samples_hash(drawing.rows),
    }
    refuse_non_finite(result)
    return result


def measured_likelihoods(run: Scorable, protocol: Protocol) -> list[dict[str, Any]]:
    """Return a record for every kind of likelihood the model has; none for a model without one."""
    if not isinstance(run.recipe, HasLikelihood):
        return []
    run.say(f"likelihood of {protocol.likelihood_n:,} test examples")
    with run.harness.quiet(protocol.weights):
        return likelihoods(
            run.recipe,
            run.data,
            n=protocol.likelihood_n,
            k=protocol.iwae_k,
            batch_size=run.config.eval.batch_size,
            device=run.device,
        )


def class_accuracy(run: Scorable, drawing: Drawing) -> dict[str, dict[str, Any]]:
    """Return the share of conditional samples in which the judge sees the class that was asked for."""
    name = f"{run.data.info.name}-judge"
    if drawing.label is None or not (WEIGHTS / f"{name}.json").exists():
        return {}
    judge = Judge(name, run.device)
    batches = drawing.rows.split(run.config.eval.batch_size)
    with torch.no_grad():
        seen = torch.cat([judge(rows, run.data.info).cpu() for rows in batches])
    right = float((seen == drawing.label).double().mean())
    error = math.sqrt(right * (1 - right) / len(seen))
    return {f"accuracy[{name}]": {"value": right, "se": error, "better": "higher"}}


def refuse_non_finite(value: Any, where: str = "result") -> None:
    """Raise where a number in plain data is not finite: JSON has no word for it.

    Raises:
        UsageError: naming the place.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where} is {value}", "expected: finite figures; nothing was recorded")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            refuse_non_finite(inner, f"{where}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for place, inner in enumerate(value):
            refuse_non_finite(inner, f"{where}[{place}]")
