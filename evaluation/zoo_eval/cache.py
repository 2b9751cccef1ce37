"""What is computed once of real data and kept: features and distances, under ZOO_HOME/stats.

A file is named by what it was computed from and carries a sha256 of its tensors, because safetensors has no
checksum: a damaged file is noticed and made again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from zoo_core.errors import MachineError
from zoo_core.home import home
from zoo_core.machine.files import write_atomic


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, dtypes, shapes and bytes, in hex."""
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()


def _read(path: Path) -> dict[str, Tensor] | None:
    """Return a file's tensors, or None where they are not those that were written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            written = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError, ValueError):
        return None
    return tensors if written == tensors_hash(tensors) else None


def cached(
    name: str,
    key: Sequence[str],
    compute: Callable[[], dict[str, Tensor]],
    say: Callable[[str], None] = print,
) -> dict[str, Tensor]:
    """Return what is kept under a key, or compute and keep it.

    Args:
        name: for the file's name: "features".
        key: all that the result depends on.
        compute: makes the tensors, on the CPU.
        say: told of a damaged file, and of a folder that can't be written.
    """
    from safetensors.torch import save

    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:24]
    path = home() / "stats" / f"{name}-{digest}.safetensors"
    kept = _read(path) if path.exists() else None
    if kept is None and path.exists():
        say(f"warning: {path} is damaged; it is made again")
    if kept is not None:
        return kept
    made = compute()
    try:
        write_atomic(path, save(made, metadata={"sha256": tensors_hash(made)}), parents=True)
    except MachineError as error:
        say(f"warning: {os.fspath(path)} can't be kept: {error}")
    return made
