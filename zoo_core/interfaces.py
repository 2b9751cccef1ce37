"""The four interfaces of the zoo, and the capabilities that a recipe may have beside them.

The harness and the evaluator ask "can you do this?" with `isinstance(recipe, HasLikelihood)`; they never
ask which family a model is of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from torch import Tensor, device, nn

from zoo_core.seeds import Seeds
from zoo_core.types import Cond, DataInfo, Likelihood, SampleRequest, Samples

T = TypeVar("T")


@runtime_checkable
class Generator(Protocol):
    """Latents to data: z of (n, *latent_shape) to x of (n, *data.shape) in [-1, 1]."""

    latent_shape: tuple[int, ...]

    def __call__(self, z: Tensor, cond: Cond | None = None) -> Tensor: ...


@runtime_checkable
class Critic(Protocol):
    """Data to unbounded scores, (n, ...): logits, never after a sigmoid; a PatchGAN keeps its map."""

    def __call__(self, x: Tensor, cond: Cond | None = None) -> Tensor: ...


@runtime_checkable
class Denoiser(Protocol):
    """The posterior mean E[x0 | x] where x = x0 + sigma * eps: a diffusion model in sigma-space.

    Attributes:
        sigma_min: the lowest level the network was trained for.
        sigma_max: the highest level; samplers start there.
        prior_std: standard deviation of x at the start: sqrt(1 + sigma_max^2) for a variance-preserving
            schedule on unit-variance data, sigma_max for a variance-exploding one.
        levels: the trained levels, ascending, where they are discrete; None where sigma is continuous.
        space: "data", or "latent" where x is an autoencoder's code (then no likelihood of data exists).
    """

    sigma_min: float
    sigma_max: float
    prior_std: float
    levels: Tensor | None
    space: Literal["data", "latent"]

    def alpha(self, sigma: Tensor) -> Tensor:
        """Return the signal's coefficient at level sigma (1 for variance-exploding)."""
        ...

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        """Return E[x0 | x]: x (n, *shape), sigma a scalar tensor or (n,)."""
        ...


Trace = Callable[[int, Tensor, Tensor, Tensor], None]
"""Called by a sampler after each network call with (step, sigma, x, x0)."""


@runtime_checkable
class Sampler(Protocol):
    """Noise to data through any Denoiser.

    x is (n, *shape) at level sigmas[0]; sigmas is 1-D, descending, ending in 0. A sampler's options follow
    `noise` as keywords; they are the fields of its registered Config.
    """

    def __call__(
        self, denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Seeds, callback: Trace | None = None
    ) -> Tensor: ...


