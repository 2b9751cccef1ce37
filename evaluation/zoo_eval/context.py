"""EvalContext: what a metric may ask for of a source and its samples.

Samples, features and the model are the same objects for every metric; features are extracted at the first
request. Under several processes each one extracts its share, and the first, which alone computes metrics, has
all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.data.loading import Dataset, Table, quantize, to_unit
from zoo_core.interfaces import Extractor, HasNetworks
from zoo_core.machine.distributed import share, world
from zoo_core.machine.leading import together
from zoo_core.results import Attachment
from zoo_core.results.attachments import attachment_of
from zoo_core.training.compiled_batches import CompiledBatches
from zoo_core.types import Samples
from zoo_eval.cache import cached
from zoo_eval.features import Extracted, Features, ProjectedExtractor, extract, in_batches
from zoo_eval.modes import modes_of_samples, modes_of_split
from zoo_eval.needs import unmet
from zoo_eval.protocol import Protocol
from zoo_eval.sampling import Sampled, Source

T = TypeVar("T")


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
        return unmet(needs, self.data, labeled=self.label is not None, model=self.run is not None)

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
