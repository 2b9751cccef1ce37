"""Models with sharded weights have the losses and the weights of one process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.core.ranks import on_ranks, returned
from tests.core.row_noise import largest_gap
from tests.families.test_processes import alone_and_together
from zoo_core.registry.resolution import config_hash, resolve
from zoo_core.runs.job import execute
from zoo_core.training.checkpoint import latest

FSDP = "train.parallel=fsdp"


def agree(name: str, steps: int, accumulate: int, size: int, folder: Path) -> list[str]:
    """Compare losses, weights and EMA weights of float64 training; return what the first process said."""
    alone, told = alone_and_together(name, steps, accumulate, size, "float64", folder, FSDP)
    for found in told:
        assert largest_gap(alone["logged"], found["logged"]) < 1e-9
        assert found["weights"].keys() == alone["weights"].keys()
        for weight, value in alone["weights"].items():
            assert type(found["weights"][weight]) is type(value)
            assert found["weights"][weight].stride() == value.stride(), weight
            assert float((found["weights"][weight] - value).abs().max()) < 1e-9, weight
        for module, averages in alone["raw"].items():
            for average, other in zip(averages, found["raw"][module], strict=True):
                assert float((average - other).abs().max()) < 1e-9, module
    said: list[str] = told[0]["said"]
    return said


EACH = [
    ("ddpm", 2, 1),
    ("ddpm", 3, 3),
    ("vae", 2, 3),
    ("vae", 3, 1),
    ("wgan-gp", 2, 1),
    ("wgan-gp", 3, 3),
]
SAID = {
    "ddpm": "sharded weights: 163,985 parameters in 9 blocks",
    "vae": "sharded weights: 13,064 parameters in 2 blocks",
    "wgan-gp": "sharded weights: 11,974 parameters in 2 blocks; whole weights in: critic",
}


@pytest.mark.slow(
    depends=(
        "zoo_core/training",
        "zoo_core/machine",
        "plugins/zoo_gan/wgan_gp.py",
        "plugins/zoo_vae/vae.py",
        "plugins/zoo_ddpm/ddpm.py",
    )
)
@pytest.mark.parametrize(("name", "size", "accumulate"), EACH)
def test_ten_steps_with_shards_have_the_numbers_of_one_process(
    name: str, size: int, accumulate: int, home: Path, tmp_path: Path
) -> None:
    """Catches sums of a share, updates with old weights, and weights freed before a second backward pass."""
    assert SAID[name] in agree(name, 10, accumulate, size, tmp_path)


JOB = [
    "plugin=ddpm",
    "data=moons",
    "preset=tiny",
    "train.steps=6",
    "train.batch_size=8",
    "train.checkpoint_every=3",
    "train.sample_every=2",
    "train.ema.decay=0.5",
    "data.validation=0.1",
    "eval.every=3",
    "eval.weights=raw",
    "eval.protocol=quick",
    "eval.baselines=false",
    "sampler=ddim",
    "sample.steps=2",
    "sample.checkpoint=best",
    "track.wandb=off",
    "track.progress=false",
]


def job(folder: str, *more: str) -> dict[str, Any]:
    """Do a whole run, with plots and scores during training; return what it leaves."""
    os.chdir(folder)
    config = resolve([*JOB, *more, "run_dir=run"])
    execute(config, Path("run"))
    found = latest(Path("run/checkpoints"), print)
    assert found is not None
    saved = found[1]
    return {
        "hash": config_hash(config),
        "weights": {name: (t.shape, t.dtype) for name, t in saved.weights.items()},
        "ema": {name: {k: (t.shape, t.dtype) for k, t in its.items()} for name, its in saved.ema.items()},
        "states": [sorted(its) for its in saved.state["end"]["optimizers"]["net"]["state"].values()],
        "files": sorted(str(path.relative_to("run")) for path in Path("run/checkpoints").rglob("*")),
    }


@pytest.mark.slow(
    depends=("zoo_core/training", "zoo_core/machine", "zoo_core/runs", "plugins/zoo_ddpm/ddpm.py")
)
def test_a_whole_run_with_shards_leaves_what_one_process_leaves(home: Path, tmp_path: Path) -> None:
    """Plots of the first process alone, scores by all: catches a wait for processes that gather nothing."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    (alone,) = returned(on_ranks(1, job, str(folders[0]), folder=tmp_path, seconds=240))
    told = returned(on_ranks(2, job, str(folders[1]), FSDP, folder=tmp_path, seconds=240))
    for found in told:
        for name, expected in alone.items():
            assert found[name] == expected, name
    results = [json.loads((folder / "run/result.json").read_text()) for folder in folders]
    assert results[0].keys() == results[1].keys()
