"""What a plugin builds: a Recipe, which declares how it is trained and how it is sampled.

The harness alone calls backward, step, EMA and autocast. A recipe says which losses update which modules,
in which order and how often; what it can't say in these fields becomes a new field with a default, never
a branch in the harness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from zoo_core.config import EmaConfig, OptimizerConfig
from zoo_core.data.loading import TrainData
from zoo_core.types import Batch, Context, Loss, SampleRequest, Samples

LossFunction = Callable[[Batch, Context], Loss]
AfterStep = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]


@dataclass(frozen=True)
class Phase:
    """One of a step's alternating updates.

    Attributes:
        name: as logged: "critic".
        loss: pure: (batch, context) to Loss; no backward, no step, no state changed.
        updates: modules whose parameters get gradients; all others are frozen meanwhile.
        optimizer: a name in Stage.optimizers; phases that share one share its state.
        repeat: updates a step, each on a fresh batch (WGAN's n_critic), or a function of the stage's step.
        every: run on steps divisible by this (lazy regularizers: R1 every 16).
        grad_clip: largest norm of the phase's gradient; None for no clipping.
        after_step: called with the Loss's (sums, keep) after the optimizer's step; changes the recipe's
            buffers and the phase's own weights only (weight clipping, codebook averages).
        second_order: the loss holds a gradient with respect to an input (a gradient penalty, the score of an
            energy); torch.compile can't differentiate that again. Where it is not said and networks are
            compiled, one trial finds it.
    """

    name: str
    loss: LossFunction
    updates: Sequence[nn.Module]
    optimizer: str
    repeat: int | Callable[[int], int] = 1
    every: int = 1
    grad_clip: float | None = None
    after_step: AfterStep | None = None
    second_order: bool = False


@dataclass(frozen=True)
class Stage:
    """A stretch of the run with its own phases and optimizers; a fitted baseline has one without phases.

    Attributes:
        name: as logged.
        phases: run in this order at each step.
        optimizers: by name.
        fraction: of the run's steps; the stages' fractions add up to 1.
        ema: name of a submodule of the recipe -> its average.
        begin: called once with the training data before the first step (latent scale, a baseline's fit).
    """

    name: str
    phases: Sequence[Phase] = ()
    optimizers: Mapping[str, OptimizerConfig] = field(default_factory=dict)
    fraction: float = 1.0
    ema: Mapping[str, EmaConfig] = field(default_factory=dict)
    begin: Callable[[TrainData], None] | None = None


class Recipe(nn.Module):
    """A model with its way of training and sampling; built as `Recipe(config, data)`.

    State that must survive a resume is a parameter or a buffer.
    """

    data_sized: ClassVar[Sequence[str]] = ()
    """Names of buffers whose first axis is as long as the training data; a checkpoint sets that length."""

    length_options: ClassVar[Sequence[str]] = ()
    """Options that are fractions of the run's length: "model.kl_warmup"; errors name them."""

    def stages(self) -> Sequence[Stage]:
        """Return the stages of training, in order."""
        raise NotImplementedError(f"{type(self).__name__}.stages")

    def sample(self, request: SampleRequest) -> Samples:
        """Draw `len(request)` samples, (n, *data.shape), without gradients."""
        raise NotImplementedError(f"{type(self).__name__}.sample")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self.data_sized:
            saved, buffer = state_dict.get(f"{prefix}{name}"), getattr(self, name)
            if saved is not None and fits_data_sized(buffer, saved):
                setattr(self, name, buffer.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def fits_data_sized(buffer: Tensor, saved: Tensor) -> bool:
    """Return whether a saved tensor differs from a buffer in the length of its first axis at most."""
    return buffer.dtype == saved.dtype and buffer.ndim == saved.ndim and buffer.shape[1:] == saved.shape[1:]


def data_sized(recipe: nn.Module) -> set[str]:
    """Return the state dict's keys of all buffers that a recipe, or one inside it, declares `data_sized`."""
    return {
        f"{path}.{name}" if path else name
        for path, module in recipe.named_modules()
        if isinstance(module, Recipe)
        for name in module.data_sized
    }
