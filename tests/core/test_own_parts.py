"""Networks, datasets and metrics of the user's own: what is imported, what is refused, what is recorded."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo_core
from zoo_core.cli import invoke
from zoo_core.data.adapters import dataset_of
from zoo_core.errors import UsageError
from zoo_core.hub import shipped
from zoo_core.registry.resolution import config_hash, resolve
from zoo_core.results.result import Value
from zoo_core.runs import parts
from zoo_core.runs.exchange import pull, push
from zoo_core.runs.needed import compaction

SOURCE = """
import pathlib

import torch
from torch import nn

pathlib.Path("imported.txt").touch()


class MyNet(nn.Module):
    def __init__(self, data, outputs=1):
        super().__init__()
        channels = data.shape[0]
        self.net = nn.Conv2d(channels + 1, outputs * channels, 3, padding=1)

    def forward(self, x, t, cond=None):
        assert t.shape == (len(x),) and float(t.abs().max()) <= 1000
        time = (t / 1000).reshape(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return self.net(torch.cat([x, time], 1))


class Wrong(MyNet):
    def forward(self, x, t, cond=None):
        return x[:, :, :4]
"""
QUICK: dict[str, Any] = {
    "preset": "tiny",
    "data": "digits",
    "train.steps": 2,
    "eval.protocol": "none",
    "track.progress": False,
    "track.plots": False,
    "track.wandb": "off",
}
PLAIN = {key: value for key, value in QUICK.items() if key not in ("preset", "train.steps")}
"""For a baseline, which has no presets."""
WORDS = [f"{key}={value}" for key, value in QUICK.items()]


@pytest.fixture
def module(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module `own_parts_module` in the working directory; nothing is trusted yet."""
    path = home.parent / "own_parts_module.py"
    path.write_text(SOURCE)
    monkeypatch.setattr(parts, "_modules", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield path
    sys.modules.pop("own_parts_module", None)


class Small(nn.Module):
    def __init__(self, data: Any) -> None:
        super().__init__()
        self.net = nn.Conv2d(data.shape[0], data.shape[0], 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        made: Tensor = self.net(x)
        return made


@pytest.mark.parametrize("plugin", ["ddpm", "iddpm", "edm", "ve-sde", "flow-matching", "ncsn"])
def test_a_name_is_the_network_of_any_diffusion_model(plugin: str, module: Path) -> None:
    """iddpm asks for two outputs; t is what the model's own networks are told."""
    made = zoo_core.run(QUICK, plugin=plugin, **{"model.net": "own_parts_module:MyNet"}, run_dir="mine")
    run = zoo_core.load(made.run_dir)
    assert [type(m).__name__ for m in run.recipe.modules()].count("MyNet") == 1
    assert run.sample(2).shape == (2, 1, 8, 8)


def test_a_config_from_elsewhere_imports_nothing(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pulled, copied and shipped configs are refused by name until their module is trusted."""
    name = "own_parts_module:MyNet"
    assert invoke(["run", "plugin=ddpm", *WORDS, f"model.net={name}", "run_dir=mine"]) == 0
    assert invoke(["sample", "mine", "-n", "1", "--out", "own.png"]) == 0
    assert invoke(["run", "resume=mine"]) == 0
    push("mine", "bundle", say=lambda line: None)
    theirs = pull("bundle", Path("theirs"))
    shutil.copytree("mine", "copied")
    Path("imported.txt").unlink()
    sys.modules.pop("own_parts_module")
    capsys.readouterr()
    for words in (
        ["sample", str(theirs), "-n", "1"],
        ["sample", "copied", "-n", "1"],
        ["run", f"config={theirs}", "run_dir=again"],
        ["run", "config=copied", "run_dir=again"],
        ["run", "resume=copied", "train.steps=3", "run_dir=longer"],
        ["eval", str(theirs), "protocol=quick"],
        ["export", str(theirs), "--to", "state_dict", "--out", "x.safetensors"],
    ):
        assert invoke(words) == 2, words
        assert f"model.net={name}" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--trust own_parts_module"):
        zoo_core.load(theirs)
    assert not Path("imported.txt").exists()
    assert invoke(["sample", str(theirs), "-n", "1", "--trust", "other", "--out", "a.png"]) == 2
    assert not Path("imported.txt").exists()
    capsys.readouterr()
    assert invoke(["sample", str(theirs), "-n", "1", "--trust", "own_parts_module", "--out", "a.png"]) == 0
    assert f"importing {name} (--trust own_parts_module)" in capsys.readouterr().err
    assert Path("imported.txt").exists()


SCORED = [word for word in WORDS if not word.startswith("eval.")]
SCORED += ["eval.protocol=quick", "eval.metrics=[frechet]", "eval.baselines=false", "sample.steps=2"]


@pytest.mark.slow(
    depends=("zoo_core/runs", "zoo_core/hub", "zoo_core/nn/own.py", "evaluation", "plugins/zoo_flow")
)
def test_a_result_from_elsewhere_is_verified_without_importing(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run beside a submitted result names a module: verifying it imports nothing until it is trusted."""
    name = "own_parts_module:MyNet"
    words = ["run", "plugin=flow-matching", *SCORED, f"model.net={name}", "sampler=euler", "run_dir=mine"]
    assert invoke(words) == 0
    shutil.copytree("mine", "theirs")
    shutil.rmtree("mine")
    Path("imported.txt").unlink()
    sys.modules.pop("own_parts_module")
    capsys.readouterr()
    assert invoke(["verify", "theirs/result.json"]) == 0
    for words in (
        ["verify", "theirs/result.json", "--run", "theirs"],
        ["verify", "theirs/result.json", "--run", "theirs", "--trust", "other"],
    ):
        assert invoke(words) == 2, words
        shown = capsys.readouterr().err
        assert f"model.net={name}" in shown
        assert "next: --trust own_parts_module" in shown
    assert invoke(["submit", "theirs", "--out", "submitted"]) == 0
    assert not Path("imported.txt").exists()
    assert "own_parts_module" not in sys.modules
    capsys.readouterr()
    words = ["verify", "theirs/result.json", "--run", "theirs", "--trust", "own_parts_module"]
    assert invoke(words) == 0
    shown = capsys.readouterr()
    assert f"importing {name} (--trust own_parts_module)" in shown.out + shown.err
    assert "state: reproduced" in shown.out
    assert Path("imported.txt").exists()


def test_an_entry_of_the_weights_package_imports_nothing(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "own_parts_module:MyNet"
    zoo_core.run(QUICK, plugin="ddpm", net=name, run_dir="mine")
    root = tmp_path / "site" / shipped.PACKAGE
    (root / "tests").mkdir(parents=True)
    (root / "__init__.py").touch()
    kept = compaction(Path("mine"), "float16", lambda line: None)
    push("mine", str(root / "tests" / "own"), compact=kept, say=lambda line: None)
    sys.path.insert(0, str(root.parent))  # the fixture's copy
    importlib.invalidate_caches()
    Path("imported.txt").unlink()
    sys.modules.pop("own_parts_module")
    capsys.readouterr()
    for words in (
        ["sample", "zoo://tests/own", "-n", "1"],
        ["run", "plugin=ddpm", *WORDS, "init=zoo://tests/own", "run_dir=tuned"],
        ["restore", "zoo://tests/own", "test", "operator=blur", "method=ddrm", "-n", "1"],
        ["invert", "zoo://tests/own", "test", "-n", "1"],
    ):
        assert invoke(words) == 2, words
        assert f"model.net={name}" in capsys.readouterr().err, words
    assert invoke(["show", "zoo://tests/own"]) in (0, 2)
    assert not Path("imported.txt").exists()
    assert "own_parts_module" not in sys.modules
    words = ["sample", "zoo://tests/own", "-n", "1", "--out", "a.png", "--trust", "own_parts_module"]
    assert invoke(words) == 0
    assert Path("imported.txt").exists()


def test_a_folder_that_was_trusted_is_not_when_a_pulled_run_lies_there(module: Path) -> None:
    name = "own_parts_module:MyNet"
    zoo_core.run(QUICK, plugin="ddpm", net=name, run_dir="mine")
    push("mine", "bundle", say=lambda line: None)
    shutil.rmtree("mine")
    pull("bundle", Path("mine"))
    with pytest.raises(UsageError, match="--trust"):
        zoo_core.load("mine")
    assert zoo_core.load("mine", trust=["own_parts_module"]).config.plugin == "ddpm"


def test_changed_sources_are_told_of_a_finished_run(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "plugin=ddpm", *WORDS, "model.net=own_parts_module:MyNet"]
    assert invoke(words) == 0
    assert invoke(words) == 0
    assert "have changed" not in capsys.readouterr().err
    module.write_text(SOURCE + "\n# changed\n")
    assert invoke(words) == 0
    assert "the sources of own_parts_module have changed since" in capsys.readouterr().err


def test_mistakes_in_own_networks_are_named(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value, message in (
        ("own_parts_module:Wrong", "returned shape"),
        ("own_parts_module:Missing", "has no class or function 'Missing'"),
        ("no_such_module_here:Net", "there is no module 'no_such_module_here'"),
        ("own_parts_module:nn", "has no class or function 'nn'"),
        ("unett", "did you mean"),
    ):
        words = ["run", "plugin=ddpm", *WORDS, f"model.net={value}", f"run_dir=run-{abs(hash(value))}"]
        assert invoke(words) in (2, 4), value
        shown = capsys.readouterr().err
        assert message in shown or (value == "unett" and shown.count("bad value") == 1), shown
    with pytest.raises(UsageError, match="can't be called"):
        zoo_core.run(QUICK, plugin="iddpm", net=Small)


def test_a_python_object_is_recorded_and_can_not_be_repeated(home: Path) -> None:
    lines: list[str] = []
    made = zoo_core.run(QUICK, plugin="ddpm", net=Small, run_dir="mine")
    value = zoo_core.resolve({"config": "mine"}).model.net  # type: ignore[attr-defined]
    assert value.startswith(f"python:{Small.__module__}.Small@")
    record = json.loads(Path("mine/provenance.json").read_text())
    assert record["parts"]["net"]["name"] == f"{Small.__module__}.Small"
    assert len(record["parts"]["net"]["sha256"]) == 64
    assert "can't be repeated from its config" in made.provenance.notes["parts"]
    assert "can't be repeated from its config" in repr(made)
    for opened in (lambda: zoo_core.load("mine"), lambda: zoo_core.resume("mine", steps=4)):
        with pytest.raises(UsageError, match="can't be repeated from its config"):
            opened()
    run = zoo_core.load("mine", net=Small, say=lines.append)
    assert run.sample(2).shape == (2, 1, 8, 8)


def test_another_source_is_another_run(home: Path) -> None:
    class Wide(Small):
        def __init__(self, data: Any) -> None:
            super().__init__(data)
            self.net = nn.Conv2d(data.shape[0], data.shape[0], 5, padding=2)

    one = zoo_core.run(QUICK, plugin="ddpm", net=Small)
    assert zoo_core.run(QUICK, plugin="ddpm", net=Wide).run_dir != one.run_dir
    assert zoo_core.run(QUICK, plugin="ddpm", net=Small).run_dir == one.run_dir


def test_a_network_that_is_handed_over_is_copied_with_its_weights(home: Path) -> None:
    net = Small(type("Data", (), {"shape": (1, 8, 8)}))
    before = [p.clone() for p in net.parameters()]
    options = {**QUICK, "train.steps": 1, "optim.net.lr": 1e-30}  # a step that float32 does not see
    made = zoo_core.run(options, plugin="ddpm", net=net, run_dir="zero")
    inside = list(zoo_core.load("zero", net=net).recipe.net.parameters())  # type: ignore[union-attr]
    for own, started in zip(before, inside, strict=True):
        assert torch.equal(own, started)
    assert made.provenance.notes["parts"]
    zoo_core.run({**QUICK, "train.steps": 2}, plugin="ddpm", net=net, run_dir="two")
    assert all(torch.equal(own, now) for own, now in zip(before, net.parameters(), strict=True))
    with torch.no_grad():
        net.net.weight.add_(1)
    assert parts.described(net) != parts.described(Small(type("Data", (), {"shape": (1, 8, 8)})))


def mean_brightness(samples: Tensor, real: Tensor) -> float:
    return float(samples.mean() - real.mean())


def test_a_function_is_a_metric_that_is_never_ranked(home: Path) -> None:
    options = {**PLAIN, "eval.protocol": "quick", "eval.metrics": ["frechet"], "eval.baselines": False}
    made = zoo_core.run(options, plugin="gaussian", run_dir="mine")
    assert "mean-brightness" not in made.metrics
    again = zoo_core.run(options, plugin="gaussian", run_dir="mine", metrics=[mean_brightness])
    value = again.metrics["mean-brightness"]
    assert isinstance(value, Value)
    assert value.unranked
    run = zoo_core.load("mine")
    real = run.to_model(run.data.test.examples(torch.arange(len(run.data.test)))).cpu()
    assert value.n is not None
    samples = run.sample(value.n)
    assert value.value == pytest.approx(float(samples.mean() - real.mean()), abs=1e-6)
    assert "can't be repeated" in again.scored.provenance.notes["parts"]
    with pytest.raises(UsageError, match="column of an installed metric"):
        zoo_core.run(options, plugin="gaussian", run_dir="b", metrics={"FD[mine]": mean_brightness})
    with pytest.raises(UsageError, match="failed: ZeroDivisionError"):
        zoo_core.run(options, plugin="gaussian", run_dir="c", metrics={"zero": lambda x, y: 1 / 0})
    assert invoke(["verify", "mine/result.json", "--run", "mine"]) == 0
    verdicts = [json.loads(path.read_text()) for path in (home / "verdicts").glob("*.json")]
    assert [verdict["state"] for verdict in verdicts] == ["reported"]


class Columns:
    """Items as a `datasets.Dataset` has them."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, k: int) -> dict[str, Any]:
        return {"img": torch.full((1, 8, 8), k * 6, dtype=torch.uint8).numpy(), "label": k % 2, "id": k}


def test_a_dataset_with_columns_is_read(home: Path) -> None:
    made = zoo_core.run({**PLAIN, "data": "python"}, plugin="gaussian", dataset=Columns(), run_dir="mine")
    info = zoo_core.load(made.run_dir).data.info
    assert (info.shape, info.classes) == ((1, 8, 8), 2)
    record = json.loads(Path("mine/provenance.json").read_text())
    assert record["parts"]["dataset"]["name"].endswith("Columns")
    with pytest.raises(UsageError, match="expected: one of image, img"):
        zoo_core.run(PLAIN, plugin="gaussian", dataset=[{"text": 1}])


def test_a_dataset_of_hugging_face_is_read(home: Path) -> None:
    """The library's own class: images and labels are those that it holds, in its order."""
    import datasets
    import numpy as np
    from PIL import Image

    levels = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    columns = {"image": [Image.fromarray(one) for one in levels], "label": [k % 3 for k in range(30)]}
    table = datasets.Dataset.from_dict(columns)
    read = dataset_of({"train": table.select(range(20)), "test": table.select(range(20, 30))})
    assert (read.info.shape, read.info.classes) == ((1, 8, 8), 3)
    every = read.train.examples(torch.arange(20)), read.test.examples(torch.arange(10))
    assert np.array_equal(torch.cat(every)[:, 0].numpy(), levels)
    assert read.test.label is not None
    assert read.test.label.tolist() == [k % 3 for k in range(20, 30)]
    made = zoo_core.run({**PLAIN, "data": "python"}, plugin="gaussian", dataset=table, run_dir="mine")
    assert zoo_core.load(made.run_dir).sample(2).shape == (2, 1, 8, 8)


def test_no_config_hash_has_moved() -> None:
    """Hashes of runs that were made before: the option's new values change no value of theirs."""
    assert config_hash(resolve(["plugin=ddpm"])) == HASHES["ddpm"]
    assert config_hash(resolve(["plugin=ncsn"])) == HASHES["ncsn"]
    assert config_hash(resolve(["plugin=ddpm", "data=emoji", *FIRST_PRESET])) == HASHES["ddpm emoji"]


FIRST_PRESET = (
    "model.channels=16",
    "model.mult=[1,2,4]",
    "model.fold=2",
    "model.refine=0",
    "model.prediction=eps",
    "optim.net.kind=adam",
    "optim.net.lr=0.001",
    "optim.net.momentum=0",
    "train.steps=2600",
    "train.batch_size=32",
    "sampler=dpmpp-2m",
    "sample.steps=15",
)
"""What the preset of 32x32 was before it was tuned."""
HASHES = {"ddpm": "87700e228598", "ncsn": "2a5ed0a88623", "ddpm emoji": "64aa7f0e0d3b"}
