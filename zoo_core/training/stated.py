"""Optimizers written out in full, for presets that follow a paper and inherit nothing from a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Schedule = Literal["constant", "cosine", "linear"]
CONSTANT: Mapping[str, Any] = {"schedule": "constant", "warmup": 0, "lr_mult": {}}
"""A constant learning rate, the same for all parameters."""


def adam(
    section: str,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    schedule: Schedule = "constant",
    warmup: int = 0,
    kind: Literal["adam", "adamw"] = "adam",
    lr_mult: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return every option of Adam in a section of a config, e.g. "optim.net".

    Args:
        lr_mult: factors on the learning rate by prefix of the parameter name; None for none.
    """
    own = {"kind": kind, "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    return _within(section, own | {"schedule": schedule, "warmup": warmup, "lr_mult": dict(lr_mult or {})})


def rmsprop(section: str, *, lr: float, alpha: float = 0.99, eps: float = 1e-8) -> dict[str, Any]:
    """Return every option of RMSProp at a constant rate in a section of a config."""
    own = {"kind": "rmsprop", "lr": lr, "alpha": alpha, "eps": eps, "momentum": 0.0, "weight_decay": 0.0}
    return _within(section, own | dict(CONSTANT))


def sgd(section: str, *, lr: float, momentum: float) -> dict[str, Any]:
    """Return every option of stochastic gradient descent at a constant rate in a section of a config."""
    own = {"kind": "sgd", "lr": lr, "momentum": momentum, "weight_decay": 0.0}
    return _within(section, own | dict(CONSTANT))


def ema(*, decay: float = 0.0, half_life: float = 0.0, warmup: bool = False) -> dict[str, Any]:
    """Return every option of the EMA weights; without arguments there are none."""
    return _within("train.ema", {"decay": decay, "half_life": half_life, "warmup": warmup})


def _within(section: str, options: dict[str, Any]) -> dict[str, Any]:
    return {f"{section}.{name}": value for name, value in options.items()}
