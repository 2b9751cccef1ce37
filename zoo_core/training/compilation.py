"""What torch.compile is given: the repeated blocks of a network, which are compiled once for each shape.

A whole U-Net of 36 million parameters takes minutes to compile; its blocks have few distinct shapes, so most
of them find the code of another. torch.compile can't differentiate twice, so a phase whose loss holds a
gradient (a gradient penalty, the score of an energy) runs its networks as they are.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

_TWICE = "double backward"
"""In the error of a loss that torch.compile can't differentiate."""


def regions(network: nn.Module) -> list[nn.Module]:
    """Return the outermost modules whose class occurs more than once; the network itself where none does.

    Layers of torch, and lists of layers, are parts of what is compiled, and not regions.
    """
    seen = {id(module): module for module in network.modules()}
    counts = Counter(type(module) for module in seen.values())

    def found(module: nn.Module) -> Iterator[nn.Module]:
        for child in module.children():
            if counts[type(child)] > 1 and not type(child).__module__.startswith("torch."):
                yield child
            else:
                yield from found(child)

    return list({id(module): module for module in found(network)}.values()) or [network]


def compile_networks(networks: Iterable[nn.Module]) -> None:
    """Compile the regions of networks in place, at the first call with each shape."""
    blocks = [block for network in networks for block in regions(network)]
    # Beyond the limit torch.compile runs what it has no code for as it is, and says so in a log only.
    dynamo: Any = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(blocks))
    for block in blocks:
        block.compile(dynamic=False)


def eager() -> contextlib.AbstractContextManager[Any]:
    """Within the block: networks run as if they were not compiled."""
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def no_new_code() -> contextlib.AbstractContextManager[Any]:
    """Within the block: what is compiled for the shapes at hand is used, and nothing else is compiled."""
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("eager_on_recompile")
    return stance


def differentiates_twice(step: Callable[[], object]) -> bool:
    """Return whether a loss and its backward pass, tried once, hold the gradient of a gradient.

    Raises:
        Exception: whatever else the step raises.
    """
    try:
        step()
    except RuntimeError as error:
        if _TWICE in str(error):
            return True
        raise
    return False
