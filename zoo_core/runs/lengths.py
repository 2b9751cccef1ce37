"""EMA weights of another length than those that were averaged in training, from the snapshots of a run.

`snapshots/NAME/step-N.safetensors` in a run's folder holds the power-function averages of a submodule of two
lengths after N steps of the stage, in float32 (`zoo_core.training.power`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.files import cannot_write, write_atomic
from zoo_core.training.power import LENGTHS, checked

FOLDER = "snapshots"
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
        content = save(flat)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, len(content), error) from error
        write_atomic(path, content)


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
    if not known:
        raise UsageError(
            f"{folder} has no snapshots of EMA weights", "expected: a run trained with train.ema.kind=power"
        )
    times = [float(at) for at, _ in known for _ in LENGTHS]
    factors, residual = checked(times, [*LENGTHS] * len(known), step, length)
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


def use_length(made: Any, length: float) -> None:
    """Replace the EMA weights of a trained run by those of another length.

    Args:
        made: a `Run` with the weights of its last checkpoint.
        length: sigma_rel.

    Raises:
        UsageError: where the run has no snapshots, or they do not span the length.
        MachineError: where one can't be read, or is of another model.
    """
    averages = made.harness.averages.of
    if not any(ema.config.kind == "power" for ema in averages.values()):
        raise UsageError(
            f"sample.ema_length={length}: {made.config.plugin} has no EMA weights of a power function",
            "expected: a run trained with train.ema.kind=power",
        )
    for name, ema in averages.items():
        if ema.config.kind != "power":
            continue
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
