"""Sharding what a stage trains, once each of its phases has shown that it computes the same with shards.

Each phase's loss and gradients are taken of the same few examples with whole weights and with shards. So it
is found, and not asked of a model, whether it uses weights outside of a forward pass that gathers them, and
whether a loss holds a gradient. Weights, buffers, random states and the order of the data are left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from zoo_core.config import OptimizerConfig, TrainConfig
from zoo_core.errors import UsageError, ZooError
from zoo_core.machine.distributed import local, lost, sum_, world
from zoo_core.training.parallel import Reducer
from zoo_core.training.recipe import Phase
from zoo_core.training.sharding import BlockSums, Shards, WholeSums, blocks_of, networks_of
from zoo_core.types import Loss

LossOfRows = Callable[[Phase, int], contextlib.AbstractContextManager[Loss]]
"""Context of a phase's loss of so many examples."""
FORWARD = "networks whose weights are used within their forward() alone"
ROWS = 4
"""Examples on which each phase is tried."""
TOLERANCE = 1e-2
"""Relative difference of a gradient from that of whole weights that is not rounding."""


def refused(reason: str, expected: str = "") -> UsageError:
    """Return the error for a run whose weights can't be sharded."""
    return UsageError(
        f"train.parallel=fsdp: {reason}",
        f"expected: {expected}" if expected else "",
        "next: train.parallel=replicate, which keeps the whole weights in every process",
    )


def check_options(config: TrainConfig, optimizers: Iterable[OptimizerConfig]) -> None:
    """Refuse options that do not go together with sharded weights.

    Raises:
        UsageError: naming them.
    """
    from torch.distributed import fsdp

    if not hasattr(getattr(fsdp, "FSDPModule", None), "set_force_sum_reduction_for_comms"):
        raise refused(f"torch {torch.__version__} can't add up its gradients; torch 2.9 can")
    if config.compile:
        raise refused(
            f"train.compile={str(config.compile).lower()} compiles blocks that hold their weights",
            "train.compile=false",
        )
    if any(optimizer.kind == "muon" for optimizer in optimizers):
        raise refused("muon orthogonalizes whole matrices, of which each process has some rows", "kind=adamw")


def check_parameters(recipe: nn.Module, networks: Iterable[nn.Module]) -> None:
    """Refuse parameters without rows, and those of two blocks or networks.

    Raises:
        UsageError: naming one.
    """
    unit: dict[int, nn.Module] = {}
    for network in networks:
        unit |= {id(part): network for part in network.modules()}
        unit |= {id(part): block for block in blocks_of(network) for part in block.modules()}
    owner: dict[int, tuple[nn.Module | None, str]] = {}
    for path, module in recipe.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            here = unit.get(id(module))
            first, other = owner.setdefault(id(parameter), (here, name))
            if first is not here:
                raise refused(f"{name} and {other} are one parameter of two blocks or networks")
            if here is not None and parameter.ndim == 0:
                raise refused(f"the parameter {name} is a single number, which has no rows to divide")


class _Watched(torch.autograd.Function):
    """The identity, which notes a backward pass that is to be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, notes: list[bool]) -> Tensor:
        ctx.notes = notes
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        ctx.notes.append(torch.is_grad_enabled())
        return grads[0], None


@contextlib.contextmanager
def watched(networks: Iterable[nn.Module]) -> Iterator[list[bool]]:
    """Within the block, gradients through networks are noted: True for one that is to be differentiated."""
    notes: list[bool] = []

    def watch(module: nn.Module, args: Any, output: Any) -> Any:
        return tree_map(
            lambda y: _Watched.apply(y, notes) if isinstance(y, Tensor) and y.requires_grad else y, output
        )

    handles = [network.register_forward_hook(watch) for network in networks]
    try:
        yield notes
    finally:
        for handle in handles:
            handle.remove()


def second_order(phases: Iterable[Phase], networks: Sequence[nn.Module], trial: LossOfRows) -> set[str]:
    """Return the names of phases whose loss holds a gradient, or does not bear to be asked.

    Args:
        phases: of a stage.
        networks: that they update.
        trial: context of a phase's loss of a few examples.
    """

    def twice(phase: Phase) -> bool:
        try:
            with watched(networks) as notes, trial(phase, ROWS) as loss:
                loss.loss.backward()
                return any(notes)
        except Exception:
            return True

    return {phase.name for phase in phases if phase.second_order or twice(phase)}


def gradient_norms(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the norm of each parameter's gradient over all shards, 0 where there is none: (n,) float64."""
    squares = torch.zeros(len(parameters), dtype=torch.float64)
    for k, parameter in enumerate(parameters):
        if parameter.grad is not None:
            squares[k] = local(parameter.grad).double().square().sum().cpu()
    if any(local(p) is not p for p in parameters):
        sum_([squares])
    return squares.sqrt()


