"""The listeners that every run has: the console, the log of metrics, W&B, TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo_core.config import RunConfig
from zoo_core.events import hookimpl
from zoo_core.events.console import Console
from zoo_core.events.trackers import Jsonl, WandB
from zoo_core.interfaces import RunView


def listeners(config: RunConfig, console: Console) -> list[Any]:
    """Return the listeners that the options under `track.` ask for."""
    found: list[Any] = [console, Jsonl()]
    if config.track.wandb != "off":
        found.append(WandB())
    if config.track.tensorboard:
        from zoo_core.events.tensorboard import TensorBoard

        found.append(TensorBoard())
    return found


class Announced:
    """The images that are announced while it listens.

    Attributes:
        images: name -> path within the run's folder.
    """

    def __init__(self) -> None:
        self.images: dict[str, str] = {}

    @hookimpl
    def zoo_images(self, run: RunView, name: str, path: str) -> None:
        file, folder = Path(path).resolve(), run.dir.resolve()
        if file.is_relative_to(folder):
            self.images[name] = str(file.relative_to(folder))
