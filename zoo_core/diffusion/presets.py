"""Presets that several diffusion models share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo_core.config import Preset

TINY = Preset(
    {"train.steps": 60, "train.batch_size": 32, "sample.steps": 10}
    | {"model.channels": 16, "model.width": 32, "eval.ode_tolerance": 1e-2},
    "for tests: seconds on one core",
)
POINTS = Preset(
    {"train.steps": 6000, "train.batch_size": 256, "model.width": 192},
    "for points: larger batches",
)
LARGER: Mapping[str, Any] = {
    "model.channels": 40,
    "model.mult": (1, 1),
    "model.fold": 4,
    "model.refine": 20,
    "optim.net.kind": "muon",
    "optim.net.lr": 0.015,
    "optim.net.momentum": 0.95,
    "train.steps": 4800,
    "train.batch_size": 24,
    "train.ema.decay": 0.995,
}
"""Network and training for 28x28 and 32x32."""
LARGER_IMAGES = Preset(
    {**LARGER, "sampler.name": "dpmpp-sde", "sample.steps": 20},
    "for 28x28 and 32x32: a U-Net of 45 MFLOP a pass in color, sized for eight minutes of one core",
)
ON_A_GPU = Preset(
    {
        "model.channels": 64,
        "model.mult": (1, 2, 2),
        "model.blocks": 2,
        "model.attention": (7, 8),
        "optim.net.lr": 1e-3,
        "train.steps": 40_000,
        "train.batch_size": 128,
        "train.ema.decay": 0.9995,
    },
    "for 28x28 and 32x32: a larger network for a GPU; not tuned",
)
