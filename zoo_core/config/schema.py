"""The sections of options that every run has, with their defaults.

A preset and then the command line are laid over the defaults that the classes state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

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
UNTUNED = Preset({}, "the defaults, sized for digits; not tuned")
"""As `DEFAULTS`, of a model whose defaults were not chosen by scores."""


class EmaConfig(Config):
    """A moving average of weights; an exponential one is off while both decay and half_life are 0."""

    decay: float = Field(0.0, ge=0, lt=1)
    """Decay of the EMA weights per step; 0 disables EMA unless half_life is set."""
    half_life: float = Field(0.0, ge=0)
    """Half-life of the EMA weights in training images, instead of decay; 0 for decay."""
    warmup: bool = True
    """Limit the decay to (1 + step) / (10 + step), so that early EMA weights forget the initial weights."""
    kind: Literal["exponential", "power"] = later("exponential", since="0.2.0")
    """Average: exponential, or by a power function of the step (EDM2), whose length can be chosen after
    training (`sample.ema_length`)."""
    sigma_rel: float = later(0.1, since="0.2.0", ge=0.01, le=0.25)
    """Length of the power-function average that is sampled: the standard deviation of its profile as a
    fraction of training."""

    @property
    def on(self) -> bool:
        return self.decay > 0 or self.half_life > 0 or self.kind == "power"


Rate = Annotated[float, Field(ge=0, lt=1)]
"""Fraction of an average that a step keeps."""


class OptimizerConfig(Config):
    """One optimizer and its learning-rate schedule."""

    kind: Literal["adam", "adamw", "rmsprop", "sgd", "muon"] = "adam"
    """Optimizer of torch.optim, or timm's Muon: orthogonalized momentum for matrices and convolutions, NAdamW
    for the rest."""
    lr: float = Field(1e-3, gt=0)
    """Learning rate."""
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    """Decay rates of the first and second moment (adam, adamw, and muon's NAdamW)."""
    eps: float = Field(1e-8, gt=0)
    """Term added to the denominator."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty (adam, rmsprop, sgd) or decoupled decay (adamw, muon)."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Momentum (rmsprop, sgd, muon; Muon's authors take 0.95)."""
    alpha: float = Field(0.99, ge=0, lt=1)
    """Decay of the squared gradient (rmsprop)."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Learning rate schedule over the stage: constant, or a cosine or linear decay to zero."""
    warmup: int = Field(0, ge=0)
    """Steps over which the learning rate rises from zero."""
    lr_mult: dict[str, float] = {}
    """Factors on lr by prefix of the parameter name, e.g. {generator.mapping: 0.01}."""

    @field_validator("lr_mult", mode="before")
    @classmethod
    def _by_dotted_name(cls, given: Any) -> Any:
        # Options are laid over one another by dotted keys, which takes a parameter's name apart.
        return flatten(given) if isinstance(given, Mapping) else given


class NetworkOptim(Config):
    """Optimization of one network."""

    net: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine", warmup=100)
    """Optimizer of the network."""
    grad_clip: float | None = Field(1.0, gt=0)
    """Maximum gradient norm of the network; none for no clipping."""


class TrainConfig(Config):
    """How long and how a model is trained."""

    steps: int = Field(1000, ge=0)
    """Training steps; each runs every phase once (for a GAN: updates of the generator)."""
    batch_size: int = Field(64, ge=1)
    """Number of examples in one update."""
    accumulate: int = Field(1, ge=1)
    """Number of micro-batches that a batch is split into, to save memory."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the forward pass: auto is bfloat16 autocast on GPUs that support it, float32 elsewhere."""
    compile: bool | Literal["auto"] = False
    """Compile the repeated blocks of networks with torch.compile; auto does so where a trial on this machine
    predicts that more time is saved than compiling takes."""
    parallel: Literal["replicate", "fsdp"] = later("replicate", since="0.2.0")
    """With several processes: each has all weights (replicate), or its part of the weights, gradients,
    optimizer states and EMA weights (fsdp: PyTorch's FSDP2)."""
    ema: EmaConfig = EmaConfig()
    """Average of the sampled network's weights."""
    log_every: int = Field(50, ge=1)
    """Steps between two records of the losses."""
    checkpoint_every: int = Field(500, ge=1)
    """Steps between two checkpoints; the last `train.keep` are kept."""
    keep: int = later(2, since="0.2.0", ge=1)
    """Number of checkpoints that are kept, the last ones."""
    audit: int = later(0, since="0.2.0", ge=0)
    """Steps between two training states that are kept and hashed for `zoo verify --spot`; 0 for no audit."""
    sample_every: int = Field(0, ge=0)
    """Steps between two sample grids, on fixed noise; 0 for a quarter of the run."""

    @model_validator(mode="after")
    def _repeatable(self) -> Self:
        if self.audit and self.compile == "auto":
            raise ValueError(
                f"audit={self.audit} keeps states that are computed again to the bit, and compile=auto "
                "decides by the clock; expected compile=true or compile=false"
            )
        return self


class SampleConfig(Config):
    """Sampling for scores and sample grids."""

    steps: int | None = Field(None, ge=1)
    """Number of sampler steps; none for the default of the sampler."""
    batch_size: int = Field(500, ge=1, le=100_000)
    """Batch size of sampling; it does not change the scores."""
    seed: int = Field(0, ge=0)
    """Seed of the noise of the samples."""
    precision: Literal["float32", "bfloat16"] = later("float32", since="0.2.0")
    """Precision of the networks in sampling; likelihoods are computed in float32."""
    ema_length: float | None = later(None, since="0.2.0", gt=0, lt=0.28)
    """Length of the EMA weights that are sampled after training with train.ema.kind=power, from 0.03 to
    0.20; none for train.ema.sigma_rel."""
    checkpoint: Literal["last", "best"] = later("last", since="0.2.0")
    """Checkpoint that is sampled and scored after training: the last, or the best by its score on the
    validation part (`eval.every`)."""


class DataConfig(Config):
    """Which dataset; a dataset with options of its own extends this."""

    BY_CONTENT: ClassVar[bool] = False
    """Whether the data are the user's own, so that a run's folder is named by their content too."""

    name: str = "digits"
    """Registered name."""
    root: str | None = None
    """Folder that holds or receives downloaded files; none for ZOO_HOME/data."""
    task: Literal["", "unconditional", "class", "text", "paired", "unpaired", "views", "caption"] = later(
        "", since="0.1.0"
    )
    """Task: unconditional, conditional on a class or a caption, on another image, or captions themselves as
    data; empty for the model's first task that the dataset supports."""
    source: Literal[
        "edges", "lowres", "mask", "gray", "itself", "crop", "jpeg", "freeform", "blur", "labels"
    ] = later("edges", since="0.1.0")
    """Paired and unpaired tasks: how the source is made from an image: its edges, means of 2x2 or 4x4 pixels
    (lowres), a hole in the center (mask) or brush strokes over it (freeform), its luminance (gray), the image
    itself, its center alone (crop), JPEG of quality 10, a Gaussian blur, or its colors rounded to 3 values a
    channel, which resembles a segmentation map (labels)."""
    validation: float = later(0.0, since="0.2.0", ge=0, lt=1)
    """Fraction of the training split held out for selection (stopping, tuning); 0 for none."""
    hflip: bool = later(False, since="0.2.0")
    """Images: flip each training image, and its pair if it has one, horizontally with probability 1/2."""


class SamplerConfig(Config):
    """Which sampler; a sampler with options of its own extends this."""

    name: str = ""
    """Registered name of the sampler; empty for the default of the model."""
    grid: Literal["default", "optimized"] = later("default", since="0.2.0")
    """Noise levels of a deterministic sampler: its own, or levels fitted to the trained model by a short
    search and kept in the run's folder; images drawn during training have the sampler's own."""


DEFAULT_METRICS = "default"
"""In `eval.metrics`: all metrics that are not optional."""


class EvalConfig(Config):
    """How a run is scored."""

    protocol: str = "quick"
    """Named evaluation protocol; `none` skips the evaluation."""
    extractor: str | None = None
    """Feature network; none for the default of the dataset. `timm:NAME` selects a timm model, and
    `timm:NAME@SIDE` one that sees images of SIDE pixels."""
    weights: Literal["ema", "raw"] = "ema"
    """Weights that are sampled and evaluated: EMA or raw."""
    extractor_path: str | None = None
    """File with the weights of the extractor, if they are not in ZOO_HOME/weights."""
    metrics: list[str] | None = None
    """Names of the metrics to compute, e.g. [frechet,likelihood]; `default` stands for all that are not
    optional, and none is [default]. See `zoo metrics`."""
    memorization_n: int | None = Field(None, ge=0, le=1_000_000)
    """Number of samples in the memorization check; 0 skips it, none for at most 10,000."""
    likelihood_n: int | None = Field(None, ge=1, le=1_000_000)
    """Number of test examples in the likelihood; none for that of the protocol."""
    iwae_k: int = Field(64, ge=1, le=5000)
    """Number of importance samples of the IWAE bound."""
    ode: Literal["auto", "always", "never"] = "auto"
    """Likelihood by the probability flow: auto computes it for denoisers of data with continuous noise
    levels; always refuses other models."""
    ode_probe: Literal["auto", "rademacher", "gaussian", "exact"] = "auto"
    """Divergence estimator: Hutchinson (Rademacher or Gaussian probes), or exact (one backward pass per
    dimension); auto is exact for points and rademacher for images."""
    ode_probes: int = Field(1, ge=1, le=1000)
    """Number of probes of Hutchinson's estimate."""
    ode_tolerance: float = Field(1e-3, gt=0, lt=1)
    """Tolerance of the ODE solver of the probability flow, relative and absolute."""
    batch_size: int = Field(500, ge=1)
    """Batch size of the feature network; it does not change the scores."""
    every: int = later(0, since="0.2.0", ge=0)
    """Steps between two scores on the validation part (data.validation) during training; 0 for none."""
    baselines: bool = True
    """Run the four baselines on the dataset and show their scores beside those of the model."""


class TrackConfig(Config):
    """Tracking: W&B, TensorBoard, plots and progress."""

    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases mode: auto is online with an API key and offline without; it never prompts."""
    project: str = "zoo"
    """W&B project."""
    tensorboard: bool = later(False, since="0.2.0")
    """Write RUN/tensorboard (extra `tensorboard`): losses, images, scores and options."""
    plots: bool = True
    """Write sample grids and plots into the folder of the run."""
    progress: bool = True
    """Show a progress bar, or plain lines without a terminal."""


class PlotsConfig(Config):
    """Plots of a run; `track.plots=false` draws none."""

    format: Literal["png", "svg", "pdf"] = later("png", since="0.2.0")
    """File format of plots. Animations are WebP and GIF. The numbers of a plot are beside it (CSV, npz)."""
    scale: Literal["auto", "linear", "log"] = later("auto", since="0.2.0")
    """Scale of the y axes of training curves; auto is log for positive values that span a factor of 100."""
    smoothing: float = later(0.9, since="0.2.0", ge=0, lt=1)
    """Decay per record of the moving average (EMA) of training curves. 0 draws the records only."""
    worst: int = later(24, since="0.2.0", ge=0, le=1000)
    """Number of samples on the sheet of worst samples; 0 draws no sheet."""


class ProvidersConfig(Config):
    """The distributions that provide a run's parts, recorded when its options are resolved."""

    plugin: str = later(OURS, since="0.2.0")
    """Distribution that provides the model."""
    data: str = later(OURS, since="0.2.0")
    """Distribution that provides the dataset."""
    sampler: str = later(OURS, since="0.2.0")
    """Distribution that provides the sampler."""


class SeedsConfig(Config):
    """Seeds of single sources of randomness in training, to vary one and keep the others."""

    init: int | None = later(None, since="0.2.0", ge=0, lt=2**63)
    """Seed of the initial weights; none for `seed`."""
    order: int | None = later(None, since="0.2.0", ge=0, lt=2**63)
    """Seed of the order of the data and of their random transforms; none for `seed`."""
    noise: int | None = later(None, since="0.2.0", ge=0, lt=2**63)
    """Seed of everything random in the losses; none for `seed`."""


class RunConfig(Config):
    """One run, whole; a plugin's config extends this with `model`, `optim` and its own defaults."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {}
    """By "name", "name@dataset", "name@points" or "name@image<=S" (images of at most S pixels a side). Of
    several that fit, the dataset's is taken, then the one of the least S. "default" and "default@..." apply
    where no preset is asked for."""

    plugin: str = ""
    """Registered name of the model."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the initial weights, the order of the data and the training noise."""
    seeds: SeedsConfig = SeedsConfig()
    """Seeds of single sources."""
    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:N."""
    preset: str = ""
    """Preset of the model: a named set of overrides, e.g. paper."""
    init: str = later("", since="0.2.0")
    """Initial weights: folder of a run, hf://user/name or zoo://data/name, as far as they fit; empty for
    new weights."""
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
    """Tracking: W&B, plots and progress."""
    plots: PlotsConfig = PlotsConfig()
    """Plots."""
    providers: ProvidersConfig = ProvidersConfig()
    """Distributions of the parts; filled in by zoo. To choose one: plugin=DISTRIBUTION:NAME."""
