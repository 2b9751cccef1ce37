"""A suite under a budget: killed, resumed, with a model that fails; and the arithmetic of its steps."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zoo_core.cli import invoke
from zoo_core.config import EmaConfig, OptimizerConfig, RunConfig
from zoo_core.errors import UsageError
from zoo_core.launch import calibration
from zoo_core.launch.calibration import MARGIN, allowed_steps, read_rate, shortened
from zoo_core.launch.suite import SUITES, Bench, fitting
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import plain, resolve
from zoo_core.runs import saved_config

BROKEN = """
import pluggy
from zoo_core.registry.spec import PluginSpec

@pluggy.HookimplMarker("zoo")
def zoo_plugins():
    return [PluginSpec("broken", "test", "broken_model:make", "zoo_core.config:RunConfig", "raises")]
"""

WORDS = [
    "plugin=wgan,histogram,broken",
    "seed=0",
    "eval.extractor=raw",
    "eval.metrics=[prdc]",
    "track.wandb=off",
    "track.plots=false",
]
WORDS += ["train.checkpoint_every=10", "train.log_every=5"]


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    """An environment with a distribution whose one model can't be built."""
    site = tmp_path / "site"
    facts = site / "broken_zoo-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-zoo\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[zoo]\nbroken = broken_zoo\n")
    (site / "broken_zoo.py").write_text(BROKEN)
    (site / "broken_model.py").write_text("def make(config, data):\n    raise RuntimeError('not today')\n")
    return {**os.environ, "PYTHONPATH": str(site)}


def wait_for(what: Callable[[], Any], seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def process_of(folder: Path) -> int:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if f"run_dir={folder}".encode() in words:
            return int(path.parent.name)
    return 0


@pytest.mark.slow(depends=("zoo_core",))
def test_a_suite_that_is_killed_goes_on_and_does_nothing_twice(
    environment: dict[str, str], home: Path
) -> None:
    """SIGKILL of a job, then of the suite itself: the same configs, no step lost or recorded twice."""
    command = [sys.executable, "-m", "zoo_core.cli", "bench", "digits-quick", *WORDS]
    command += ["--budget", "4", "--out", "out", "--slots", "2"]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True)

    first = start()
    record = Path("out/bench-digits-quick.json")
    wait_for(record.exists)
    written = record.read_bytes()
    (config,) = wait_for(lambda: list((home / "runs" / "digits" / "wgan").glob("*-s0/config.yaml")))
    folder = config.parent
    wait_for(lambda: any((folder / "checkpoints").glob("step-*")))
    os.kill(wait_for(lambda: process_of(folder)), signal.SIGKILL)
    wait_for(lambda: (folder / "job.log").read_text().count("continuing from step"))
    first.kill()
    first.communicate()
    second = start()
    told = second.communicate(timeout=300)
    assert second.returncode == 4, told  # the broken model's status; the others are done
    assert re.search(r"broken.*plugin failed .*not today", told[1])
    assert re.search(r"histogram on digits, seed 0 +done", told[1])
    assert re.search(r"wgan on digits, seed 0 +done", told[1])
    assert record.read_bytes() == written
    model = json.loads(written)["models"]["wgan"]
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == model["options"].get("train.steps", model["own_steps"])
    results = sorted(path.parts[1:3] for path in Path("out").glob("*/*/*/result.json"))
    assert results == [("digits", "histogram"), ("digits", "wgan")]
    kept = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("result.json")}
    assert (
        invoke(
            ["bench", "digits-quick", *WORDS[1:], "plugin=wgan,histogram", "--budget", "4", "--out", "out"]
        )
        == 0
    )
    assert {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("result.json")} == kept


