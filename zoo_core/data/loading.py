"""The names of the data layer that plugins and metrics use, in one place."""

from __future__ import annotations

from zoo_core.data.dataset import PREPARED, Dataset, Domain
from zoo_core.data.levels import dequantize, quantize, to_unit
from zoo_core.data.stream import TrainData
from zoo_core.data.table import Resident, Table, conds

__all__ = [
    "PREPARED",
    "Dataset",
    "Domain",
    "Resident",
    "Table",
    "TrainData",
    "conds",
    "dequantize",
    "quantize",
    "to_unit",
]
