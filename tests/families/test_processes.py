"""Models have the losses of one process on 2 and 3, step by step; their noise belongs to rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.ranks import on_ranks, returned
from tests.core.row_noise import largest_gap, rowwise
from zoo_core.data.loading import Resident, TrainData
from zoo_core.machine.distributed import joined
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.training.harness import Harness, Listener
from zoo_core.types import DataInfo

INFO = DataInfo("digits", (1, 8, 8), 17, classes=10)
BATCH = 12
COMMON = [f"train.batch_size={BATCH}", "train.log_every=1", "train.ema.decay=0.9", "data=digits"]
MODELS: Mapping[str, list[str]] = {
    "wgan-gp": [
        "model.n_critic=2",
        "model.generator_norm=batch",
        "model.generator_width=4",
        "model.critic_width=4",
    ],
    "vae": ["preset=tiny"],
    "ddpm": ["preset=tiny", "optim.grad_clip=0.5"],
    # the path length penalty is a function of a whole batch's mean length, each process has its own
    "stylegan": ["preset=tiny", "model.r1_every=4", "model.path_weight=0", "model.ada_images=1000"],
    "sngan": ["preset=tiny"],
}


def images() -> Resident:
    rng = torch.Generator().manual_seed(2)
    levels = torch.randint(17, (60, 1, 8, 8), generator=rng, dtype=torch.int64).to(torch.uint8)
    return Resident(levels, torch.randint(10, (60,), generator=rng))


def trained(name: str, steps: int, accumulate: int, dtype: str, *more: str) -> dict[str, Any]:
    """Train one model, and return all that it logged, its weights and its EMA weights."""
    torch.set_default_dtype(getattr(torch, dtype))
    options = [
        f"plugin={name}",
        *MODELS[name],
        *COMMON,
        f"train.steps={steps}",
        f"train.accumulate={accumulate}",
        *more,
    ]
    config = resolve(options)
    torch.manual_seed(0)
    recipe = load_entry("plugin", manager().find("plugin", name))(config, INFO).to(getattr(torch, dtype))
    logged: list[dict[str, float]] = []
    said: list[str] = []
    data = TrainData(images(), INFO, seed=0)
    listener = Listener(log=lambda step, values: logged.append(losses_of(values)), say=said.append)
    made = Harness(recipe, config.train, data, seed=0, plugin=name, listener=listener)
    made.stages = [
        replace(
            stage, phases=[replace(p, loss=rowwise(p.loss, lambda: str(data.drawn))) for p in stage.phases]
        )
        for stage in made.stages
    ]
    made.run()
    raw = {name: ema.average for name, ema in made.averages.of.items()}
    return {"logged": logged, "said": said, "weights": recipe.state_dict(), "raw": raw}


def losses_of(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if "/" in name and not name.startswith("lr/")}


def trained_on_ranks(*given: Any) -> dict[str, Any]:
    with joined("cpu", 60):
        return trained(*given)


def alone_and_together(
    name: str, steps: int, accumulate: int, size: int, dtype: str, folder: Path, *more: str
) -> tuple[Any, list[Any]]:
    """Return what training in one process gives, and what each of several does with further options."""
    given = (name, steps, accumulate, dtype)
    (alone,) = returned(on_ranks(1, trained, *given, folder=folder, seconds=240))
    told = returned(on_ranks(size, trained_on_ranks, *given, *more, folder=folder, seconds=240))
    assert len(alone["logged"]) == steps
    return alone, told


def agree(name: str, steps: int, accumulate: int, size: int, dtype: str, folder: Path) -> float:
    """Return the largest gap of the logged losses; weights are equal to the bit on all ranks."""
    alone, told = alone_and_together(name, steps, accumulate, size, dtype, folder)
    for found in told:
        for weight, value in told[0]["weights"].items():
            assert torch.equal(found["weights"][weight], value), weight
    return max(largest_gap(alone["logged"], found["logged"]) for found in told)


@pytest.mark.slow(depends=("zoo_core/training", "zoo_core/machine", "plugins/zoo_gan"))
def test_a_few_steps_of_a_game_with_batch_norm_have_the_losses_of_one_process(
    home: Path, tmp_path: Path
) -> None:
    assert agree("wgan-gp", 4, 1, 2, "float64", tmp_path) < 1e-9


EACH = [
    (name, size, acc, "float64")
    for name in ("wgan-gp", "vae", "ddpm", "stylegan")
    for size in (2, 3)
    for acc in (1, 3)
] + [(name, size, 1, "float32") for name in ("vae", "ddpm") for size in (2, 3)]
AGREE = {"float64": 1e-9, "float32": 1e-4}


@pytest.mark.slow(
    depends=(
        "zoo_core/training",
        "zoo_core/machine",
        "plugins/zoo_gan",
        "plugins/zoo_vae",
        "plugins/zoo_ddpm",
    )
)
@pytest.mark.parametrize(("name", "size", "accumulate", "dtype"), EACH)
def test_fifty_steps_have_the_losses_of_one_process(
    name: str, size: int, accumulate: int, dtype: str, home: Path, tmp_path: Path
) -> None:
    """Catches gradients or statistics of a share, sums at a wrong time, and steps that differ."""
    assert agree(name, 50, accumulate, size, dtype, tmp_path) < AGREE[dtype]


@pytest.mark.slow(depends=("zoo_core/training", "zoo_core/machine", "plugins/zoo_gan"))
@pytest.mark.parametrize("accumulate", [1, 3])
def test_spectral_norm_s_vectors_are_equal_on_all_ranks_after_fifty_steps(
    accumulate: int, home: Path, tmp_path: Path
) -> None:
    """To the bit, in float32: they are a function of equal weights and of how often the critic was called."""
    given = ("sngan", 50, accumulate, "float32")
    told = returned(on_ranks(3, trained_on_ranks, *given, folder=tmp_path, seconds=240))
    vectors = [name for name in told[0]["weights"] if name.endswith(("._u", "._v"))]
    assert vectors
    start = {name: value for name, value in told[0]["weights"].items() if name in vectors}
    for found in told:
        for name in vectors:
            assert torch.equal(found["weights"][name], start[name])