def test_the_first_steps_of_a_device_are_not_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a rate that holds the loading of kernels: a GPU's first 8 steps took 20 s, the next 0.1 s."""
    asked: list[int] = []

    def train(config: RunConfig, steps: int, most: float) -> tuple[int, float]:
        asked.append(steps)
        return steps, steps / 100 + (0 if asked[1:] else 20)

    monkeypatch.setattr(calibration, "_train", train)
    found = calibration.measure(resolve(["plugin=wgan", "train.steps=10000"]), 5)
    assert found["steps_per_second"] == pytest.approx(100)
    assert found["seconds"] >= 2.5
    assert asked == [8, 8, 500]


@pytest.mark.parametrize(
    ("rate", "budget", "steps"), [(10, 60, 540), (1234, 60, 66000), (0.001, 60, 1), (0.2, 60, 10)]
)
def test_steps_are_what_the_budget_allows_in_two_digits(rate: float, budget: float, steps: int) -> None:
    assert allowed_steps(rate, budget) == steps
    assert steps == 1 or steps <= rate * budget * MARGIN


def test_a_shorter_run_keeps_the_proportions_of_the_long_one() -> None:
    """Warm-up, an average's memory and its half-life are the same share of the run; no other option moves."""
    whole = resolve(["plugin=wgan", "train.steps=1000", "optim.critic.warmup=100", "train.ema.decay=0.99"])
    cut = shortened(whole, 250)
    assert cut == {"train.steps": 250, "optim.critic.warmup": 25, "train.ema.decay": pytest.approx(0.99**4)}
    short = resolve({**plain(whole), **cut})
    assert short.train.ema.decay**250 == pytest.approx(whole.train.ema.decay**1000, rel=1e-3)
    assert shortened(whole, 1000) == shortened(whole, 5000) == {}
    images = whole.model_copy(
        update={"train": whole.train.model_copy(update={"ema": EmaConfig(half_life=5000)})}
    )
    assert shortened(images, 100)["train.ema.half_life"] == 500
    assert OptimizerConfig().warmup == 0


