"""What torch.compile is given: the repeated blocks of a network, which are compiled once for each shape.

A whole U-Net of 36 million parameters takes minutes to compile; its blocks have few distinct shapes, so most
of them find the code of another. torch.compile can't differentiate twice, so a phase whose loss holds a
gradient (a gradient penalty, the score of an energy) runs its networks as they are.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from zoo_core.errors import MachineError
from zoo_core.home import home

_TWICE = "double backward"
"""In the error of a loss that torch.compile can't differentiate."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable that names the folder of compiled code."""
GRAPHED = 10_000_000
"""Parameters up to which a network is taken to be limited by the starts of its kernels, on a GPU."""
GRAPHS = "reduce-overhead"
"""torch.compile's mode that records kernels as CUDA graphs."""

_graphed: WeakSet[nn.Module] = WeakSet()
_cache_of_home = ""
_new_code = False


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


def mode_for(parameters: int, device: str, *, repeated: bool, fixed: bool) -> str | None:
    """Return the mode that a network is compiled in; None for torch.compile's own.

    CUDA graphs keep the outputs of a block in memory that the network's next call writes over, so they are
    for blocks whose outputs plain layers of the same call read.

    Args:
        parameters: of the network.
        device: type of the device: "cuda", "cpu".
        repeated: whether blocks of the network are compiled, and not the network itself.
        fixed: whether its calls have few shapes, and no output is kept from one call for another.
    """
    small = parameters <= GRAPHED
    return GRAPHS if device == "cuda" and small and repeated and fixed else None


def compile_networks(networks: Iterable[nn.Module], *, fixed: bool = False) -> None:
    """Compile the regions of networks in place, at the first call with each shape.

    Args:
        networks: on the device where they run.
        fixed: as in `mode_for`.
    """
    for network in networks:
        parameters = list(network.parameters())
        device = parameters[0].device.type if parameters else "cpu"
        blocks = regions(network)
        mode = mode_for(sum(p.numel() for p in parameters), device, repeated=blocks != [network], fixed=fixed)
        compile_network(network, mode)


def compile_network(network: nn.Module, mode: str | None = None) -> None:
    """Compile the regions of a network in place, in a mode of torch.compile."""
    compile_blocks(regions(network), mode)
    if mode == GRAPHS and network not in _graphed:
        _graphed.add(network)
        network.register_forward_pre_hook(_mark_call)


def compile_blocks(blocks: Iterable[nn.Module], mode: str | None = None) -> None:
    """Compile modules in place, in a mode of torch.compile."""
    use_cache()
    # Beyond the limits torch.compile runs what it has no code for as it is, and says so in a log only.
    dynamo: Any = torch._dynamo.config
    blocks = list(blocks)
    dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(blocks))
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, 8 * dynamo.recompile_limit)
    for block in blocks:
        block.compile(dynamic=False, mode=mode)


def _mark_call(network: nn.Module, args: object) -> None:
    """Tell CUDA graphs that a network is called anew; in training a loss may call it twice: `mark_step`."""
    if not torch.is_grad_enabled():
        mark_step()


def mark_step() -> None:
    """Tell CUDA graphs, where there are any, that no output of a block is read any more."""
    if _graphed:
        torch.compiler.cudagraph_mark_step_begin()


def use_cache() -> Path | None:
    """Let compiled code be kept in ZOO_HOME/inductor, where the user has named no other folder.

    Returns:
        The folder; None where it can't be made, and torch chooses one.
    """
    global _cache_of_home
    named = os.environ.get(CACHE)
    if named and named != _cache_of_home:
        return Path(named)
    try:
        folder = home() / "inductor"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, MachineError):
        return None
    os.environ[CACHE] = _cache_of_home = str(folder.absolute())
    return folder


class Start:
    """The first step of compiled networks: how long it took, and what of its code was there before."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._before = _lookups()

    @property
    def line(self) -> str:
        """For people: "compiled: 12.3 s to the end of the first step (cold start: 0 of 28 graphs cached)"."""
        seconds = time.perf_counter() - self._begun
        hits, misses = (now - then for now, then in zip(_lookups(), self._before, strict=True))
        if not hits + misses:
            return f"compiled: {seconds:.1f} s to the end of the first step"
        kind = "cold start" if not hits else "partly warm start" if misses else "warm start"
        found = f"{kind}: {hits} of {hits + misses} graphs cached"
        return f"compiled: {seconds:.1f} s to the end of the first step ({found})"


def _lookups() -> tuple[int, int]:
    """Return how many graphs were found in the folder of compiled code so far, and how many were not."""
    dynamo: Any = sys.modules.get("torch._dynamo.utils")
    counts = {} if dynamo is None else dynamo.counters["inductor"]
    return counts.get("fxgraph_cache_hit", 0), counts.get("fxgraph_cache_miss", 0)


def eager() -> contextlib.AbstractContextManager[Any]:
    """Within the block: networks run as if they were not compiled."""
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def no_new_code() -> contextlib.AbstractContextManager[Any]:
    """Within the block: what is compiled for the shapes at hand is used, and nothing else is compiled.

    It changes nothing within `new_code`.
    """
    if _new_code or "torch._dynamo" not in sys.modules:  # whose import takes seconds, and compiles nothing
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("eager_on_recompile")
    return stance


@contextlib.contextmanager
def new_code() -> Iterator[None]:
    """Within the block compiled networks may be compiled for other shapes, whatever is around it."""
    global _new_code
    before, _new_code = _new_code, True
    try:
        with torch.compiler.set_stance("default"):
            yield
    finally:
        _new_code = before


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
