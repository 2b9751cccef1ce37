"""TensorBoard: a listener that writes RUN/tensorboard, with the names that W&B and result.json have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo_core.config import flatten
from zoo_core.config.privacy import public
from zoo_core.errors import MachineError
from zoo_core.events.dispatch import hookimpl
from zoo_core.events.trackers import summary
from zoo_core.interfaces import RunView
from zoo_core.registry.resolution import plain
from zoo_core.results import RunResult

FOLDER = "tensorboard"
"""Of a run: where the event files are."""


class TensorBoard:
    """Losses and images by step, the result's columns and costs at the last step, and the options as hparams.

    A resumed run writes another event file, and what was logged past its checkpoint is hidden.

    Raises:
        MachineError: where TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MachineError(
                "track.tensorboard=true was asked for, and TensorBoard is not installed",
                "next: pip install 'genzoo[tensorboard]'",
            ) from error
        self._open: Any = SummaryWriter
        self._writer: Any = None

    @hookimpl
    def zoo_run_started(self, run: RunView) -> None:
        begun = run.step + 1 if run.step else None
        self._writer = self._open(log_dir=str(run.dir / FOLDER), purge_step=begun)

    @hookimpl
    def zoo_log(self, run: RunView, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    @hookimpl
    def zoo_images(self, run: RunView, step: int, name: str, path: str) -> None:
        """Add an image; plots as SVG or PDF and animations stay files in the run's folder."""
        if Path(path).suffix == ".png":
            with Image.open(path) as image:
                self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    @hookimpl
    def zoo_run_finished(self, run: RunView, result: RunResult) -> None:
        values = {} if result.result is None else summary(result.result)
        numbers = {name: one for name, one in values.items() if isinstance(one, int | float)}
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, run.step)
        options = {name: _cell(value) for name, value in flatten(public(plain(run.config))).items()}
        self._writer.add_hparams(options, {}, run_name=".")
        self._writer.close()

    @hookimpl
    def zoo_run_failed(self, run: RunView) -> None:
        if self._writer is not None:
            self._writer.close()


def _cell(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
