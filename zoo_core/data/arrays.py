"""Arrays in .npy and .npz files that anyone may have made: bounded, numeric types only, never a pickle.

The header is parsed here, without `eval`, and compared with the size of the file before any memory is
allocated: a file of 1 kB that claims 10^9 rows is refused.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.files import open_regular
from zoo_core.machine.spool import new_array

LARGEST_ARRAY = 8 << 30
"""Bytes of the largest array that is read into memory, unless the caller allows another size."""
MAX_MEMBERS = 1000
"""Arrays in one .npz file."""
MAX_DIMENSIONS = 8
MAX_HEADER = 4096
"""Bytes of a .npy header; numpy itself writes 118 for most arrays."""
DEFLATE_RATIO = 1032
"""The largest compression ratio that deflate can reach; a member that claims more is false."""
BLOCK = 1 << 20
"""Bytes read at once."""

_MAGIC = b"\x93NUMPY"
_ITEM = re.compile(
    r"""\s*(?P<quote>['"])(?P<key>descr|fortran_order|shape)(?P=quote)\s*:\s*
    (?P<value>'[^'"\\]{1,8}'|"[^'"\\]{1,8}"|True|False|\([0-9,\s]{0,200}\))\s*(?:,|$)""",
    re.VERBOSE,
)
_TYPE = re.compile(r"[<>|=]?(?:b1|\?|[iu][1248]|f[248])")


@dataclass(frozen=True)
class ArrayHeader:
    """What the header of an array says, already compared with the size of its file.

    Attributes:
        shape: rows first.
        dtype: bool, integer or float.
        fortran_order: whether the first axis varies fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool

    @property
    def size(self) -> int:
        """Bytes of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


Arrays = Iterator[tuple[str, ArrayHeader, BinaryIO]]
"""Name, header and values of each array of a file; the values are read before the next array is asked for."""


def read_headers(path: Path) -> dict[str, ArrayHeader]:
    """Return the header of each array in a file by its name; the array of an .npy file is named "".

    Args:
        path: of an .npy or .npz file; its content decides, not its suffix.

    Raises:
        NotFoundError: where there is no such file.
        UsageError: where it is not a regular file, damaged, truncated, or claims more than it can hold.
    """
    with _opened(path) as arrays:
        return {name: header for name, header, _ in arrays}


def read_array(
    path: Path, name: str = "", *, rows: np.ndarray[Any, Any] | None = None, max_bytes: int = LARGEST_ARRAY
) -> np.ndarray[Any, Any]:
    """Return one array of a file, or some of its rows, in C order and native byte order.

    Args:
        path: of an .npy or .npz file.
        name: of the array in an .npz file, as `read_headers` gives it; "" in an .npy file.
        rows: indices (n,) into the first axis, in any order; None for all. The file is read in blocks, so
            that memory holds these rows only.
        max_bytes: the most memory that the result may take.

    Raises:
        NotFoundError: where there is no such file.
        UsageError: as `read_headers`, and for an array that is not there, too large, or too short for `rows`.
        MachineError: where memory does not suffice.
    """
    with _opened(path) as arrays:
        for found, header, body in arrays:
            if found != name:
                continue
            count = len(rows) if rows is not None else header.shape[0] if header.shape else 1
            needed = header.size if rows is None or header.fortran_order else count * _row_bytes(header)
            if needed > max_bytes:
                raise UsageError(
                    f"{path} holds an array of {needed:,} bytes", f"expected: at most {max_bytes:,} bytes"
                )
            return _read_body(header, body, rows, path)
    raise UsageError(f"{path} holds no array {name!r}", "see: the names in np.load(FILE).files")


def _row_bytes(header: ArrayHeader) -> int:
    return math.prod(header.shape[1:]) * header.dtype.itemsize


def _read_body(
    header: ArrayHeader, body: BinaryIO, rows: np.ndarray[Any, Any] | None, path: Path
) -> np.ndarray[Any, Any]:
    native = header.dtype.newbyteorder("=")
    if rows is None or header.fortran_order:
        whole = np.empty(header.size, np.uint8)
        for start in range(0, len(whole), BLOCK):
            whole[start : start + BLOCK] = np.frombuffer(
                _exactly(body, min(BLOCK, len(whole) - start)), np.uint8
            )
        typed = whole.view(header.dtype)
        array = typed.reshape(header.shape[::-1]).T if header.fortran_order else typed.reshape(header.shape)
        picked = array if rows is None else array[_checked(rows, header, path)]
        return np.ascontiguousarray(picked.astype(native, copy=False)).reshape(
            header.shape if rows is None else (len(rows), *header.shape[1:])
        )
    wanted = _checked(rows, header, path)
    taken = new_array((len(wanted), *header.shape[1:]), native)
    order = np.argsort(wanted, kind="stable")
    per_block = max(1, BLOCK // max(1, _row_bytes(header)))
    for start in range(0, header.shape[0] if len(wanted) else 0, per_block):
        count = min(per_block, header.shape[0] - start)
        first, last = np.searchsorted(wanted, [start, start + count], sorter=order)
        content = _exactly(body, count * _row_bytes(header))
        if last > first:
            places = order[first:last]
            block = np.frombuffer(content, header.dtype).reshape(count, *header.shape[1:])
            taken[places] = block[wanted[places] - start]
    return taken


def _checked(rows: np.ndarray[Any, Any], header: ArrayHeader, path: Path) -> np.ndarray[Any, Any]:
    length = header.shape[0] if header.shape else 0
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= length):
        raise UsageError(f"{path} holds {length:,} rows", f"expected: more than {int(rows.max()):,}")
    return rows


def _exactly(body: BinaryIO, count: int) -> bytes:
    """Return the next `count` bytes, read in blocks: a member may give fewer than it claims.

    Raises:
        EOFError: where there are fewer.
    """
    blocks, left = [], count
    while left:
        block = body.read(min(left, BLOCK))
        if not block:
            raise EOFError(f"truncated: {left:,} bytes are missing")
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def _size(file: BinaryIO) -> int:
    """Return the bytes of a file, which is then at its start."""
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _npy_arrays(file: BinaryIO) -> Arrays:
    """Yield the one array that fills a file: its name "", its header, and the file at its values."""
    yield "", _read_header(file, _size(file)), file


def _npz_arrays(file: BinaryIO) -> Arrays:
    """Yield each array of a zip file: its name, its header, and its values, unpacked as they are read."""
    whole = _size(file)
    with zipfile.ZipFile(_BoundedReads(file)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise ValueError(f"{len(members):,} members; expected at most {MAX_MEMBERS:,}")
        names = [member.filename for member in members]
        if len(set(names)) < len(names):
            raise ValueError("two members have the same name")
        for member in members:
            if not member.filename.endswith(".npy"):
                continue
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename!r:.80} is not stored or deflated")
            if member.compress_size > whole:
                raise ValueError(
                    f"{member.filename!r:.80} claims {member.compress_size:,} compressed bytes; the file"
                    f" has {whole:,}"
                )
            stored = member.compress_type == zipfile.ZIP_STORED
            most = member.compress_size * (1 if stored else DEFLATE_RATIO)
            if member.file_size > most:
                raise ValueError(
                    f"{member.filename!r:.80} claims {member.file_size:,} bytes; its"
                    f" {member.compress_size:,} compressed bytes hold at most {most:,}"
                )
            with archive.open(member) as body:
                header = _read_header(body, member.file_size)  # type: ignore[arg-type]
                yield member.filename.removesuffix(".npy"), header, body  # type: ignore[misc]


class _BoundedReads:
    """A file for `zipfile` that refuses one huge read, such as of a directory of millions of members."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        """Return the next `count` bytes, or all that are left, of which there must be at most 4 MiB."""
        most = 4 * BLOCK
        content = self._file.read(min(count, most + 1) if count >= 0 else most + 1)
        if len(content) > most:
            raise ValueError("the directory of members is too large")
        return content


def _read_header(body: BinaryIO, size: int) -> ArrayHeader:
    """Return the header at the start of an array of `size` bytes, header included.

    Raises:
        ValueError: where it is not one, or claims another size.
    """
    prefix = _exactly(body, 8)
    if prefix[:6] != _MAGIC:
        raise ValueError("not a .npy array")
    version = (prefix[6], prefix[7])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of the .npy format is unknown")
    width, form = (2, "<H") if version == (1, 0) else (4, "<I")
    length = struct.unpack(form, _exactly(body, width))[0]
    if length > MAX_HEADER:
        raise ValueError(f"a header of {length:,} bytes; expected at most {MAX_HEADER:,}")
    header = _parsed(_exactly(body, length).decode("latin-1"))
    claimed = 8 + width + length + header.size
    if claimed != size:
        raise ValueError(f"{header.dtype} of shape {header.shape} needs {claimed:,} bytes; it has {size:,}")
    return header


def _parsed(text: str) -> ArrayHeader:
    inner = re.fullmatch(r"\s*\{(.*)\}\s*", text, re.DOTALL)
    items: dict[str, str] = {}
    position, content = 0, inner[1].rstrip() if inner else ""
    while position < len(content):
        item = _ITEM.match(content, position)
        if item is None or item["key"] in items:
            break
        items[item["key"]] = item["value"]
        position = item.end()
    if position < len(content) or len(items) != 3:
        raise ValueError(f"not a header of a numeric array: {text.strip()!r:.120}")
    kind = items["descr"].strip("'\"")
    if not _TYPE.fullmatch(kind):
        raise ValueError(f"values of type {kind!r}; expected bool, integers or floats")
    if items["fortran_order"] not in ("True", "False") or not items["shape"].startswith("("):
        raise ValueError(f"not a header of a numeric array: {text.strip()!r:.120}")
    parts = [part.strip() for part in items["shape"].strip("()").split(",")]
    parts = parts[:-1] if parts[-1] == "" else parts
    if len(parts) > MAX_DIMENSIONS or not all(re.fullmatch(r"[0-9]{1,15}", part) for part in parts):
        raise ValueError(
            f"the shape {items['shape']!r:.80} is not one of at most {MAX_DIMENSIONS} dimensions"
        )
    shape = tuple(int(part) for part in parts)
    return ArrayHeader(shape, np.dtype(kind), items["fortran_order"] == "True")


@contextmanager
def _opened(path: Path) -> Iterator[Arrays]:
    """Provide the arrays of a file, as its first bytes say what it is; its faults are `UsageError`s."""
    with open_regular(path) as file:
        try:
            head = file.read(6)
            file.seek(0)
            if head == _MAGIC:
                yield _npy_arrays(file)
            elif head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                yield _npz_arrays(file)
            else:
                raise ValueError("neither an .npy nor an .npz file")
        except UsageError:
            raise
        except MemoryError as error:
            raise MachineError(f"not enough memory for an array of {path}") from error
        except (
            OSError,
            ValueError,  # ours, UnicodeDecodeError, a seek before the start
            EOFError,
            OverflowError,
            RuntimeError,  # an encrypted member; NotImplementedError
            struct.error,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(
                f"can't read arrays from {path}: {reason}"[:400],
                "expected: a file written by np.save or np.savez_compressed",
            ) from error


def only_array(headers: Mapping[str, ArrayHeader], preferred: tuple[str, ...], path: Path) -> str:
    """Return the name of the array that is meant: the only one, or the only one with a preferred name.

    Args:
        headers: from `read_headers`.
        preferred: names to take where a file holds several arrays, e.g. ("samples", "arr_0").

    Raises:
        UsageError: where none or several are possible.
    """
    names = list(headers)
    chosen = names if len(names) == 1 else [name for name in names if name in preferred]
    if len(chosen) != 1:
        found = ", ".join(repr(name)[:40] for name in names[:8]) or "none"
        raise UsageError(
            f"{path} holds {len(names)} arrays: {found}", f"expected: one, or one named {preferred[0]!r}"
        )
    return chosen[0]
