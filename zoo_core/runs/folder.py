"""The files of a run's folder: its config, its state, its provenance and its finished result."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from zoo_core.config import RunConfig, flatten, privacy, strict_json, strict_yaml
from zoo_core.errors import MachineError, UsageError, ZooError
from zoo_core.home import home
from zoo_core.machine.files import cannot_write, write_atomic
from zoo_core.registry.resolution import config_hash, plain
from zoo_core.results import Cost, Provenance, Result, RunResult, read_result
from zoo_core.results.records import provenance_record
from zoo_core.runs import saved_config
from zoo_core.runs.repeat import changed_options


def write_state(folder: Path, name: str, *, set_aside: Sequence[str] = (), **facts: Any) -> None:
    """Record what has become of a run, in run.json.

    Args:
        folder: the run's folder.
        name: running, finished, interrupted, diverged or failed.
        set_aside: corrupt checkpoints that were renamed, added to those recorded before.
        facts: what else to record.
    """
    path = folder / "run.json"
    known = recorded_state(folder).get("set_aside")
    aside = [*(known if isinstance(known, list) else ()), *set_aside]
    record = {"state": name, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **facts}
    with contextlib.suppress(MachineError):  # the record of a full disk may not fit on it
        text = json.dumps({**record, "set_aside": aside} if aside else record, indent=1)
        write_atomic(path, text.encode())


def finished(folder: Path, config: RunConfig, warn: Callable[[str], None] = print) -> RunResult | None:
    """Return the recorded result of a finished run of this very config, or None.

    A result that can't be read is reported; the run is then scored again.

    Raises:
        UsageError: where the folder holds another config's run, or parts of a run without its config.
    """
    if not (folder / "config.yaml").exists():
        _check_unclaimed(folder)
        return None
    saved = saved_config(folder)
    if (config_hash(saved), saved.seed) != (config_hash(config), config.seed):
        changed = changed_options(saved, config)
        raise UsageError(
            f"{folder} holds a run of another config", *changed, "next: choose another run_dir=..."
        )
    how = {"batch_size", "baselines"}  # no metric depends on these
    if saved.eval.model_dump(exclude=how) != config.eval.model_dump(exclude=how):
        return None
    record = recorded_state(folder)
    if record.get("state") != "finished":
        return None
    facts = {"images": record.get("images") or {}, "weights_sha256": record.get("weights_sha256")}
    if config.eval.protocol == "none":
        try:
            cost = Cost.model_validate(record.get("cost", {}))
        except ValidationError:
            return None
        return run_result(folder, config, None, cost=cost, **facts)
    path = folder / "result.json"
    try:
        result = read_result(path)
    except ZooError as error:
        warn(f"{error.what}; the run is scored again")
        return None
    return run_result(folder, config, result, cost=result.cost, **facts)


def _check_unclaimed(folder: Path) -> None:
    """Refuse a folder without config.yaml that holds what a run writes after it: of which run is unknown.

    Raises:
        UsageError: as said.
    """
    left = [name for name in ("checkpoints", "metrics.jsonl", "result.json") if (folder / name).exists()]
    if left:
        raise UsageError(
            f"{folder} holds {', '.join(left)} and no config.yaml: a run would continue or replace them",
            "expected: a new or empty folder, or that of a run",
            "next: choose another run_dir=..., or restore the run's config.yaml",
        )


def recorded_state(folder: Path) -> dict[str, Any]:
    """Return what run.json holds; empty where it is missing or damaged."""
    return strict_json.mapping_or_empty(folder / "run.json")


def run_result(folder: Path, config: RunConfig, result: Result | None, **facts: Any) -> RunResult:
    """Return a run's result with its folder, its config's hash and its recorded provenance.

    Args:
        result: as scored; None where the run was not scored.
        facts: cost, images and weights_sha256, as `RunResult` has them.
    """
    recorded = strict_json.mapping_or_empty(folder / "provenance.json")
    return RunResult(
        run_dir=str(folder),
        plugin=config.plugin,
        data=config.data.name,
        seed=config.seed,
        config_hash=config_hash(config),
        result=result,
        provenance=_provenance_of(recorded) if result is None else result.provenance,
        **facts,
    )


def _provenance_of(recorded: Mapping[str, Any]) -> Provenance:
    """Return the provenance in a run's provenance.json; an empty one where the file is damaged."""
    try:
        return provenance_record(recorded)
    except (AttributeError, TypeError, ValueError):
        return Provenance()


def write_config(config: RunConfig, folder: Path) -> None:
    """Write config.yaml into a run's folder; the folder is then one that `zoo run resume=` continues."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        privacy.keep(folder, flatten(plain(config)))
    except OSError as error:
        raise cannot_write(home(), 0, error) from error
    text = f"# repeat: zoo run config={folder / 'config.yaml'}\n" + strict_yaml.dump(
        privacy.redacted(plain(config))
    )
    write_atomic(folder / "config.yaml", text.encode())


def recorded_compilation(folder: Path) -> list[str]:
    """Return what was decided and measured about compilation, as provenance.json has it."""
    notes = strict_json.mapping_or_empty(folder / "provenance.json").get("notes")
    note = notes.get("compile") if isinstance(notes, Mapping) else None
    return [note] if isinstance(note, str) else []


def write_provenance(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write provenance.json into a run's folder."""
    write_atomic(folder / "provenance.json", json.dumps(provenance, indent=1).encode())
