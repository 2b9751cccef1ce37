"""EvalContext: what a metric may ask for, built from a run, or from samples alone.

Samples, features and the model are the same objects for every metric; features are extracted at the first
request. Under several processes each one samples and extracts its share, and the first, which alone computes
metrics, has all of it.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.data.conditioning import conditions
from zoo_core.data.loading import Dataset, Table, quantize, to_unit
from zoo_core.interfaces import EvaluatedRun, Extractor, HasNetworks
from zoo_core.machine.distributed import World, share, world
from zoo_core.machine.leading import receive, send, to_first, together
from zoo_core.machine.memory import peak_bytes, reset_peak
from zoo_core.machine.spool import new_array
from zoo_core.results import Attachment
from zoo_core.results.attachments import attachment_of
from zoo_core.runs import Drawn
from zoo_core.training.compiled_batches import CompiledBatches
from zoo_core.types import Cond, Samples
from zoo_eval.cache import cached
from zoo_eval.features import Extracted, Features, ProjectedExtractor, extract, in_batches
from zoo_eval.modes import modes_of_samples, modes_of_split
from zoo_eval.protocol import Protocol

T = TypeVar("T")
OF_IMAGES = frozenset({"features", "reference", "samples", "labels"})
"""Needs of metrics that compare images or points, and not captions."""
Draw = Callable[[int, int, Cond | None], Iterator[Drawn]]
"""(n, start, conditions) -> batches of samples `start` to `start + n`."""


@dataclass(frozen=True)
class Source:
    """What is scored: samples, and the model that they come from where there is one.

    Attributes:
        config: options of the run, or of the score.
        data: the dataset.
        device: of the model and of the feature network.
        draw: gives the samples.
        say: tells the user how things go.
        warn: tells the user what is wrong, also where progress is not printed; None for `say`.
        progress: receives (what, done, total, unit).
        run: the trained run; None for samples from outside.
        folder: receives the attachments; None for none.
        functions: column -> a metric of the user's own, called with (samples, test examples).
    """

    config: RunConfig
    data: Dataset
    device: torch.device
    draw: Draw
    say: Callable[[str], None]
    run: EvaluatedRun | None = None
    folder: Path | None = None
    warn: Callable[[str], None] | None = None
    progress: Callable[[str, int, int, str], None] = lambda what, done, total, unit: None
    functions: Mapping[str, Callable[[Tensor, Tensor], Any]] = field(default_factory=dict)

    @property
    def warning(self) -> Callable[[str], None]:
        """How warnings are printed."""
        return self.warn or self.say


def source_of(run: EvaluatedRun) -> Source:
    """Return a trained run as a source."""

    def draw(n: int, start: int, cond: Cond | None) -> Iterator[Drawn]:
        return run.draw(n, start=start, cond=cond)

    parts = getattr(run, "parts", None)  # a run of another program has none
    functions = {} if parts is None else parts.metrics
    return Source(
        run.config, run.data, run.device, draw, run.say, run, run.dir, run.warn, run.progress, functions
    )


def source_of_rows(
    rows: Tensor,
    config: RunConfig,
    data: Dataset,
    device: torch.device,
    say: Callable[[str], None],
    folder: Path | None = None,
) -> Source:
    """Return samples from outside as a source.

    Args:
        rows: uint8 levels (n, C, H, W), or float32 points (n, D).
    """

    def draw(n: int, start: int, cond: Cond | None) -> Iterator[Drawn]:
        for part in rows[start : start + n].split(config.eval.batch_size):
            yield Drawn(part, 0, 0.0)

    return Source(config, data, device, draw, say, None, folder)


@dataclass(frozen=True)
class Sampled:
    """All samples, as they are scored.

    In other processes than the first there are its own samples alone, and what is known of them.

    Attributes:
        rows: uint8 levels (n, C, H, W), or float32 points (n, D).
        label: classes that were asked for; None where none were.
        nfe: network evaluations per sample.
        clipped: fraction of values outside [-1, 1] before quantization.
        seconds: wall-clock time of sampling, of the slowest process.
        peak: most bytes of memory of any process; None where it is unknown.
    """

    rows: Tensor
    label: Tensor | None
    nfe: int
    clipped: float
    seconds: float
    peak: int | None = None


CHUNK = 1 << 24
"""Bytes of samples that are hashed at a time."""


def sample(source: Source, n: int) -> Sampled:
    """Return samples 0 to n - 1; each process draws its share, and the first gets all.

    Many samples are in a file (`zoo_core.machine.spool`), so that no memory holds them all.
    """
    here = world()
    asked = None if source.run is None else conditions(source.data, n)
    own = share(n, here)
    count = n if here.first else len(own)
    mine = None if asked is None else asked[slice(own.start, own.stop)].to(source.device)
    kept: list[Tensor] = []

    def drawn() -> _Share:
        reset_peak(source.device)
        start = time.monotonic()
        clips: list[float] = []
        nfe = done = 0
        source.progress("sampling", done, len(own), "samples")
        for part in source.draw(len(own), own.start, mine) if own else ():
            if not kept:
                kept.append(_samples(count, part.rows.shape[1:], part.rows.dtype))
            kept[0][done : done + len(part.rows)] = part.rows
            clips.append(part.clipped * len(part.rows))
            nfe = max(nfe, part.calls)
            done += len(part.rows)
            source.progress("sampling", done, len(own), "samples")
        seconds = time.monotonic() - start
        kind = (kept[0].shape[1:], kept[0].dtype) if kept else None
        return _Share(kind, nfe, math.fsum(clips), seconds, peak_bytes(source.device))

    every = to_first(drawn)
    if not kept:  # a share of none
        kept.append(_samples(count, *next((one.kind for one in every if one.kind), ((), torch.uint8))))
    (rows,) = kept
    _collect(rows, n)
    peaks = [one.peak for one in every if one.peak is not None]
    return Sampled(
        rows=rows,
        label=None if asked is None else asked.label,
        nfe=max((one.nfe for one in every), default=0),
        clipped=math.fsum(one.clipped for one in every) / n,
        seconds=max((one.seconds for one in every), default=0.0),
        peak=max(peaks, default=None),
    )


class _Share(NamedTuple):
    """What one process tells of the samples that it drew.

    Attributes:
        kind: shape and dtype of a sample; None for a share of none.
        nfe: network evaluations per sample.
        clipped: sum over samples of the fraction of values outside [-1, 1].
        seconds: wall-clock time.
        peak: most bytes of memory; None where it is unknown.
    """

    kind: tuple[Sequence[int], torch.dtype] | None
    nfe: int
    clipped: float
    seconds: float
    peak: int | None


def _samples(n: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    return torch.from_numpy(new_array((n, *shape), kind))


def _collect(rows: Tensor, n: int) -> None:
    """Fill the first process's samples, which begin with its own, with those of the others, in place."""
    here = world()
    if not here.first:
        send(rows)
        return
    for rank in range(1, here.size):
        its = share(n, World(rank, here.size))
        receive(rows[its.start : its.stop], rank)


