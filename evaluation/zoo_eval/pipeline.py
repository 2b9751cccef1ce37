"""Evaluation: sample, extract features, run the registered metrics, return the result.

No metric is named here. Each registered metric runs where the context can meet its needs; for the others the
result says why not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError

from zoo_core.config import DEFAULT_METRICS, RunConfig
from zoo_core.data.configs import FolderConfig
from zoo_core.data.levels import to_unit
from zoo_core.data.loading import Dataset
from zoo_core.errors import Interrupted, PluginError, UsageError, ZooError, not_found
from zoo_core.interfaces import Extractor
from zoo_core.machine.faults import is_users
from zoo_core.machine.leading import led
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.registry.metrics import base_name, declared
from zoo_core.registry.spec import DatasetSpec
from zoo_core.results import (
    Cost,
    DataRecord,
    NotApplicable,
    Provenance,
    Result,
    SamplingRecord,
    Selection,
    TrainingAudit,
    Value,
)
from zoo_core.results.attachments import write_attachment
from zoo_core.results.result import LARGEST, Column
from zoo_core.viz.plot import save_plot
from zoo_eval.context import Context
from zoo_eval.features import ProjectedExtractor, arithmetic_device, check_examples, passed
from zoo_eval.modes import mode_classifier
from zoo_eval.protocol import Protocol, check_plan, doubts, make_protocol, plan
from zoo_eval.sampling import Source, sample, samples_hash
from zoo_eval.worst import attach_worst

_COLUMN: TypeAdapter[str] = TypeAdapter(Column)
CLIPPED = 0.01
"""Fraction of clamped values above which a warning is printed; the result records any fraction."""
COSTS = frozenset({"train_flops", "sample_flops"})
"""Columns that are recorded as fields of `Cost`."""


class Identity(NamedTuple):
    """Whose result it is.

    Attributes:
        plugin, family: of the model.
        seed: of training.
        config_hash: of the options.
        cost: of training.
        provenance: code, machine, seeds.
        sampling: how the samples were drawn.
        config: the options by dotted name, without secrets.
        weights_sha256: of the scored checkpoint, where it is known.
        selection: how the options were selected, where a search did that.
        audit: the states of the training, where the run kept them.
    """

    plugin: str
    family: str
    seed: int
    config_hash: str
    cost: Cost
    provenance: Provenance
    sampling: SamplingRecord
    config: Mapping[str, Any] = {}
    weights_sha256: str | None = None
    selection: Selection | None = None
    audit: TrainingAudit | None = None


class Setup(NamedTuple):
    """How a source is scored."""

    protocol: Protocol
    extractor: Extractor


def choose_extractor(whole: RunConfig, data: str, device: torch.device | str) -> Extractor:
    """Return the feature network that a config asks for, its protocol's, or the dataset's own.

    Raises:
        NotFoundError: for a name that nothing is registered under.
        UsageError, MachineError: where its weights are missing or damaged.
    """
    here, config = manager(), whole.eval
    spec: DatasetSpec = here.find("dataset", data, whole.providers.data).spec
    name = config.extractor or plan(config.protocol).extractor or spec.extractor
    entry = here.find("extractor", name)
    made = load_entry("extractor", entry)(config.model_copy(update={"extractor": name}), device)
    if not isinstance(made, Extractor):
        raise PluginError(
            f"extractor {name!r} of {entry.distribution} returned {type(made).__name__}",
            "expected: a zoo_core.interfaces.Extractor",
        )
    return made


def chosen_metrics(names: Sequence[str] | None) -> list[Entry]:
    """Return the registered metrics that `eval.metrics` asks for; none are those that are not optional.

    Raises:
        NotFoundError: for a name that nothing is registered under.
    """
    entries = {entry.spec.name: entry for entry in manager().entries("metric")}
    asked = {DEFAULT_METRICS} if names is None else set(names)
    for name in names or ():
        if name not in entries and name != DEFAULT_METRICS:
            raise not_found("metric", name, list(entries), say="eval.metrics=[{}]")
    return [
        entry
        for name, entry in entries.items()
        if name in asked or (DEFAULT_METRICS in asked and not entry.spec.optional)
    ]


def prepare(source: Source) -> Setup:
    """Return the protocol and the extractor, after one batch of training examples went through it.

    Raises:
        ZooError: where the source can't be scored.
    """
    config, data = source.config.eval, source.data
    check_plan(config, data.info)
    chosen_metrics(config.metrics)
    extractor = choose_extractor(source.config, data.info.name, source.device)
    protocol = make_protocol(config, data, extractor, mode_classifier(data))
    images = data.described or data
    first = images.train.examples(torch.arange(min(2, len(images.train))))
    passed([first], extractor, images.info)
    return Setup(protocol, extractor)


def examine(source: Source) -> None:
    """Say before training what a protocol can't show on its data; refuse data that can't be scored.

    Raises:
        ZooError: as `prepare`, and for examples in memory that are not finite or out of range.
    """
    protocol, extractor = prepare(source)
    info = source.data.info
    for split in (source.data.train, source.data.test):
        if split.in_memory:
            for index in torch.arange(len(split)).split(10_000):
                check_examples(split.examples(index).cpu(), info)
    axes = extractor.axes if isinstance(extractor, ProjectedExtractor) else extractor.dim or info.dims
    for line in doubts(protocol, axes, info):
        source.warning(f"warning: {line}")


def evaluate(source: Source, identity: Identity, setup: Setup | None = None) -> Result:
    """Return the result of a source: its samples scored by every metric that applies.

    Attachments are written to the source's folder. Every process draws its share of the samples; the first
    computes the metrics, and asks the others for their shares of what takes the model or the feature network.

    Args:
        source: what is scored.
        identity: whose result it is.
        setup: how; None for what the source's config asks for.

    Raises:
        ZooError: where samples, features or likelihoods are unfit to be scored.
        PluginError: where a metric fails, or returns a column that it does not declare.
    """
    protocol, extractor = setup or prepare(source)
    if arithmetic_device(source.device).type != source.device.type:
        source.say(f"metrics are computed on the CPU: {source.device} has no float64")
    source.say(f"sampling {protocol.n_generated:,}")
    sampled = sample(source, protocol.n_generated)
    if sampled.clipped > CLIPPED:
        source.warning(
            f"warning: {sampled.clipped:.1%} of the values of the samples are outside [-1, 1] and are clamped"
        )
    ctx = Context(source, protocol, extractor, sampled)
    return led(ctx, lambda: _scored(ctx, identity))


def _scored(ctx: Context, identity: Identity) -> Result:
    """Return the result of samples."""
    source, protocol, sampled = ctx.source, ctx.protocol, ctx.sampled
    measured = run_metrics(ctx, chosen_metrics(source.config.eval.metrics))
    run_functions(ctx, measured)
    drawn: dict[str, Any] = {}
    if source.run is not None:
        drawn = {
            "sample_seconds": round(sampled.seconds, 3),
            "seconds_per_sample": sampled.seconds / protocol.n_generated,
            "nfe": sampled.nfe,
            "sample_peak_bytes": sampled.peak,
        }
    worst = None if source.folder is None else attach_worst(ctx)
    if source.folder is not None:
        if worst is not None:
            try:
                save_plot(worst, source.folder, "worst", source.config.plots.format)
            except OSError as error:  # the scores are not lost with a plot
                source.warning(f"warning: could not write the plot of worst samples: {error}")
        for attachment, content in ctx.attachments.values():
            write_attachment(source.folder, attachment, content)
    return Result(
        plugin=identity.plugin,
        family=identity.family,
        seed=identity.seed,
        config_hash=identity.config_hash,
        config=dict(identity.config),
        weights_sha256=identity.weights_sha256,
        selection=identity.selection,
        audit=identity.audit,
        data=data_record(source.data, source.config),
        protocol=protocol.record,
        sampling=identity.sampling.model_copy(update={"clipped": sampled.clipped}),
        metrics={name: value for name, value in measured.values.items() if name not in COSTS},
        not_applicable={n: why for n, why in measured.not_applicable.items() if n not in COSTS},
        cost=Cost.model_validate(
            {
                **identity.cost.model_dump(),
                **drawn,
                **{name: v.value for name, v in measured.values.items() if name in COSTS},
                "metric_seconds": measured.seconds,
                "metric_device": dict.fromkeys(measured.seconds, str(source.device)),
            }
        ),
        provenance=identity.provenance,
        samples_sha256=samples_hash(sampled.rows),
        attachments={what: attachment for what, (attachment, _) in ctx.attachments.items()},
    )


def data_record(data: Dataset, config: RunConfig) -> DataRecord:
    """Return which data a result is of, with the label that the config gives a folder."""
    return DataRecord(
        name=data.info.name,
        sha256=data.sha256,
        task=data.info.task,
        source=data.origin.name if data.origin else "",
        label=config.data.label if isinstance(config.data, FolderConfig) else "",
    )


class Measured(NamedTuple):
    """What metrics returned.

    Attributes:
        values: by column.
        not_applicable: by column, or by metric where it was not run.
        seconds: wall-clock time by metric.
    """

    values: dict[str, Value]
    not_applicable: dict[str, NotApplicable]
    seconds: dict[str, float]


def run_metrics(ctx: Context, entries: Sequence[Entry]) -> Measured:
    """Run each metric whose needs the context meets.

    Raises:
        PluginError: where a metric fails, or returns what it may not.
    """
    measured = Measured({}, {}, {})
    for place, entry in enumerate(entries, 1):
        ctx.source.progress("scoring", place - 1, len(entries), "metrics")
        why = ctx.missing(entry.spec.needs)
        if why:
            measured.not_applicable[entry.spec.name] = NotApplicable(reason=why)
            continue
        start = time.monotonic()
        found = _columns(entry, ctx)
        measured.seconds[entry.spec.name] = round(time.monotonic() - start, 3)
        if isinstance(found, NotApplicable):
            measured.not_applicable[entry.spec.name] = found
            ctx.source.warning(f"warning: no {entry.spec.name}: {found.reason}")
            continue
        for column, one in found.items():
            if column in measured.values or column in measured.not_applicable:
                raise PluginError(
                    f"metric {entry.spec.name!r} of {entry.distribution} returned the column {column!r}, "
                    "which another metric returned",
                    "next: name it otherwise in MetricSpec.columns, or leave one out by eval.metrics=",
                )
            if isinstance(one, Value):
                measured.values[column] = one
            else:
                measured.not_applicable[column] = one
    ctx.source.progress("scoring", len(entries), len(entries), "metrics")
    return measured


EXAMPLES = 10_000
"""Most samples, and test examples, that a function of the user's own is called with."""
OWN = "a function of the user's own"
"""Why such a value is never ranked."""


