"""Reading and writing result.json: bounded before it is parsed, whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import ValidationError

from zoo_core.errors import UsageError
from zoo_core.results.result import SCHEMA, Result

LARGEST_FILE = 20_000
"""Bytes of a result file; curves and sample grids are attachments."""


def parse_result(text: bytes) -> Result:
    """Return the result in the bytes of a file.

    Raises:
        ValueError: one line that says what is wrong.
    """
    if b'"schema": 1' in text[-200_000:] or b'"schema":1' in text[-200_000:]:
        raise ValueError(
            f"schema 1: made by version 0.1; this version reads schema {SCHEMA}. Run the model again"
        )
    try:
        result = Result.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(" ".join(f"{where}: {first['msg']}".split())[:300]) from None
    if result.content_sha256 is not None and result.content_sha256 != result.content_hash():
        raise ValueError("content_sha256 is of other content: the file was changed after it was written")
    return result


def read_result(path: Path) -> Result:
    """Return the result in a regular file.

    Raises:
        UsageError: where it is not a regular file, too large, or not a result.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not block
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a regular file")
        if status.st_size > LARGEST_FILE:
            raise UsageError(f"{path} has {status.st_size:,} bytes; a result has at most {LARGEST_FILE:,}")
        text = file.read(LARGEST_FILE + 1)
    try:
        return parse_result(text)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


def write_result(result: Result, path: Path) -> None:
    """Write a result atomically, with its `content_sha256`.

    Raises:
        MachineError: where it can't be written.
    """
    from zoo_core.training.checkpoint import write_atomic

    final = result.model_copy(update={"content_sha256": result.content_hash()})
    write_atomic(path, final.model_dump_json(indent=1, by_alias=True, exclude_defaults=False).encode())
