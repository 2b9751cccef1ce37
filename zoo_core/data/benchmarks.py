"""Published datasets of one image size: found, downloaded, checked and unpacked by torchvision."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from zoo_core.config import DataConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.splits import resident
from zoo_core.data.strokes import WORDS, captioned
from zoo_core.data.table import Resident
from zoo_core.errors import MachineError, UsageError, ZooError
from zoo_core.home import home
from zoo_core.machine.faults import machine_error
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
_STL10 = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin", "class_names.txt")


@dataclass(frozen=True)
class Benchmark:
    """A dataset of torchvision.

    Attributes:
        kind: its class in torchvision.datasets.
        shape: of an image.
        train, test: images in the splits.
        files: what torchvision wants to find, under the root.
        captions: whether its images are handwritten digits, which `strokes` describes.
        named: whether torchvision takes the split's name ("train") instead of a boolean.
    """

    kind: str
    shape: tuple[int, int, int]
    train: int
    test: int
    files: tuple[str, ...]
    captions: bool = False
    named: bool = False

    def split(self, train: bool) -> dict[str, Any]:
        """Return the argument by which torchvision opens a split."""
        return {"split": "train" if train else "test"} if self.named else {"train": train}


BENCHMARKS = {
    "mnist": Benchmark(
        "MNIST", (1, 28, 28), 60_000, 10_000, tuple(f"MNIST/raw/{f}" for f in _IDX), captions=True
    ),
    "fashion-mnist": Benchmark(
        "FashionMNIST", (1, 28, 28), 60_000, 10_000, tuple(f"FashionMNIST/raw/{f}" for f in _IDX)
    ),
    "cifar10": Benchmark(
        "CIFAR10", (3, 32, 32), 50_000, 10_000, tuple(f"cifar-10-batches-py/{f}" for f in _BATCHES)
    ),
    "svhn": Benchmark("SVHN", (3, 32, 32), 73_257, 26_032, ("train_32x32.mat", "test_32x32.mat"), named=True),
    "stl10": Benchmark(
        "STL10", (3, 96, 96), 5_000, 8_000, tuple(f"stl10_binary/{f}" for f in _STL10), named=True
    ),
}


def load(config: DataConfig) -> Dataset:
    """Return a benchmark by its name, uint8 levels 0 to 255, in its published split.

    Raises:
        UsageError: files are missing and can't be downloaded, or are corrupt; names folder and file.
        MachineError: the folder can't be written.
    """
    benchmark = BENCHMARKS[config.name]
    root = root_of(config)
    train, train_names = _split(config.name, benchmark, root, train=True)
    test, _ = _split(config.name, benchmark, root, train=False)
    info = DataInfo(config.name, benchmark.shape, levels=256, classes=10)
    if not benchmark.captions:
        return resident(info, train, test, class_names=train_names)
    info = replace(info, vocabulary=WORDS.vocabulary, caption_length=WORDS.length)
    return resident(info, *captioned(train, test, levels=256), class_names=train_names, tokenizer=WORDS)


def root_of(config: DataConfig) -> Path:
    """Return the folder of downloaded datasets: `data.root`, or ZOO_HOME/data."""
    return Path(config.root).expanduser() if config.root else home() / "data"


def _split(name: str, benchmark: Benchmark, root: Path, train: bool) -> tuple[Resident, tuple[str, ...]]:
    found = opened(name, benchmark.kind, benchmark.files, root, **benchmark.split(train))
    x = torch.as_tensor(found.data)
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[-1] == 3 and x.shape[1] != 3:
        x = x.permute(0, 3, 1, 2).contiguous()
    label = torch.as_tensor(found.labels if benchmark.named else found.targets, dtype=torch.int64)
    wanted = (benchmark.train if train else benchmark.test, *benchmark.shape)
    if tuple(x.shape) != wanted or len(label) != len(x) or not bool(((label >= 0) & (label < 10)).all()):
        raise _corrupt(name, benchmark.files, root, f"{tuple(x.shape)} images, expected {wanted}")
    names = getattr(found, "classes", None) or [str(k) for k in range(10)]  # SVHN's are its digits
    return Resident(x, label), tuple(names)


def opened(name: str, class_name: str, files: Sequence[str], root: Path, **split: Any) -> Any:
    """Return a split of one of torchvision's datasets, downloaded where files are missing.

    Args:
        name: of the dataset here.
        class_name: in torchvision.datasets.
        files: files or folders that must be under the root.
        root: the folder.
        split: the arguments that choose the split.

    Raises:
        UsageError: where files are missing and can't be downloaded, or are corrupt.
        MachineError: where the folder can't be written, the disk is full, or a file can't be read from it.
    """
    from torchvision import datasets

    kind = getattr(datasets, class_name)
    missing = [file for file in files if not (root / file).exists()]
    if missing:
        try:
            with _silence_limit():
                kind(root, **split, download=True)
        except PermissionError as error:
            raise MachineError(
                f"dataset {name!r} is not in {root}, and that folder can't be written: {error.strerror}",
                "next: data.root=FOLDER with a folder that holds it, or that can be written",
            ) from error
        except (OSError, RuntimeError) as error:  # torchvision's own, and urllib's URLError
            if fault := machine_error(error):
                raise fault from error
            raise UsageError(
                f"dataset {name!r} is not in {root}, and could not be downloaded",
                f"missing: {root / missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""),
                f"reason: {_last_line(error)}",
                f"next: data.root=FOLDER, such that FOLDER/{missing[0]} exists; or data=digits, which needs"
                " no download",
            ) from error
    try:
        return kind(root, **split, download=False)
    except (ZooError, ImportError, MemoryError):
        raise
    except Exception as error:  # whatever a parser makes of bad bytes: the file is at fault
        if fault := machine_error(error):
            raise fault from error
        raise _corrupt(name, files, root, _last_line(error)) from error


def _corrupt(name: str, files: Sequence[str], root: Path, reason: str) -> UsageError:
    folder = (root / files[0]).parent
    bad = [str(folder)] if folder != root else [str(root / file) for file in files]
    return UsageError(
        f"dataset {name!r} in {root} is corrupt",
        f"reason: {reason}",
        f"next: delete {' and '.join(bad)}, and run again to download it",
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
