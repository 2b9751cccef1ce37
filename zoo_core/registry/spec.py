"""What a plugin declares: frozen, torch-free, and lazy; `target` names the code as "module:attribute"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

API_VERSION = 1
"""Of the hooks and specs; a plugin module may state its own as `ZOO_API`."""

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
"""What a registered name may look like: lower-case ASCII, so that no two names look alike."""
TARGETS = ("target", "config", "grid")
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""Fields that name code, and how."""


class PluginSpec(NamedTuple):
    """A model.

    Attributes:
        name: what `plugin=` takes.
        family: for grouping in listings only: "gan", "vae", "diffusion", "baseline", or a new one.
        target: "module:Class" of a Recipe, called as `Class(config, data)`.
        config: "module:Class" of a RunConfig.
        summary: one line.
        paper: "arXiv:1701.07875", a DOI, or "".
        tasks: what data it can learn from.
    """

    name: str
    family: str
    target: str
    config: str
    summary: str
    paper: str = ""
    tasks: tuple[str, ...] = ("unconditional",)


class SamplerSpec(NamedTuple):
    """A sampler for any Denoiser.

    Attributes:
        name: what `sampler=` takes.
        target: "module:function" with the signature of `interfaces.Sampler`.
        grid: "module:function", `grid(denoise, steps) -> sigmas`, descending and ending in 0.
        steps: of the grid where none are asked for.
        config: "module:Class" of a SamplerConfig; its fields are the function's options.
        summary: one line.
        paper: "arXiv:...", or "".
        parts: it stands for many: `sampler=NAME:PART` is one of them, and its function takes `part`, "" where
            none is named.
        score: "always" if it uses the score, which a model whose noise depends on the data lacks; the name of
            an option if it does so unless that is 0; "" for a sampler that follows the probability flow only.
    """

    name: str
    target: str
    grid: str
    steps: int
    config: str = "zoo_core.config:SamplerConfig"
    summary: str = ""
    paper: str = ""
    parts: bool = False
    score: str = ""


class DatasetSpec(NamedTuple):
    """A dataset.

    Attributes:
        name: what `data=` takes.
        target: "module:function", called with the dataset's config, returning a `data.Dataset`.
        config: "module:Class" of a DataConfig.
        summary: one line.
        shape: of an example, () where the user's files decide.
        levels: of a pixel, None for points.
        classes: number of classes, 0 for none.
        extractor: the feature network its distances are measured in; points need "raw".
        source: where the data come from.
        tasks: what can be modeled: x alone, x given its class or caption, or one image of a pair.
    """

    name: str
    target: str
    config: str = "zoo_core.config:DataConfig"
    summary: str = ""
    shape: tuple[int, ...] = ()
    levels: int | None = None
    classes: int = 0
    extractor: str = "effnet-lite0"
    source: str = ""
    tasks: tuple[str, ...] = ("unconditional",)


class ExtractorSpec(NamedTuple):
    """A feature network for distances between distributions of images.

    Attributes:
        name: what `eval.extractor=` takes.
        target: "module:function", called as `function(config, device)`, returning an `interfaces.Extractor`.
        summary: one line.
        parts: it stands for many, and `eval.extractor=NAME:PART` is one of them; its function reads PART.
    """

    name: str
    target: str
    summary: str = ""
    parts: bool = False


NEEDS = ("features", "labels", "reference", "samples", "model", "density", "source", "captions")
"""What a metric may need: features of the samples; classes that the samples were asked for; features of the
real splits; the samples themselves; the model; the known density of the data; source images of a translation;
examples that are captions, whose features are then those of their images.
"""


class MetricSpec(NamedTuple):
    """A metric: one or more columns of every result that it applies to.

    A column is named `BASE` or `BASE[extractor-or-kind]`, e.g. `FD[digits]`.

    Attributes:
        name: what `eval.metrics=` takes.
        target: "module:function", called as `function(ctx)` with an `interfaces.EvalContext`; it returns a
            mapping from column to `zoo_core.results.Value` or `NotApplicable`.
        needs: subset of `NEEDS`; where one is missing, the metric is not run and the result says why.
        better: "lower", "higher", or "" for a metric that is shown and never ranked.
        columns: base name -> "lower", "higher" or "", where they differ from `name` and `better`.
        summary: one line.
        optional: it is computed only where `eval.metrics` names it.
    """

    name: str
    target: str
    needs: tuple[str, ...] = ("features", "reference")
    better: str = ""
    columns: Mapping[str, str] | None = None
    summary: str = ""
    optional: bool = False

    @property
    def directions(self) -> Mapping[str, str]:
        """Base name of each of its columns -> "lower", "higher" or ""."""
        return self.columns or {self.name: self.better}


class CommandSpec(NamedTuple):
    """A command of the command line.

    Attributes:
        name: the verb.
        target: "module:attribute" of a click command.
        summary: one line for `zoo --help`.
        group: section of `zoo --help`: "run", "look", "share" or "extend".
    """

    name: str
    target: str
    summary: str = ""
    group: Literal["run", "look", "share", "extend"] = "extend"


def problem_of(spec: Any, kind: type[Any]) -> str | None:
    """Return what is wrong with what a hook returned, or None: its type, its name, its fields."""
    if not isinstance(spec, kind):
        return f"{spec!r} is not a {kind.__name__}"
    if not isinstance(spec.name, str) or not NAME.fullmatch(spec.name):
        return f"name {spec.name!r} does not match {NAME.pattern}"
    for field, value in spec._asdict().items():
        if field == "tasks" and (isinstance(value, str) or not all(isinstance(task, str) for task in value)):
            return f"{spec.name}: tasks={value!r}; expected a tuple of names: ({value!r},)"
        if field in TARGETS and not (isinstance(value, str) and TARGET.fullmatch(value)):
            return f"{spec.name}: {field}={value!r}; expected 'module:attribute'"
        if not _is_plain(value):
            expected = "a text, a number, a tuple of them, or a mapping of texts"
            return f"{spec.name}: {field}={value!r}; expected {expected}"[:500]
        if field in ("summary", "family", "paper") and not isinstance(value, str):
            return f"{spec.name}: {field}={value!r}; expected a text"
    return _metric_problem(spec) if isinstance(spec, MetricSpec) else None


def _metric_problem(spec: MetricSpec) -> str | None:
    if isinstance(spec.needs, str) or not set(spec.needs) <= set(NEEDS):
        return f"{spec.name}: needs={spec.needs!r}; expected a tuple of names among {', '.join(NEEDS)}"
    if spec.columns is not None and not isinstance(spec.columns, Mapping):
        return f"{spec.name}: columns={spec.columns!r}; expected a mapping of base name to better"
    for base, better in spec.directions.items():
        if better not in ("lower", "higher", ""):
            return f"{spec.name}: better={better!r} of {base!r}; expected 'lower', 'higher' or ''"
    return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(item, str) for pair in value.items() for item in pair)
    if isinstance(value, tuple | list):
        return all(_is_plain(item) and not isinstance(item, tuple | list) for item in value)
    return value is None or type(value) in (str, int, float, bool)


def load_target(target: str) -> Any:
    """Import what "module:attribute" names.

    Raises:
        ImportError, AttributeError: as Python does; callers say which plugin it was.
    """
    import importlib

    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