@pytest.mark.slow(depends=("zoo_core", "plugins"))
def test_every_fitting_model_can_be_cut_short_and_still_resolves(home: Path) -> None:
    """Over every registered model and suite, because it is registered."""
    for suite in SUITES.values():
        for name in fitting(suite.data):
            whole = resolve({"plugin": name, "data": suite.data, **suite.options})
            if whole.train.steps > 1:
                short = resolve({**plain(whole), **shortened(whole, max(1, whole.train.steps // 7))})
                assert short.train.steps < whole.train.steps


def test_the_emoji_suite_has_every_registered_model(home: Path, tmp_path: Path) -> None:
    """Catches a model whose options do not resolve on emoji, and one that the suite does not know."""
    made = Bench("emoji-quick", None, tmp_path, {})
    assert made.failed == []
    assert set(made.configs) == {entry.spec.name for entry in manager().entries("plugin")}
    for (config,) in made.configs.values():
        assert (config.eval.likelihood_n, config.eval.protocol, config.seed) == (256, "quick", 0)
    diffusion = [e.spec.name for e in manager().entries("plugin") if e.spec.family == "diffusion"]
    assert all((made.configs[name][0].sample.steps or 99) <= 20 for name in diffusion)


def test_a_suites_preset_is_of_the_models_that_have_it(home: Path, tmp_path: Path) -> None:
    """Catches a suite for a GPU that trains the networks for a CPU, and one that leaves models out."""
    made = Bench("cifar10", None, tmp_path, {"plugin": "ddpm,vq-vae,wgan", "seed": "0"})
    assert made.failed == []
    assert {name: config.preset for name, (config,) in made.configs.items()} == {
        "ddpm": "gpu",
        "vq-vae": "gpu",
        "wgan": "",
    }
    assert made.configs["ddpm"][0].train.steps == 40_000
    tiny = Bench("cifar10", None, tmp_path, {"plugin": "ddpm", "preset": "tiny", "seed": "0"})
    assert tiny.configs["ddpm"][0].preset == "tiny"


def test_models_that_want_other_data_are_left_out() -> None:
    here = manager()
    names = fitting("digits")
    assert {"wgan", "vae", "noise"} <= set(names)
    served = set(here.find("dataset", "digits").spec.tasks)
    assert all(served & set(here.find("plugin", name).spec.tasks) for name in names)


def test_a_speed_is_measured_over_all_stages_and_keeps_nothing(home: Path) -> None:
    config = resolve(["plugin=wgan", "preset=tiny", "train.steps=100000"])
    found = calibration.measure(config, 3.0)  # seconds: a busy machine takes its time
    assert found["steps"] > 8
    assert found["steps_per_second"] == pytest.approx(found["steps"] / found["seconds"], rel=0.01)
    assert calibration.measure(resolve(["plugin=gaussian"]), 0.5)["steps_per_second"] is None
    assert not list(home.rglob("checkpoints"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"steps": 3}'])
def test_a_speed_that_was_half_written_is_measured_again(text: str, tmp_path: Path) -> None:
    (tmp_path / "rate.json").write_text(text)
    assert read_rate(tmp_path / "rate.json") is None


def test_each_choice_of_options_has_its_own_steps(home: Path, tmp_path: Path) -> None:
    """Catches a matrix of options whose runs all get the steps that suit the first."""
    words = {"plugin": "wgan", "seed": "0,1", "model.hidden": "8,64", "train.steps": "1000"}
    bench = Bench("digits-quick", 60, tmp_path, words)
    jobs = bench.measuring()
    assert len({job.folder for job in jobs}) == 2
    for job, rate in zip(jobs, (10, 4), strict=True):
        found = {"steps": 50, "seconds": 50 / rate, "steps_per_second": rate, "hardware": "a machine"}
        Path(job.words[2]).write_text(json.dumps(found))
    bench.write_down([])
    trained = [saved_config(job.folder) for job in bench.training() if not job.done()]
    assert [(run.seed, run.model.hidden, run.train.steps) for run in trained] == [  # type: ignore[attr-defined]
        (0, 8, allowed_steps(10, 60)),
        (1, 8, allowed_steps(10, 60)),
        (0, 64, allowed_steps(4, 60)),
        (1, 64, allowed_steps(4, 60)),
    ]
    assert set(json.loads((tmp_path / "bench-digits-quick.json").read_text())["models"]) == set(bench.configs)
    again = Bench("digits-quick", 60, tmp_path, words)
    assert again.measuring() == []


def test_a_record_of_another_budget_is_not_mixed_with_this_one(home: Path, tmp_path: Path) -> None:
    Bench("digits-quick", 30, tmp_path, {"plugin": "gaussian"}).write_down([])
    with pytest.raises(UsageError, match="budget of 30 s"):
        Bench("digits-quick", 60, tmp_path, {"plugin": "gaussian"})


def test_suites_are_listed_and_a_wrong_name_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["bench"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in SUITES)
    assert invoke(["bench", "digits-quik"]) == 2
    assert "did you mean: zoo bench digits-quick" in capsys.readouterr().err
    assert invoke(["bench", "digits-quick", "plugin=wgn"]) == 2
    assert "wgan" in capsys.readouterr().err


def test_a_matrix_that_is_too_large_is_refused_before_it_is_made(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ",".join(map(str, range(1, 1001)))
    words = [f"{key}={many}" for key in ("seed", "train.steps", "train.batch_size")]
    assert invoke(["bench", "digits-quick", "plugin=wgan,wgan", *words]) == 2
    assert "1,000,000,000 runs are asked for" in capsys.readouterr().err
    assert invoke(["run", "plugin=wgan,gan", *words, "--dry-run"]) == 2
    assert "2,000,000,000 runs are asked for" in capsys.readouterr().err
    assert invoke(["bench", "digits-quick", f"plugin={many}"]) == 2
    assert "1,000 models are asked for" in capsys.readouterr().err
    assert not list(Path.cwd().rglob("bench-*.json"))
