"""What a metric may ask for, and the sets of features that it compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar

from torch import Tensor, device

from zoo_core.types import Samples

T = TypeVar("T")


class ModeLabels(Protocol):
    """The class or mode of each example of a set.

    Attributes:
        name: what assigns them: "digits-classifier", "density", or "labels".
        index: (n,) int64 in [0, count), -1 for none.
        count: number of classes or modes.
        accuracy: of the classifier on held-out real images; None where no classifier assigns them.
    """

    @property
    def name(self) -> str: ...
    @property
    def index(self) -> Tensor: ...
    @property
    def count(self) -> int: ...
    @property
    def accuracy(self) -> float | None: ...


class FeatureSet(Protocol):
    """A set of examples as metrics see it.

    Attributes:
        values: (n, d) float64 features, finite, on the CPU.
        main: (n, k) float64, those that Frechet distances compare: `values`, or on the extractor's axes.
        logits: (n, K) float64; None where the extractor is not a classifier.
        spatial: (n, s) float64 features that keep their position; None where the extractor has none.
        points: (n, D) float64, the examples themselves where they are points; None for images.
        modes: their classes or modes; None where nothing can assign them.
    """

    @property
    def values(self) -> Tensor: ...
    @property
    def main(self) -> Tensor: ...
    @property
    def logits(self) -> Tensor | None: ...
    @property
    def spatial(self) -> Tensor | None: ...
    @property
    def points(self) -> Tensor | None: ...
    @property
    def modes(self) -> ModeLabels | None: ...
    def __len__(self) -> int: ...


class Settings(Protocol):
    """The evaluation protocol, as far as metrics read it.

    Attributes:
        n_generated: samples that are scored.
        extractor, extractor_sha256: of the feature network and its weights.
        metrics_version: of the built-in metrics' arithmetic.

    The other attributes are those of `zoo_eval.protocol.Protocol`, which documents them.
    """

    @property
    def n_generated(self) -> int: ...
    @property
    def extractor(self) -> str: ...
    @property
    def extractor_sha256(self) -> str: ...
    @property
    def resize(self) -> str: ...
    @property
    def projection(self) -> str: ...
    @property
    def metrics_version(self) -> int: ...
    @property
    def precision_k(self) -> int: ...
    @property
    def density_k(self) -> int: ...
    @property
    def neighbors_n(self) -> int: ...
    @property
    def is_splits(self) -> int: ...
    @property
    def kid_subsets(self) -> int: ...
    @property
    def kid_subset_size(self) -> int: ...
    @property
    def memorization_n(self) -> int: ...
    @property
    def likelihood_n(self) -> int: ...
    @property
    def iwae_k(self) -> int: ...
    @property
    def ode_probe(self) -> Literal["rademacher", "gaussian", "exact"]: ...
    @property
    def ode_probes(self) -> int: ...
    @property
    def ode_tolerance(self) -> float: ...


class EvalContext(Protocol):
    """What a metric may ask for. Only what its `MetricSpec.needs` lists is sure to be there.

    Attributes:
        config: options of the run, or of the score.
        data: the dataset, with splits `train` and `test`, `density` and `origin`.
        device: of the model and of the feature network.
        protocol: the evaluation protocol.
        rows: the samples, uint8 levels (n, C, H, W) or float32 points (n, D), on the CPU.
        label: (n,) int64 classes that the samples were asked for; None where they were not.
        generated: features of the samples.
        train, test: features of the real splits.
        recipe: the model in evaluation mode with the scored weights, on `device`; to be called within
            `inference()`.
        run: the trained `zoo_core.runs.Run`.
        nfe: network evaluations per sample.
    """

    @property
    def config(self) -> Any: ...
    @property
    def data(self) -> Any: ...
    @property
    def device(self) -> device: ...
    @property
    def protocol(self) -> Settings: ...
    @property
    def rows(self) -> Tensor: ...
    @property
    def label(self) -> Tensor | None: ...
    @property
    def generated(self) -> FeatureSet: ...
    @property
    def train(self) -> FeatureSet: ...
    @property
    def test(self) -> FeatureSet: ...
    @property
    def recipe(self) -> Any: ...
    @property
    def run(self) -> Any: ...
    @property
    def nfe(self) -> int: ...

    def column(self, base: str) -> str:
        """Return the name of a column in this extractor's features: "FD" gives `FD[digits]`, or `FID`."""
        ...

    def inference(self) -> AbstractContextManager[None]:
        """Within the block: scored weights, evaluation mode, no gradients, random states restored after."""
        ...

    def draw(self, indices: Sequence[int], *, steps: int | None = None) -> Samples:
        """Return samples with these indices, before quantization, (n, *shape) on `device`.

        Args:
            indices: sample k depends on (sample.seed, k) alone.
            steps: of the sampler; None for as many as are scored.
        """
        ...

    def to_model(self, rows: Tensor) -> Tensor:
        """Return stored rows as a model sees them: floats on `device`, images in [-1, 1]."""
        ...

    def from_model(self, x: Tensor) -> Tensor:
        """Return a model's output as samples are scored: uint8 levels, or float32 points, on the CPU."""
        ...

    def batches(self, split: Any) -> Iterator[Tensor]:
        """Yield a split in order, `eval.batch_size` rows at a time: this process's share (see `features`)."""
        ...

    def features(self, batches: Iterator[Tensor], what: str, *, channels: int | None = None) -> FeatureSet:
        """Return the features of levels or points.

        Of several processes the first alone calls a metric, whose share is all. In a function that a metric
        calls by `zoo_core.machine.leading.together`, each process gives its share and the first gets all.

        Args:
            what: the set's name, for messages.
            channels: of the images, where they are not as many as the data's.
        """
        ...

    def cached(
        self, name: str, key: Sequence[str], compute: Callable[[], dict[str, Tensor]]
    ) -> Mapping[str, Tensor]:
        """Return what was computed before from the same data and key, on this machine, or compute it."""
        ...

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Return what was computed under this name in this evaluation, or compute it: for two metrics that
        share a computation.
        """
        ...

    def attach(self, what: str, content: bytes, suffix: str) -> None:
        """Keep a file beside result.json, e.g. a curve (json) or an image (png)."""
        ...

    def say(self, line: str) -> None:
        """Tell the user how things go."""
        ...
