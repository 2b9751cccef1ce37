"""What result.json holds: strict, bounded and typed, because a file may come from anyone.

Nothing here says how a column is ranked, whether a result was verified, or which rows are baselines: those
facts belong to the code and to the reader's own store, never to a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from zoo_core.results.text import Shown

SCHEMA = 2
"""Version of the file format; raised when a field changes its meaning."""

LARGEST = 1e15
"""Largest magnitude of any metric: beyond it an average over rows is no longer meaningful."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$", max_length=64)]
"""A registered name: lower-case ASCII, so that no two names look alike."""
Column = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.,:/@+<>=()\[\]-]{0,95}$")]
"""A column of results, e.g. `FD[digits]`."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Text = Annotated[str, StringConstraints(max_length=400)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Scalar = bool | Annotated[int, Field(gt=-(2**63), lt=2**63)] | Number | Text | None


class Record(BaseModel):
    """A part of a result: frozen, strict, without unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Interval(Record):
    """A 95 % interval."""

    low: Number
    high: Number

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Value(Record):
    """A metric's value with what is needed to read it."""

    value: Number
    interval: Interval | None = None
    """Over the samples of this run; None where the metric has none."""
    standard_error: Annotated[float, Field(ge=0, le=LARGEST)] | None = None
    n: Count | None = None
    """Samples, or test examples, that it was computed from."""
    bound: Literal["exact", "upper", "lower"] = "exact"
    """Whether the quantity itself is at most (`upper`) or at least (`lower`) this value."""
    unranked: Text = ""
    """Why this value is shown and not ranked; "" where it may be ranked."""
    note: Text = ""

    def cells(self) -> tuple[str, str, str]:
        """Return the value, the interval and the number of samples as texts; "" for what there is not."""
        bound = {"exact": "", "upper": "≤ ", "lower": "≥ "}[self.bound]
        interval = "" if self.interval is None else f"{self.interval.low:.4g} to {self.interval.high:.4g}"
        return f"{bound}{self.value:.4g}", interval, "" if self.n is None else f"{self.n:,}"

    def noted(self, note: str) -> Value:
        """Return the value with another note."""
        return self.model_copy(update={"note": note})

    @model_serializer(mode="wrap")
    def _short(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return plain data without the fields that are at their default: a result has up to 200 values."""
        plain: dict[str, Any] = written(self)
        defaults = _value_defaults()
        return {key: one for key, one in plain.items() if key == "value" or one != defaults[key]}


@cache
def _value_defaults() -> Mapping[str, Any]:
    return {name: field.default for name, field in Value.model_fields.items()}


class NotApplicable(Record):
    """Why a metric has no value here."""

    reason: Text


class Attachment(Record):
    """A file beside result.json, e.g. the grid of samples or the curves."""

    file: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}-[0-9a-f]{12}\.(json|png|webp|npz)$")
    ]
    """Its name: what it is, and the first 12 digits of its sha256."""
    sha256: Sha256
    size: Annotated[int, Field(ge=1, le=4 << 20)]
    """Bytes."""


class Cost(Record):
    """What training, sampling and scoring took; None where it is unknown."""

    train_seconds: Amount | None = None
    images_seen: Amount | None = None
    steps: Count | None = None
    updates: Annotated[dict[Text, Count], Field(max_length=32)] = {}
    """Optimizer steps by "stage/phase"."""
    parameters: Count | None = None
    train_flops: Amount | None = None
    train_peak_bytes: Count | None = None
    sample_seconds: Amount | None = None
    seconds_per_sample: Amount | None = None
    sample_flops: Amount | None = None
    sample_peak_bytes: Count | None = None
    nfe: Amount | None = None
    """Network evaluations per sample."""
    metric_seconds: Annotated[dict[Name, Amount], Field(max_length=128)] = {}
    """Wall-clock seconds of each metric."""
    metric_device: Annotated[dict[Name, Text], Field(max_length=128)] = {}
    search_seconds: Amount | None = None
    """Seconds of the selection of the options or the weights (`Selection.seconds`); None without one."""

    @model_serializer(mode="wrap")
    def _without_search(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return plain data, without the cost of a search where there was none: as in files before 0.2.0."""
        return _without(written(self), "search_seconds")

    def line(self) -> str:
        """Return what training took, in one line: "1,000 steps, 64,000 images, 12.3 s, 26,433 parameters"."""
        amounts = {
            "steps": self.steps,
            "images": self.images_seen,
            "s": self.train_seconds,
            "parameters": self.parameters,
            "s of search": self.search_seconds,
        }
        known = {unit: amount for unit, amount in amounts.items() if amount is not None}
        seconds = ("s", "s of search")
        return ", ".join(f"{amount:,.{int(unit in seconds)}f} {unit}" for unit, amount in known.items())


class DataRecord(Record):
    """Which data: a name alone identifies nothing."""

    name: Name
    sha256: Sha256
    """Of the content: examples, labels and split."""
    task: Name = "unconditional"
    source: Text = ""
    """What images are translated from; "" for other tasks."""
    label: Text = ""
    """`data.label`: what the user calls a folder."""

    @property
    def title(self) -> str:
        """Name of the data in tables: the label where there is one."""
        return self.label or self.name


class ProtocolRecord(Record):
    """How it was scored: every field that moves a metric, and their hash."""

    name: Name
    version: Count
    hash: Hash
    fields: Annotated[dict[Text, Scalar], Field(max_length=64)]


class SamplingRecord(Record):
    """How the samples were drawn: it belongs to the entry, not to the protocol."""

    sampler: Text = ""
    steps: Count | None = None
    seed: Count = 0
    noise_version: Count | None = None
    """Version of the random numbers (`zoo_core.seeds.VERSION`); None for samples of another program."""
    weights: Literal["ema", "raw", ""] = ""
    precision: Text = ""
    guidance_scale: Number | None = None
    clipped: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of values outside [-1, 1] before quantization."""


class Hardware(Record):
    """What it ran on."""

    device: Text = ""
    cpu: Text = ""
    system: Text = ""
    cores: Count | None = None
    threads: Count | None = None
    processes: Count = 1


class Selection(Record):
    """How the options or the weights of a run were selected: by scores on held-out data.

    The trials of a search have training seeds that are never those of the run. Of weights, checkpoints or EMA
    weights of several lengths, each is a trial. None has the sampling seeds of the run.
    """

    trials: Annotated[int, Field(ge=1, lt=2**31)]
    """Trials that were started, those that failed or were stopped included."""
    failed: Count = 0
    """Trials without a score: they diverged or raised an error."""
    stopped: Count = 0
    """Trials that were stopped before their last score."""
    memorized: Count = 0
    """Trials that can't be selected, because memorization was detected."""
    metric: Column
    """Column that selects."""
    split: Literal["validation"] = "validation"
    """Split that the trials were scored on; its examples are in no trial's training data."""
    value: Number
    """Score of the selected trial."""
    space_sha256: Sha256
    """Of the search space, or of the steps or lengths that were compared, as canonical JSON."""
    seconds: Amount
    """Training and scoring of all trials, of weights their scoring; `Cost.search_seconds` has them too."""

    @property
    def line(self) -> str:
        """What was selected from what: "best of 20 by FD[digits] on validation"."""
        return f"best of {self.trials} by {self.metric} on {self.split}"


class TrainingAudit(Record):
    """What fixes the states that a run's training passed through: `zoo verify --spot` holds them to it."""

    every: Annotated[int, Field(ge=1, lt=2**31)]
    """Training steps between two states."""
    segments: Annotated[int, Field(ge=1, lt=2**31)]
    """Stretches of training between two states; the first starts at the initialization."""
    root: Sha256
    """Root of the Merkle tree over the chained hashes of the states."""

    @property
    def line(self) -> str:
        """What can be executed again: "25 segments of 100 steps, root 0123456789ab"."""
        return f"{self.segments} segments of {self.every:,} steps, root {self.root[:12]}"


class InitialWeights(Record):
    """The run whose weights another began with (`init=`)."""

    plugin: Text = ""
    step: Count | None = None
    """Training steps of that run."""
    weights_sha256: Sha256 | None = None
    data: Text = ""
    """Name of the data that it was trained on."""
    data_sha256: Sha256 | None = None
    """Of these data."""


class Provenance(Record):
    """Where the values come from: code, machine, data, seeds."""

    distribution: Text = ""
    """Of the plugin."""
    distribution_version: Text = ""
    source_sha256: Sha256 | None = None
    """Of the plugin's source files."""
    versions: Annotated[dict[Text, Text], Field(max_length=64)] = {}
    git: Annotated[dict[Text, Scalar], Field(max_length=8)] = {}
    hardware: Hardware = Hardware()
    command: Annotated[list[Text], Field(max_length=64)] = []
    train_seed: Count | None = None
    sample_seed: Count | None = None
    samples: Annotated[dict[Text, Text], Field(max_length=8)] = {}
    """Of samples from outside: which file or folder."""
    notes: Annotated[dict[Text, Text], Field(max_length=16)] = {}
    init: InitialWeights | None = None
    """Where the initial weights were those of another run."""

    @model_serializer(mode="wrap")
    def _without_init(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return plain data, without `init` where there was none: as in files before it was recorded."""
        return _without(written(self), "init")


class Result(Record):
    """One scored run, or one scored set of samples from outside.

    Raises:
        pydantic.ValidationError: where a field is missing, unknown, of another type, or out of bounds; where
            the protocol's hash is not that of its fields; where it is a protocol of other data.
    """

    schema_version: Literal[2] = Field(2, alias="schema")
    plugin: Name
    family: Name
    seed: Count
    config_hash: Hash
    config: Annotated[
        dict[Text, Scalar | Annotated[list[Scalar], Field(max_length=64)]], Field(max_length=400)
    ] = {}
    """The resolved options by dotted name; secrets are redacted."""
    data: DataRecord
    protocol: ProtocolRecord
    sampling: SamplingRecord = SamplingRecord()
    metrics: Annotated[dict[Column, Value], Field(max_length=200)]
    """By column. Whether more is better is known to the code that computes a column, not to a file."""
    not_applicable: Annotated[dict[Column, NotApplicable], Field(max_length=200)] = {}
    cost: Cost = Cost()
    provenance: Provenance = Provenance()
    samples_sha256: Sha256
    weights_sha256: Sha256 | None = None
    selection: Selection | None = None
    """How the options or the weights were selected, where scores on held-out data did that."""
    audit: TrainingAudit | None = None
    """The states of the training, where the run kept them (`train.audit`)."""
    attachments: Annotated[dict[Name, Attachment], Field(max_length=16)] = {}
    content_sha256: Sha256 | None = None
    """Of all else in the file; it reveals a damaged or edited file and is not a signature."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        populate_by_name=True,
        serialize_by_alias=True,
    )

    @model_validator(mode="after")
    def _consistent(self) -> Result:
        if self.protocol.hash != fields_hash(self.protocol.fields):
            raise ValueError("protocol.hash is not the hash of protocol.fields")
        if self.protocol.fields.get("data") != self.data.name:
            raise ValueError("the protocol is of other data than the result")
        if self.protocol.fields.get("data_sha256") != self.data.sha256:
            raise ValueError("the protocol's data_sha256 is not that of the result's data")
        return self

    @model_serializer(mode="wrap")
    def _without_later(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return plain data, without selection and audit where there were none: as in files before 0.2.0."""
        return _without(written(self), "selection", "audit")

    def _shown(self) -> Shown:
        protocol = f"{self.protocol.name} (version {self.protocol.version}, {self.protocol.hash})"
        facts = {"protocol": protocol, "sampler": self.sampling.sampler, "training": self.cost.line()}
        if self.selection is not None:
            facts["selected"] = self.selection.line
        if self.audit is not None:
            facts["audit"] = self.audit.line
        return Shown(
            f"{self.plugin} on {self.data.title}, seed {self.seed}", facts, self.rows(), self.notes()
        )

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the cells of the table of metrics: column, value, interval, number of samples."""
        return [(column, *one.cells()) for column, one in self.metrics.items()]

    def notes(self) -> list[str]:
        """Return a line for each column without a value: the reason."""
        return [f"{column}: {one.reason}" for column, one in self.not_applicable.items()]

    def __repr__(self) -> str:
        return self._shown().text()

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return self._shown().html()

    def text(self) -> bytes:
        """Return the result as it is written: JSON in UTF-8, on one line."""
        return self.model_dump_json(by_alias=True).encode()

    def content_hash(self) -> str:
        """Return the sha256, in hex, of everything in the result but `content_sha256`."""
        return content_hash(self.text())


def _without(plain: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return plain data without these fields where they are None: files of earlier versions lack them."""
    return {key: value for key, value in plain.items() if key not in names or value is not None}


def content_hash(text: bytes) -> str:
    """Return the sha256 of a result's text with null in `content_sha256`, which is its last field."""
    head, mark, _ = text.rpartition(b'"content_sha256":')
    return hashlib.sha256(head + mark + b"null").hexdigest()


def canonical_json(plain: Any) -> str:
    """Return plain data as JSON with sorted keys and no spaces: the text that hashes are taken of."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fields_hash(fields: Mapping[str, Any]) -> str:
    """Return the hash of a protocol's fields: 12 hexadecimal digits of their canonical JSON's sha256."""
    return hashlib.sha256(canonical_json(dict(fields)).encode()).hexdigest()[:12]
