"""A registered model on one dataset and task: what the checks of models examine."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path

import torch

from zoo_core.config import RunConfig
from zoo_core.data.loading import Dataset
from zoo_core.errors import ZooError
from zoo_core.machine.terminal import untold
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.registry.presets import preset_key
from zoo_core.registry.resolution import parse_words, resolve
from zoo_core.runs import Run, build, load_data
from zoo_core.testing.results import Failed, NotApplicable
from zoo_core.testing.watching import Watch
from zoo_core.training.recipe import Recipe

DATA = ("digits", "ring")
"""Images and points, both without a download: what a model is checked on unless asked otherwise."""


FIXED = {"device": "cpu", "track.wandb": "off", "track.plots": "false", "track.progress": "false"}
"""Options of every run that the kit makes."""


SHORT = 6
"""Steps of each stage in checks that need every phase to run, and no training."""


class Model:
    """A registered model on one dataset and task.

    Args:
        entry: the model's.
        data: the dataset's registered name.
        task: what is modeled; "" for the model's own choice.
        loaded: the dataset, where it is not the registered one.
        first: whether it is the first that is checked of its model: what need be seen once is seen on it.
    """

    kind = "plugin"

    def __init__(
        self, entry: Entry, data: str, task: str = "", *, loaded: Dataset | None = None, first: bool = False
    ) -> None:
        self.entry = entry
        self.data = data
        self.task = task
        self.case = f"{data}, {task}" if task else data
        self.first = first
        self._loaded = loaded

    @property
    def name(self) -> str:
        return str(self.entry.spec.name)

    @cached_property
    def config_class(self) -> type[RunConfig]:
        """The class of the model's options."""
        found = load_entry("plugin", self.entry, "config")
        if not (isinstance(found, type) and issubclass(found, RunConfig)):
            raise Failed(f"its config {found!r} is not a RunConfig", "extend zoo_core.config.RunConfig")
        return found

    @cached_property
    def dataset(self) -> Dataset:
        """The data."""
        return self._loaded or load_data(self.config())

    def config(self, *more: str) -> RunConfig:
        """Return the resolved config at preset `tiny`, with more words after it."""
        presets = self.config_class.PRESETS
        tiny = {"preset": "tiny"} if preset_key(presets, "tiny", self.data) else {}
        task = {"data.task": self.task} if self.task else {}
        words = {"plugin": self.name, "data": self.data, **FIXED, **task, **tiny, **parse_words(more)}
        return resolve(words)

    def build(self, *words: str) -> Run:
        """Return the run, freshly initialized from the seed; two of them are equal."""
        return build(self.config(*words), self.dataset, Path(), manager(), say=untold, warn=untold)

    @cached_property
    def short(self) -> str:
        """The word that shortens training so that every stage still takes a few steps."""
        stages = [stage for stage in self.build().harness.stages if stage.phases]
        smallest = min((stage.fraction for stage in stages), default=1.0)
        whole = sum(stage.fraction for stage in stages) or 1.0
        return f"train.steps={max(SHORT, round(SHORT * whole / smallest))}"

    @cached_property
    def _training(self) -> tuple[Run | None, Watch | None, str]:
        try:
            run = self.build()
            watch = Watch(run.harness)
            run.harness.run()
        except Failed:
            raise
        except ZooError as error:
            return None, None, str(error)
        except Exception as error:
            return None, None, f"{type(error).__name__}: {error}"
        return run, watch, ""

    @property
    def trained(self) -> Run:
        """The run, trained at preset `tiny`."""
        run, _, error = self._training
        if run is None:
            raise NotApplicable(f"it does not train: {error.splitlines()[0]}")
        return run

    @property
    def watch(self) -> Watch:
        """What was seen while it trained."""
        watch = self._training[1]
        if watch is None:
            raise NotApplicable("it does not train")
        return watch

    @property
    def recipe(self) -> Recipe:
        """The trained recipe."""
        return self.trained.recipe

    def batch(self, n: int) -> torch.Tensor:
        """Return test examples as a model sees them, (n, *shape)."""
        rows = self.trained.data.test.examples(torch.arange(min(n, len(self.trained.data.test))))
        return self.trained.harness.data.to_model(rows)

    def sources(self, n: int) -> torch.Tensor:
        """Return what a translator translates: held-out source images, or test examples where none are."""
        data = self.trained.data
        if data.origin is None:
            return self.batch(n)
        rows = torch.arange(min(n, len(data.origin.test)))
        return self.trained.harness.data.to_model(data.origin.test.examples(rows))

    @cached_property
    def workspace(self) -> Path:
        """A folder of this subject's own, removed with it."""
        self._workspace = tempfile.TemporaryDirectory(prefix="zoo-check-")
        return Path(self._workspace.name)
