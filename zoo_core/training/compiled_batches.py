"""Networks that are called in batches of one size, as in sampling: they are compiled for that size alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from torch import nn

from zoo_core.training.compilation import compile_networks, new_code, no_new_code, regions
from zoo_core.training.compile_trial import LEAST, Trial


class CompiledBatches:
    """Compiles networks for whole batches, where an option says so or where it pays.

    Smaller batches, such as the last one, run code that is there, or as they are: nothing is compiled for
    them. With "auto" the first batches run as they are and tell what those that are left would take.

    Args:
        networks: that each batch calls.
        option: train.compile.
        whole: rows of a whole batch.
        cast: context of a forward pass.
        say: told what was decided.
    """

    def __init__(
        self,
        networks: Iterable[nn.Module],
        option: bool | Literal["auto"],
        whole: int,
        cast: Callable[[], Any] = contextlib.nullcontext,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.networks, self.whole, self.cast, self.say = list(networks), whole, cast, say
        self.on = bool(option) and bool(self.networks)
        self.compiled: bool | None = None if option == "auto" else self.on
        self._ready = False
        self._trial: Trial | None = None

    @contextlib.contextmanager
    def batch(self, rows: int, left: int) -> Iterator[None]:
        """Within the block a batch is computed.

        Args:
            rows: of the batch.
            left: rows that come after it.
        """
        if not self.on or rows != self.whole or self.compiled is False:
            with no_new_code():
                yield
        elif self.compiled:
            if not self._ready:
                compile_networks(self.networks, fixed=True)
                self._ready = True
            with new_code():
                yield
        else:
            if self._trial is None:
                blocks = [block for network in self.networks for block in regions(network)]
                self._trial = Trial(blocks, self.cast, backward=False)
            start = time.perf_counter()
            with self._trial.watching():
                yield
            self._decide(left // self.whole, time.perf_counter() - start)

    def _decide(self, left: int, seconds: float) -> None:
        """Decide after a batch that was watched; where little is left, nothing is decided for later."""
        trial = self._trial
        assert trial is not None
        if left * seconds < LEAST:
            self._trial = None
            return
        trial.end_unit()
        if trial.done:
            worth = trial.worth(left)
            self.compiled = not isinstance(worth, str) and worth.pays
            line = f"not compiled: {worth}" if isinstance(worth, str) else worth.line
            self.say(f"train.compile=auto: {line}")
