"""The sections of options that every run has, with their defaults.

A preset and then the command line are laid over the defaults that the classes state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from zoo_core.config.additions import later
from zoo_core.config.base import Config
from zoo_core.config.keys import flatten
from zoo_core.home import OURS


@dataclass(frozen=True)
class Preset:
    """A named set of overrides: dotted key -> value, and where they come from."""

    overrides: Mapping[str, Any]
    source: str


DEFAULTS = Preset({}, "the defaults, chosen on digits")
"""Overrides nothing. As `default@image<=16` it keeps a preset for larger images from small ones."""


class EmaConfig(Config):
    """An exponential moving average of weights; off while both decay and half_life are 0."""

    decay: float = Field(0.0, ge=0, lt=1)
    """Share of the average that a step keeps."""
    half_life: float = Field(0.0, ge=0)
    """Instead of decay: training images after which a weight's share has halved."""
    warmup: bool = True
    """Hold decay at most (1 + step) / (10 + step), so that early averages forget the initial weights."""

    @property
    def on(self) -> bool:
        return self.decay > 0 or self.half_life > 0


class OptimizerConfig(Config):
    """One optimizer and its learning-rate schedule."""

    kind: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    """Algorithm, torch's own."""
    lr: float = Field(1e-3, gt=0)
    """Learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment (adam, adamw)."""
    eps: float = Field(1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty (adam, rmsprop, sgd) or decoupled decay (adamw)."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Momentum (rmsprop, sgd)."""
    alpha: float = Field(0.99, ge=0, lt=1)
    """Decay of the squared gradient (rmsprop)."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Learning rate over the stage: to zero along a cosine or a line, or constant."""
    warmup: int = Field(0, ge=0)
    """Steps over which the rate rises from zero."""
    lr_mult: dict[str, float] = {}
    """Factor on lr by prefix of the parameter's name in the recipe, e.g. {generator.mapping: 0.01}."""

    @field_validator("lr_mult", mode="before")
    @classmethod
    def _by_dotted_name(cls, given: Any) -> Any:
        # Options are laid over one another by dotted keys, which takes a parameter's name apart.
        return flatten(given) if isinstance(given, Mapping) else given


class TrainConfig(Config):
    """How long and how a model is trained."""

    steps: int = Field(1000, ge=0)
    """Steps of the harness: each runs every phase once (for a GAN: the generator's optimizer steps)."""
    batch_size: int = Field(64, ge=1)
    """Examples in one update."""
    accumulate: int = Field(1, ge=1)
    """Micro-batches that a batch is split into, to save memory."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass: auto is bfloat16 autocast on a GPU that has it, float32 elsewhere."""
    compile: bool = False
    """Compile the networks with torch.compile."""
    ema: EmaConfig = EmaConfig()
    """Average of the sampled network's weights."""
    log_every: int = Field(50, ge=1)
    """Steps between records of the losses."""
    checkpoint_every: int = Field(500, ge=1)
    """Steps between checkpoints; the last two are kept."""
    sample_every: int = Field(0, ge=0)
    """Steps between sample grids on fixed noise; 0 for a quarter of the run."""


class SampleConfig(Config):
    """Sampling for scores and sample grids."""

    steps: int | None = Field(None, ge=1)
    """Steps of the sampler; none for the sampler's own default."""
    batch_size: int = Field(500, ge=1, le=100_000)
    """Batch size of sampling; scores do not depend on it."""
    seed: int = Field(0, ge=0)
    """Of the samples' noise."""


class DataConfig(Config):
    """Which dataset; a dataset with options of its own extends this."""

    BY_CONTENT: ClassVar[bool] = False
    """Whether the data are the user's own, so that a run's folder is named by their content too."""

    name: str = "digits"
    """Registered name."""
    root: str | None = None
    """Folder that holds or receives downloaded files; none for ZOO_HOME/data."""
    task: Literal["", "unconditional", "class", "text", "paired", "unpaired", "views"] = later(
        "", since="0.1.0"
    )
    """What is modeled: images alone, or given their class or caption; empty for the first of the model's
    tasks that the data can serve."""
    source: Literal["edges", "lowres", "mask", "gray", "itself", "crop", "jpeg"] = later(
        "edges", since="0.1.0"
    )
    """Pairs and two domains: the image that each image is made from: its edges, means of 2x2 or 4x4 pixels, a
    hole in its middle, its luminance, the image itself, its middle alone, or JPEG of quality 10."""
    validation: float = later(0.0, since="0.2.0", ge=0, lt=1)
    """Fraction of the training split held out for selection (stopping, tuning); 0 for none."""
    hflip: bool = later(False, since="0.2.0")
    """Images: mirror each training image left to right with probability 1/2, with its pair where it has
    one."""


class SamplerConfig(Config):
    """Which sampler; a sampler with options of its own extends this."""

    name: str = ""
    """Registered name; empty for the model's own choice."""


class EvalConfig(Config):
    """How a run is scored."""

    protocol: str = "quick"
    """Named protocol; `none` skips scoring."""
    extractor: str | None = None
    """Feature network; none for the dataset's own. `timm:NAME` takes any timm model."""
    weights: Literal["ema", "raw"] = "ema"
    """Which weights are sampled and scored."""
    extractor_path: str | None = None
    """File with the extractor's weights, where they are not in ZOO_HOME/weights."""
    metrics: list[str] | None = None
    """Names of the metrics to compute, e.g. [frechet,likelihood]; none for all. See `zoo metrics`."""
    memorization_n: int | None = Field(None, ge=0, le=1_000_000)
    """Samples that the memorization check compares with the data; 0 skips it, none for at most 10,000."""
    iwae_k: int = Field(64, ge=1, le=5000)
    """Importance samples of the IWAE bound."""
    ode: Literal["auto", "always", "never"] = "auto"
    """Likelihood by the probability flow: auto where the model has one, which is a denoiser of data at
    continuous levels; always refuses a model that has none."""
    ode_probe: Literal["auto", "rademacher", "gaussian", "exact"] = "auto"
    """Divergence estimator: Hutchinson (Rademacher or Gaussian probes), or exact (one backward pass per
    dimension); auto is exact
    for points and rademacher for images."""
    ode_probes: int = Field(1, ge=1, le=1000)
    """Probes that Hutchinson's estimate averages over."""
    ode_tolerance: float = Field(1e-3, gt=0, lt=1)
    """Of a step of the probability flow's solver, relative and absolute."""
    batch_size: int = Field(500, ge=1)
    """Batch size of the feature network; scores do not depend on it."""
    baselines: bool = True
    """Run and show the four baselines of the dataset beside the scores."""


class TrackConfig(Config):
    """Who listens to the run."""

    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases: auto is online with a key and offline without; never a prompt."""
    project: str = "zoo"
    """W&B project."""
    plots: bool = True
    """Write sample grids and plots into the run's folder."""
    progress: bool = True
    """Show a progress bar, or plain lines where there is no terminal."""


class ProvidersConfig(Config):
    """The distributions that provide a run's parts, recorded when its options are resolved."""

    plugin: str = later(OURS, since="0.2.0")
    """Distribution that provides the model."""
    data: str = later(OURS, since="0.2.0")
    """Distribution that provides the dataset."""
    sampler: str = later(OURS, since="0.2.0")
    """Distribution that provides the sampler."""


class RunConfig(Config):
    """One run, whole; a plugin's config extends this with `model`, `optim` and its own defaults."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {}
    """By "name", "name@dataset", "name@points" or "name@image<=S" (images of at most S pixels a side). Of
    several that fit, the dataset's is taken, then the one of the least S. "default" and "default@..." apply
    where no preset is asked for."""

    plugin: str = ""
    """Registered name of the model."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of the initial weights, the order of the data and the training noise."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    preset: str = ""
    """Named overrides of the plugin, e.g. paper."""
    run_dir: str | None = None
    """Folder of the run; none for runs/<data>/<plugin>/<config hash>-s<seed>."""
    data: DataConfig = DataConfig()
    """Dataset."""
    train: TrainConfig = TrainConfig()
    """Training."""
    sample: SampleConfig = SampleConfig()
    """Sampling."""
    sampler: SamplerConfig = SamplerConfig()
    """The way from noise to data, for models that have a choice."""
    eval: EvalConfig = EvalConfig()
    """Scoring."""
    track: TrackConfig = TrackConfig()
    """Listeners."""
    providers: ProvidersConfig = ProvidersConfig()
    """Distributions of the parts; filled in by zoo. To choose one: plugin=DISTRIBUTION:NAME."""
