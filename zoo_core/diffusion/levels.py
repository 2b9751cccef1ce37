"""Levels of noise on the device, and what the host knows of them, so that no loop waits for an answer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_host: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def on_device(sigmas: Tensor, device: torch.device) -> tuple[Tensor, ...]:
    """Return the levels of a grid as scalars on a device, before the loop that uses them.

    Args:
        sigmas: (steps + 1,), on the host.
    """
    if sigmas.device == device:
        return sigmas.unbind()
    # From pinned memory the copy is in the stream's order, and the host goes on.
    sent = sigmas.pin_memory() if device.type == "cuda" else sigmas
    levels: tuple[Tensor, ...] = sent.to(device, non_blocking=True).unbind()
    if sigmas.device.type == "cpu":
        for level, known in zip(levels, sigmas.unbind(), strict=True):
            _host[level] = known
    return levels


def on_host(sigma: Tensor) -> Tensor:
    """Return the same level on the host where it is known there; the level itself elsewhere."""
    known: Tensor = _host.get(sigma, sigma)
    return known
