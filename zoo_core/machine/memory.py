"""How much memory a piece of work took at its highest."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak(device: torch.device) -> None:
    """Count the highest use of memory from here on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # elsewhere than on Linux the count goes on from the start
            _CLEAR.write_text("5")


def peak_bytes(device: torch.device) -> int | None:
    """Return the highest use of memory since `reset_peak`: of a GPU's by torch's tensors, else the process's.

    Returns:
        bytes; None where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
        return 1024 * int(found[1]) if found else None
    return None
