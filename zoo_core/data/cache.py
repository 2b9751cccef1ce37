"""Decoded images on disk, one folder of ZOO_HOME/cache/images for each folder of images and way of decoding.

An entry is named by a fingerprint of the files: names, sizes, times, inodes, and the options that they are
decoded with. It is used only while all of these are unchanged; an entry of an earlier state is deleted when
the new one is written. The values are in one npy file, which is memory-mapped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np

from zoo_core.errors import UsageError
from zoo_core.home import home
from zoo_core.machine.files import open_regular, read_bounded, sync, write_synced

INDEX, VALUES = "index.json", "values.npy"
MAX_BYTES = 1 << 28
"""Size of an index, bytes."""
MALFORMED = (EOFError, ValueError, LookupError, TypeError, RecursionError, OverflowError, TokenError)
"""What json and numpy raise on a damaged entry; numpy reads the header of an array as Python."""
WRITING = ".writing-"
"""Beginning of the name of an entry that is not complete."""
ABANDONED_S = 86_400.0
"""Seconds without a write after which such an entry counts as left behind by a process that was killed."""
SPARE = 0.1
"""Fraction of the disk's free space that writing an entry must leave."""


def place(root: str, options: Mapping[str, Any]) -> Path:
    """Return the folder for the entries of one folder of images and one way of decoding them."""
    text = json.dumps([os.fsencode(root).hex(), options], sort_keys=True)
    return home() / "cache" / "images" / hashlib.sha256(text.encode()).hexdigest()[:24]


def fingerprint(root: str, names: Sequence[str]) -> str:
    """Return the hash of the state of files, without reading them.

    It covers each file's name, size, time of modification and of change, inode and device; a link's are those
    of the file it leads to.
    """
    states = []
    for name in names:
        try:
            s = os.stat(f"{root}{os.sep}{name}")
            state = f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino} {s.st_dev}"
        except OSError as error:
            state = f"error {error.errno}"
        states.append(f"{name}\0{state}\0")
    return hashlib.sha256("".join(states).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def read(folder: Path, state: str) -> tuple[dict[str, Any], np.ndarray | None] | None:
    """Return an entry's index and values, or None where there is none, or a damaged one."""
    try:
        index = json.loads(read_bounded(folder / state / INDEX, MAX_BYTES))
        if not isinstance(index, dict) or index.get("state") != state:
            return None
        shape = tuple(index["shape"])
        if not index["values"]:
            return index, None
        with open_regular(folder / state / VALUES):  # np.load maps whatever it is given
            pass
        values = np.load(folder / state / VALUES, mmap_mode="r", allow_pickle=False)
    except (OSError, UsageError, MemoryError, *MALFORMED):
        return None
    return (index, values) if values.shape == shape and values.dtype == np.uint8 else None


def _delete_abandoned(root: Path) -> None:
    """Delete entries that were left incomplete and have not been written to for a day."""
    for path in root.glob(f"*/{WRITING}*"):
        with contextlib.suppress(OSError):
            if time.time() - max(part.stat().st_mtime for part in (path, *path.iterdir())) > ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)


class Writer:
    """An entry while it is written; nothing of it is left where writing fails.

    Attributes:
        failed: why it can't be written, or "".
    """

    def __init__(self, folder: Path, state: str, shape: tuple[int, ...], values: bool) -> None:
        self.folder, self.state, self.shape = folder, state, shape
        self.failed = ""
        self._rows = 0
        self._made: Path | None = None
        self._file: BinaryIO | None = None
        with self._guarded():
            folder.mkdir(parents=True, exist_ok=True)
            _delete_abandoned(folder.parent)
            wanted, free = int(np.prod(shape)), shutil.disk_usage(folder).free
            if values and wanted > free * (1 - SPARE):
                self.failed = f"it takes {wanted / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
                values = False
            self._made = Path(tempfile.mkdtemp(prefix=WRITING, dir=folder))
            if values:
                self._file = open(self._made / VALUES, "wb")  # noqa: SIM115 - closed by finish
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(self._file, header)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failed = (error.strerror or "unwritable").lower()
            self._drop()

    def _drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
        self._file = self._made = None

    def add(self, values: np.ndarray) -> None:
        """Append one row, uint8 of the shape given at the start."""
        if self._file is not None:
            with self._guarded():
                assert self._file is not None
                self._file.write(values.tobytes())
                self._rows += 1

    def finish(self, index: Mapping[str, Any]) -> None:
        """Write the index and put the entry in its place; entries of earlier states are deleted."""
        if self._made is None:
            return
        with self._guarded():
            assert self._made is not None
            has_values = self._file is not None
            if self._file is not None:
                row = int(np.prod(self.shape[1:]))
                self._file.write(bytes((self.shape[0] - self._rows) * row))  # rows of files that are bad
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
            record = {**index, "state": self.state, "values": has_values, "shape": list(self.shape)}
            write_synced(self._made / INDEX, json.dumps(record).encode())
            sync(self._made)
            earlier = [
                path for path in self.folder.iterdir() if path.name not in (self._made.name, self.state)
            ]
            target = self.folder / self.state
            shutil.rmtree(target, ignore_errors=True)
            os.replace(self._made, target)
            self._made = None
            sync(self.folder)
            for path in earlier:
                if not path.name.startswith(WRITING):
                    shutil.rmtree(path, ignore_errors=True)
