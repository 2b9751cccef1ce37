"""Inject SIGKILL and a full disk at every file operation of a short run, then repeat the run's command.

    python ci/faults.py                 every operation; exit status 1 where something was lost
    python ci/faults.py --stride 7      every seventh

Each case is a forked process: it opens, writes, syncs, renames and deletes through the functions below, of
which the k-th call fails. The same command is then run without a fault. It must end with status 0, in the
bytes of an uninterrupted run, with every record of its losses. A full disk must end a run with status 5 and
one error line, or not at all; nothing may print a traceback.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import errno
import hashlib
import importlib
import io
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN = (
    *("run", "plugin=wgan", "preset=tiny", "train.steps=4", "train.checkpoint_every=1", "train.log_every=1"),
    *("eval.protocol=none", "track.wandb=off", "track.progress=false", "track.plots=false"),
)
IMPORTED = (
    *("sklearn.datasets", "safetensors.torch", "torch._dynamo"),
    *("zoo_gan.wgan", "zoo_core.data.digits", "zoo_core.runs.job"),
)
CALLS = ("fsync", "rename", "replace", "mkdir", "unlink", "remove", "rmdir", "truncate")
KINDS = ("kill", "full once", "full from then on")


@dataclass
class Injector:
    """Counts file operations and lets the `at`-th fail.

    Attributes:
        kind: one of KINDS, or "" to count only.
        at: number of the operation that fails, from 1.
        count: operations so far.
    """

    kind: str = ""
    at: int = 0
    count: int = 0

    def operation(self, before: Callable[[], object] = lambda: None) -> None:
        """Count one operation; `before` is the half of it that happens before it fails."""
        self.count += 1
        due = self.count == self.at or (self.kind == "full from then on" and self.count > self.at)
        if not (self.kind and due):
            return
        before()
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def install(self) -> None:
        """Replace this process's file operations by counted ones."""
        for name in CALLS:
            setattr(os, name, self._counted(getattr(os, name)))
        opened = io.open

        def opening(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            writes = set(mode) & set("wax+")
            if not writes or isinstance(file, int) or str(file).startswith(("/dev", "/proc")):
                return opened(file, mode, *args, **kwargs)
            self.operation()
            return Counted(opened(file, mode, *args, **kwargs), self)

        builtins.open = io.open = opening

    def _counted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.operation()
            return original(*args, **kwargs)

        return call


class Counted:
    """A file whose writes are counted; one that fails has written half."""

    def __init__(self, file: Any, injector: Injector) -> None:
        self._file, self._injector = file, injector

    def write(self, data: Any) -> Any:
        """Write, unless the disk is full by now."""
        self._injector.operation(lambda: (self._file.write(data[: len(data) // 2]), self._file.flush()))
        return self._file.write(data)

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def command(words: Sequence[str], log: Path, injector: Injector) -> tuple[int, int]:
    """Run a zoo command line in a forked process.

    Returns:
        (exit status, or minus the signal; number of file operations, 0 where it was killed).
    """
    count = log.with_suffix(".count")
    child = os.fork()
    if child == 0:
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        report = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        injector.install()
        status = 1
        try:
            from zoo_core.cli import main

            main(list(words))
        except SystemExit as end:
            status = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os.write(report, str(injector.count).encode())
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, int(count.read_text() or 0)


def outcome(folder: Path) -> dict[str, Any]:
    """Return what a finished run must repeat: bytes of its weights, steps of its records, its result.

    The header of the weights holds the config's hash.
    """
    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    files = ("weights.safetensors", "ema.safetensors")
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "run.json").read_text())
    return {
        "step": last.name,
        "bytes": [hashlib.sha256((last / name).read_bytes()).hexdigest() for name in files],
        "steps": [record["step"] for record in records],
        "result": [result.get("weights_sha256"), result.get("cost", {}).get("images_seen")],
        "state": result["state"],
    }


def problems(kind: str, status: int, text: str) -> list[str]:
    """Return what is wrong with how a command ended whose `kind` of fault was injected."""
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    found = ["traceback"] if "Traceback" in text else []
    if kind == "kill":
        return found + ([] if status == -signal.SIGKILL else [f"status {status}"])
    if status == 5:
        return found + ([] if len(errors) == 1 else [f"{len(errors)} error lines"])
    return found + ([] if status == 0 else [f"status {status}"])


def check(root: Path, words: Sequence[str] = RUN, stride: int = 1, offset: int = 0) -> tuple[int, list[str]]:
    """Inject every kind of fault at every `stride`-th file operation of a command.

    Args:
        root: empty folder to work in.
        words: the command; `run_dir=` is added.
        stride: distance of the operations that fail.
        offset: which of the first `stride` operations is the first to fail.

    Returns:
        (number of cases, a line for each that went wrong).
    """
    status, total = command([*words, f"run_dir={root / 'whole'}"], root / "whole.log", Injector())
    if status:
        return 1, [f"the run without a fault: status {status}: {(root / 'whole.log').read_text()[-500:]}"]
    expected, cases, wrong = outcome(root / "whole"), 0, []
    for at in range(1 + offset, total + 1, stride):
        for kind in KINDS:
            cases += 1
            folder, log = root / f"{kind.replace(' ', '-')}-{at}", root / "case.log"
            asked = [*words, f"run_dir={folder}"]
            status, _ = command(asked, log, Injector(kind, at))
            found = problems(kind, status, log.read_text())
            status, _ = command(asked, log, Injector())
            if status or "Traceback" in log.read_text():
                found.append(f"repeated: status {status}: {log.read_text()[-300:]}")
            elif (got := outcome(folder)) != expected:
                found += [
                    f"{name}: {got[name]}, expected {value}"
                    for name, value in expected.items()
                    if got[name] != value
                ]
            wrong += [f"{kind} at operation {at} of {total}: {line}" for line in found]
    return cases, wrong


def preload() -> None:
    """Import once, before the forks, what a run imports."""
    for name in IMPORTED:
        importlib.import_module(name)
    from zoo_core.cli import invoke

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        invoke([*RUN, "--dry-run"])


def main() -> int:
    """Run the driver and print what went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    given = parser.parse_args()
    import zoo_core.data.digits
    import zoo_core.runs.job  # noqa: F401 - imported once, for all the forked cases

    preload()
    with tempfile.TemporaryDirectory() as workspace:
        os.environ["ZOO_HOME"] = str(Path(workspace) / "home")
        cases, wrong = check(Path(workspace), stride=given.stride, offset=given.offset)
    print("\n".join(wrong))
    print(f"{cases} cases, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
