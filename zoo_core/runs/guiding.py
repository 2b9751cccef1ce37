"""The weaker model of autoguidance (`sample.guide=auto`): a checkpoint of another run of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo_core.config import RunConfig
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser
from zoo_core.runs.checkpoints import places
from zoo_core.training import checkpoint
from zoo_core.types import DataInfo


@dataclass(frozen=True)
class Guide:
    """A trained model that guides another.

    Attributes:
        recipe: in evaluation mode, with the weights that are scored.
        record: what provenance.json tells of it: address, step, and sha256 of its weights.
    """

    recipe: Any
    record: dict[str, Any]


def guide_of(config: RunConfig) -> str:
    """Return the address of the run whose model guides; "" where none does."""
    sample: Any = config.sample
    if getattr(sample, "guide", "") != "auto" or sample.guidance_scale == 1:
        return ""
    address: str = sample.guidance_run
    return address


def chosen(folder: Path, step: int | None) -> Path:
    """Return the checkpoint of a run at a training step, or its last.

    Raises:
        MachineError: where it has none.
        UsageError: where it has none at that step.
    """
    saved = places(folder)
    steps = {int(path.name.partition("-")[2]): path for path in saved}
    if step is not None and step not in steps:
        raise UsageError(
            f"sample.guidance_step={step}: {folder} has no checkpoint of that step",
            f"expected: one of {', '.join(map(str, steps))}",
        )
    return saved[-1] if step is None else steps[step]


def load_guide(
    config: RunConfig, data: DataInfo, device: torch.device, say: Callable[[str], None]
) -> Guide | None:
    """Return the model that guides the samples of a run; None where none is asked for.

    Args:
        config: of the run that is guided.
        data: of the same, with its task.
        device: where it runs.
        say: receives lines for the user.

    Raises:
        NotFoundError: where there is no run.
        UsageError: where it is of another plugin, data or task, or models codes.
        MachineError: where it has no checkpoint that verifies.
    """
    from zoo_core.runs import saved_config, untrained
    from zoo_core.runs.exchange import run_folder

    address = guide_of(config)
    if not address:
        return None
    folder = run_folder(address)
    theirs = saved_config(folder)
    sample: Any = theirs.sample
    unguided = sample.model_copy(update={"guidance_scale": 1.0, "guide": "free"})
    theirs = theirs.model_copy(update={"sample": unguided, "device": str(device)})
    made = untrained(folder, theirs, say=say)
    for what, there, here in (
        ("plugin", theirs.plugin, config.plugin),
        ("data", made.data.info.name, data.name),
        ("task", made.data.info.task, data.task),
        ("shape", made.data.info.shape, data.shape),
    ):
        if there != here:
            raise UsageError(
                f"sample.guidance_run={address}: its {what} is {there}, and here it is {here}",
                "expected: a run of the same plugin, data and task, trained less or with a smaller network",
            )
    if not isinstance(made.recipe, HasDenoiser) or made.recipe.denoiser().space != "data":
        raise UsageError(
            f"sample.guide=auto with plugin={config.plugin}: two runs have different codes, or no denoiser",
            "expected: a diffusion or flow model of the data",
        )
    path = chosen(folder, config.sample.guidance_step)  # type: ignore[attr-defined]
    saved = checkpoint.load(path)
    scored, _ = checkpoint.scored_and_raw(saved)
    made.recipe.load_state_dict(scored)
    made.recipe.eval().requires_grad_(False)
    digest = checkpoint.verify(path)[checkpoint.WEIGHTS]
    return Guide(made.recipe, {"address": address, "step": saved.state["counts"]["total"], "sha256": digest})
