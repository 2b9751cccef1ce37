"""The options of a run: typed sections, their merging and their validation."""

from zoo_core.config.additions import before_later, later
from zoo_core.config.base import Config, check_bounded
from zoo_core.config.keys import canonical, flatten, nest, options
from zoo_core.config.schema import (
    DEFAULT_METRICS,
    DEFAULTS,
    UNTUNED,
    DataConfig,
    EmaConfig,
    EvalConfig,
    NetworkOptim,
    OptimizerConfig,
    Preset,
    RunConfig,
    SampleConfig,
    SamplerConfig,
    TrainConfig,
)
from zoo_core.config.unknown import option_meant
from zoo_core.config.validation import shown, type_name, validate

__all__ = [
    "DEFAULTS",
    "UNTUNED",
    "DEFAULT_METRICS",
    "Config",
    "DataConfig",
    "EmaConfig",
    "EvalConfig",
    "NetworkOptim",
    "OptimizerConfig",
    "Preset",
    "RunConfig",
    "SampleConfig",
    "SamplerConfig",
    "TrainConfig",
    "before_later",
    "canonical",
    "check_bounded",
    "flatten",
    "later",
    "nest",
    "option_meant",
    "options",
    "shown",
    "type_name",
    "validate",
]
