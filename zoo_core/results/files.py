"""Reading and writing result.json: bounded before it is parsed, whole or not at all."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from pydantic import ValidationError

from zoo_core.errors import UsageError
from zoo_core.results.result import SCHEMA, Result

LARGEST_FILE = 20_000
"""Bytes of a result file; curves and sample grids are attachments."""

_OLD = f"schema 1: made by version 0.1; this version reads schema {SCHEMA}. Run the model again"
_OLD_MARKS = re.compile(rb'"schema"\s*:\s*1\s*[,}]|"memorisation"\s*:')


def _is_old(text: bytes) -> bool:
    """Return whether this is the start of a result of version 0.1."""
    return _OLD_MARKS.search(text) is not None


def parse_result(text: bytes) -> Result:
    """Return the result in the bytes of a file.

    Raises:
        ValueError: one line that says what is wrong.
    """
    if _is_old(text):
        raise ValueError(_OLD)
    try:
        result = Result.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(" ".join(f"{where}: {first['msg']}".split())[:300]) from None
    if result.content_sha256 is not None and result.content_sha256 != result.content_hash():
        raise ValueError("content_sha256 is of other content: the file was changed after it was written")
    return result


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a regular file that may be a result.

    Raises:
        UsageError: where it can't be read, is not a regular file, or is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not block
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a regular file")
        text = file.read(LARGEST_FILE + 1) or b""
    if len(text) > LARGEST_FILE:
        old = _is_old(text)
        raise UsageError(
            _OLD if old else f"{path}: {status.st_size:,} bytes; a result has at most {LARGEST_FILE:,}"
        )
    return text


def read_result(path: Path) -> Result:
    """Return the result in a regular file.

    Raises:
        UsageError: where it is not a regular file, too large, or not a result.
    """
    try:
        return parse_result(read_bytes(path))
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
