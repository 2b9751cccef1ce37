"""The small types that every module uses: what is learned from, what a loss returns, what a likelihood is.

Importing this module costs no torch: tensors are named in annotations only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from zoo_core.seeds import Seeds

Task = Literal["unconditional", "class", "text", "paired", "unpaired", "views", "caption"]


@dataclass(frozen=True)
class DataInfo:
    """All that a recipe may know of the data.

    Attributes:
        name: the dataset's registered name.
        shape: of one example without the batch: (C, H, W) for images, (D,) for points, (length,) for
            captions.
        levels: L, the number of values of a pixel (256 for 8-bit images, 17 for the digits), or of tokens of
            a caption; None for points of the plane, which are continuous.
        classes: number of classes, 0 where there are no labels.
        vocabulary: number of caption tokens, the padding counted; 0 where there are no captions.
        caption_length: tokens of every caption, padding included; 0 where there are no captions.
        task: what this run models of the data: x alone, or x given labels, captions or images. A batch
            holds all that the dataset has, whatever the task.
        image_channels: of the image that an example is conditioned on; 0 where there is none.
        image_levels: L of that image, where it is not that of x; None elsewhere.
    """

    name: str
    shape: tuple[int, ...]
    levels: int | None
    classes: int = 0
    vocabulary: int = 0
    caption_length: int = 0
    task: Task = "unconditional"
    image_channels: int = 0
    image_levels: int | None = None

    @property
    def dims(self) -> int:
        """D, the number of values in one example."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3


@dataclass(frozen=True)
class Cond:
    """What a model is conditioned on; each field has the batch in front, or is None.

    Attributes:
        label: (n,) int64, in [0, classes); the null class, for guidance, is `classes`.
        tokens: (n, length) int64 caption tokens, 0 for padding.
        image: (n, C, H, W) in [-1, 1]; an image of zeros stands for none.
        sigma: (n,) noise level of `image`.
        augment: (n, 9) augmentation of the data, `zoo_core.data.augment`; None and zeros mean none.
    """

    label: Tensor | None = None
    tokens: Tensor | None = None
    image: Tensor | None = None
    sigma: Tensor | None = None
    augment: Tensor | None = None

    def _map(self, change: Any) -> Cond:
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: change(value) for name, value in kept.items() if value is not None})

    def to(self, device: torch.device | str) -> Cond:
        """Return the same conditions on `device`."""
        return self._map(lambda value: value.to(device))

    def __getitem__(self, rows: Any) -> Cond:
        """Return the conditions of the chosen rows (a mask, a slice or an index)."""
        return self._map(lambda value: value[rows])

    def followed_by(self, other: Cond) -> Cond:
        """Return these rows and then another's, which has the same fields."""
        import torch

        mine, more = vars(self), vars(other)
        kept = {name: torch.cat((value, more[name])) for name, value in mine.items() if value is not None}
        return replace(self, **kept)

    def drop(self, mask: Tensor, classes: int) -> Cond:
        """Return the conditions with the label of the rows in `mask` set to the null class, tokens to 0."""
        label = None if self.label is None else self.label.masked_fill(mask, classes)
        tokens = None if self.tokens is None else self.tokens.masked_fill(mask[:, None], 0)
        return replace(self, label=label, tokens=tokens)


@dataclass(frozen=True)
class Batch:
    """One batch of training data on the device.

    Attributes:
        x: what is modeled, (n, *shape) float in [-1, 1]; of an unpaired task the domain translated to.
        cond: labels, captions, source images; its fields are None where the data have none.
        index: (n,) int64, row in the training split.
        second: where examples come in pairs, the other of each: another view of the same thing (views),
            or an example of the domain translated from, of no relation to x (unpaired); shaped like x, but
            for its channels. None elsewhere.
    """

    x: Tensor
    cond: Cond
    index: Tensor
    second: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any) -> Batch:
        """Return the chosen rows (a mask, a slice or an index)."""
        second = None if self.second is None else self.second[rows]
        return Batch(self.x[rows], self.cond[rows], self.index[rows], second)


@dataclass(frozen=True)
class Loss:
    """What a phase's loss returns.

    Attributes:
        loss: the scalar to minimize, a mean over the batch.
        log: detached scalar tensors to record.
        sums: detached tensors added up over micro-batches and processes for `Phase.after_step`.
        keep: detached tensors concatenated along dim 0 over micro-batches and processes, likewise.
    """

    loss: Tensor
    log: Mapping[str, Tensor] = field(default_factory=dict)
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    keep: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a loss may know beside its batch.

    Attributes:
        step: steps done in this stage.
        progress: step / steps of the stage, in [0, 1).
        images: training examples this stage has consumed so far.
        rng: the phase's generator, on the training device; a resume continues it.
    """

    step: int
    progress: float
    images: int
    rng: torch.Generator


LikelihoodKind = Literal["exact", "ode", "vlb", "elbo", "iwae"]


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihood of a batch, with all that makes the figure mean something.

    Attributes:
        log_prob: (n,) float64, nats: of the discrete image's levels, or, where the data are continuous
            points, the log-density.
        kind: how it was had: "exact"; "ode" (probability flow); lower bounds "vlb", "elbo", "iwae".
        k: importance samples of "iwae", steps of the chain of "vlb"; 1 elsewhere.
        dequantization: "none" for a pmf over levels, "uniform" for a density (then a lower bound).
        calls: model evaluations spent per example (NFE).
        variant: what tells it from another of the same kind by the same model, e.g. "uniform prior".
        note: what else moves the figure, e.g. "variance beta".
        kl: what the posterior says beyond the prior by part of the latent, (n,) nats each, where there is
            one: of the dimensions "z1", ..., of the levels "level 1", ....
    """

    log_prob: Tensor
    kind: LikelihoodKind
    k: int = 1
    dequantization: Literal["none", "uniform"] = "none"
    calls: int = 1
    variant: str = ""
    note: str = ""
    kl: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The column's name: kind, with K for "iwae" and T for "vlb", and the variant where there is one."""
        counted = f"{self.kind}-{self.k}" if self.kind in ("iwae", "vlb") else self.kind
        return f"{counted}, {self.variant}" if self.variant else counted

    @property
    def is_bound(self) -> bool:
        """Whether log_prob bounds the log-likelihood from below in expectation."""
        return self.kind in ("vlb", "elbo", "iwae") or self.dequantization == "uniform"


@dataclass(frozen=True)
class Samples:
    """What a model drew.

    Attributes:
        x: (n, *shape) float, before quantizing.
        calls: model evaluations per sample (NFE).
        trajectory: states of the sampler on the way, each (m, *shape), where one was asked for.
        sigmas: noise level of each state of the trajectory, where the sampler has noise levels.
    """

    x: Tensor
    calls: int = 1
    trajectory: tuple[Tensor, ...] = ()
    sigmas: tuple[float, ...] = ()


@dataclass(frozen=True)
class SampleRequest:
    """One batch of samples to draw; a recipe reads what concerns it.

    Attributes:
        noise: per-sample randomness; `len(noise)` is the number of samples.
        cond: conditions, one row a sample, or None.
        sampler: the chosen sampler bound to its options; None for a recipe that has no choice of one.
        steps: of the sampler; None for the sampler's own default.
        trace: keep the sampler's states for an image.
        guide: a weaker model of the same data that guides this one (autoguidance), with a `denoiser`; None
            where none is asked for.
    """

    noise: Seeds
    cond: Cond | None = None
    sampler: Any = None
    steps: int | None = None
    trace: bool = False
    guide: Any = None

    def __len__(self) -> int:
        return len(self.noise)
