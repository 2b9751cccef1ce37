"""Whether compiling networks pays, found by one of their blocks while they do their work.

In one unit of work (a step of training, a batch of samples) the blocks are timed, in the next the input of
the block that takes the most time is kept. A copy of that block is then compiled and timed beside the block
as it is. The cost is what this one took to compile, for each distinct shape; the saving is what it gained,
for all the time that is spent in blocks. Weights, buffers and gradients are left alone.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from zoo_core.training.compilation import compile_blocks, eager, new_code, no_new_code

TIMED = 1.0
"""Least seconds of steps that the time of a step is taken from."""
LEAST = 300.0
"""Seconds of work that are left, below which nothing is tried: a trial takes up to half a minute on a CPU."""
ROUNDS = 5
"""Calls of the block as it is and compiled that are timed, in turns; their medians are compared."""


class Pace:
    """Seconds of a step, from the first steps of a process on."""

    def __init__(self) -> None:
        self._begun: tuple[float, int] | None = None

    def after(self, step: int) -> float | None:
        """Return the seconds of a step so far, after one; None until enough of them were timed."""
        now = time.perf_counter()
        if self._begun is None:  # the step before loaded kernels and made the states of optimizers
            self._begun = now, step
            return None
        seconds, steps = now - self._begun[0], step - self._begun[1]
        return seconds / steps if seconds >= TIMED and steps >= 2 else None


@dataclass(frozen=True)
class Worth:
    """What compiling would cost and save.

    Attributes:
        shapes: distinct shapes of blocks, each of which is compiled.
        compiling: seconds that one of them took.
        ratio: time of that block as it is / compiled.
        saved: seconds in a unit of work; negative where compiled blocks are slower.
        left: units of work.
    """

    shapes: int
    compiling: float
    ratio: float
    saved: float
    left: float

    @property
    def cost(self) -> float:
        return self.shapes * self.compiling

    @property
    def saving(self) -> float:
        return self.saved * self.left

    @property
    def pays(self) -> bool:
        return self.saving > self.cost

    @property
    def line(self) -> str:
        """The decision for people, with its reason."""
        decided = "compiled" if self.pays else "not compiled"
        return (
            f"{decided}: a block is {self.ratio:.2f} times as fast compiled, which saves about "
            f"{self.saving:.0f} s of what is left; {self.shapes} shapes take about {self.cost:.0f} s"
        )


@dataclass
class _Kept:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Trial:
    """Watches blocks in two units of work, and then tries one of them.

    Args:
        blocks: that would be compiled.
        cast: context of a forward pass.
        backward: whether work has backward passes.
        agree: returns the first process's value in all of them.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        cast: Callable[[], Any],
        *,
        backward: bool,
        agree: Callable[[int], int] = lambda value: value,
    ) -> None:
        self.blocks, self.cast, self.backward, self.agree = list(blocks), cast, backward, agree
        self.seconds = [0.0] * len(self.blocks)
        self.calls = [0] * len(self.blocks)
        self.shapes: set[Any] = set()
        self.units = 0
        self._chosen: int | None = None
        self._kept: _Kept | None = None

    @property
    def done(self) -> bool:
        """Whether two units of work were watched."""
        return self.units == 2

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Around forward passes that would be compiled."""
        handles = self._timing() if self._chosen is None else self._keeping(self.blocks[self._chosen])
        try:
            with no_new_code():
                yield
        finally:
            for handle in handles:
                handle.remove()

    def end_unit(self) -> None:
        """Note that a unit of work is over."""
        self.units += 1
        if self._chosen is None:
            self._chosen = self.agree(max(range(len(self.blocks)), key=self.seconds.__getitem__))

    def _timing(self) -> list[Any]:
        begun: dict[int, float] = {}

        def start(place: int, module: nn.Module, args: Any, kwargs: Any) -> None:
            self.shapes.add(_shape(module, (args, kwargs)))
            _wait(module)
            begun[place] = time.perf_counter()

        def end(place: int, module: nn.Module, args: Any, output: Any) -> None:
            _wait(module)
            self.seconds[place] += time.perf_counter() - begun[place]
            self.calls[place] += 1

        handles = []
        for place, block in enumerate(self.blocks):
            handles.append(block.register_forward_pre_hook(_bound(start, place), with_kwargs=True))
            handles.append(block.register_forward_hook(_bound(end, place)))
        return handles

    def _keeping(self, block: nn.Module) -> list[Any]:
        def keep(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self._kept is None:
                args, kwargs = tree_map(lambda a: a.detach() if isinstance(a, Tensor) else a, (args, kwargs))
                self._kept = _Kept(args, kwargs)

        return [block.register_forward_pre_hook(keep, with_kwargs=True)]

    def worth(self, left: float) -> Worth | str:
        """Return what compiling would cost and save in the units of work that are left, or why it can't."""
        chosen = self._chosen
        if chosen is None or self._kept is None or not self.calls[chosen]:
            return "no block of the networks was called"
        try:
            plain, compiled, first = self._compared(self.blocks[chosen], self._kept)
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            return f"a block can't be compiled alone: {type(error).__name__}: {reason}"
        forward = self.seconds[chosen] / self.calls[chosen]
        saved = sum(self.seconds) * (plain - compiled) / forward
        return Worth(len(self.shapes), max(0.0, first - compiled), plain / compiled, saved, left)

    def _compared(self, block: nn.Module, kept: _Kept) -> tuple[float, float, float]:
        """Return the seconds of a block as it is, compiled, and compiled for the first time."""
        _load_compiler(block)
        alone = copy.deepcopy(block).requires_grad_(self.backward)
        compile_blocks([alone])

        def once() -> float:
            args, kwargs = tree_map(self._input, (kept.args, kept.kwargs))
            _wait(alone)
            start = time.perf_counter()
            with torch.set_grad_enabled(self.backward):
                with self.cast():
                    output = alone(*args, **kwargs)
                if self.backward:
                    sums = [y.float().sum() for y in tree_leaves(output) if _differs(y)]
                    torch.stack(sums).sum().backward()
            _wait(alone)
            return time.perf_counter() - start

        with new_code():
            first = once()
        plain, compiled = [], []
        for _ in range(ROUNDS):
            with eager():
                plain.append(once())
            with new_code():
                compiled.append(once())
        return statistics.median(plain), statistics.median(compiled), first

    def _input(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.detach().requires_grad_(self.backward and value.is_floating_point())


def _bound(hook: Callable[..., None], place: int) -> Callable[..., None]:
    return lambda *given: hook(place, *given)


def _differs(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _shape(module: nn.Module, given: Any) -> Any:
    """Return what compiled code is made for: class, mode, shapes of weights and inputs."""
    tensors = [*module.parameters(), *(one for one in tree_leaves(given) if isinstance(one, Tensor))]
    sizes = tuple((tuple(one.shape), one.dtype) for one in tensors)
    return type(module), module.training, torch.is_grad_enabled(), sizes


def _load_compiler(like: nn.Module) -> None:
    """Compile something small on the device of a module: the first code of a process takes longest."""
    parameter = next(like.parameters(), torch.zeros(()))
    one = nn.Linear(1, 1, device=parameter.device)
    compile_blocks([one])
    with new_code(), torch.enable_grad():
        one(torch.zeros(2, 1, device=parameter.device)).sum().backward()


def _wait(module: nn.Module) -> None:
    """Wait until the device of a module has done what it was asked for."""
    parameter = next(module.parameters(), None)
    if parameter is not None and parameter.is_cuda:
        torch.cuda.synchronize(parameter.device)
