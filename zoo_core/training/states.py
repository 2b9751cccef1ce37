"""Tensors of a training state as they are saved: whole, whether or not the processes have shards of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from zoo_core.machine.distributed import local, own_rows, whole, world


def saved(tensor: Tensor) -> Tensor:
    """Return a tensor to save; of a sharded one all rows in the first process, and none in the others.

    All processes call it together.
    """
    found = whole(tensor)
    return found if found is tensor or world().first else found[:0].clone()


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU to save."""
    return {name: saved(tensor.detach()).cpu().clone() for name, tensor in tensors.items()}


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's state to save."""
    state: dict[str, Any] = tree_map(
        lambda value: saved(value) if isinstance(value, Tensor) else value, optimizer.state_dict()
    )
    return state


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Restore what `optimizer_state` returned: of what is shaped like a parameter, the rows of its shard.

    Raises:
        LookupError, TypeError, ValueError: where it is not the state of such an optimizer.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    own = {
        index: {name: _placed(value, parameters[index]) for name, value in its.items()}
        for index, its in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": own})


def _placed(value: Any, parameter: Tensor) -> Any:
    fits = isinstance(value, Tensor) and value.ndim > 0 and value.shape == parameter.shape
    return own_rows(value, parameter) if fits else value


def finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all numbers are finite, of sharded tensors those of this process."""
    return all(bool(local(t).isfinite().all()) for t in tensors if t.is_floating_point())
