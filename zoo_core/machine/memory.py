"""How much memory a piece of work took at its highest, and how much is left."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


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


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that this process can still take: of a GPU, or of the machine, swap included.

    A container's limit counts. What torch holds of a GPU without using it is free.

    Returns:
        bytes; None where the system does not tell.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    try:
        found = dict(re.findall(r"(\w+):\s+(\d+) kB", _SYSTEM.read_text()))
        free = 1024 * (int(found["MemAvailable"]) + int(found["SwapFree"]))
    except (OSError, KeyError):
        return None
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", without a limit
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        cache = re.search(r"^inactive_file (\d+)", (_GROUP / "memory.stat").read_text(), re.MULTILINE)
        free = min(free, limit - used + (int(cache[1]) if cache else 0))
    return free


def shown(n: float) -> str:
    """Return a number of bytes for people: "2.1 GB", "350 MB"."""
    return f"{n / 1e9:.1f} GB" if n >= 0.95e9 else f"{max(1, round(n / 1e6)):,} MB"