class Trials:
    """Shards stages of a recipe whose phases have passed their trials.

    Args:
        recipe: with whole weights, equal in all processes.
        trainable: ids of parameters that may be updated; those of the sharded ones are added.
        updated: returns the parameters that a phase updates.
        trial: context of a phase's loss of a few examples, the same in every process.
    """

    def __init__(
        self,
        recipe: nn.Module,
        trainable: set[int],
        updated: Callable[[Phase], list[nn.Parameter]],
        trial: LossOfRows,
    ) -> None:
        self.recipe, self.trainable, self.updated, self.trial = recipe, trainable, updated, trial

    def sharded(self, phases: Sequence[Phase]) -> tuple[Shards, dict[str, Reducer | BlockSums]]:
        """Shard what a stage's phases train; return the shards, and what adds up each phase's gradients.

        Raises:
            UsageError: where a phase can't be computed with shards; it says why.
        """
        networks = networks_of(phases)
        check_parameters(self.recipe, networks)
        names = {id(p): name for name, p in self.recipe.named_parameters()}
        labels = {phase.name: [names[id(p)] for p in self.updated(phase)] for phase in phases}
        whole = second_order(phases, networks, self.trial)
        expected = {phase.name: self._norms(phase) for phase in phases}
        shards = Shards(networks)
        self.trainable |= shards.replacing(self.trainable)
        sums: dict[str, Reducer | BlockSums] = {}
        for phase in phases:
            if phase.name in whole:
                with shards.whole():
                    sums[phase.name] = WholeSums(shards, self.updated(phase))
            else:
                sums[phase.name] = BlockSums(shards)
            norms = expected[phase.name]
            if norms is not None:
                self._compare(phase, sums[phase.name], norms, labels[phase.name])
        if whole:
            shards.line += f"; whole weights in: {', '.join(sorted(whole))}"
        return shards, sums

    def _norms(self, phase: Phase) -> Tensor | None:
        """Return the norms of a phase's gradients with whole weights; None where it can't be tried."""
        try:
            with self.trial(phase, ROWS) as loss:
                loss.loss.backward()
                norms = gradient_norms(self.updated(phase))
        except Exception:  # which training will raise, where it is not for want of examples
            return None
        return norms if bool(norms.isfinite().all()) else None

    def _compare(
        self, phase: Phase, sums: Reducer | BlockSums, expected: Tensor, labels: Sequence[str]
    ) -> None:
        try:
            sums.begin()
            with self.trial(phase, ROWS) as loss:
                sums.arm()
                loss.loss.backward()
                sums.finish()
                found = gradient_norms(self.updated(phase)) / world().size
                self._step_after(phase, loss)
        except ZooError:
            raise
        except Exception as error:
            unreachable = lost(error)
            if unreachable is not None:
                raise unreachable from error
            reason = " ".join(str(error).split())[:160]
            raise refused(
                f"phase {phase.name!r} can't be computed with sharded weights: {reason}", FORWARD
            ) from error
        off = ~((found - expected).abs() <= TOLERANCE * expected + 1e-4 * expected.norm())
        if bool(off.any()):
            k = int(off.nonzero()[0])
            raise refused(
                f"phase {phase.name!r}: the gradient of {labels[k]} has the norm {float(found[k]):.4g}, "
                f"and {float(expected[k]):.4g} with whole weights",
                FORWARD,
            )

    @torch.no_grad()
    def _step_after(self, phase: Phase, loss: Loss) -> None:
        """Try what follows a phase's steps, and undo it."""
        if phase.after_step is None:
            return
        weights = [(local(p), local(p).clone()) for p in self.updated(phase)]
        buffers = [(m, name, b, b.clone()) for m in self.recipe.modules() for name, b in _buffers(m)]
        phase.after_step(loss.sums, loss.keep)
        for tensor, before in weights:
            tensor.copy_(before)
        for module, name, buffer, before in buffers:
            module._buffers[name] = buffer.copy_(before)


def _buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, buffer) for name, buffer in module._buffers.items() if buffer is not None]
