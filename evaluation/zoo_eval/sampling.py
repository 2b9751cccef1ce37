"""Sources of samples, and all samples of one, as they are scored.

A source is a trained run, or samples alone. Under several processes each one samples its share, and the first
has all of them.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.data.conditioning import conditions
from zoo_core.data.loading import Dataset
from zoo_core.interfaces import EvaluatedRun
from zoo_core.machine.distributed import World, share, world
from zoo_core.machine.leading import receive, send, to_first
from zoo_core.machine.memory import peak_bytes, reset_peak
from zoo_core.machine.spool import new_array
from zoo_core.runs import Drawn
from zoo_core.types import Cond

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
