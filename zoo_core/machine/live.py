"""The bytes of tensors that are alive at once, counted operation by operation on any device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Within the block: counts the storages that operations, backward passes included, make and drop.

    Storages that were there before count nothing, nor does memory that no tensor holds: a library's
    workspace, an allocator's gaps. So the highest is a lower bound of what a process takes.

    Attributes:
        now: bytes of the storages made within the block that are still alive.
        history: what `now` was after each storage that was made, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.history: list[int] = []
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self._note(tree_leaves((args, kwargs)), counted=False)
        made = func(*args, **kwargs)
        self._note(tree_leaves(made), counted=True)
        return made

    def _note(self, leaves: Iterable[Any], counted: bool) -> None:
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                self._add(leaf.untyped_storage(), counted)

    def _add(self, storage: torch.UntypedStorage, counted: bool) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes() if counted else 0

        def dropped(_: Any) -> None:
            self.now -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, dropped)
        self.now += size
        if counted:
            self.history.append(self.now)
