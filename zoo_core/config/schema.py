"""Typed configuration: one base class, the sections that every run has, and `a.b=c` overlays.

Defaults stand in the classes; a preset and then the command line are laid over them. Texts are read by the
type of the field they go to, so `5e-5` is a float, `1e4` an int, and `no` stays a string in a string field.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from zoo_core.config import strict_yaml
from zoo_core.errors import UsageError, ZooError, nearest
from zoo_core.home import OURS

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every section: unknown keys are refused, no infinities, and no bool passes for a number."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _read_by_type(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {
            key: _read(value, cls.model_fields[key].annotation) if key in cls.model_fields else value
            for key, value in given.items()
        }


MAX_TEXT = 100_000
"""Length of an option's value in brackets, characters."""


def _read(value: Any, annotation: Any) -> Any:
    """Turn a text or a number into what the annotation asks for, where that is unambiguous."""
    allowed = set(typing.get_args(annotation)) if _is_union(annotation) else {annotation}
    literals = [
        one for kind in allowed if typing.get_origin(kind) is Literal for one in typing.get_args(kind)
    ]
    types_allowed = allowed | {type(one) for one in literals}
    if isinstance(value, bool) and bool not in types_allowed and types_allowed & {int, float}:
        raise ValueError("a true/false where a number is expected")
    if not isinstance(value, str):
        return value
    text = value.strip()
    if types.NoneType in allowed and text.lower() in ("none", "null", ""):
        return None
    if str in allowed or text in literals:
        return value
    for literal in literals:
        if not isinstance(literal, str) and _means(text, literal):
            return literal
    if text.startswith(("[", "{")) and not all(
        isinstance(kind, type) and kind in (int, float) for kind in allowed
    ):
        return _bracketed(text)
    if int in allowed and float not in allowed:
        try:
            number = float(text)
        except ValueError:
            return value
        return int(number) if number.is_integer() and abs(number) < 2**53 else value
    return value


def _means(text: str, literal: Any) -> bool:
    """Return whether a text names a literal that is not a text: 3, 3.0 and 3e0 all mean 3."""
    if isinstance(literal, bool) or literal is None:
        return text.lower() == str(literal).lower()
    try:
        return float(text) == literal
    except ValueError:
        return False


def _bracketed(text: str) -> Any:
    """Return the list or mapping that a text in brackets writes.

    Raises:
        ValueError: where it is not YAML, too long, too deep, or repeats a part by an alias.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"a value of {len(text):,} characters; expected at most {MAX_TEXT:,}")
    try:
        document = strict_yaml.parse(text, "the value")
    except UsageError as error:
        raise ValueError(error.what) from error
    check_bounded(document)
    return document


MAX_DEPTH = 32
"""Nesting of an option's value, or of a config."""


def check_bounded(document: Any) -> None:
    """Refuse plain data that is too deep or too large when written out.

    A few YAML aliases can stand for more values than there is memory, or for a value that contains itself.

    Raises:
        ValueError: where it has more than MAX_TEXT values or MAX_DEPTH levels.
    """
    values, waiting = 0, [(document, 0)]
    while waiting:
        part, depth = waiting.pop()
        values += 1
        if values > MAX_TEXT or depth > MAX_DEPTH:
            raise ValueError(f"it has more than {MAX_TEXT:,} values or {MAX_DEPTH} levels when written out")
        if isinstance(part, Mapping):
            waiting += [(value, depth + 1) for value in part.values()]
        elif isinstance(part, list | tuple):
            waiting += [(value, depth + 1) for value in part]


def later(default: Any, *, since: str, as_before: Any = ..., **constraints: Any) -> Any:
    """Return the field of an option that was added after runs had been recorded without it.

    While such an option has the value under which a model behaves as it did before, the option is left out of
    the config hash, so the runs recorded earlier keep their folders and their rows.

    Args:
        default: the option's default.
        since: version of the distribution that added the option.
        as_before: the value that means the earlier behavior; the default where left out.
        constraints: as pydantic's Field takes them: ge, lt, pattern.
    """
    before = default if as_before is ... else as_before
    extra = {"since": since, "as_before": to_jsonable_python(before)}
    return Field(default, json_schema_extra=extra, **constraints)


def before_later(config: type[Config], prefix: str = "") -> dict[str, Any]:
    """Return the value that each later option had implicitly before it was added: dotted key -> plain value.

    A marker holds for subclasses that declare the field again.
    """
    found: dict[str, Any] = {}
    for name in config.model_fields:
        inner = section(config, name)
        if inner is not None:
            found |= before_later(inner, f"{prefix}{name}.")
        marked = _marker(config, name)
        if marked is None:
            continue
        value = marked["as_before"]
        found |= flatten({f"{prefix}{name}": value})
    return found


