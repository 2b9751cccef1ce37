"""Reading and writing result.json: bounded before it is parsed, whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from zoo_core.config import strict_json
from zoo_core.errors import UsageError, ZooError
from zoo_core.machine.files import read_bounded
from zoo_core.results.result import SCHEMA, Record, Result, Selection, TrainingAudit, content_hash

LARGEST_FILE = 20_000
"""Bytes of a result file; curves and sample grids are attachments."""
AUDIT = "audit.json"
RECORDS: Mapping[type[Record], tuple[str, str]] = {
    Selection: ("selection.json", "a selection"),
    TrainingAudit: (AUDIT, "an audit"),
}
"""Files in a run's folder: how its options were selected, and what fixes the states of its training."""
LARGEST_READ = 1 << 20
"""Bytes that are read of a file, so that a larger one of an old schema is recognized."""
Kind = TypeVar("Kind", bound=Record)
_SCHEMA_1 = re.compile(rb'"schema"\s*:\s*1\s*[,}]')


def parse_result(text: bytes) -> Result:
    """Return the result in the bytes of a file.

    Raises:
        ValueError: one line that says what is wrong.
    """
    if _SCHEMA_1.search(text):
        raise ValueError(
            f"schema 1: made by version 0.1; this version reads schema {SCHEMA}. Run the model again"
        )
    if len(text) > LARGEST_FILE:
        raise ValueError(f"{len(text):,} bytes; a result has at most {LARGEST_FILE:,}")
    try:
        result = Result.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:80] for part in first["loc"])
        told = f"{where}: {first['msg']}" if where else first["msg"]
        raise ValueError(" ".join(told.split())[:300]) from None
    strict_json.check_keys(text)  # pydantic takes the last of two values under one key
    recorded = result.content_sha256
    if recorded is not None and not _is_sealed(text, recorded) and recorded != result.content_hash():
        raise ValueError("content_sha256 is of other content: the file was changed after it was written")
    return result


def _is_sealed(text: bytes, recorded: str) -> bool:
    """Return whether a file ends with its content's hash, as we write it, and the hash is right.

    Then the result is not written again to be hashed.
    """
    return text.endswith(b'"content_sha256":"%s"}' % recorded.encode()) and content_hash(text) == recorded


def read_result(path: Path) -> Result:
    """Return the result in a regular file.

    Raises:
        NotFoundError: where there is no such file.
        UsageError: where it is not a regular file, too large, or not a result.
    """
    try:
        return parse_result(read_bounded(path, LARGEST_READ))
    except ValueError as error:
        raise UsageError(f"{path} is not a result: {error}", "expected: a result file of zoo") from None


def recorded_result(path: Path) -> Result | None:
    """Return the result in a file; None where there is no file, or it is not a result."""
    try:
        return read_result(path)
    except ZooError:
        return None


def write_result(result: Result, path: Path) -> None:
    """Write a result atomically, with its `content_sha256`.

    Raises:
        MachineError: where it can't be written.
    """
    from zoo_core.machine.files import write_atomic

    final = result.model_copy(update={"content_sha256": result.content_hash()})
    write_atomic(path, final.text())


def recorded(kind: type[Kind], folder: Path) -> Kind | None:
    """Return the record of a kind in a run's folder, one of `RECORDS`; None where the folder has none.

    Raises:
        UsageError: where the file holds something else.
    """
    name, what = RECORDS[kind]
    path = folder / name
    if not path.exists():
        return None
    try:
        return kind.model_validate_json(read_bounded(path, LARGEST_FILE))
    except ValueError:
        raise UsageError(f"{path} is not the record of {what}", "next: remove it") from None


def write_record(record: Record, folder: Path) -> None:
    """Write one of `RECORDS` into a run's folder; every result of the run then has it.

    Raises:
        MachineError: where it can't be written.
    """
    from zoo_core.machine.files import write_atomic

    path = folder / RECORDS[type(record)][0]
    write_atomic(path, record.model_dump_json().encode(), parents=True)
