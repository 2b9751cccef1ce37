"""Listeners to a run's events: metrics.jsonl and W&B. The run's folder is the truth."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo_core.config import strict_json
from zoo_core.errors import Interrupted, MachineError
from zoo_core.events import hookimpl
from zoo_core.interfaces import RunView
from zoo_core.machine import terminal
from zoo_core.machine.files import at_once, read_bounded, write_atomic
from zoo_core.registry.metrics import direction
from zoo_core.results import Result, RunResult, Value

LARGEST_LOG = 1 << 28
"""Bytes of a metrics.jsonl that are read: those of about a million records."""


class Jsonl:
    """metrics.jsonl: one line a record; after a resume, records past the checkpoint are dropped first.

    A record that cannot be written is kept and written with the next one; the user is told once.
    """

    def __init__(self) -> None:
        self._path = Path()
        self._waiting: list[bytes] = []

    @hookimpl
    def zoo_run_started(self, run: RunView) -> None:
        self._path = run.dir / "metrics.jsonl"
        if self._path.exists():
            steps = [(record, record["step"]) for record in read_metrics(self._path)]
            text = "".join(_line(record) for record, step in steps if step <= run.step)
            write_atomic(self._path, text.encode())

    @hookimpl
    def zoo_log(self, run: RunView, step: int, values: Mapping[str, float]) -> None:
        self._waiting.append(_line({"step": step, **values}).encode())
        self._write(run)

    @hookimpl
    def zoo_run_finished(self, run: RunView) -> None:
        self._write(run)

    @hookimpl
    def zoo_run_failed(self, run: RunView) -> None:
        self._write(run)

    def _write(self, run: RunView) -> None:
        """Write the records that wait; what the machine refuses waits on, and the first refusal is told."""
        if not self._waiting:
            return
        told = len(self._waiting) > 1
        try:
            _append(self._path, b"".join(self._waiting))
        except OSError as error:
            if not told:
                run.warn(f"warning: cannot write {self._path}: {error.strerror}; trying again with the next")
        else:
            self._waiting = []


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _append(path: Path, data: bytes) -> None:
    """Append to a file all of `data` or nothing.

    Raises:
        OSError: where the machine refuses.
    """
    with open(path, "ab", buffering=0, opener=at_once) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the records of a metrics.jsonl; lines that hold no record with a step are left out.

    Raises:
        NotFoundError: where there is no such file.
        UsageError: where it is not a regular file, or larger than `LARGEST_LOG`.
    """
    records = []
    for line in read_bounded(path, LARGEST_LOG).splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(record, dict):
            continue
        step = record.get("step")
        if isinstance(step, int) and not isinstance(step, bool):
            records.append(record)
    return records


QUIET = {
    "init_timeout": 10,
    "console": "off",
    "silent": True,
    "x_disable_stats": True,
    # W&B's own record of the machine: host, user, working directory, command line, git remote, packages
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "disable_git": True,
    "disable_code": True,
    "host": "zoo",
}
"""W&B's settings: no output, no waiting, and nothing sent but what is told here."""


