"""Scoring a run: samples drawn once, features extracted once, every figure from them.

Several processes draw, extract and search their share each; then all have all of it and compute the same, so
no process waits for what another may fail at.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import torch
from torch import Tensor

from zoo_core.config import EvalConfig, RunConfig
from zoo_core.data.conditioning import conditions
from zoo_core.data.loading import Dataset, Resident, Table
from zoo_core.distributed import gather, share, world
from zoo_core.errors import PluginError, UsageError, ZooError
from zoo_core.interfaces import Extractor, HasLikelihood
from zoo_core.memory import peak_bytes, reset_peak
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.spec import DatasetSpec
from zoo_core.runs import Drawn, Run
from zoo_core.seeds import generator
from zoo_core.types import Cond
from zoo_eval import memorisation, sheet
from zoo_eval.by_class import class_distances
from zoo_eval.cost import operations
from zoo_eval.density_errors import density_errors
from zoo_eval.features import Features, Modes, check_examples, extract, gathered, in_batches
from zoo_eval.frechet import cell, check_pair, frechet_distance
from zoo_eval.intervals import share as share_cell
from zoo_eval.likelihood import Flow, flow_denoiser, likelihoods, truth
from zoo_eval.modes import HasModes, judge_card, judged_by, modes_of_pictures, modes_of_points
from zoo_eval.protocol import METRICS_VERSION, Protocol, check_plan, doubts, make_protocol, plan
from zoo_eval.reconstruction import reconstruction_distance
from zoo_eval.statistics import cached
from zoo_eval.translation import translation_scores


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
    """Return the feature network that a config asks for, its protocol's, or the dataset's own.

    Raises:
        NotFoundError: for a name that nothing is registered under.
        UsageError, MachineError: where its weights are missing or damaged.
    """
    here = manager()
    spec: DatasetSpec = here.find("dataset", data).spec
    name = config.extractor or plan(config.protocol).extractor or spec.extractor
    entry = here.find("extractor", name)
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
    check_plan(run.config.eval, run.data.info)
    if run.config.eval.ode == "always" and flow_denoiser(run.recipe, run.data.info) is None:
        raise UsageError(
            f"eval.ode=always and {run.config.plugin!r} has no likelihood by a probability flow",
            "expected: a denoiser of data, not of a latent, at continuous levels",
            "next: eval.ode=auto",
        )
    extractor = choose_extractor(run.config.eval, run.data.info.name, run.device)
    protocol = make_protocol(run.config.eval, run.data, extractor, judged_by(run.data))
    first = run.data.train.examples(torch.arange(min(2, len(run.data.train))))
    extract([first], extractor, run.data.info, "training")
    return protocol, extractor


def examine(run: Scorable) -> None:
    """Say before training what a run's protocol can't mean on its data, and refuse data that can't be scored.

    Raises:
        ZooError: as `preflight`, and for examples in memory that are not finite or out of range.
    """
    protocol, extractor = preflight(run)
    for split in (run.data.train, run.data.test):
        if split.in_memory:
            for index in torch.arange(len(split)).split(10_000):
                check_examples(split.examples(index).cpu(), run.data.info)
    for line in doubts(protocol, extractor.dim or run.data.info.dims, run.data.info):
        run.say(f"warning: {line}")


@dataclass(frozen=True)
class Drawing:
    """All samples of a run, as they are scored.

    Attributes:
        rows: uint8 levels (n, C, H, W), or float32 points (n, D).
        label: the classes that were asked for, or None.
        calls: network calls per sample.
        clipped: share of values outside [-1, 1].
        seconds: wall-clock time of drawing, the slowest process's.
        peak: bytes of memory at the highest, of the process that took most; None where nobody tells.
    """

    rows: Tensor
    label: Tensor | None
    calls: int
    clipped: float
    seconds: float
    peak: int | None = None


def samples_hash(rows: Tensor) -> str:
    """Return the sha256, in hex, of samples in order: of their uint8 levels, or float32 points."""
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()


def draw(run: Scorable, n: int) -> Drawing:
    """Draw samples 0 to n - 1 of a run, each process its share."""
    cond, own = conditions(run.data, n), share(n, world())
    mine = None if cond is None else cond[slice(own.start, own.stop)].to(run.device)
    reset_peak(run.device)
    start = time.monotonic()
    parts = list(run.draw(len(own), start=own.start, cond=mine)) if own else []
    seconds = time.monotonic() - start
    rows = gathered(torch.cat([part.rows for part in parts]).cpu() if parts else None)
    clipped = math.fsum(part.clipped * len(part.rows) for part in parts)
    calls = max((part.calls for part in parts), default=0)
    every = gather((calls, clipped, seconds, peak_bytes(run.device)))
    peaks = [peak for *_, peak in every if peak is not None]
    assert rows is not None
    return Drawing(
        rows=rows,
        label=None if cond is None else cond.label,
        calls=max(calls for calls, *_ in every),
        clipped=math.fsum(clipped for _, clipped, *_ in every) / n,
        seconds=max(seconds for _, _, seconds, _ in every),
        peak=max(peaks, default=None),
    )


def modes_of(run: Scorable, rows: Tensor) -> Modes | None:
    """Return the classes or modes of samples; None where nobody can tell them."""
    if judge_card(run.data) is not None:
        own = share(len(rows), world())
        batches = rows[own.start : own.stop].split(run.config.eval.batch_size) if own else ()
        return modes_of_pictures(batches, run.data, run.device)
    if isinstance(run.data.density, HasModes):
        return modes_of_points(rows, run.data.density)
    return None


def real_modes(run: Scorable, name: str) -> Modes | None:
    """Return the classes or modes of a split: its own labels, or where the density puts its points."""
    split: Table = getattr(run.data, name)
    if isinstance(run.data.density, HasModes):
        return modes_of_points(split.examples(torch.arange(len(split))), run.data.density)
    if split.label is None or judge_card(run.data) is None:
        return None
    return Modes("labels", split.label.cpu(), run.data.info.classes)


def real_features(run: Scorable, name: str, extractor: Extractor, protocol: Protocol) -> Features:
    """Return the features of a split of the data, from the cache where they were computed before."""
    split: Table = getattr(run.data, name)

    def compute() -> dict[str, Tensor]:
        run.say(f"features of the {name} split ({len(split):,}), once for {extractor.name}")
        found = extract(in_batches(split, run.config.eval.batch_size), extractor, run.data.info, name)
        return {key: value for key, value in found._asdict().items() if value is not None and key != "logits"}

    key = (run.data.sha256, name, extractor.name, extractor.sha256, protocol.resize, protocol.spatial)
    kept = cached("features", key, compute, run.say)
    values, spatial = kept["values"].double(), kept.get("spatial")
    points = split.examples(torch.arange(len(split))).double().cpu() if run.data.info.levels is None else None
    return Features(
        values,
        None,
        protocol,
        spatial=None if spatial is None else spatial.double(),
        modes=real_modes(run, name),
        points=points,
    )


def generated_features(run: Scorable, rows: Tensor, extractor: Extractor, protocol: Protocol) -> Features:
    """Return the features of all samples, each process having passed its share."""
    own = share(len(rows), world())
    batches = rows[own.start : own.stop].split(run.config.eval.batch_size) if own else ()
    found = extract(batches, extractor, run.data.info, "generated")
    return Features(
        found.values.double(),
        None if found.logits is None else found.logits.double(),
        protocol,
        spatial=None if found.spatial is None else found.spatial.double(),
        modes=modes_of(run, rows),
        points=rows.double() if run.data.info.levels is None else None,
    )


def look(run: Scorable, x: Tensor, train: Table, test: Table, space: str) -> memorisation.Found:
    """Return what is found of samples beside their nearest training and held-out examples, in one space.

    Args:
        space: names it among what is kept: "pixels", or an extractor with its weights' sha256.
    """

    def compute() -> dict[str, Tensor]:
        return {"ratios": memorisation.held_out_ratios(train, test, len(x))}

    key = (run.data.sha256, space, str(len(x)), str(METRICS_VERSION))
    held_out = cached("nearest", key, compute, run.say)["ratios"]
    return memorisation.look(x, memorisation.Reference(train, test, held_out))


def memorised(
    run: Scorable, rows: Tensor, fake: Features, train: Features, test: Features
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the record of the memorisation check, and its column: authenticity, shown and never ranked."""
    n, data, settings = fake.protocol.memorisation_n, run.data, fake.protocol
    pixels = look(run, rows[:n], data.train, data.test, "pixels")
    spaces = [Resident(x.values.float()) for x in (train, test)]
    space = f"{settings.extractor} {settings.extractor_sha256}"
    features = look(run, fake.values[:n].float(), spaces[0], spaces[1], space)

    def compute() -> dict[str, Tensor]:
        held_out = memorisation.nearest(spaces[1].x[:n], spaces[0])
        return {"authentic": memorisation.authentic(held_out, spaces[0])}

    key = (data.sha256, space, str(n), str(METRICS_VERSION))
    expected = float(cached("authentic", key, compute, run.say)["authentic"].double().mean())
    authentic = memorisation.authentic(features.train, spaces[0])
    record = memorisation.record(pixels, features) | {"expected_authenticity": expected}
    folder: Path | None = getattr(run, "dir", None)
    if folder is not None and run.config.track.pictures and world().first:
        picture = sheet.neighbour_sheet(rows[:n], pixels, data)
        if picture is not None:
            name = sheet.write(picture, folder)
            record["picture"] = name
    column = {fake.column("authenticity"): share_cell(authentic) | {"better": ""}}
    return record, column


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


