"""Sharded weights: each process has its rows of all weights, gradients, optimizer states and EMA weights.

PyTorch's FSDP2 gathers the weights of a repeated block when it computes, and adds up its gradients when they
are complete. A phase whose loss holds a gradient needs the weights of all blocks until it is done: they are
gathered before its loss, and its gradients are added up as those of whole weights are. Samples that are drawn
during training have whole weights too. At the end of a stage its networks are as they were.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from zoo_core.machine.distributed import own_rows, world
from zoo_core.training.compilation import regions
from zoo_core.training.parallel import Reducer
from zoo_core.training.recipe import Phase


def networks_of(phases: Iterable[Phase]) -> list[nn.Module]:
    """Return the outermost modules that phases update; of a list of modules, which is never called, each."""
    found: dict[int, nn.Module] = {}

    def add(module: nn.Module) -> None:
        if isinstance(module, nn.ModuleList | nn.ModuleDict):
            for child in module.children():
                add(child)
        elif any(True for _ in module.parameters()):
            found[id(module)] = module

    for phase in phases:
        for module in phase.updates:
            add(module)
    inner = {id(part) for module in found.values() for part in module.modules() if part is not module}
    return [module for key, module in found.items() if key not in inner]


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a network that have weights."""
    return [b for b in regions(network) if b is not network and any(True for _ in b.parameters())]


class Shards:
    """The sharded networks of a stage.

    Args:
        networks: as `networks_of` returns them, on their device.

    Attributes:
        line: what is sharded, for the user.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        from torch.distributed.device_mesh import init_device_mesh

        # The trial of each phase finds what this warns of.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")

        self._parts = [part for network in networks for part in network.modules()]
        self._owned = [(m, name) for m in self._parts for name, p in m._parameters.items() if p is not None]
        self._originals = [self._now(*owned) for owned in self._owned]
        self._strides = [p.stride() for p in self._originals]
        self._plain = [_shape(part) for part in self._parts]
        self._units: list[Any] = []
        self._open = 0
        self._wrapped: list[tuple[type, dict[str, Any]]] = []
        before = [set(vars(part)) for part in self._parts]
        for parameter in self._originals:
            parameter.data = parameter.data.contiguous()
        mesh = init_device_mesh(self._originals[0].device.type, (world().size,))
        for network in networks:
            self._units += [_sharded(block, mesh) for block in blocks_of(network)]
            self._units.append(_sharded(network, mesh, root=True))
        self._added = [set(vars(part)) - had for part, had in zip(self._parts, before, strict=True)]
        self._rows = [self._now(*owned) for owned in self._owned]
        for parameter in self._originals:
            parameter.data = parameter.data.new_empty(0)
        count = sum(p.numel() for network in networks for p in network.parameters())
        self.line = f"sharded weights: {count:,} parameters in {len(self._units)} blocks"

    @staticmethod
    def _now(module: nn.Module, name: str) -> nn.Parameter:
        parameter = module._parameters[name]
        assert parameter is not None
        return parameter

    def replacing(self, ids: set[int]) -> set[int]:
        """Return the ids of what is in place of parameters with given ids, sharded and gathered."""
        with self.whole():
            gathered = [self._now(*owned) for owned in self._owned]
        own = zip(self._originals, self._rows, gathered, strict=True)
        return {id(now) for original, *its in own if id(original) in ids for now in its}

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Within the block the networks are as without shards: all processes begin it together."""
        self.open()
        try:
            yield
        finally:
            self.close()

    def open(self) -> None:
        """Gather all weights, until `close`; what is changed in them meanwhile is lost."""
        self._open += 1
        if self._open > 1:
            return
        for unit in self._units:
            unit.unshard()
        self._wrapped = [_shape(part) for part in self._parts]
        for part, shape in zip(self._parts, self._plain, strict=True):
            _reshape(part, shape)

    def close(self) -> None:
        """Give the gradients of gathered weights to their rows, and drop the weights."""
        self._open -= 1
        if self._open > 0:
            return
        for owned, rows in zip(self._owned, self._rows, strict=True):
            gathered = self._now(*owned)
            if gathered.grad is not None:
                rows.grad, gathered.grad = own_rows(gathered.grad, rows), None
        for part, shape in zip(self._parts, self._wrapped, strict=True):
            _reshape(part, shape)
        self.reshard()

    def reshard(self) -> None:
        """Drop gathered weights that a forward pass left."""
        for unit in self._units:
            unit.reshard()

    def add_up(self, on: bool) -> None:
        """Set whether the next backward pass adds up gradients."""
        for unit in self._units:
            unit.set_requires_gradient_sync(on, recurse=False)

    def end(self) -> None:
        """Make the networks as they were, with the weights of now; their parameters are the same objects."""
        from torch.distributed._composable_state import _module_state_mapping

        self.open()
        for owned, original, stride in zip(self._owned, self._originals, self._strides, strict=True):
            gathered = self._now(*owned)
            data = torch.empty_strided(gathered.shape, stride, dtype=gathered.dtype, device=gathered.device)
            original.data = data.copy_(gathered.detach())
            original.requires_grad_(gathered.requires_grad)
            owned[0]._parameters[owned[1]] = original
        for part, names in zip(self._parts, self._added, strict=True):
            _module_state_mapping.pop(part, None)
            for name in names:
                del vars(part)[name]


def _sharded(module: nn.Module, mesh: Any, root: bool = False) -> Any:
    from torch.distributed.fsdp import fully_shard

    unit = fully_shard(module, mesh=mesh, reshard_after_forward=not root)
    unit.set_gradient_divide_factor(1.0)  # a process's loss is weighed by its part of the batch
    unit.set_force_sum_reduction_for_comms(True)  # gloo has no other
    return unit


def _shape(part: nn.Module) -> tuple[type, dict[str, Any]]:
    """Return what FSDP2 changes in a module besides its parameters: its class and its hooks."""
    hooks = {n: v.copy() for n, v in vars(part).items() if isinstance(v, OrderedDict) and "hooks" in n}
    return type(part), hooks


def _reshape(part: nn.Module, shape: tuple[type, dict[str, Any]]) -> None:
    part.__class__, hooks = shape
    vars(part).update(hooks)


class BlockSums:
    """Adds up an update's gradients while its backward pass gathers and drops block after block."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def begin(self) -> None:
        """Add nothing up in the backward passes that follow."""
        self.shards.add_up(False)

    def arm(self) -> None:
        """Add up all gradients in the backward pass that follows: an update's last."""
        self.shards.add_up(True)

    def finish(self) -> None:
        """Drop the weights that are left."""
        self.shards.reshard()


class WholeSums(Reducer):
    """Adds up the gradients of an update with whole weights."""

    def __init__(self, shards: Shards, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters)
        self.shards = shards

    def begin(self) -> None:
        """Gather the weights."""
        self.shards.open()

    def finish(self) -> None:
        """Wait for the sums, give each process its rows of them, and drop the weights."""
        super().finish()
        self.shards.close()
