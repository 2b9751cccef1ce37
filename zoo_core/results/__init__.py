"""Typed results: the one definition, reader and writer of result.json."""

from zoo_core.results.files import (
    read_result,
    recorded_result,
    recorded_selection,
    write_result,
    write_selection,
)
from zoo_core.results.merging import merged
from zoo_core.results.result import (
    SCHEMA,
    Attachment,
    Cost,
    DataRecord,
    Hardware,
    Interval,
    NotApplicable,
    ProtocolRecord,
    Provenance,
    Result,
    SamplingRecord,
    Selection,
    Value,
)
from zoo_core.results.run import RunResult

__all__ = [
    "SCHEMA",
    "Attachment",
    "Cost",
    "DataRecord",
    "Hardware",
    "Interval",
    "NotApplicable",
    "ProtocolRecord",
    "Provenance",
    "Result",
    "RunResult",
    "SamplingRecord",
    "Selection",
    "Value",
    "merged",
    "read_result",
    "recorded_result",
    "recorded_selection",
    "write_result",
    "write_selection",
]
