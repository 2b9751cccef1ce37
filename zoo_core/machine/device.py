"""The device that a run computes on."""

from __future__ import annotations

import torch

from zoo_core.errors import MachineError, UsageError


def choose_device(name: str) -> torch.device:
    """Return the device that is asked for; `auto` takes a GPU where there is one.

    Raises:
        UsageError: for a name torch does not know, or a device without memory.
        MachineError: for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            f"bad value for 'device': {name!r}", "expected: auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "meta":
        raise UsageError("device=meta holds no values", "expected: auto, cpu, cuda or cuda:N")
    try:
        torch.zeros(1, device=device).cpu()
    except Exception as error:  # each backend of torch raises its own kind
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise MachineError(
            f"device={name} was asked for, and torch cannot use it; GPUs that it can use: {gpus}",
            f"reason: {str(error).partition(chr(10))[0]:.200}",
            f"next: device=cpu{', device=cuda' if gpus else ''} or device=auto; "
            "`zoo doctor` shows what is installed",
        ) from error
    return device
