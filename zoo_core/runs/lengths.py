"""EMA weights of another length than those that were averaged in training, from the snapshots of a run.

`snapshots/NAME/step-N.safetensors` in a run's folder holds the power-function averages of a submodule of two
lengths after N steps of the stage, in float32 (`zoo_core.training.power`). `lengths.json` says which length a
validation part selected, and of which weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.config import strict_json
from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.files import write_atomic
from zoo_core.results import Selection
from zoo_core.runs.checkpoints import newest_sha256
from zoo_core.training.ema import Ema
from zoo_core.training.power import LENGTHS, checked

FOLDER, RECORD = "snapshots", "lengths.json"
"""In the folder of a run."""


def save_snapshot(
    folder: Path, step: int, averages: Mapping[str, Mapping[str, Mapping[str, Tensor]]]
) -> None:
    """Write the averages of a run after a step of its stage: submodule -> length -> parameter -> tensor.

    Raises:
        MachineError: where they can't be written.
    """
    from safetensors.torch import save

    for name, by_length in averages.items():
        flat = {
            f"{length}/{parameter}": tensor.detach().to("cpu", torch.float32).contiguous()
            for length, its in by_length.items()
            for parameter, tensor in its.items()
        }
        path = _place(folder, name) / f"step-{step:08d}.safetensors"
        write_atomic(path, save(flat), parents=True)


def _place(folder: Path, name: str) -> Path:
    return folder / FOLDER / (name or "recipe")


def snapshots(folder: Path, name: str, step: int) -> list[tuple[int, Path]]:
    """Return (step, file) of the snapshots of a submodule up to a step of its stage, in order."""
    found = sorted(_place(folder, name).glob("step-*.safetensors"))
    known = [(int(path.stem.partition("-")[2]), path) for path in found]
    return [(at, path) for at, path in known if at <= step]


def averaged(folder: Path, name: str, step: int, length: float) -> tuple[dict[str, Tensor], float]:
    """Return the average of a submodule's weights after a step, and the residual of its profile.

    Args:
        folder: of the run.
        name: of the submodule.
        step: of its stage, at most that of the last snapshot.
        length: sigma_rel.

    Raises:
        UsageError: where there are no snapshots, or they do not span the length.
        MachineError: where one can't be read.
    """
    from safetensors import safe_open

    known = snapshots(folder, name, step)
    factors, residual = _combined(folder, known, step, length)
    total: dict[str, Tensor] = {}
    for place, (_, path) in enumerate(known):
        try:
            with safe_open(path, framework="pt") as file:
                for offset, own in enumerate(LENGTHS):
                    factor = float(factors[len(LENGTHS) * place + offset])
                    prefix = f"{own}/"
                    for key in file.keys():  # noqa: SIM118 - a file is not a mapping
                        if key.startswith(prefix):
                            part = file.get_tensor(key).double() * factor
                            parameter = key.removeprefix(prefix)
                            total[parameter] = total[parameter] + part if parameter in total else part
        except Exception as error:  # the library raises its own, and whatever reading raises
            raise MachineError(f"snapshot {path} is not readable: {error}") from error
    return total, residual


def _combined(
    folder: Path, known: list[tuple[int, Path]], step: int, length: float
) -> tuple[np.ndarray, float]:
    """Return the factors of snapshots in their order, those of a step by length, and the residual.

    Raises:
        UsageError: where there are no snapshots, or they do not span the length.
    """
    if not known:
        raise UsageError(
            f"{folder} has no snapshots of EMA weights", "expected: a run trained with train.ema.kind=power"
        )
    times = [float(at) for at, _ in known for _ in LENGTHS]
    return checked(times, [*LENGTHS] * len(known), step, length)


def _powered(made: Any, length: float) -> Iterator[tuple[str, Ema]]:
    """Yield the power-function averages of a run, by submodule.

    Raises:
        UsageError: where it has none.
    """
    found = {name: ema for name, ema in made.harness.averages.of.items() if ema.config.kind == "power"}
    if not found:
        raise UsageError(
            f"sample.ema_length={length}: {made.config.plugin} has no EMA weights of a power function",
            "expected: a run trained with train.ema.kind=power",
        )
    yield from found.items()


def residual_of(made: Any, length: float) -> float:
    """Return the residual of EMA weights of a length, the largest of all submodules, without making them.

    Args:
        made: a `Run` with the weights of its last checkpoint.
        length: sigma_rel.

    Raises:
        UsageError: where the run has no snapshots, or they do not span the length.
    """
    found = []
    for name, ema in _powered(made, length):
        known = snapshots(made.dir, name, ema.updates)
        found.append(_combined(made.dir, known, ema.updates, length)[1])
    return max(found)


def use_length(made: Any, length: float) -> None:
    """Replace the EMA weights of a trained run by those of another length.

    Args:
        made: a `Run` with the weights of its last checkpoint.
        length: sigma_rel.

    Raises:
        UsageError: where the run has no snapshots, or they do not span the length.
        MachineError: where one can't be read, or is of another model.
    """
    for name, ema in _powered(made, length):
        found, residual = averaged(made.dir, name, ema.updates, length)
        in_place = ema.in_place
        if in_place:
            ema.swap()
        try:
            weights = {key: found[key].to(t.dtype) for key, t in ema.state().items()}
            ema.load(weights, ema.updates, in_place)
        except (KeyError, ValueError) as error:
            raise MachineError(f"the snapshots of {made.dir} are of another model: {error}") from error
        made.say(f"EMA weights of {name}: length {length:g}, residual {residual:.2%}")


def write_length(folder: Path, length: float, scores: Mapping[float, float], how: Selection) -> None:
    """Write which length was selected for the last checkpoint of the run in a folder.

    A result of that checkpoint with `sample.ema_length` of that length then says it.

    Args:
        folder: of the run.
        length: that was selected.
        scores: of each length on the validation part.
        how: the selection.

    Raises:
        MachineError: where the checkpoint is missing or corrupt, or the file can't be written.
    """
    record = {
        "length": length,
        "weights_sha256": newest_sha256(folder),
        "scores": [{"length": one, "value": value} for one, value in scores.items()],
        "selection": how.model_dump(mode="json"),
    }
    write_atomic(folder / RECORD, json.dumps(record).encode())


def length_selection(folder: Path, length: float) -> Selection | None:
    """Return how a length was selected for the last checkpoint of the run in a folder; None where it was not.

    Raises:
        UsageError: where the record of a selection can't be read.
        MachineError: where the checkpoint is missing or corrupt.
    """
    record = strict_json.mapping_or_empty(folder / RECORD)
    if record.get("length") != length or record.get("weights_sha256") != newest_sha256(folder):
        return None
    try:
        return Selection.model_validate(record["selection"])
    except (LookupError, ValueError):
        raise UsageError(f"{folder / RECORD} is not the record of a selection", "next: remove it") from None
