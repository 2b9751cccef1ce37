"""Reading files that anyone may have made, within bounds, and writing files whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from io import BufferedReader
from pathlib import Path

from zoo_core.errors import MachineError, NotFoundError, UsageError
from zoo_core.machine.faults import fix_of


def at_once(path: str, flags: int) -> int:
    """Open a file for `open(opener=...)` without waiting for the other end of a pipe.

    Raises:
        OSError: as `os.open`; for a pipe that nobody reads, where it is to be written.
    """
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def open_regular(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """Return a regular file, open for reading in binary.

    A FIFO without a writer does not block, and no device or socket is read.

    Args:
        follow_links: whether `path` itself may be a symbolic link.

    Raises:
        NotFoundError: where there is no such file.
        UsageError: where it cannot be opened, or is not a regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        if not follow_links and path.is_symlink():
            raise UsageError(f"{path} is a symbolic link", "expected: a regular file")
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"no file {str(path)!r}", "expected: a regular file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"can't read {str(path)!r}: {reason}", "expected: a regular file") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UsageError(
                f"{path} is not a regular file",
                "expected: a regular file, not a folder, pipe, socket or device",
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bounded(path: Path, limit: int, *, follow_links: bool = True) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        NotFoundError: where there is no such file.
        UsageError: as `open_regular`, or where the file is larger than `limit`.
    """
    with open_regular(path, follow_links=follow_links) as file:
        try:
            size = os.fstat(file.fileno()).st_size or limit  # 0 for files of the system, whatever they hold
            content = file.read(min(limit, size) + 1)
        except OSError as error:
            raise UsageError(f"can't read {str(path)!r}: {error.strerror}") from error
    if content is None:  # of a file of the system that has nothing to read now, such as /proc/kmsg
        raise UsageError(f"can't read {str(path)!r}: it has no content now", "expected: a regular file")
    if len(content) > limit:
        raise UsageError(f"{path} is too large", f"expected: at most {limit:,} bytes")
    return content


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and flush it to the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes, *, parents: bool = False) -> None:
    """Write a file under a temporary name, sync it, and rename it: never half a file.

    Args:
        parents: make the folders above it that are not there.

    Raises:
        MachineError: where the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_synced(temporary, data)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, len(data), error) from error
        raise


def cannot_write(path: Path, size: int, error: OSError) -> MachineError:
    """Return the error for a write that the machine refused."""
    free = _free(path)
    return MachineError(
        f"cannot write {path}: {error.strerror or error}",
        f"needed: {size:,} bytes" + ("" if free is None else f"; free there: {free:,} bytes") if size else "",
        f"next: {fix_of(error)}",
    )


def _free(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        while not path.exists() and path != path.parent:
            path = path.parent
        return shutil.disk_usage(path).free
    return None