def figures(real: Features, fake: Features) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return every registered metric's columns, and for each that these pictures can't have, why.

    A column is {"value", "better", "low", "high", ...}; the interval is told where the metric has one.

    Raises:
        PluginError: where a metric fails.
    """
    columns: dict[str, dict[str, Any]] = {}
    absent: dict[str, str] = {}
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
        for column, one in found.items():
            if isinstance(one, str):
                absent[column] = one
            else:
                columns[column] = {"better": entry.spec.better, **one}
    return columns, absent


def score(run: Scorable) -> dict[str, Any]:
    """Return all figures of a trained run, ready for strict JSON.

    Raises:
        ZooError: where samples, features or likelihoods are unfit to be scored.
    """
    protocol, extractor = preflight(run)
    settings = run.config
    run.say(f"drawing {protocol.n_generated:,} samples")
    drawing = draw(run, protocol.n_generated)
    fake = generated_features(run, drawing.rows, extractor, protocol)
    train = real_features(run, "train", extractor, protocol)
    test = real_features(run, "test", extractor, protocol)
    metrics, absent = figures(train, fake)
    metrics[fake.column("FD") + " to test"] = to_test(test, fake)
    metrics |= class_distances(train, run.data.train.label, fake, drawing.label)
    metrics |= class_accuracy(fake, drawing.label)
    if isinstance(run, Run):
        translated, missing = translation_scores(run, drawing.rows, fake, extractor)
        metrics, absent = metrics | translated, absent | missing
    verdict, authenticity = memorised(run, drawing.rows, fake, train, test)
    metrics |= authenticity
    likelihood, best = measured_likelihoods(run, protocol), truth(run.data, protocol.likelihood_n)
    if isinstance(run, Run):
        with run.harness.quiet(protocol.weights):
            metrics |= density_errors(
                run.recipe,
                run.data,
                n=protocol.likelihood_n,
                device=run.device,
                likelihood=likelihood,
                best=best,
            )
    spent = operations(run, drawing.calls) if isinstance(run, Run) else {}
    reconstructed = reconstruction_distance(run, extractor, test) if isinstance(run, Run) else None
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
        "absent": absent,
        "likelihood": likelihood,
        "truth": best,
        "memorisation": verdict,
        "floor": {
            **floor(train, test, protocol.n_generated),
            **({} if reconstructed is None else {"reconstruction": reconstructed}),
        },
        "cost": {
            **run.cost,
            **spent,
            "sample_seconds": round(drawing.seconds, 3),
            "seconds_per_sample": drawing.seconds / protocol.n_generated,
            "nfe": drawing.calls,
            **({} if drawing.peak is None else {"sample_peak_bytes": drawing.peak}),
        },
        "samples_sha256": samples_hash(drawing.rows),
    }
    refuse_non_finite(result)
    return result


def measured_likelihoods(run: Scorable, protocol: Protocol) -> list[dict[str, Any]]:
    """Return a record for every kind of likelihood the model has; none for a model without one."""
    flow = None
    if run.config.eval.ode != "never":
        flow = Flow(protocol.ode_probe, protocol.ode_probes, protocol.ode_tolerance)
    if not isinstance(run.recipe, HasLikelihood) and flow_denoiser(run.recipe, run.data.info) is None:
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
            flow=flow,
        )


def to_test(test: Features, fake: Features) -> dict[str, Any]:
    """Return the cell of the Frechet distance to the test split: shown beside, never ranked."""
    return cell(*check_pair(test.values, fake.values)) | {"better": ""}


def class_accuracy(fake: Features, label: Tensor | None) -> dict[str, dict[str, Any]]:
    """Return the share of conditional samples in which the judge sees the class that was asked for."""
    if label is None or fake.modes is None:
        return {}
    right = fake.modes.index == label.cpu()
    return {f"accuracy[{fake.modes.name}]": share_cell(right) | {"better": "higher"}}


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
