"""Weights of feature networks that are not shipped: where they lie, how they are read, how they are had.

A file is read without running code in it, and known by its sha256. What is downloaded goes beside its final
name first and is renamed only when its sha256 is right.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tarfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from zoo_core.errors import MachineError, UsageError, ZooError
from zoo_core.home import home
from zoo_core.machine.files import sha256_of

TIMEOUT = 10.0
"""Seconds a server may stay silent."""


class Remote(NamedTuple):
    """A published file: its name under ZOO_HOME/weights, where it comes from, its sha256 and its bytes."""

    file: str
    url: str
    sha256: str
    size: int

    @property
    def path(self) -> Path:
        return home() / "weights" / self.file


INCEPTION = Remote(
    file="weights-inception-2015-12-05-6726825d.pth",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size=95_628_359,
)
"""The 2015 InceptionV3 of Heusel et al.'s FID, converted from TensorFlow by torch-fidelity (Apache-2.0)."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors or a PyTorch file; code in it is refused, never run.

    Raises:
        UsageError: where there is no such file, or it holds anything but named tensors.
    """
    if not path.is_file():
        raise UsageError(
            f"no file {str(path)!r}", "expected: weights, as .safetensors or a PyTorch state dict"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if _is_tar(path):  # torch.load makes a folder for one before it refuses it
            raise ValueError("a tar archive, as PyTorch wrote before 0.2")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except ZooError:  # such as a signal that ends the run
        raise
    except Exception as error:  # whatever a parser makes of bad bytes: the file is at fault
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{path} can't be read as weights", f"reason: {reason[:200]}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UsageError(f"{path} holds no weights", "expected: a state dict of tensors alone")
    return found


def _is_tar(path: Path) -> bool:
    try:
        tarfile.open(path, "r:").close()
    except (tarfile.TarError, OSError, ValueError):
        return False
    return True


def require(remote: Remote, verb: str) -> Path:
    """Return a published file's path, once its sha256 is known to be right.

    Args:
        verb: what `zoo fetch` calls it.

    Raises:
        UsageError: where it is missing; says where it is looked for and how to get it.
        MachineError: where it is damaged.
    """
    path = remote.path
    if not path.is_file():
        raise UsageError(
            f"the weights of {verb!r} are not here: {path}",
            f"next: zoo fetch {verb} ({remote.size / 1e6:.0f} MB)",
            "or: eval.extractor_path=FILE; eval.extractor=raw; eval.protocol=none",
        )
    found = sha256_of(path)
    if found != remote.sha256:
        raise MachineError(
            f"{path} is damaged: sha256 is {found[:16]}..., expected {remote.sha256[:16]}...",
            f"next: delete it, then zoo fetch {verb}",
        )
    return path


def reachable(host: str) -> str | None:
    """Return None where a host answers within a few seconds, else the reason why not."""
    try:
        socket.create_connection((host, 443), timeout=4).close()
    except OSError as error:
        return str(error)
    return None


def download(remote: Remote, verb: str) -> Path:
    """Download a published file into ZOO_HOME/weights, unless it is there already; return its path.

    Raises:
        MachineError: without a network, with a full disk, or where what came is not the published file.
    """
    import hashlib
    import urllib.request

    path = remote.path
    if path.is_file() and sha256_of(path) == remote.sha256:
        return path
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    whole = hashlib.sha256()
    received = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(remote.url, timeout=TIMEOUT) as source, partial.open("wb") as target:
            while received <= remote.size and (block := source.read(1 << 20)):
                received += len(block)
                whole.update(block)
                target.write(block)
        if whole.hexdigest() != remote.sha256:
            raise MachineError(
                f"what came from {remote.url} is not the published file",
                f"sha256: {whole.hexdigest()[:16]}... after {received:,} bytes",
                f"expected: {remote.sha256[:16]}... of {remote.size:,} bytes",
            )
        os.replace(partial, path)
    except OSError as error:  # urllib's URLError and time-outs are of this kind too
        raise MachineError(
            f"can't download {verb!r}: {getattr(error, 'reason', error)}",
            f"from: {remote.url}",
            f"next: with a network, zoo fetch {verb}; or put the file at {path}",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return path