class WandB:
    """Weights & Biases: online with a key, offline without; never a prompt, never a long wait.

    Names are those of result.json: the summary and the table `metrics` have its columns and costs, and the
    table `leaderboard` holds the run as a row, with the baselines below. The config is sent without secrets
    and paths (`zoo_core.config.privacy`).
    """

    def __init__(self) -> None:
        self._run: Any = None

    @hookimpl
    def zoo_run_started(self, run: RunView) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        from zoo_core.config.privacy import public, public_text
        from zoo_core.registry.resolution import plain

        mode: Any = os.environ.get("WANDB_MODE") or run.config.track.wandb
        if mode == "auto":
            mode = "online" if _has_key(wandb) else "offline"
        known = wandb.Settings.model_fields  # they come and go between its releases
        settings = wandb.Settings(**{name: value for name, value in QUIET.items() if name in known})
        facts: dict[str, Any] = {
            "project": public_text(run.config.track.project),
            "name": f"{run.config.data.name}-{run.config.plugin}-s{run.config.seed}",
            "group": f"{run.config.data.name}-{run.config.plugin}",
            "config": public(plain(run.config)),
            # W&B's background process keeps the working directory of its first run
            "dir": str(run.dir.resolve()),
            "id": _wandb_id(run.dir / "wandb.json"),
            "resume": "allow",
        }
        try:
            self._run = wandb.init(mode=mode, settings=settings, **facts)
        except Interrupted:
            raise
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            terminal.tell(f"warning: W&B can't be reached ({type(error).__name__}: {reason}); kept offline")
            self._run = wandb.init(mode="offline", settings=settings, **facts)
        # W&B reports later imports to its process from inside the import statement, which then raises in
        # whatever code imports something once that process is gone.
        with contextlib.suppress(Exception):
            self._run._unregister_telemetry_import_hooks(self._run.id)

    @hookimpl
    def zoo_log(self, run: RunView, step: int, values: Mapping[str, float]) -> None:
        with self._dropped_on_failure():
            if self._run is not None:
                self._run.log(dict(values), step=step)

    @hookimpl
    def zoo_images(self, run: RunView, step: int, name: str, path: str) -> None:
        with self._dropped_on_failure():
            if self._run is not None:
                import wandb

                self._run.log({name: wandb.Image(path)}, step=step)

    @hookimpl
    def zoo_run_finished(self, run: RunView, result: RunResult) -> None:
        if self._run is None:
            return
        with self._dropped_on_failure():
            self._summarize(result)
            offline = getattr(self._run, "offline", False)
            folder = Path(self._run.dir).parent
            self._finish(0)
        if offline:
            run.say(f"W&B: kept offline; with a key: wandb sync {folder}")

    @hookimpl
    def zoo_run_failed(self, run: RunView, error: BaseException) -> None:
        with self._dropped_on_failure():
            self._finish(1)

    def _summarize(self, result: RunResult) -> None:
        import wandb

        self._run.summary.update(_known("cost", result.cost.model_dump(mode="json")))
        if result.result is not None:
            self._run.summary.update(summary(result.result))
            rows = [leaderboard_row(one) for one in (result.result, *result.baselines)]
            columns = list(dict.fromkeys(name for row in rows for name in row))
            board = [[row.get(name) for name in columns] for row in rows]
            cells = [[name, *_cell(name, value)] for name, value in result.metrics.items()]
            names = ["column", "value", "better", "low", "high"]
            self._run.log({"metrics": wandb.Table(columns=names, data=cells)})
            self._run.log({"leaderboard": wandb.Table(columns=columns, data=board)})

    def _finish(self, exit_code: int) -> None:
        if self._run is not None:
            self._run.finish(exit_code=exit_code)
            self._run = None

    @contextlib.contextmanager
    def _dropped_on_failure(self) -> Iterator[None]:
        """Let go of the W&B run where W&B raises: one warning is printed and training continues without it.

        Where W&B's process is gone, its handler at exit would print a traceback; `teardown` removes it.
        """
        try:
            yield
        except Exception:
            import wandb

            lost, self._run = self._run, None
            with contextlib.suppress(Exception):
                lost.finish(exit_code=1)
            with contextlib.suppress(Exception):
                wandb.teardown(exit_code=1)
            raise


def _wandb_id(path: Path) -> str:
    """Return the W&B id of a run, made at its first start; a resumed run continues the same W&B run."""
    found = strict_json.mapping_or_empty(path).get("id")
    if isinstance(found, str) and found.isalnum():
        return found
    # The first start, or a damaged file: a new id does no harm.
    made = secrets.token_hex(8)
    with contextlib.suppress(MachineError):
        write_atomic(path, json.dumps({"id": made}).encode())
    return made


def _cell(name: str, value: Value) -> tuple[float, str, float | None, float | None]:
    low, high = (value.interval.low, value.interval.high) if value.interval else (None, None)
    return value.value, direction(name), low, high


def _known(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{section}.{name}": one for name, one in values.items() if isinstance(one, str | int | float)}


def summary(result: Result) -> dict[str, Any]:
    """Return a result's values by name: columns as they are named there, the rest by its path.

    `FD[digits]` is the value of that column, `cost.nfe` is `result.cost.nfe`.
    """
    found: dict[str, Any] = {name: value.value for name, value in result.metrics.items()}
    found |= _known("cost", result.cost.model_dump(mode="json"))
    found |= _known("protocol", result.protocol.model_dump(include={"name", "version", "hash"}))
    found["samples_sha256"] = result.samples_sha256
    return found | ({"weights_sha256": result.weights_sha256} if result.weights_sha256 else {})


def leaderboard_row(result: Result) -> dict[str, Any]:
    """Return a result as a row of a leaderboard: who it is, then its `summary`."""
    who = {name: getattr(result, name) for name in ("plugin", "family", "config_hash", "seed")}
    return {**who, "data": result.data.name} | summary(result)


def _has_key(wandb: Any) -> bool:
    try:
        return bool(wandb.login(prompt=False))
    except Exception:
        return False