def run_functions(ctx: Context, measured: Measured) -> None:
    """Add what the functions of the user's own return to the measured columns.

    Raises:
        UsageError: where one has the name of another column, fails, or returns something else than a number.
    """
    source = ctx.source
    if not source.functions:
        return
    levels = source.data.info.levels
    test = source.data.test.examples(torch.arange(min(EXAMPLES, len(source.data.test)))).cpu()
    samples = ctx.sampled.rows[:EXAMPLES]
    x, real = ((rows.float() if levels is None else to_unit(rows, levels)) for rows in (samples, test))
    taken = {base_name(column) for column in measured.values} | set(declared())
    for column, function in source.functions.items():
        if base_name(column) in taken:
            raise UsageError(
                f"metrics= has {column!r}, a column of an installed metric", "next: another name"
            )
        start = time.monotonic()
        try:
            _COLUMN.validate_python(column)
            found = Value(value=float(function(x, real)), n=len(x), unranked=OWN)
        except Interrupted:
            raise
        except Exception as error:
            text = str(error).partition("\n")[0]
            raise UsageError(
                f"metrics={column!r} failed: {type(error).__name__}: {text}",
                "expected: a function of (samples, test examples) that returns a finite number",
            ) from error
        measured.values[column] = found
        source.say(f"{column}: {found.value:.4g} ({time.monotonic() - start:.3g} s)")


