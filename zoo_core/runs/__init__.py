"""Runs: a model with its data, folder and weights; training one from start to result."""

from zoo_core.machine.device import choose_device
from zoo_core.runs.opening import (
    build,
    choose_weights,
    cost,
    default_dir,
    folder_of,
    load,
    load_data,
    restore,
    saved_config,
    untrained,
)
from zoo_core.runs.run import Drawn, Run

__all__ = [
    "Drawn",
    "Run",
    "build",
    "choose_device",
    "choose_weights",
    "cost",
    "default_dir",
    "folder_of",
    "load",
    "load_data",
    "restore",
    "saved_config",
    "untrained",
]