def _at_once(rows: Tensor) -> int:
    """Return how many samples are one chunk."""
    return max(1, CHUNK // max(1, math.prod(rows.shape[1:]) * rows.element_size()))


def samples_hash(rows: Tensor) -> str:
    """Return the sha256, in hex, of samples in order: of their uint8 levels, or float32 points."""
    digest = hashlib.sha256()
    for part in rows.split(_at_once(rows)):
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


@dataclass
class Context:
    """An `interfaces.EvalContext` of one evaluation.

    Attributes:
        source: what is scored.
        protocol: how.
        extractor: the feature network.
        sampled: the samples.
        attachments: files that metrics attached, by what they are, with their content.
    """

    source: Source
    protocol: Protocol
    extractor: Extractor
    sampled: Sampled
    attachments: dict[str, tuple[Attachment, bytes]] = field(default_factory=dict)
    _once: dict[str, Any] = field(default_factory=dict)

    # -- what there is

    def missing(self, needs: Iterable[str]) -> str:
        """Return why a metric with these needs can't be computed; "" where it can."""
        needs = tuple(needs)
        written = self.data.described is not None
        if written and "captions" not in needs and OF_IMAGES & set(needs):
            return "the examples are captions"
        reasons = {
            "captions": "" if written else "the examples are not captions",
            "labels": "the samples were not asked for by class"
            if self.label is None
            else "the training data have no labels"
            if self.data.train.label is None
            else "",
            "model": "" if self.source.run is not None else "needs the model; these are samples alone",
            "density": "" if self.data.density is not None else "the density of the data is unknown",
            "source": "" if self.data.origin is not None else "the task is not a translation",
        }
        return next((reasons[need] for need in needs if reasons.get(need)), "")

    @property
    def config(self) -> RunConfig:
        return self.source.config

    @property
    def data(self) -> Dataset:
        return self.source.data

    @property
    def images(self) -> Dataset:
        """What features are of: the data, or the images that captions describe."""
        return self.data.described or self.data

    @property
    def device(self) -> torch.device:
        return self.source.device

    @property
    def rows(self) -> Tensor:
        return self.sampled.rows

    @property
    def label(self) -> Tensor | None:
        return self.sampled.label

    @property
    def nfe(self) -> int:
        return self.sampled.nfe

    @property
    def run(self) -> Any:
        return self.source.run

    @property
    def recipe(self) -> Any:
        return self.run.recipe

    # -- features

    @cached_property
    def generated(self) -> Features:
        """Features of the samples."""
        found = together(_generated, self)
        return replace(found, points=self.rows.double() if self.data.info.levels is None else None)

    @cached_property
    def train(self) -> Features:
        """Features of the training split."""
        return self._real("train")

    @cached_property
    def test(self) -> Features:
        """Features of the test split."""
        return self._real("test")

    def _real(self, name: str) -> Features:
        split: Table = getattr(self.images, name)

        def compute() -> dict[str, Tensor]:
            self.say(f"features of the {name} split ({len(split):,}), once for {self.extractor.name}")
            found = together(_of_split, self, name)
            kept = {"values": found.values, "spatial": found.spatial}
            return {key: value for key, value in kept.items() if value is not None}

        settings = (self.extractor.name, self.extractor.sha256, self.protocol.resize, self.protocol.spatial)
        kept = self.cached("features", (name, *settings), compute)
        spatial = kept.get("spatial")
        points = None
        if self.data.info.levels is None:
            points = split.examples(torch.arange(len(split))).double().cpu()
        return Features(
            kept["values"].double(),
            spatial=None if spatial is None else spatial.double(),
            modes=modes_of_split(split, self.images),
            points=points,
            projected=self._projected(kept["values"]),
        )

    def _projected(self, values: Tensor) -> Tensor | None:
        if not isinstance(self.extractor, ProjectedExtractor):
            return None
        return self.extractor.project(values.double())

    def features(self, batches: Iterable[Tensor], what: str, *, channels: int | None = None) -> Features:
        """Return the features of levels or points; each process gives its share and the first gets all."""
        info = self.images.info
        if channels is not None:
            info = replace(info, shape=(channels, *info.shape[1:]))
        found = extract(batches, self.extractor, info, what)
        return Features(
            found.values.double(),
            None if found.logits is None else found.logits.double(),
            spatial=None if found.spatial is None else found.spatial.double(),
            projected=self._projected(found.values) if world().first else None,
        )

    def column(self, base: str) -> str:
        """Return a column's name: "FD" gives `FID` for Inception, and e.g. `FD[digits]` for others."""
        if self.protocol.extractor == "inception":
            return base.replace("FD", "FID").replace("KD", "KID")
        return f"{base}[{self.protocol.extractor}]"

    # -- the model

    def inference(self) -> AbstractContextManager[None]:
        """Within the block: scored weights, evaluation mode, no gradients, random states restored after."""
        found: AbstractContextManager[None] = self.run.inference()
        return found

    def draw(self, indices: Sequence[int], *, steps: int | None = None) -> Samples:
        """Return samples with these indices, before quantization."""
        request = self.run.request(indices)
        if steps is not None:
            request = replace(request, steps=steps)
        drawn: Samples = self.run.samples(request)
        return drawn

    def to_model(self, rows: Tensor) -> Tensor:
        """Return stored rows as a model sees them: floats on `device`, images in [-1, 1]."""
        rows, levels = rows.to(self.device), self.data.info.levels
        return rows if levels is None else to_unit(rows, levels)

    def from_model(self, x: Tensor) -> Tensor:
        """Return a model's output as samples are scored, on the CPU."""
        levels = self.data.info.levels
        return (x.float() if levels is None else quantize(x, levels)).cpu()

    # -- shared work

    def batches(self, split: Table) -> Iterator[Tensor]:
        """Yield this process's share of a split in order."""
        return in_batches(split, self.config.eval.batch_size)

    def cached(
        self, name: str, key: Sequence[str], compute: Callable[[], dict[str, Tensor]]
    ) -> Mapping[str, Tensor]:
        """Return what was computed before from the same data and key, on this machine, or compute it."""
        split = "" if self.data.validation is None else f" trained on {len(self.data.train)}"
        split += "" if self.data.described is None else f" tested on {len(self.data.test)}"
        return cached(name, (f"{self.data.sha256}{split}", *key), compute, self.source.warning)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Return what was computed under this name in this evaluation, or compute it."""
        if name not in self._once:
            self._once[name] = compute()
        found: T = self._once[name]
        return found

    def attach(self, what: str, content: bytes, suffix: str) -> None:
        """Keep a file beside result.json."""
        self.attachments[what] = (attachment_of(what, content, suffix), content)

    def say(self, line: str) -> None:
        """Tell the user how things go."""
        self.source.say(line)

    @cached_property
    def _compiled(self) -> CompiledBatches:
        """The feature network, compiled for whole batches where train.compile says so."""
        networks = self.extractor.networks if isinstance(self.extractor, HasNetworks) else ()
        option, size = self.config.train.compile, self.config.eval.batch_size
        return CompiledBatches(networks, option, size, say=self.say)

    def shown(self, batches: Iterable[Tensor], what: str, total: int) -> Iterator[Tensor]:
        """Yield batches for the feature network, showing how many of `total` examples are done."""
        done, unit = 0, "images" if self.images.info.is_image else "points"
        self.source.progress(what, done, total, unit)
        for batch in batches:
            done += len(batch)
            with self._compiled.batch(len(batch), total - done):
                yield batch
            self.source.progress(what, done, total, unit)


# -- what every process does its share of


def _generated(ctx: Context) -> Features:
    """Return features and modes of the samples."""
    size = ctx.config.eval.batch_size
    mine = ctx.rows[: len(share(len(ctx.rows), world()))] if world().first else ctx.rows
    batches = ctx.shown(mine.split(size) if len(mine) else (), "features of samples", len(mine))
    found = ctx.features(batches, "generated")
    return replace(found, modes=modes_of_samples(mine, ctx.data, ctx.device, size))


def _of_split(ctx: Context, name: str) -> Extracted:
    """Return what the extractor gives of a split."""
    split: Table = getattr(ctx.images, name)
    own = len(share(len(split), world()))
    batches = ctx.shown(ctx.batches(split), f"features of {name}", own)
    return extract(batches, ctx.extractor, ctx.images.info, name)