@runtime_checkable
class HasPosterior(Protocol):
    """A Denoiser that learned the variance of its reverse steps (improved DDPM)."""

    def log_var(self, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Return the log-variance of x at sigma_next given x at sigma, in sigma-space, like x."""
        ...


@runtime_checkable
class HasDenoiser(Protocol):
    """A recipe that holds a Denoiser: every sampler can draw from it."""

    def denoiser(self) -> Denoiser: ...


@runtime_checkable
class HasLikelihood(Protocol):
    """A recipe with a likelihood of data, or a bound on it."""

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return every kind of likelihood the model has for a batch.

        Args:
            x: (n, *shape) at the data's level centers (`2k / (L - 1) - 1`), or points.
            noise: per-example randomness.
            k: importance samples, for the kinds that use them.
        """
        ...


@runtime_checkable
class HasEncoder(Protocol):
    """A recipe that maps data to codes and back."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class HasLatents(Protocol):
    """A recipe whose samples are a function of one standard normal latent.

    Attributes:
        latent_shape: of one latent.
    """

    @property
    def latent_shape(self) -> tuple[int, ...]: ...

    def from_latents(self, z: Tensor, request: SampleRequest) -> Tensor:
        """Return what latents (n, *latent_shape) give, (n, *data.shape).

        Args:
            z: as many as the request asks for.
            request: of the conditions, and of what else is random.
        """
        ...


@runtime_checkable
class HasStyles(HasLatents, Protocol):
    """A recipe whose generator takes a style in each of its layers.

    Attributes:
        styles: number of those layers.
    """

    @property
    def styles(self) -> int: ...

    def mixed(self, z: Tensor, other: Tensor, first: int, request: SampleRequest) -> Tensor:
        """Return images (n, C, H, W) with z's styles below layer `first`, and the other's from it on."""
        ...


@runtime_checkable
class HasViews(HasLatents, Protocol):
    """A recipe whose latent has two parts, side by side: what is shown, and how it is shown.

    Attributes:
        content_dim: dimensions of the first part.
    """

    @property
    def content_dim(self) -> int: ...


@runtime_checkable
class HasCodebook(Protocol):
    """A recipe whose codes are integers: an example has M of them, each one of K.

    Attributes:
        codebook: the codes' vectors, (K, dim).
    """

    @property
    def codebook(self) -> Tensor: ...

    def likeliest_codes(self, x: Tensor) -> Tensor:
        """Return the codes of examples, (n, M) int64 in [0, K)."""
        ...


@runtime_checkable
class HasOutput(Protocol):
    """A recipe whose decoder gives a distribution: its mean and a draw of it are two ways to sample."""

    def mean_and_draw(self, request: SampleRequest) -> tuple[Tensor, Tensor]:
        """Return E[x | z] and a draw of p(x | z) at one z from the prior, (n, *shape) each."""
        ...


@runtime_checkable
class Translator(Protocol):
    """A recipe that maps an image to an image."""

    def translate(self, x: Tensor, *, noise: Seeds) -> Tensor: ...


@runtime_checkable
class TwoWay(Translator, Protocol):
    """A translator that also knows the way back, from what it makes to what that is made from."""

    def translate_back(self, x: Tensor, *, noise: Seeds) -> Tensor: ...


@runtime_checkable
class Stylist(Protocol):
    """A recipe that paints one image in the style of another."""

    def stylize(self, content: Tensor, style: Tensor) -> Tensor:
        """Return images (n, C, H, W) with the content of the first and the style of the second."""
        ...


@runtime_checkable
class Density(Protocol):
    """A closed-form density of points, for data whose truth is known."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (n,) for x of (n, D)."""
        ...

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of log p at x, like x."""
        ...


@runtime_checkable
class Smoothable(Protocol):
    """A density whose convolution with a normal is known too."""

    def smoothed(self, sigma: float) -> Density:
        """Return the density of x + sigma eps."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """A frozen feature network that images are compared in.

    Attributes:
        name: as printed in a column: "digits" gives `FD[digits]`; only "inception" may print `FID`.
        sha256: of its weights.
        dim: number of features.
    """

    name: str
    sha256: str
    dim: int

    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        """Return (features (n, dim) float32, logits (n, K) or None) of integer pixel levels."""
        ...


@runtime_checkable
class HasLayers(Protocol):
    """An extractor whose maps can be had on the way, with gradients by the image."""

    def layers(self, shape: tuple[int, ...]) -> Sequence[nn.Module]:
        """Return the convolutional part of the network in parts, in order, each ending in a rectifier.

        The first takes images (n, C, H, W) in [-1, 1], each next one the maps of the one before.

        Args:
            shape: (C, H, W) of the images.

        Raises:
            UsageError: where the network can't take such images.
        """
        ...


class ModeLabels(Protocol):
    """The class or mode of each example of a set.

    Attributes:
        name: what assigns them: "digits-classifier", "density", or "labels".
        index: (n,) int64 in [0, count), -1 for none.
        count: number of classes or modes.
    """

    @property
    def name(self) -> str: ...
    @property
    def index(self) -> Tensor: ...
    @property
    def count(self) -> int: ...


class FeatureSet(Protocol):
    """A set of examples as metrics see it.

    Attributes:
        values: (n, d) float64 features, finite, on the CPU.
        logits: (n, K) float64; None where the extractor is not a classifier.
        spatial: (n, s) float64 features that keep their position; None where the extractor has none.
        points: (n, D) float64, the examples themselves where they are points; None for images.
        modes: their classes or modes; None where nothing can assign them.
    """

    @property
    def values(self) -> Tensor: ...
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
        """Yield this process's share of a split in order, `eval.batch_size` rows at a time."""
        ...

    def features(self, batches: Iterator[Tensor], what: str, *, channels: int | None = None) -> FeatureSet:
        """Return the features of levels or points; each process gives its share and gets all.

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


class RunView(Protocol):
    """A run as hooks see it: readable, able to sample and to log; neither its optimizers nor its test rows.

    Attributes:
        config: the resolved `RunConfig`.
        dir: the run's folder, in which a hook may write files of its own.
        spec: the `PluginSpec` of the model.
        data_info: shape, levels, classes and task of the data.
        device: of the model.
        step: training steps done, over all stages.
    """

    @property
    def config(self) -> Any: ...
    @property
    def dir(self) -> Path: ...
    @property
    def spec(self) -> Any: ...
    @property
    def data_info(self) -> DataInfo: ...
    @property
    def device(self) -> device: ...
    @property
    def step(self) -> int: ...

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

    def sample_grid(self, rows: int) -> tuple[Tensor, int]:
        """Return samples for a grid, row by row, and its number of columns, one class or caption each.

        Args:
            rows: of the grid; it has as many columns where the run is not conditional.
        """
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

    def say(self, line: str) -> None:
        """Print a line of progress, where progress is shown."""
        ...

    def warn(self, line: str) -> None:
        """Print a warning."""
        ...


class TrainedRun(RunView, Protocol):
    """A run after training: what `RunView` gives, with the model and the data, for plots of what it learned.

    Attributes:
        data: the `Dataset`, with its test split: nothing is selected or trained any more.
        recipe: the model, on `device`; to be called within `inference()`.
    """

    @property
    def data(self) -> Any: ...
    @property
    def recipe(self) -> Any: ...

    def request(self, indices: Sequence[int]) -> SampleRequest:
        """Return the request for the samples with these indices, with the conditions of training."""
        ...

    def samples(self, request: SampleRequest) -> Samples:
        """Return one batch of samples before quantization, (n, *shape) on `device`."""
        ...

    def to_model(self, rows: Tensor) -> Tensor:
        """Return stored rows as the model sees them: floats on `device`, images in [-1, 1]."""
        ...

    def inference(self) -> AbstractContextManager[None]:
        """Within the block: scored weights, evaluation mode, no gradients, random states restored after."""
        ...


class EvaluatedRun(Protocol):
    """The run itself, for hooks that decide on its evaluation.

    Attributes:
        config: the resolved `RunConfig`; `config.eval` says how it is scored.
        dir: the run's folder.
        spec: the `PluginSpec` of the model.
        data: the `Dataset` with all its splits.
        recipe: the model, on `device`.
        device: of the model.
        cost: what training consumed; empty before training.
        provenance: code, machine, data and seeds.
    """

    @property
    def config(self) -> Any: ...
    @property
    def dir(self) -> Path: ...
    @property
    def spec(self) -> Any: ...
    @property
    def data(self) -> Any: ...
    @property
    def recipe(self) -> Any: ...
    @property
    def device(self) -> device: ...
    @property
    def cost(self) -> Mapping[str, Any]: ...
    @property
    def provenance(self) -> Mapping[str, Any]: ...

    def request(
        self, indices: Sequence[int], seed: int | None = None, cond: Cond | None = None
    ) -> SampleRequest:
        """Return the request for the samples with these indices."""
        ...

    def samples(self, request: SampleRequest) -> Samples:
        """Return one batch of samples before quantization, (n, *shape) on `device`."""
        ...

    def sample(self, n: int, *, seed: int | None = None, cond: Cond | str | None = None) -> Tensor:
        """Return n samples, (n, *shape) on the CPU: images in [-1, 1] or points."""
        ...

    def draw(
        self, n: int, *, start: int = 0, seed: int | None = None, cond: Cond | None = None
    ) -> Iterator[Any]:
        """Yield samples `start` to `start + n` in batches as they are scored: `rows`, `calls`, `clipped`."""
        ...

    def inference(self) -> AbstractContextManager[None]:
        """Within the block: scored weights, evaluation mode, no gradients, random states restored after."""
        ...

    def say(self, line: str) -> None:
        """Print a line of progress, where progress is shown."""
        ...

    def warn(self, line: str) -> None:
        """Print a warning."""
        ...
