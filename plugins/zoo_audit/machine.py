"""What the bits of a training depend on beside its options: build of torch, processor, threads."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from zoo_core.machine.distributed import world
from zoo_core.results.provenance import hardware

MOST_THREADS = 1024
"""A trace may name any number of threads."""


def machine_of(device: torch.device) -> dict[str, Any]:
    """Return what decides how floating-point sums are rounded in a training on a device."""
    here = hardware(str(device))
    return {
        "torch": torch.__version__,
        "build_sha256": hashlib.sha256(torch.__config__.show().encode()).hexdigest(),
        "device": here["device"],
        "cpu": here["cpu"],
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": world().size,
    }


def differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return a line for each fact in which the machine of a trace differs from this one."""
    return [
        f"{name}: {recorded.get(name)!s:.60} there, {value!s:.60} here"
        for name, value in here.items()
        if recorded.get(name) != value
    ]


@contextlib.contextmanager
def threads_of(recorded: Mapping[str, Any]) -> Iterator[None]:
    """Within the block torch computes with the threads that a trace names, where the number is plausible."""
    before, wanted = torch.get_num_threads(), recorded.get("threads")
    if isinstance(wanted, int) and 1 <= wanted <= MOST_THREADS:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
