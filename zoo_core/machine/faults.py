"""Attribution of an exception: to the machine, or to the plugin whose code raised it."""

from __future__ import annotations

import errno
import os
import signal

from zoo_core.errors import MachineError, PluginError, UsageError, ZooError
from zoo_core.machine.distributed import lost
from zoo_core.machine.libraries import explain_import

MACHINE = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV, errno.ENXIO, errno.ESTALE),
    )
)
"""Errors of the operating system that no code can avoid: space, rights, devices, descriptors."""


ALLOCATOR = "DefaultCPUAllocator"
"""What torch's errors say where the memory of the machine does not suffice."""


def machine_error(error: BaseException) -> MachineError | None:
    """Return the error to show where the machine refused something, or None where it is not at fault."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and ALLOCATOR in str(error)):
        return MachineError(
            "out of memory",
            "next: a smaller train.batch_size, sample.batch_size or model, or a larger machine",
        )
    if not isinstance(error, OSError) or error.errno not in MACHINE:
        return None
    where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
    return MachineError(f"{error.strerror or error}{where}", f"next: {fix_of(error)}")


def bad_path(error: BaseException) -> UsageError | None:
    """Return the error to show where a path that was given can't be one, or None for another error."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    short = name if len(name) <= 100 else f"{name[:100]}... ({len(name):,} characters)"
    return UsageError(
        f"can't use the path {short!r}: {(error.strerror or str(error)).lower()}",
        "expected: the path of a file or folder",
    )


def fix_of(error: OSError) -> str:
    """Return what a user can do about an error of the operating system."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose a place that you may write to: --out, run_dir=..., or the variable ZOO_HOME"
    first = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "fix that"
    return f"{first}, then run the same command again; a run continues from its last checkpoint"


def is_users(error: BaseException) -> bool:
    """Return whether an error is Ctrl-C of the user: during a run, which handles that, code raised it."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return isinstance(error, KeyboardInterrupt) and ours


def attributed(error: BaseException, plugin: str, doing: str) -> ZooError:
    """Return the error to raise where a plugin's code raised `error`, be it an exit or an interrupt.

    Args:
        plugin: name of the plugin, as it is asked for.
        doing: what failed, e.g. "while sampling".

    Raises:
        KeyboardInterrupt: where that was `error`, and the user's.
    """
    if is_users(error):
        raise error
    if isinstance(error, ZooError):
        return error
    try:
        explain_import(error)
    except ZooError as explained:
        return explained
    return (
        lost(error)
        or machine_error(error)
        or PluginError(
            f"plugin {plugin!r} failed {doing}: {type(error).__name__}: {error}",
            f"next: ZOO_DEBUG=1 shows the traceback; `zoo check {plugin}` tests the plugin",
        )
    )