def _marker(config: type[Config], name: str) -> Mapping[str, Any] | None:
    for base in config.__mro__:
        fields = getattr(base, "model_fields", {}) if issubclass(base, BaseModel) else {}
        extra = fields[name].json_schema_extra if name in fields else None
        if isinstance(extra, Mapping) and "since" in extra:
            return extra
    return None


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


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


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys for a nested mapping; empty mappings stay values."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested mapping for dotted keys; later keys win.

    Raises:
        UsageError: where a key stands for a value and for a section.
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise UsageError(f"{key!r} and {section!r} were both given", "expected: one of them")
        inner[last] = value
    return nested


def section(config: type[Config], name: str) -> type[Config] | None:
    """Return the Config class of a field, or None where it is a plain value."""
    kind = config.model_fields[name].annotation
    return kind if isinstance(kind, type) and issubclass(kind, Config) else None


def options(config: type[Config], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield (dotted key, field) of every plain option, with the defaults that this class states."""
    for name, info in config.model_fields.items():
        inner = section(config, name)
        if inner is None:
            yield f"{prefix}{name}", info
            continue
        default = info.get_default(call_default_factory=True)
        for key, field in options(inner, f"{prefix}{name}."):
            shown = field
            if isinstance(default, Config):
                value: Any = default
                for part in key.removeprefix(f"{prefix}{name}.").split("."):
                    value = getattr(value, part)
                shown = FieldInfo.merge_field_infos(field, default=value)
            yield key, shown


@lru_cache(maxsize=8)
def _option_names(config: type[Config]) -> tuple[str, ...]:
    return tuple(name for name, _ in options(config))


def canonical(config: type[Config], key: str, value: Any) -> str:
    """Return the key that an assignment means: `data=mnist` names the section's `name`."""
    if "." not in key and key in config.model_fields and not isinstance(value, Mapping):
        inner = section(config, key)
        if inner is not None and "name" in inner.model_fields:
            return f"{key}.name"
    return key


def unknown_key(config: type[Config], key: str, value: Any, owner: str) -> ZooError | None:
    """Return the error for a key that the config has no option for, or None."""
    inner_config: type[Config] = config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if part not in inner_config.model_fields:
            break
        inner = section(inner_config, part)
        if inner is None:
            last = depth == len(parts) - 1
            is_dict = typing.get_origin(inner_config.model_fields[part].annotation) is dict
            return (
                None
                if last or is_dict
                else _no_option(config, inner_config, parts[:depth], key, value, owner)
            )
        inner_config = inner
    else:
        return (
            None if isinstance(value, Mapping) else _no_option(config, inner_config, parts, key, value, owner)
        )
    return _no_option(config, inner_config, parts[:depth], key, value, owner)


def _no_option(
    config: type[Config], inner: type[Config], where: list[str], key: str, value: Any, owner: str
) -> ZooError:
    here = ".".join(where)
    allowed = [f"{here}.{name}" if here else name for name in inner.model_fields]
    if key in RENAMED:
        new, convert = RENAMED[key]
        return UsageError(f"the option {key!r} has a new name", f"use: {new}={convert(value)}")
    keys = _option_names(config)
    meant = option_meant(key, keys) or filter(None, [nearest(key, keys) or nearest(key, allowed)])
    return UsageError(
        f"unknown option {key!r} for {owner}",
        *(f"did you mean: {match}={'STEPS' if key in EPOCHS else value}" for match in meant),
        "training is counted in steps: steps = epochs * images / train.batch_size" if key in EPOCHS else "",
        f"allowed here: {', '.join(allowed)}",
    )


def _scale(value: Any) -> Any:
    """Return the guidance scale 1 + w for the earlier option's w."""
    try:
        return f"{float(value) + 1:g}"
    except (TypeError, ValueError):
        return "SCALE"


RENAMED: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "train.picture_every": ("train.sample_every", str),
    "track.pictures": ("track.plots", lambda value: str(value).lower()),
    "model.null_share": ("model.cond_dropout", str),
    "model.dequantise": ("model.dequantize", lambda value: str(value).lower()),
    "sample.guidance": ("sample.guidance_scale", _scale),
}
"""Options of version 0.1 by their earlier name -> the present one, and its value for an earlier value."""


