"""MNIST, Fashion-MNIST and CIFAR-10: found, downloaded, checked and unpacked by torchvision."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from zoo_core.config import DataConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.splits import resident
from zoo_core.data.strokes import WORDS, captioned
from zoo_core.data.table import Resident
from zoo_core.errors import MachineError, UsageError
from zoo_core.home import home
from zoo_core.types import DataInfo

CONNECT_SECONDS = 8.0
"""How long a server may stay silent: where there is no network, the error comes within seconds."""

_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta")


@dataclass(frozen=True)
class Benchmark:
    """A dataset of torchvision's.

    Attributes:
        kind: its class in torchvision.datasets.
        shape: of a image.
        train: images in the training split; the test split has 10,000.
        files: what torchvision wants to find, under the root.
        captions: whether its images are handwritten digits, which `strokes` describes.
    """

    kind: str
    shape: tuple[int, int, int]
    train: int
    files: tuple[str, ...]
    captions: bool = False


BENCHMARKS = {
    "mnist": Benchmark("MNIST", (1, 28, 28), 60_000, tuple(f"MNIST/raw/{f}" for f in _IDX), captions=True),
    "fashion-mnist": Benchmark(
        "FashionMNIST", (1, 28, 28), 60_000, tuple(f"FashionMNIST/raw/{f}" for f in _IDX)
    ),
    "cifar10": Benchmark("CIFAR10", (3, 32, 32), 50_000, tuple(f"cifar-10-batches-py/{f}" for f in _BATCHES)),
}


def load(config: DataConfig) -> Dataset:
    """Return a benchmark by its name, uint8 levels 0 to 255, in its published split.

    Raises:
        UsageError: files are missing and can't be downloaded, or are corrupt; names folder and file.
        MachineError: the folder can't be written.
    """
    benchmark = BENCHMARKS[config.name]
    root = Path(config.root).expanduser() if config.root else home() / "data"
    train, train_names = _split(config.name, benchmark, root, train=True)
    test, _ = _split(config.name, benchmark, root, train=False)
    info = DataInfo(config.name, benchmark.shape, levels=256, classes=10)
    if not benchmark.captions:
        return resident(info, train, test, class_names=train_names)
    info = replace(info, vocabulary=WORDS.vocabulary, caption_length=WORDS.length)
    return resident(info, *captioned(train, test, levels=256), class_names=train_names, tokenizer=WORDS)


def _split(name: str, benchmark: Benchmark, root: Path, train: bool) -> tuple[Resident, tuple[str, ...]]:
    found = _open(name, benchmark, root, train)
    x = torch.as_tensor(found.data)
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous()
    label = torch.as_tensor(found.targets, dtype=torch.int64)
    wanted = (benchmark.train if train else 10_000, *benchmark.shape)
    if tuple(x.shape) != wanted or len(label) != len(x) or not bool(((label >= 0) & (label < 10)).all()):
        raise _corrupt(name, benchmark, root, f"{tuple(x.shape)} images, expected {wanted}")
    return Resident(x, label), tuple(found.classes)


def _open(name: str, benchmark: Benchmark, root: Path, train: bool) -> Any:
    """Return torchvision's dataset, downloaded where files are missing."""
    from torchvision import datasets

    kind = getattr(datasets, benchmark.kind)
    missing = [file for file in benchmark.files if not (root / file).is_file()]
    if missing:
        try:
            with _silence_limit():
                kind(root, train=train, download=True)
        except PermissionError as error:
            raise MachineError(
                f"dataset {name!r} is not in {root}, and that folder can't be written: {error.strerror}",
                "next: data.root=FOLDER with a folder that holds it, or that can be written",
            ) from error
        except (OSError, RuntimeError) as error:  # torchvision's own, and urllib's URLError
            raise UsageError(
                f"dataset {name!r} is not in {root}, and could not be downloaded",
                f"missing: {root / missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""),
                f"reason: {_last_line(error)}",
                f"next: data.root=FOLDER, such that FOLDER/{missing[0]} exists; or data=digits, which needs"
                " no download",
            ) from error
    try:
        return kind(root, train=train, download=False)
    except Exception as error:  # whatever a parser makes of bad bytes: the file is at fault
        raise _corrupt(name, benchmark, root, _last_line(error)) from error


def _corrupt(name: str, benchmark: Benchmark, root: Path, reason: str) -> UsageError:
    return UsageError(
        f"dataset {name!r} in {root} is corrupt",
        f"reason: {reason}",
        f"next: delete {(root / benchmark.files[0]).parent}, and run again to download it",
    )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextlib.contextmanager
def _silence_limit() -> Iterator[None]:
    """Bound the wait for a silent server; torchvision's downloads set no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
