"""Runs: a model with its data, folder and weights; training one from start to result."""

from zoo_core.runs.run import (
    Drawn,
    Run,
    build,
    choose_device,
    cost,
    default_dir,
    load,
    load_data,
    restore,
    saved_config,
)

__all__ = [
    "Drawn",
    "Run",
    "build",
    "choose_device",
    "cost",
    "default_dir",
    "load",
    "load_data",
    "restore",
    "saved_config",
]