EPOCHS = ("epochs", "epoch", "num_epochs", "max_epochs", "train.epochs")
MEANT = {
    **dict.fromkeys((*EPOCHS, "iterations", "iters", "max_steps", "num_steps", "n_steps"), "train.steps"),
    **dict.fromkeys(("learning_rate", "learningrate"), "lr"),
    **dict.fromkeys(("batch", "bs", "batchsize"), "train.batch_size"),
    **dict.fromkeys(("model", "name", "arch"), "plugin"),
    **dict.fromkeys(("dataset", "datasets"), "data.name"),
    **dict.fromkeys(("gpu", "cuda", "gpus"), "device"),
    **dict.fromkeys(("out", "output", "output_dir", "outdir", "logdir"), "run_dir"),
    "optimizer": "kind",
    **dict.fromkeys(("random_seed", "manual_seed"), "seed"),
}
"""What other tools call an option -> its key here, or the last part of it."""


def option_meant(key: str, keys: Sequence[str]) -> list[str]:
    """Return the options that a key of another tool, or the last part of a key, means; most likely first.

    Args:
        key: as typed: "batch_size", "lr", "epochs".
        keys: dotted keys of all options.
    """
    plain = key.replace("-", "_").lower()
    wanted = MEANT.get(plain, plain)
    if wanted in keys:
        return [wanted.removesuffix(".name")]
    found = [name for name in keys if name.endswith(f".{wanted}")]
    sections = ("train", "optim", "model", "data", "sampler", "sample")
    rank = {name: place for place, name in enumerate(sections)}
    found.sort(key=lambda name: rank.get(name.partition(".")[0], len(rank)))
    return found[:1] if found and found[0].startswith("train.") else found[:4]


def type_name(annotation: Any) -> str:
    """Return how a type is shown to a user: `int`, `adam | sgd`, `float or none`."""
    if annotation is types.NoneType:
        return "none"
    if typing.get_origin(annotation) is Literal:
        return " | ".join(map(str, typing.get_args(annotation)))
    if _is_union(annotation):
        return " or ".join(type_name(kind) for kind in typing.get_args(annotation))
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def validate(
    config: type[C], flat: Mapping[str, Any], owner: str, see: str = ""
) -> tuple[C | None, list[ZooError]]:
    """Lay dotted values over a config's defaults and check them all.

    Returns:
        (the config, []) or (None, every mistake there is).
    """
    unknown = {key: unknown_key(config, key, value, owner) for key, value in flat.items()}
    mistakes = [error for error in unknown.values() if error]
    known = {
        key: value
        for key, value in flat.items()
        if not unknown[key] and not _is_empty_section(config, key, value)
    }
    defaults = flatten({name: _plain(info) for name, info in config.model_fields.items()})
    try:
        made = config.model_validate(nest(defaults | known))
    except UsageError as error:
        return None, [*mistakes, error]
    except ValidationError as error:
        fields = dict(options(config))
        for problem in error.errors():
            mistakes.append(_bad_value(problem, fields, known, see))
        return None, mistakes
    return (None, mistakes) if mistakes else (made, [])


def _is_empty_section(config: type[Config], key: str, value: Any) -> bool:
    """Return whether a value says nothing: `train: {}` in a file, which must not reset the section."""
    if not isinstance(value, Mapping) or value:
        return False
    inner: type[Config] | None = config
    for part in key.split("."):
        inner = section(inner, part) if inner is not None and part in inner.model_fields else None
    return inner is not None


def _plain(info: FieldInfo) -> Any:
    default = info.get_default(call_default_factory=True)
    return default.model_dump() if isinstance(default, Config) else default


def shown(value: Any) -> str:
    """Return a value as an error shows it: at most 200 characters."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text):,} characters)"


def _bad_value(problem: Any, fields: Mapping[str, FieldInfo], given: Mapping[str, Any], see: str) -> ZooError:
    path = [str(part) for part in problem["loc"]]
    key = next((k for n in range(len(path), 0, -1) if (k := ".".join(path[:n])) in fields), ".".join(path))
    if key not in fields:  # raised for a whole section: name the option that was given in it
        key = next((k for k in given if k.startswith(f"{key}.")), key)
    info = fields.get(key)
    reason = problem["msg"].removeprefix("Value error, ")
    expected = ""
    if info is not None:
        expected = f"expected: {type_name(info.annotation)} (default {info.default})"
        expected += f", {info.description}" if info.description else ""
    value = given.get(key, problem["input"])
    return UsageError(
        f"bad value for {key!r}: {shown(value)}", reason[:1].lower() + reason[1:], expected, see
    )
