"""Power-function averages: their profile, their length, and lengths from snapshots, over a long walk."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.core.recipes import Duel, Single, harness
from zoo_core.cli import invoke
from zoo_core.config import EmaConfig
from zoo_core.errors import MachineError, UsageError
from zoo_core.runs.lengths import averaged, save_snapshot, snapshots
from zoo_core.training import checkpoint
from zoo_core.training.ema import Averages, Ema
from zoo_core.training.harness import Listener
from zoo_core.training.power import LENGTHS, checked, combination, decay, exponent, snapshot_steps
from zoo_core.training.recipe import Stage

WALK = 4_000


@pytest.mark.parametrize("length", [0.03, 0.1, 0.2])
def test_the_length_is_the_standard_deviation_of_the_profile(length: float) -> None:
    """By the recurrence itself: the factor of step i is its own (1 - decay) times all later decays."""
    n = 5_000
    kept = np.array([decay(length, i) for i in range(1, n + 1)])
    after = np.append(np.cumprod(kept[::-1])[::-1][1:], 1.0)
    profile, place = (1 - kept) * after, np.arange(n) / n
    assert profile.sum() == pytest.approx(1)
    mean = (profile * place).sum()
    assert np.sqrt((profile * (place - mean) ** 2).sum()) == pytest.approx(length, rel=2e-3)


def test_the_exponents_of_the_paper() -> None:
    """Karras et al. 2024, section 3.1: lengths 0.05 and 0.10 are gamma 16.97 and 6.94."""
    assert exponent(0.05) == pytest.approx(16.97, abs=5e-3)
    assert exponent(0.10) == pytest.approx(6.94, abs=5e-3)


def test_any_length_is_within_a_percent_of_the_average_itself(tmp_path: Path) -> None:
    """From 32 float32 snapshots, against averages that are kept in float64 along a random walk of weights."""
    rng = np.random.default_rng(0)
    lengths = (0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2)
    weight = np.zeros(500)
    direct = {length: weight.copy() for length in (*lengths, *LENGTHS)}
    at = snapshot_steps(WALK)
    for step in range(1, WALK + 1):
        weight = weight + rng.standard_normal(500)
        for length, average in direct.items():
            average += (1 - decay(length, step)) * (weight - average)
        if step in at:
            kept = {f"{own}": {"w": torch.tensor(direct[own], dtype=torch.float32)} for own in LENGTHS}
            save_snapshot(tmp_path, step, {"net": kept})
    assert len(snapshots(tmp_path, "net", WALK)) * len(LENGTHS) == 32
    for length in lengths:
        found, residual = averaged(tmp_path, "net", WALK, length)
        error = np.linalg.norm(found["w"].numpy() - direct[length])
        assert error <= 0.01 * np.linalg.norm(direct[length] - weight), length
        assert residual < 0.035
    with pytest.raises(UsageError, match=r"do not span EMA weights of length 0.01: residual \d\d"):
        averaged(tmp_path, "net", WALK, 0.01)
    next(iter((tmp_path / "snapshots" / "net").iterdir())).write_bytes(b"cut")
    with pytest.raises(MachineError, match="not readable"):
        averaged(tmp_path, "net", WALK, 0.1)
    with pytest.raises(UsageError, match="has no snapshots"):
        averaged(tmp_path, "other", WALK, 0.1)


def test_the_residual_is_that_of_the_profiles() -> None:
    """Against the profiles themselves on a fine grid; none is left for a length that was kept."""
    times, lengths = [500.0, 1000.0, 1000.0], [0.1, 0.03, 0.2]
    factors, residual = combination(times, lengths, 1000, 0.08)
    grid = (np.arange(1_000_000) + 0.5) / 1000

    def profile(time: float, length: float) -> np.ndarray:
        g = exponent(length)
        return np.where(grid < time, (g + 1) * grid**g / time ** (g + 1), 0.0)

    near = sum(f * profile(t, s) for f, t, s in zip(factors, times, lengths, strict=True))
    wanted = profile(1000, 0.08)
    assert residual == pytest.approx(np.linalg.norm(near - wanted) / np.linalg.norm(wanted), rel=1e-3)
    assert combination(times, lengths, 1000, 0.2)[1] < 1e-6
    with pytest.raises(UsageError, match="residual"):
        checked([1000.0], [0.2], 1000, 0.05)


def test_the_harness_keeps_what_a_plain_loop_keeps() -> None:
    """Every length, and the one that is sampled, with the warm-up of exponential averages left out."""
    net = nn.Linear(2, 2, bias=False)
    ema = Ema(net, EmaConfig(kind="power", sigma_rel=0.15))
    plain = {length: net.weight.detach().double().clone() for length in (0.15, *LENGTHS)}
    for step in range(1, 41):
        with torch.no_grad():
            net.weight.copy_(torch.randn(2, 2, generator=torch.Generator().manual_seed(step)))
        ema.update(64)
        for length, average in plain.items():
            average += (1 - (1 - 1 / step) ** (exponent(length) + 1)) * (
                net.weight.detach().double() - average
            )
    torch.testing.assert_close(ema.average[0].double(), plain[0.15], rtol=1e-5, atol=1e-6)
    for length in LENGTHS:
        torch.testing.assert_close(ema.others[length][0].double(), plain[length], rtol=1e-5, atol=1e-6)
    averages = Averages(nn.ModuleDict({"net": net}))
    averages.begin({"net": EmaConfig(decay=0.9)})
    assert averages.lengths() == {}


class Powered(Duel):
    """With a power-function average of the generator in its only stage."""

    def stages(self) -> Any:
        (first,) = super().stages()
        power = {"generator": EmaConfig(kind="power")}
        return [Stage(first.name, first.phases, first.optimizers, ema=power)]


def test_a_resume_keeps_every_length_to_the_bit(tmp_path: Path) -> None:
    def trained(cut: int | None) -> tuple[dict[int, Any], Any]:
        kept: dict[int, Any] = {}

        def snapshot(step: int, averages: Any) -> None:
            kept[step] = {
                k: {p: t.clone() for p, t in its.items()} for k, its in averages["generator"].items()
            }

        saved: list[Any] = []
        torch.manual_seed(0)
        one = harness(Powered(second=False), steps=48, checkpoint_every=cut or 100)
        one.listener = Listener(
            snapshot=snapshot,
            save=lambda step, made: saved.append(made),
            stop=lambda: one.counts.total == cut,
        )
        one.run()
        if cut:
            path = checkpoint.save(tmp_path / f"{cut}", cut, saved[-1], {})
            torch.manual_seed(1)
            again = harness(Powered(second=False), steps=48, checkpoint_every=100)
            again.restore(checkpoint.load(path))
            again.listener = Listener(snapshot=snapshot, save=lambda step, made: saved.append(made))
            again.run()
        return kept, saved[-1]

    (whole, end), (cut, end_) = trained(None), trained(19)
    assert list(whole) == list(cut) == sorted(snapshot_steps(48))
    for step, (length, name) in itertools.product(
        whole, [(k, n) for k, its in whole[48].items() for n in its]
    ):
        assert torch.equal(whole[step][length][name], cut[step][length][name])
    assert all(torch.equal(end.ema["generator"][n], t) for n, t in end_.ema["generator"].items())
    assert "lengths" not in end.state  # a bundle needs none
    assert (
        harness(Single(nn.Linear(2, 2), lambda net, b, c: net(b.x).sum()))
        .checkpoint()
        .state.keys()
        .isdisjoint({"lengths"})
    )


@pytest.mark.slow(depends=("zoo_core", "plugins/zoo_sde"))
def test_a_length_is_chosen_after_training(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import zoo_core

    words = [
        "plugin=edm",
        "preset=tiny",
        "train.steps=32",
        "train.ema.kind=power",
        "train.ema.sigma_rel=0.15",
    ]
    quiet = ["eval.protocol=none", "track.wandb=off", "track.plots=false", "track.progress=false"]
    assert invoke(["run", *words, *quiet, "train.checkpoint_every=4", "train.keep=3", "run_dir=here"]) == 0
    assert len(checkpoint.listed(Path("here/checkpoints"))) == 3
    own, same, other = (
        zoo_core.load("here", say=lambda line: None, **given)
        for given in ({}, {"sample.ema_length": 0.15}, {"sample.ema_length": 0.04})
    )

    def weights(run: Any) -> torch.Tensor:
        with run.inference():
            return torch.cat([p.detach().flatten() for p in run.recipe.parameters()])

    raw = own.harness.averages.of["net"].state()
    far = float((weights(own) - weights(other)).norm())
    assert float((weights(own) - weights(same)).norm()) < 0.02 * far
    assert all(torch.equal(raw[n], t) for n, t in other.harness.averages.of["net"].state().items())
    assert invoke(["sample", "here", "-n", "2", "sample.ema_length=0.04", "--out", "a.npz"]) == 0
    assert invoke(["sample", "here", "-n", "2", "sample.ema_length=0.011", "--out", "b.npz"]) == 2
    assert "do not span" in capsys.readouterr().err
