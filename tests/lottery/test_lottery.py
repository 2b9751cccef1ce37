"""`zoo lottery` from end to end on tiny runs, and the seeds that it varies one at a time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import zoo_core
from zoo_core.errors import UsageError
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import config_hash, resolve
from zoo_core.runs import build, load_data
from zoo_core.seeds import derive
from zoo_lottery.cli import lottery
from zoo_lottery.components import nested

TINY = (
    *("plugin=vae", "preset=tiny", "data=ring", "train.steps=4", "eval.baselines=false"),
    *("track.wandb=off", "track.plots=false"),
)


def call(*words: str) -> Result:
    return CliRunner().invoke(lottery, [*words, "--slots", "1"], catch_exceptions=False)


def trained(*words: str) -> dict[str, torch.Tensor]:
    """Return the weights of a tiny VAE after training with these options."""
    made = zoo_core.run({word.partition("=")[0]: word.partition("=")[2] for word in (*TINY, *words)})
    return dict(zoo_core.load(made.run_dir).recipe.state_dict())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins/zoo_lottery", "plugins/zoo_vae"))
def test_three_seeds_of_their_own_are_the_one_seed(home: Path) -> None:
    """seeds.init, order and noise at 3 train what seed=3 trains; each of them alone trains something else."""
    fixed = ("eval.protocol=none",)
    whole = trained("seed=3", *fixed)
    parts = [f"seeds.{name}=3" for name in ("init", "order", "noise")]
    assert same(whole, trained("seed=0", *parts, *fixed))
    for k in range(3):
        assert not same(whole, trained("seed=0", *parts[:k], *parts[k + 1 :], *fixed)), parts[k]


def test_each_seed_moves_its_own_source() -> None:
    """Initial weights, batches and the losses' random numbers of an untrained run, one changed at a time."""

    def drawn(*words: str) -> list[torch.Tensor]:
        config = resolve([*TINY[:3], "device=cpu", *words])
        run = build(config, load_data(config), Path(), manager(), say=print, warn=print)
        weights = torch.cat([p.detach().flatten() for p in run.recipe.parameters()])
        rows = run.harness.data.next(8).index
        noise = torch.tensor(derive(run.harness.seed, "phase"))
        return [weights, rows, noise]

    before = drawn()
    for place, name in enumerate(("init", "order", "noise")):
        after = drawn(f"seeds.{name}=1")
        moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert moved == [k == place for k in range(3)], name


def test_the_seeds_move_no_hash_of_old_runs() -> None:
    before = config_hash(resolve(["plugin=vae"]))
    assert config_hash(resolve(["plugin=vae", "seeds.init=none"])) == before
    assert config_hash(resolve(["plugin=vae", "seeds.init=1"])) != before


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins/zoo_lottery", "plugins/zoo_vae"))
def test_total_scores_every_run_under_every_sampling_seed(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = call("total", *TINY, "--training", "2", "--sampling", "2", "--out", str(out))
    assert done.exit_code == 0, done.output
    found = json.loads((out / "total.json").read_text())
    (values,) = found["log_scores"].values()
    assert np.array(values).shape == (2, 2)
    assert len(set(np.ravel(values))) == 4  # each seed counts
    spread = 100 * math.expm1(math.sqrt(nested(np.array(values)).sampling.value))
    assert found["table"][0]["sampling spread"].startswith(f"{spread:.1f} %")
    scores = json.loads((out / "scores.json").read_text())["scores"]
    own = zoo_core.run({**dict(word.split("=") for word in TINY), "seed": "1"})
    assert own.metrics["FD[raw]"].value in scores.values()
    (out / "total.json").unlink()
    stamp = (out / "scores.json").stat().st_mtime_ns
    assert call("total", *TINY, "--training", "2", "--sampling", "2", "--out", str(out)).exit_code == 0
    assert json.loads((out / "total.json").read_text()) == found
    assert (out / "scores.json").stat().st_mtime_ns == stamp  # nothing was scored again


def test_sources_have_a_run_for_each_combination(home: Path, tmp_path: Path) -> None:
    done = call("sources", *TINY, "--levels", "2", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "sources.json").read_text())
    (values,) = found["log_scores"].values()
    assert np.array(values).shape == (2, 2, 2)
    assert len(set(np.ravel(values))) == 8
    assert [row["seed"] for row in found["table"]] == [
        "initialization",
        "order of the data",
        "training noise",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=ring"], "no model was named"),
        (["plugin=vae", "seed=1"], "the lottery chooses seed"),
        (["plugin=vae", "run_dir=x"], "a lottery has many"),
    ],
)
def test_options_that_no_lottery_has_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call("total", *words)


def test_a_record_of_something_else_is_refused(home: Path, tmp_path: Path) -> None:
    from zoo_lottery.record import Record

    (tmp_path / "scores.json").write_text("[]")
    with pytest.raises(UsageError, match="holds no scores"):
        Record(tmp_path / "scores.json")
