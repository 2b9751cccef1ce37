"""Typed results: the one definition, reader and writer of result.json."""

from zoo_core.results.files import (
    read_result,
    recorded,
    recorded_result,
    write_record,
    write_result,
)
from zoo_core.results.merging import merged
from zoo_core.results.reexecution import Reexecution
from zoo_core.results.result import (
    SCHEMA,
    Attachment,
    Cost,
    DataRecord,
    Hardware,
    InitialWeights,
    Interval,
    NotApplicable,
    ProtocolRecord,
    Provenance,
    Result,
    SamplingRecord,
    Selection,
    TrainingAudit,
    Value,
)
from zoo_core.results.run import RunResult

__all__ = [
    "SCHEMA",
    "Attachment",
    "Cost",
    "DataRecord",
    "Hardware",
    "InitialWeights",
    "Interval",
    "NotApplicable",
    "ProtocolRecord",
    "Provenance",
    "Reexecution",
    "Result",
    "RunResult",
    "SamplingRecord",
    "Selection",
    "TrainingAudit",
    "Value",
    "merged",
    "read_result",
    "recorded",
    "recorded_result",
    "write_record",
    "write_result",
]