def _columns(entry: Entry, ctx: Context) -> Mapping[str, Value | NotApplicable] | NotApplicable:
    """Return a metric's columns, once they are what it declares; or that its values are too large to be kept.

    Raises:
        PluginError: naming the metric.
    """
    who = f"metric {entry.spec.name!r} of {entry.distribution}"
    try:
        found = load_entry("metric", entry)(ctx)
    except (ZooError, torch.OutOfMemoryError):
        raise
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        bounds = first.get("ctx", {})
        if bounds.get("le") == LARGEST or bounds.get("ge") == -LARGEST:
            return NotApplicable(reason=f"a value beyond {LARGEST:.0e}: the samples are far from the data")
        raise PluginError(f"{who} returned a value that is not one: {first['msg']}") from error
    except BaseException as error:
        if is_users(error):
            raise
        raise PluginError(
            f"{who} failed: {type(error).__name__}: {error}", "next: ZOO_DEBUG=1 shows the traceback"
        ) from error
    if not isinstance(found, Mapping):
        raise PluginError(
            f"{who} returned {type(found).__name__}", "expected: {column: zoo_core.results.Value(...)}"
        )
    for column, one in found.items():
        try:
            _COLUMN.validate_python(column)
        except ValidationError:
            raise PluginError(
                f"{who} returned a column named {column!r:.100}", f"expected: {Column}"
            ) from None
        if not isinstance(one, Value | NotApplicable):
            raise PluginError(
                f"{who} returned {type(one).__name__} as {column!r}",
                "expected: zoo_core.results.Value or NotApplicable",
            )
        if base_name(column) not in entry.spec.directions:
            raise PluginError(
                f"{who} returned the column {column!r}, which it does not declare",
                f"declared: {', '.join(entry.spec.directions)}",
                "next: add it to MetricSpec.columns",
            )
    return found
