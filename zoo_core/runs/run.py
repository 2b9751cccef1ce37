"""A model with its data, its folder and its weights, and drawing from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.data.conditioning import conditions, read_conditions
from zoo_core.data.levels import check_samples, finite_rows, nearest_levels
from zoo_core.data.loading import Dataset
from zoo_core.diffusion.sampling import BoundSampler
from zoo_core.errors import PluginError, UsageError
from zoo_core.interfaces import HasLikelihood
from zoo_core.machine.faults import attributed
from zoo_core.machine.precision import autocast
from zoo_core.machine.readback import Arriving, arriving, one_behind
from zoo_core.results.provenance import provenance
from zoo_core.results.records import LONGEST
from zoo_core.runs.fitted import fitted
from zoo_core.runs.guiding import Guide
from zoo_core.runs.parts import NONE, Parts
from zoo_core.runs.repeat import code_of
from zoo_core.seeds import Seeds
from zoo_core.training.compiled_batches import CompiledBatches
from zoo_core.training.harness import Harness
from zoo_core.training.recipe import Recipe
from zoo_core.types import Cond, DataInfo, Likelihood, SampleRequest, Samples
from zoo_core.viz.samples import SampleTensor, sample_tensor


@dataclass(frozen=True)
class Drawn:
    """A batch of samples as they are scored.

    Attributes:
        rows: uint8 levels (n, C, H, W), float32 points (n, D), or tokens (n, length).
        calls: model evaluations per sample (NFE).
        clipped: share of values that lay outside [-1, 1] before quantizing; 0 for points.
    """

    rows: Tensor
    calls: int
    clipped: float


@dataclass(repr=False)
class Run:
    """A model with its data, its folder and its weights: an `interfaces.EvaluatedRun`.

    Attributes:
        config: resolved.
        dir: the run's folder.
        entry: spec and distribution of the plugin.
        data: the dataset.
        recipe: the model, on `device`.
        device: where it runs.
        sampler: the chosen sampler; None where the recipe takes its own.
        harness: trains it; holds counts and averages.
        say: tells the user how things go; silent where no progress is shown.
        warn: tells the user what went wrong.
        cost: what training consumed, filled in when it ends.
        initial: the run that the initial weights come from, as provenance.json records it.
        guide: the weaker model that guides the samples; None where none does.
        parts: the user's own Python objects: networks, metrics.
        progress: receives (what, done, total, unit) during sampling and scoring.
    """

    config: RunConfig
    dir: Path
    entry: Any
    data: Dataset
    recipe: Recipe
    device: torch.device
    sampler: BoundSampler | None
    harness: Harness
    say: Callable[[str], None]
    warn: Callable[[str], None]
    cost: dict[str, Any] = field(default_factory=dict)
    initial: dict[str, Any] = field(default_factory=dict)
    guide: Guide | None = None
    parts: Parts = NONE
    progress: Callable[[str, int, int, str], None] = lambda what, done, total, unit: None

    def __repr__(self) -> str:
        config = self.config
        return (
            f"Run({config.plugin} on {config.data.name}, seed {config.seed}, step {self.step:,}, {self.dir})"
        )

    @property
    def spec(self) -> Any:
        return self.entry.spec

    @property
    def provenance(self) -> dict[str, Any]:
        """Where this run's figures come from: code, machine, data, seeds."""
        return provenance(str(self.device), self.entry.distribution) | {
            "data": {"name": self.data.info.name, "sha256": self.data.sha256},
            "seeds": {"train": self.config.seed, "sample": self.config.sample.seed},
            "plugin_code": code_of(self.entry),
            **({"init": self.initial} if self.initial else {}),
            **({"guide": self.guide.record} if self.guide else {}),
            **({"parts": dict(self.parts.record)} if self.parts.record else {}),
            **({"notes": notes} if (notes := self._notes) else {}),
        }

    @property
    def _notes(self) -> dict[str, str]:
        notes = {"parts": self.parts.note, "compile": "; ".join(self.harness.compilation)[:LONGEST]}
        return {name: note for name, note in notes.items() if note}

    @cached_property
    def _compiled(self) -> CompiledBatches:
        """The networks that are trained, compiled for whole batches where train.compile says so."""
        sample, option = self.config.sample, self.config.train.compile
        cast = autocast(sample.precision, self.device)
        return CompiledBatches(self.harness.networks, option, sample.batch_size, cast, self.say)

    @property
    def data_info(self) -> DataInfo:
        return self.data.info

    @property
    def step(self) -> int:
        """Training steps done, over all stages."""
        return self.harness.counts.total

    def inference(self) -> AbstractContextManager[None]:
        """Within the block: scored weights, evaluation mode, no gradients, random states restored after."""
        block: AbstractContextManager[None] = self.harness.quiet(self.config.eval.weights)
        return block

    def to_model(self, rows: Tensor) -> Tensor:
        """Return stored rows as the model sees them: floats on `device`, images in [-1, 1]."""
        return self.harness.data.to_model(rows)

    def request(
        self,
        indices: Sequence[int],
        seed: int | None = None,
        cond: Cond | None = None,
        *,
        fit: bool = True,
    ) -> SampleRequest:
        """Return the request for the samples with these indices; sample k depends on (seed, k) alone.

        A conditional run given no conditions takes those of `conditions`, as frequent as in training.

        Args:
            indices: of the samples.
            seed: of their noise; None for the config's.
            cond: a row a sample.
            fit: with sampler.grid=optimized, take levels that are fitted to the weights; before training has
                ended the sampler's own are taken.
        """
        if cond is None and len(indices):
            drawn = conditions(self.data, max(indices) + 1)
            cond = None if drawn is None else drawn[list(indices)]
        cond = None if cond is None else cond.to(self.device)
        noise = Seeds(self.config.sample.seed if seed is None else seed, indices, self.device)
        guide = self.guide and self.guide.recipe
        sampler = self.sampler
        if fit and sampler is not None and sampler.optimized and self.cost:
            sampler = fitted(self, sampler)
        return SampleRequest(noise, cond, sampler, self.config.sample.steps, guide=guide)

    def samples(self, request: SampleRequest) -> Samples:
        """Draw one batch with the weights that are scored.

        Raises:
            PluginError: where the plugin raises, or returns something else than `Samples` of the right shape.
        """
        plugin = self.config.plugin
        cast = autocast(self.config.sample.precision, self.device)
        with self.inference():
            try:
                with cast():
                    drawn: Any = self.recipe.sample(request)
            except torch.OutOfMemoryError:
                raise
            except BaseException as error:
                raise attributed(error, plugin, "while sampling") from error
        if not isinstance(drawn, Samples) or not isinstance(drawn.x, Tensor):
            what = drawn.x if isinstance(drawn, Samples) else drawn
            raise PluginError(
                f"plugin {plugin!r}: sample() returned "
                + ("None" if what is None else f"a {type(what).__name__}"),
                "expected: zoo_core.types.Samples(x), with x a tensor",
                f"next: `zoo check {plugin}` tests the plugin",
            )
        expected = (len(request), *self.data.info.shape)
        if tuple(drawn.x.shape) != expected:
            raise PluginError(
                f"plugin {plugin!r} drew samples of shape {tuple(drawn.x.shape)}", f"expected: {expected}"
            )
        if drawn.x.layout != torch.strided or drawn.x.is_meta or not drawn.x.is_floating_point():
            raise PluginError(
                f"plugin {plugin!r} drew samples of {drawn.x.dtype} ({drawn.x.layout}, {drawn.x.device})",
                "expected: a dense tensor of floats",
            )
        if not isinstance(drawn.calls, int | float) or not 0 <= drawn.calls < math.inf:
            raise PluginError(
                f"plugin {plugin!r}: Samples.calls is {drawn.calls!r}",
                "expected: the number of model evaluations per sample, at least 0",
            )
        return drawn

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the likelihoods that the recipe itself has of a batch, with the weights that are scored.

        Args:
            x: (n, *shape), as a model sees it.
            noise: per-example randomness.
            k: importance samples.

        Returns:
            Empty for a recipe that has none.

        Raises:
            PluginError: where the plugin raises, or returns something else than likelihoods of n examples.
        """
        if not isinstance(self.recipe, HasLikelihood):
            return ()
        plugin = self.config.plugin
        with self.inference():
            try:
                found: Any = self.recipe.likelihoods(x, noise=noise, k=k)
            except torch.OutOfMemoryError:
                raise
            except BaseException as error:
                raise attributed(error, plugin, "in likelihoods()") from error
        if not isinstance(found, Sequence) or not all(
            isinstance(one, Likelihood)
            and isinstance(one.log_prob, Tensor)
            and tuple(one.log_prob.shape) == (len(x),)
            for one in found
        ):
            raise PluginError(
                f"plugin {plugin!r}: likelihoods() returned "
                + ("None" if found is None else f"a {type(found).__name__}"),
                f"expected: a list of zoo_core.types.Likelihood, log_prob of shape ({len(x)},)",
                f"next: `zoo check {plugin}` tests the plugin",
            )
        return found

    def sample(
        self,
        n: int,
        *,
        seed: int | None = None,
        cond: Cond | str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> SampleTensor:
        """Draw n samples, (n, *shape) on the CPU: images in [-1, 1] at their data's levels, or points.

        The tensor can be shown and written: `run.sample(16).grid()`, `run.sample(16).save("samples.png")`; of
        captions `run.sample(16).texts()`.

        Args:
            n: how many.
            seed: of their noise; None for the config's.
            cond: conditions, one row a sample; or words, as `read_conditions` takes them ("a three", "3");
                None for those of training.
            progress: called after each batch with the number of samples drawn so far.
        """
        if n < 1:
            raise UsageError(f"can't draw {n} samples", "expected: at least 1")
        if isinstance(cond, str):
            cond = read_conditions(cond, self.data, n, self.config.data, self.say)
        parts: list[Tensor] = []
        for drawn in self.draw(n, seed=seed, cond=cond):
            parts.append(drawn.rows)
            if progress is not None:
                progress(sum(map(len, parts)))
        rows = torch.cat(parts)
        levels = self.data.info.levels
        x = rows if levels is None else rows.float().mul_(2 / (levels - 1)).sub_(1)
        return sample_tensor(x, self.data.info, self.data.tokenizer)

    def draw(
        self, n: int, *, start: int = 0, seed: int | None = None, cond: Cond | None = None
    ) -> Iterator[Drawn]:
        """Yield samples `start` to `start + n` in batches, quantized to the data's levels.

        Whole batches of `sample.batch_size` are compiled where train.compile says so, and no others.

        On a GPU a batch is yielded when the next has been begun, so that it computes while the host takes
        what came.

        Raises:
            UsageError: where a sample is not finite or has another shape than the data.
        """

        def begun() -> Iterator[Arriving[Drawn]]:
            for first in range(start, start + n, self.config.sample.batch_size):
                indices = range(first, min(first + self.config.sample.batch_size, start + n))
                part = None if cond is None else cond[slice(first - start, first - start + len(indices))]
                request = self.request(indices, seed, part)
                with self._compiled.batch(len(indices), start + n - indices.stop):
                    drawn = self.samples(request)
                yield self._quantized(drawn)

        return one_behind(begun())

    def _quantized(self, drawn: Samples) -> Arriving[Drawn]:
        info, x, calls = self.data.info, drawn.x.detach(), drawn.calls
        if info.levels is None:
            rows, clipped = x.float(), x.new_zeros(())
        else:  # an epsilon beyond the ends is rounding, not clipping
            rows = nearest_levels(x, info.levels)
            clipped = (x.float().abs() > 1 + 1 / (info.levels - 1)).float().mean()

        def checked(rows: Tensor, clipped: Tensor, finite: Tensor) -> Drawn:
            if info.levels is None and not bool(finite.all()):
                raise UsageError(f"plugin {self.config.plugin!r} drew points that are not finite")
            check_samples(finite)
            return Drawn(rows, calls, float(clipped))

        return arriving(checked, rows, clipped, finite_rows(x))
