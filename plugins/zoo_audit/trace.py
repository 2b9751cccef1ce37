"""The trace of a training: the hashes of its states, chained, under one root.

Each hash is chained to the one before, from what the run is; the root is that of a Merkle tree over the
chain. Whoever has the root can be shown any state of it, and nobody can change one without changing the root.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from zoo_core.config import RunConfig, strict_json
from zoo_core.errors import UsageError, ZooError
from zoo_core.machine.files import write_atomic
from zoo_core.registry.resolution import config_hash
from zoo_core.results import TrainingAudit
from zoo_core.results.result import canonical_json

FOLDER, TRACE = "audit", "trace.json"
"""In a run's folder: the kept states, and in it their hashes."""
LARGEST = 1 << 27
"""Bytes of a trace that is read: about a million states."""
DOMAIN = "zoo audit 1"
"""Sets these hashes apart from all others."""


@dataclass(frozen=True)
class Trace:
    """The states of a training.

    Attributes:
        run: what is trained: plugin, hash of the options, seed, SHA-256 of the data.
        evaluation: the options `eval.*` when training began. Networks that the evaluation builds before the
            first step draw from the random numbers that some losses draw from.
        machine: what the bits depend on: see `zoo_audit.machine`.
        every: steps between two states.
        states: (step, SHA-256 of the state), in order; the initialization is not among them.
        resumed: steps from which the training was continued after an interruption.
    """

    run: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    machine: Mapping[str, Any]
    every: int
    states: tuple[tuple[int, str], ...] = ()
    resumed: tuple[int, ...] = field(default=())

    def chain(self) -> list[bytes]:
        """Return the chained hashes of the states, 32 bytes each."""
        about = {
            "domain": DOMAIN,
            "run": self.run,
            "evaluation": self.evaluation,
            "machine": self.machine,
            "every": self.every,
        }
        link = hashlib.sha256(canonical_json(about).encode()).digest()
        links = []
        for step, sha256 in self.states:
            link = hashlib.sha256(link + step.to_bytes(8, "little") + bytes.fromhex(sha256)).digest()
            links.append(link)
        return links

    def root(self) -> str:
        """Return the root of the Merkle tree over the chain, in hex."""
        return merkle_root(self.chain()).hex()

    def commitment(self) -> TrainingAudit:
        """Return what a result holds of the trace."""
        return TrainingAudit(every=self.every, segments=len(self.states), root=self.root())


def about_run(config: RunConfig, data_sha256: str) -> dict[str, Any]:
    """Return what a trace says that it is the training of."""
    return {
        "plugin": config.plugin,
        "config_hash": config_hash(config),
        "seed": config.seed,
        "data_sha256": data_sha256,
    }


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the binary Merkle tree over leaves, 32 bytes; leaves and nodes are hashed apart.

    Raises:
        ValueError: without leaves.
    """
    if not leaves:
        raise ValueError("a tree has at least one leaf")
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        paired = [hashlib.sha256(b"\1" + a + b).digest() for a, b in pairs]
        level = [*paired, *level[2 * len(paired) :]]
    return level[0]


def boundaries(total: int, every: int) -> list[int]:
    """Return the steps after which a training of `total` steps keeps its state; the last is `total`."""
    return [*range(every, total, every), total]


def kept_state(folder: Path, step: int) -> Path:
    """Return the folder of the state that a run kept after a step."""
    return folder / FOLDER / f"step-{step:08d}"


def write_trace(trace: Trace, folder: Path) -> None:
    """Write a trace into a run's folder.

    Raises:
        MachineError: where it can't be written.
    """
    write_atomic(folder / FOLDER / TRACE, json.dumps(asdict(trace)).encode(), parents=True)


def read_trace(folder: Path) -> Trace:
    """Return the trace in a run's folder, which anyone may have written.

    Raises:
        UsageError: where there is none, or it is damaged.
    """
    path = folder / FOLDER / TRACE
    if not path.is_file():
        raise UsageError(
            f"{folder} has not kept the states of its training", "expected: a run made with train.audit=STEPS"
        )
    try:
        return _trace_of(strict_json.read(path, LARGEST))
    except (ZooError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{path} is not the trace of a training: {error!s:.200}") from error


def _trace_of(plain: Any) -> Trace:
    states = tuple((_step(step), str(sha256)) for step, sha256 in plain["states"])
    steps = [step for step, _ in states]
    if not all(before < after for before, after in pairwise(steps)):
        raise ValueError("its steps are not in order")
    if not all(len(bytes.fromhex(sha256)) == 32 for _, sha256 in states):
        raise ValueError("it holds something else than SHA-256 hashes")
    return Trace(
        run=dict(plain["run"]),
        evaluation=dict(plain["evaluation"]),
        machine=dict(plain["machine"]),
        every=_step(plain["every"]),
        states=states,
        resumed=tuple(map(_step, plain["resumed"])),
    )


def _step(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{value!r:.40} is not a step")
    return value
