"""Valid results to change one fact of, and their files, with the sha256 that states are recorded by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_core.results import Result, write_result
from zoo_core.results.result import fields_hash

DATA_SHA256 = "a" * 64


def digest(*parts: object) -> str:
    """Return a sha256 that depends on the parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def fields(**changes: Any) -> dict[str, Any]:
    """Return the fields of the protocol `quick`, changed."""
    made = {
        "name": "quick",
        "version": 1,
        "n_generated": 2000,
        "data": "digits",
        "data_sha256": DATA_SHA256,
        "n_reference": 1437,
        "extractor": "digits",
        "extractor_sha256": "b" * 64,
        "neighbors_n": 1437,
        "metrics_version": 3,
    }
    return made | changes


def result(
    plugin: str = "wgan",
    fd: float = 5.0,
    seed: int = 0,
    *,
    metrics: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
    task: str = "unconditional",
    **changes: Any,
) -> dict[str, Any]:
    """Return a valid result as plain data.

    Args:
        fd: value of `FD[digits]`.
        metrics: columns added to those that there are; None as a value removes one.
        protocol: fields of the protocol that differ from `fields()`.
        changes: whole top-level fields.
    """
    how = fields(**(protocol or {}))
    columns: dict[str, Any] = {
        "FD[digits]": {"value": fd},
        "IS[digits]": {"value": 3.0},
        "recall[digits]": {"value": 1 / (1 + abs(fd))},
        "noise floor[FD[digits]]": {"value": 0.05},
        "memorization[pixels]": {"value": 0.0},
        **(metrics or {}),
    }
    made = {
        "schema": 2,
        "plugin": plugin,
        "family": "gan",
        "seed": seed,
        "config_hash": digest(plugin, "config")[:12],
        "data": {"name": how["data"], "sha256": how["data_sha256"], "task": task},
        "protocol": {
            "name": how["name"],
            "version": how["version"],
            "hash": fields_hash(how),
            "fields": how,
        },
        "metrics": {name: cell for name, cell in columns.items() if cell is not None},
        "cost": {"train_seconds": 12.5, "images_seen": 64000.0, "nfe": 1.0, "parameters": 1000},
        "samples_sha256": digest(plugin, seed, fd, "samples"),
        "weights_sha256": digest(plugin, seed, "weights"),
    }
    return made | changes


def seeds(plugin: str, values: Sequence[float], **changes: Any) -> list[dict[str, Any]]:
    """Return a result of each seed of one configuration."""
    return [result(plugin, value, seed, **changes) for seed, value in enumerate(values)]


def write(folder: Path, *results: Mapping[str, Any]) -> list[Path]:
    """Write results as a submitter would, all into one folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    start = len(list(folder.glob("result-*.json")))
    return [
        one
        for k, made in enumerate(results)
        for one in _written(folder / f"result-{start + k:03d}.json", made)
    ]


def _written(path: Path, made: Mapping[str, Any]) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_result(Result.model_validate(dict(made)), path)
    yield path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, by which its state is recorded."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
