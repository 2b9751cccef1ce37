"""Arrays that memory should not have to hold: in files without a name, which are gone with the array."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo_core.errors import MachineError
from zoo_core.home import home

IN_MEMORY = 1 << 26
"""Bytes of an array that is in memory; a larger one is in a file."""
FOLDER = "scratch"
"""In ZOO_HOME: where the files are."""


def new_array(shape: Sequence[int], dtype: Any) -> np.ndarray[Any, Any]:
    """Return a new array of any content, in a mapped file if it is larger than `IN_MEMORY`.

    The system writes its pages out and takes them back as it needs memory. The space is taken at once: a disk
    that fills up later would end the process at a page that can't be written. Where there is none, or files
    can't be mapped, the array is in memory.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    try:
        folder = home() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            pages = mmap.mmap(file.fileno(), size)
    except (
        OSError,
        AttributeError,
        MachineError,
    ):  # no space, no right to write, or a system without the call
        return np.empty(shape, dtype)
    return np.frombuffer(pages, dtype).reshape(shape)
