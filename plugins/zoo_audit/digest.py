"""The hash of a training state: of all that decides how the training goes on, and of nothing else."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo_core.errors import MachineError
from zoo_core.training.checkpoint import END, Checkpoint

CLOCK = "seconds"
"""The one count that two equal trainings differ in."""


class Sink(Protocol):
    """What takes bytes, such as a hash."""

    def update(self, data: Any, /) -> None: ...


def state_sha256(saved: Checkpoint) -> str:
    """Return the SHA-256, in hex, of a training state: weights, EMA weights, optimizers, counts, randomness.

    It is taken of values, not of files, so the version of a file format does not move it. Every value is
    preceded by its type and its length, so no two states give the same bytes.

    Raises:
        MachineError: where the state holds something else than numbers, texts, tensors and containers.
    """
    digest = hashlib.sha256()
    _feed(digest, {"weights": saved.weights, "ema": saved.ema, "state": _timeless(saved.state)})
    return digest.hexdigest()


def _timeless(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state without the seconds that it took."""
    kept = dict(state)
    if isinstance(kept.get("counts"), Mapping):
        kept["counts"] = {key: value for key, value in kept["counts"].items() if key != CLOCK}
    if isinstance(kept.get(END), Mapping):
        kept[END] = _timeless(kept[END])
    return kept


def _feed(sink: Sink, value: Any) -> None:
    if isinstance(value, Tensor):
        _mark(sink, b"T", f"{value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        sink.update(flat.view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        _mark(sink, b"M", str(len(value)).encode())
        for key in sorted(value, key=lambda key: (type(key).__name__, key)):
            _feed(sink, key)
            _feed(sink, value[key])
    elif isinstance(value, list | tuple):
        _mark(sink, b"L", str(len(value)).encode())
        for one in value:
            _feed(sink, one)
    elif isinstance(value, float):
        _mark(sink, b"F", struct.pack("<d", value))
    elif isinstance(value, str):
        _mark(sink, b"S", value.encode())
    elif value is None or isinstance(value, bool | int):
        _mark(sink, b"V", repr(value).encode())
    else:
        raise MachineError(f"a training state holds a {type(value).__name__}, which has no hash")


def _mark(sink: Sink, kind: bytes, content: bytes) -> None:
    sink.update(kind + len(content).to_bytes(8, "little") + content)
