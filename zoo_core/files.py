"""Reading files that anyone may have made: regular files only, and never more bytes than allowed."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from zoo_core.errors import NotFoundError, UsageError


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
    if len(content) > limit:
        raise UsageError(f"{path} is too large", f"expected: at most {limit:,} bytes")
    return content
