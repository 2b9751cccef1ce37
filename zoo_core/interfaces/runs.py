"""A run as hooks see it: in training, after training, and in its evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, device

from zoo_core.types import Cond, DataInfo, SampleRequest, Samples


class _Run(Protocol):
    """What every form of a run has.

    Attributes:
        config: the resolved `RunConfig`.
        dir: the run's folder, in which a hook may write files of its own.
        spec: the `PluginSpec` of the model.
        device: of the model.
    """

    @property
    def config(self) -> Any: ...
    @property
    def dir(self) -> Path: ...
    @property
    def spec(self) -> Any: ...
    @property
    def device(self) -> device: ...

    def sample(self, n: int, *, seed: int | None = None, cond: Cond | str | None = None) -> Tensor:
        """Return n samples, (n, *shape) on the CPU: images in [-1, 1] or points.

        They are drawn with the weights that are scored; random states are restored after.

        Args:
            n: number of samples, at least 1.
            seed: of their noise; None for `sample.seed`.
            cond: conditions, one row per sample, or words as in `zoo sample cond=`; None for those of
                training.

        Raises:
            UsageError: for n < 1, or unknown words.
            PluginError: where the model fails.
        """
        ...

    def say(self, line: str) -> None:
        """Print a line of progress, where progress is shown."""
        ...

    def warn(self, line: str) -> None:
        """Print a warning."""
        ...


class _WithModel(Protocol):
    """The model and the data of a run.

    Attributes:
        data: the `Dataset` with all its splits.
        recipe: the model, on `device`; to be called within `inference()`.
    """

    @property
    def data(self) -> Any: ...
    @property
    def recipe(self) -> Any: ...

    def samples(self, request: SampleRequest) -> Samples:
        """Return one batch of samples before quantization, (n, *shape) on `device`."""
        ...

    def inference(self) -> AbstractContextManager[None]:
        """Within the block: scored weights, evaluation mode, no gradients, random states restored after."""
        ...


class RunView(_Run, Protocol):
    """A run as hooks see it: readable, able to sample and to log; neither its optimizers nor its test rows.

    Attributes:
        data_info: shape, levels, classes and task of the data.
        step: training steps done, over all stages.
    """

    @property
    def data_info(self) -> DataInfo: ...
    @property
    def step(self) -> int: ...

    def sample_grid(self, rows: int) -> tuple[Tensor, int]:
        """Return samples for a grid, row by row, and its number of columns, one class or caption each.

        Args:
            rows: of the grid; it has as many columns where the run is not conditional.
        """
        ...

    def grid_labels(self) -> list[str]:
        """Return the class or caption of each column of `sample_grid`; [] where columns have none."""
        ...

    def training_examples(self, n: int) -> Tensor:
        """Return the first n training examples, or all there are, on the CPU.

        Images are uint8 levels (n, C, H, W), points float32 (n, D).
        """
        ...

    def log(self, values: Mapping[str, float]) -> None:
        """Record numbers at the current step, as losses are: every listener's `zoo_log` is called with them.

        Raises:
            UsageError: where it is called from `zoo_log`.
        """
        ...

    def announce(self, name: str, path: Path) -> None:
        """Tell every listener's `zoo_images` of an image file that was written into `dir`.

        Args:
            name: of the series: "samples".
            path: of the file.

        Raises:
            UsageError: where it is called from `zoo_images`.
        """
        ...


class TrainedRun(RunView, _WithModel, Protocol):
    """A run after training: what `RunView` gives, with the model and the data, for plots of what it learned.

    Nothing is selected or trained any more, so the test split is there.

    Attributes:
        metrics: `zoo_core.results.Value` by column; {} for a run that was not scored.
    """

    @property
    def metrics(self) -> Mapping[str, Any]: ...

    def request(self, indices: Sequence[int]) -> SampleRequest:
        """Return the request for the samples with these indices, with the conditions of training."""
        ...

    def to_model(self, rows: Tensor) -> Tensor:
        """Return stored rows as the model sees them: floats on `device`, images in [-1, 1]."""
        ...


class EvaluatedRun(_Run, _WithModel, Protocol):
    """The run itself, for hooks that decide on its evaluation: `config.eval` says how it is scored.

    Attributes:
        cost: what training consumed; empty before training.
        provenance: code, machine, data and seeds.
        progress: function of (what, done, total, unit) that shows how far sampling or scoring is.
    """

    @property
    def cost(self) -> Mapping[str, Any]: ...
    @property
    def provenance(self) -> Mapping[str, Any]: ...
    @property
    def progress(self) -> Callable[[str, int, int, str], None]: ...

    def request(
        self, indices: Sequence[int], seed: int | None = None, cond: Cond | None = None
    ) -> SampleRequest:
        """Return the request for the samples with these indices."""
        ...

    def draw(
        self, n: int, *, start: int = 0, seed: int | None = None, cond: Cond | None = None
    ) -> Iterator[Any]:
        """Yield samples `start` to `start + n` in batches as they are scored: `rows`, `calls`, `clipped`."""
        ...
