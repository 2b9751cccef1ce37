"""Training over several processes: the same weights as one, saved once, stopped together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.core.ranks import free_port, on_ranks, returned
from tests.core.recipes import Duel, harness
from zoo_core.config import EmaConfig, OptimizerConfig
from zoo_core.machine.distributed import joined, share, world
from zoo_core.registry.resolution import resolve
from zoo_core.runs.job import run
from zoo_core.training.checkpoint import latest
from zoo_core.training.harness import Listener
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, Loss

BATCH = 7  # no multiple of 2 or 3: shares are uneven


class Regression(Recipe):
    """A mean over rows, a head that only some rows reach, clipping, and all that after_step is handed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
        self.head = nn.Linear(2, 1)
        self.unused = nn.Linear(2, 1)
        self.register_buffer("seen", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("rows", torch.zeros((), dtype=torch.int64))

    def stages(self) -> list[Stage]:
        phase = Phase(
            "fit",
            self.loss,
            [self.net, self.head, self.unused],
            "all",
            grad_clip=0.05,
            after_step=self.keep,
        )
        optim = {"all": OptimizerConfig(kind="adam", lr=1e-2)}
        return [Stage("only", [phase], optim, ema={"net": EmaConfig(decay=0.9)})]

    def loss(self, batch: Batch, context: Context) -> Loss:
        wanted = batch.x.square().sum(1, keepdim=True)
        error = (self.net(batch.x) - wanted).square().mean(1)
        early = batch.index < 5  # few: some process has none of them, and its head no gradient
        if bool(early.any()):
            error = error + torch.zeros_like(error).masked_scatter(early, self.head(batch.x[early]).square())
        sums = {"rows": torch.tensor(len(batch))}
        return Loss(error.mean(), {"error": error.detach().mean()}, sums, {"index": batch.index})

    def keep(self, sums: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
        self.rows += sums["rows"]
        self.seen = torch.cat([self.seen, kept["index"]])


def trained(accumulate: int = 1, steps: int = 25) -> dict[str, Any]:
    recipe = Regression()
    logged: list[Mapping[str, float]] = []
    made = harness(recipe, steps=steps, batch_size=BATCH, accumulate=accumulate)
    made.listener = Listener(log=lambda step, values: logged.append(dict(values)))
    made.run()
    return {
        "weights": recipe.state_dict(),
        "average": made.averages.of["net"].state(),
        "images": made.counts.images,
        "error": [values["fit/error"] for values in logged],
    }


def trained_on_ranks(accumulate: int) -> dict[str, Any]:
    with joined("cpu", 30):
        return trained(accumulate)


@pytest.mark.parametrize(("size", "accumulate"), [(2, 1), (3, 1), (2, 2)])
def test_several_processes_end_with_the_weights_of_one(size: int, accumulate: int, tmp_path: Path) -> None:
    """Catches a mean of means over uneven shares, clipping before the sum, and rows kept out of order."""
    alone = trained()
    told = returned(on_ranks(size, trained_on_ranks, accumulate, folder=tmp_path))
    for found in told:
        assert found["images"] == alone["images"] == 25 * BATCH
        for name, value in alone["weights"].items():
            torch.testing.assert_close(found["weights"][name], value, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found["average"], alone["average"], rtol=1e-4, atol=1e-6)
        assert torch.equal(found["weights"]["seen"], alone["weights"]["seen"])
        assert found["error"] == pytest.approx(alone["error"], rel=1e-4)
        for name, value in told[0]["weights"].items():
            assert torch.equal(found["weights"][name], value)


GAN = [
    "plugin=wgan",
    "preset=tiny",
    "model.generator_norm=none",  # a batch norm sees its process's rows only, and says so
    "model.critic_norm=none",
    "model.n_critic=2",
    "optim.critic.lr=1e-3",
    "optim.generator.lr=1e-3",
    "model.clip=0.1",
    "train.steps=6",
    "train.ema.decay=0.9",
    "eval.protocol=none",
    "track.wandb=off",
    "track.plots=false",
    "track.progress=false",
]


def duel() -> dict[str, Tensor]:
    """Train the registered WGAN with noise that belongs to a row of the whole batch, whoever draws it."""
    from zoo_gan.wgan import WGAN

    draws = torch.Generator().manual_seed(5)

    def latents(self: WGAN, n: int, context: Context) -> Tensor:
        size = self.config.train.batch_size
        whole = torch.randn(size, self.config.model.latent_dim, generator=draws)
        return whole[list(share(size, world()))]

    WGAN.latents = latents  # type: ignore[method-assign]
    with joined("cpu", 30):
        folder = Path(run(resolve([*GAN, "run_dir=gan"])).run_dir)
    found = latest(folder / "checkpoints", print)
    assert found is not None
    weights = dict(found[1].weights)
    return weights | {f"average/{k}": v for state in found[1].ema.values() for k, v in state.items()}


def duel_in(folder: str) -> dict[str, Tensor]:
    os.chdir(folder)
    return duel()


def test_an_alternating_gan_ends_with_the_weights_of_one_process(home: Path, tmp_path: Path) -> None:
    """A whole run of the registered WGAN: catches a network left out of the sum, and a broken average."""
    workspaces = [tmp_path / name for name in ("one", "two")]
    for workspace in workspaces:
        workspace.mkdir()
    (alone,) = returned(on_ranks(1, duel_in, str(workspaces[0]), folder=tmp_path))
    told = returned(on_ranks(2, duel_in, str(workspaces[1]), folder=tmp_path))
    assert any(name.startswith("average/") for name in alone)
    for found in told:
        for name, value in alone.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def stopped_and_resumed() -> tuple[dict[str, Tensor], dict[str, Tensor], int, list[Any]]:
    """Train to the end; then again, stopped by the last process alone, restored and gone on with."""
    with joined("cpu", 30) as here:
        whole = harness(torch_seeded(), steps=20)
        whole.run()
        saved: list[Any] = []
        cut = harness(torch_seeded(), steps=20)
        steps = iter(range(100))
        received = Listener(
            save=lambda step, kept: saved.append(kept),
            stop=lambda: here.rank == here.size - 1 and next(steps) == 6,
        )
        cut.listener = received
        cut.run()
        stopped = cut.counts.total
        kept = torch.load(_through_a_file(saved[-1], here.rank), weights_only=False)
        again = harness(torch_seeded(), steps=20)
        again.restore(kept)
        again.run()
        draws = [torch.rand(2), again.counts.images]
        return whole.recipe.state_dict(), again.recipe.state_dict(), stopped, draws


def _through_a_file(kept: Any, rank: int) -> str:
    path = f"kept-{rank}.pt"
    torch.save(kept, path)
    return path


def torch_seeded() -> Duel:
    torch.manual_seed(0)
    return Duel()


def resumed_in(folder: str) -> Any:
    os.chdir(folder)
    return stopped_and_resumed()


def test_a_stop_that_one_process_hears_stops_all_and_a_resume_is_exact(tmp_path: Path) -> None:
    """Dropout, batch norm, two stages: every process's random numbers and buffers go on where they were."""
    told = returned(on_ranks(2, resumed_in, str(tmp_path), folder=tmp_path))
    for whole, again, stopped, _ in told:
        assert stopped == 7
        weights = {name for name in whole if "running" not in name and "batches" not in name}
        for name in weights:
            torch.testing.assert_close(again[name], whole[name], rtol=0, atol=0)
            assert torch.equal(whole[name], told[0][0][name])
    assert not torch.equal(told[0][3][0], told[1][3][0])  # each process has random numbers of its own


def resumed_elsewhere(path: str) -> int:
    with joined("cpu", 30):
        made = harness(torch_seeded(), steps=20)
        made.restore(torch.load(path, weights_only=False))
        made.run()
        return made.counts.images


def test_a_run_may_go_on_with_another_number_of_processes(tmp_path: Path) -> None:
    saved: list[Any] = []
    made = harness(torch_seeded(), steps=20)
    made.listener = Listener(save=lambda step, kept: saved.append(kept), stop=lambda: made.counts.total == 9)
    made.run()
    torch.save(saved[-1], tmp_path / "kept.pt")
    whole = harness(torch_seeded(), steps=20)
    whole.run()
    told = returned(on_ranks(3, resumed_elsewhere, str(tmp_path / "kept.pt"), folder=tmp_path))
    assert told == [whole.counts.images] * 3


def too_many() -> None:
    with joined("cpu", 30):
        harness(Duel(), batch_size=2)


def test_more_processes_than_rows_are_refused(tmp_path: Path) -> None:
    """Catches the mean over no rows, which is NaN, and a wait for a process that has nothing to do."""
    told = on_ranks(3, too_many, folder=tmp_path)
    assert all(one is not None and one[1].startswith("UsageError: train.batch_size=2") for one in told)


def dies(folder: str) -> None:
    os.chdir(folder)
    if world().size == 1 and os.environ["RANK"] == "1":
        from zoo_gan.wgan import WGAN

        calm = WGAN.generator_phase

        def sudden(self: WGAN, batch: Batch, context: Context) -> Loss:
            if context.step == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return calm(self, batch, context)

        WGAN.generator_phase = sudden  # type: ignore[method-assign]
    run(resolve([*GAN, "train.checkpoint_every=2", "run_dir=gan"]))


def test_a_process_that_dies_ends_the_run_with_a_message_and_a_checkpoint(home: Path, tmp_path: Path) -> None:
    told = on_ranks(2, dies, str(tmp_path), folder=tmp_path, seconds=40)
    kind, message = told[0] or ("died", "")
    assert kind == "raised"
    assert message.startswith("MachineError: rank 0 of 2: ")
    assert "failed; another rank exited or timed out" in message
    assert json.loads((tmp_path / "gan" / "run.json").read_text())["state"] == "failed"
    found = latest(tmp_path / "gan" / "checkpoints", print)
    assert found is not None
    assert found[1].state["counts"]["total"] == 4


@pytest.mark.slow(depends=("zoo_core",))
def test_torchrun_runs_the_same_command_and_tells_it_once(home: Path, tmp_path: Path) -> None:
    """The command line as a user types it: one result on stdout, one record a step, one folder."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += [
        "--master-port",
        str(free_port()),
        "-m",
        "zoo_core.cli",
        "run",
        *GAN,
        "run_dir=wide",
        "--json",
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    folder = tmp_path / "wide"  # by what it holds, never by torchrun's status
    result, provenance = (json.loads((folder / f"{name}.json").read_text()) for name in ("run", "provenance"))
    assert provenance["hardware"]["processes"] == 2
    assert told.stdout.count('"weights_sha256"') == 1
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "wide" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == sorted(set(steps))
    assert result["cost"]["images_seen"] == 6 * 16 * 3
