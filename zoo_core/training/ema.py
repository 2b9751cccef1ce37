"""Moving averages of weights: parameters are averaged, buffers are those of the live module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zoo_core.config import EmaConfig
from zoo_core.machine.distributed import own_rows, whole
from zoo_core.training import power


class Ema:
    """The average of one module's parameters.

    The average lives beside the module and changes places with the live weights on `swap`, so a schedule's
    buffers or a batch norm's statistics are never averaged.
    """

    def __init__(self, module: nn.Module, config: EmaConfig) -> None:
        self.config = config
        self.names = [name for name, _ in module.named_parameters()]
        self.live = [p.detach() for p in module.parameters()]
        self.average = [p.clone() for p in self.live]
        lengths = power.LENGTHS if config.kind == "power" else ()
        self.others = {length: [p.clone() for p in self.live] for length in lengths}
        self.updates = 0
        self.in_place = False

    def decay(self, images: int) -> float:
        """Return the share that the average keeps at an update after `images` training examples."""
        if self.config.kind == "power":
            return power.decay(self.config.sigma_rel, self.updates + 1)
        if self.config.half_life:
            decay = 0.5 ** (images / self.config.half_life)
        else:
            decay = self.config.decay
        if self.config.warmup:
            decay = min(decay, (1 + self.updates) / (10 + self.updates))
        return decay

    @torch.no_grad()
    def update(self, images: int) -> None:
        """Move the average towards the live weights."""
        torch._foreach_lerp_(self.average, self.live, 1 - self.decay(images))
        for length, average in self.others.items():
            torch._foreach_lerp_(average, self.live, 1 - power.decay(length, self.updates + 1))
        self.updates += 1

    @torch.no_grad()
    def swap(self) -> None:
        """Let the average and the live weights change places."""
        for live, average in zip(self.live, self.average, strict=True):
            kept = live.clone()
            live.copy_(average)
            average.copy_(kept)
        self.in_place = not self.in_place

    @torch.no_grad()
    def follow(self, module: nn.Module) -> None:
        """Go on with a module whose parameters are sharded now, or whole again."""
        self.live = [p.detach() for p in module.parameters()]
        for averages in (self.average, *self.others.values()):
            averages[:] = [own_rows(whole(a), p) for a, p in zip(averages, self.live, strict=True)]

    def state(self) -> dict[str, Tensor]:
        """Return the tensors beside the module, by the module's parameter names."""
        return dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor], updates: int, in_place: bool) -> None:
        """Restore the EMA weights that `state` returned, beside raw weights in the module.

        Args:
            state: EMA weights by parameter name.
            updates: how many made them.
            in_place: whether the module is to hold the EMA weights, and the raw ones lie beside it.

        Raises:
            ValueError: where a shape or dtype differs.
        """
        for name, average in zip(self.names, self.average, strict=True):
            saved = own_rows(state[name], average)
            if saved.shape != average.shape or saved.dtype != average.dtype:
                raise ValueError(
                    f"EMA of {name} is {tuple(saved.shape)} {saved.dtype}, "
                    f"expected {tuple(average.shape)} {average.dtype}"
                )
            average.copy_(saved)
        self.updates, self.in_place = updates, False
        if in_place:
            self.swap()


class Averages:
    """All the averages of a run, by submodule name."""

    def __init__(self, recipe: nn.Module) -> None:
        self.recipe = recipe
        self.of: dict[str, Ema] = {}

    def begin(self, configs: Mapping[str, EmaConfig]) -> None:
        """Start the averages of a stage that are switched on."""
        for name, config in configs.items():
            if config.on and name not in self.of:
                self.of[name] = Ema(self.recipe.get_submodule(name), config)

    def follow(self) -> None:
        """Go on with modules whose parameters are sharded now, or whole again."""
        for name, ema in self.of.items():
            ema.follow(self.recipe.get_submodule(name))

    def update(self, names: Mapping[str, EmaConfig], images: int) -> None:
        """Move the averages of a stage."""
        for name in names:
            if name in self.of:
                self.of[name].update(images)

    def settle(self) -> None:
        """Replace the live weights by the EMA weights, for the following stages."""
        for ema in self.of.values():
            if not ema.in_place:
                ema.swap()
        self.end_lengths()

    def end_lengths(self) -> None:
        """Drop the averages of other lengths: their stage is over, and its snapshots are taken."""
        for ema in self.of.values():
            ema.others.clear()

    def lengths(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        """Return averages of the other lengths: submodule -> length -> parameter name -> tensor."""
        return {
            name: {f"{length}": dict(zip(ema.names, its, strict=True)) for length, its in ema.others.items()}
            for name, ema in self.of.items()
            if ema.others
        }

    @torch.no_grad()
    def load_lengths(self, saved: Mapping[str, Mapping[str, Mapping[str, Tensor]]]) -> None:
        """Restore what `lengths` returned.

        Raises:
            LookupError: where a name or length is missing.
            RuntimeError: where a shape differs.
        """
        for name, its in self.lengths().items():
            for length, tensors in its.items():
                for parameter, tensor in tensors.items():
                    tensor.copy_(own_rows(saved[name][length][parameter], tensor))

    @contextmanager
    def applied(self, weights: str = "ema") -> Iterator[None]:
        """Within the block the recipe's weights are the averaged ("ema") or the raw ones."""
        turned = [ema for ema in self.of.values() if ema.in_place != (weights == "ema")]
        for ema in turned:
            ema.swap()
        try:
            yield
        finally:
            for ema in turned:
                ema.swap()
