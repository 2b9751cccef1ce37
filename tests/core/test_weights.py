"""Compact bundles and the weights package: what is kept, what is drawn from it, and how it is found."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo_core
from zoo_core.cli import invoke
from zoo_core.data.identity import trained_on
from zoo_core.errors import MachineError, NotFoundError, UsageError
from zoo_core.hub import shipped
from zoo_core.hub.address import Shipped, parse
from zoo_core.hub.compact import halved, whole
from zoo_core.registry.index import load_index
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.results import read_result
from zoo_core.results.result import Value
from zoo_core.runs.exchange import pull, push
from zoo_core.runs.needed import compaction, needed_parts

ROOT = Path(__file__).resolve().parents[2]


QUIET = {"eval": {"protocol": "none"}, "track": {"wandb": "off", "progress": False, "plots": False}}


def silent(line: str) -> None:
    pass


def rewrite(bundle: Path, state: Any) -> None:
    """Give a bundle another state.json, with its true sum in the manifest."""
    data = json.dumps(state).encode()
    (bundle / "state.json").write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["state.json"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Trained runs: with a critic; with a likelihood and a codec; with two networks of a kind."""
    made = {}
    for plugin in ("wgan", "vae", "rectified-flow"):
        folder = tmp_path_factory.mktemp(plugin) / "run"
        zoo_core.run(plugin=plugin, preset="tiny", run_dir=str(folder), train={"steps": 6}, **QUIET)
        made[plugin] = folder
    return made


def test_what_float16_holds_is_halved_and_nothing_else() -> None:
    weights = {
        "net": torch.linspace(-3, 3, 50),
        "large": torch.tensor([1.0, 6.3e4]),  # float16 ends at 65,504
        "small": torch.full((8,), 1e-8),  # a fraction of the step of float16 at zero
        "buffer": torch.linspace(0, 1, 5),
        "count": torch.arange(3),
        "double": torch.ones(2, dtype=torch.float64),
    }
    half = halved(weights, {"net", "large", "small", "count", "double"})
    assert [name for name, tensor in half.items() if tensor.dtype == torch.float16] == ["net"]
    assert all(torch.equal(half[name], weights[name]) for name in weights if name != "net")
    back = whole(half, ["net"])["net"]
    assert back.dtype == torch.float32
    assert 0 < float((back - weights["net"]).norm()) < 1e-3 * float(weights["net"].norm())


@pytest.mark.parametrize(
    ("plugin", "needed"),
    [("wgan", ["generator"]), ("vae", ["decoder", "encoder"]), ("rectified-flow", ["net"])],
)
def test_the_parts_that_outputs_depend_on_are_found(
    runs: dict[str, Path], plugin: str, needed: list[str]
) -> None:
    run = zoo_core.load(runs[plugin], say=silent)
    before = {name: tensor.clone() for name, tensor in run.recipe.state_dict().items()}
    assert sorted(needed_parts(run)) == needed
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.recipe.state_dict().items())


@pytest.mark.parametrize("plugin", ["wgan", "vae", "rectified-flow"])
def test_a_compact_bundle_draws_what_the_run_draws(
    runs: dict[str, Path], plugin: str, home: Path, tmp_path: Path
) -> None:
    bundles = {}
    for kind in ("float32", "float16"):
        kept = compaction(runs[plugin], kind, silent)  # type: ignore[arg-type]
        bundles[kind] = push(runs[plugin], str(tmp_path / kind), compact=kept, say=silent)
    full = push(runs[plugin], str(tmp_path / "full"), say=silent)
    assert Path(full, "raw.safetensors").exists()
    sizes = {path: Path(path, "weights.safetensors").stat().st_size for path in (*bundles.values(), full)}
    assert sizes[bundles["float16"]] < 0.6 * sizes[bundles["float32"]]
    assert sizes[bundles["float32"]] <= sizes[full]
    expected = zoo_core.load(runs[plugin], say=silent).sample(20, seed=3)
    exact = zoo_core.load(pull(bundles["float32"]), say=silent)
    assert torch.equal(exact.sample(20, seed=3), expected)
    rounded = zoo_core.load(pull(bundles["float16"]), say=silent)
    assert (rounded.sample(20, seed=3) - expected).abs().mean() < 0.02
    assert {tensor.dtype for tensor in rounded.recipe.parameters()} == {torch.float32}


def test_a_compact_run_starts_another_and_is_not_trained_further(
    runs: dict[str, Path], home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = pull(
        push(
            runs["wgan"],
            str(tmp_path / "bundle"),
            compact=compaction(runs["wgan"], "float16", silent),
            say=silent,
        )
    )
    with pytest.raises(UsageError, match="can't be continued"):
        zoo_core.resume(there, steps=12)
    made = zoo_core.run(
        plugin="wgan", preset="tiny", init=str(there), run_dir="again", train={"steps": 2}, **QUIET
    )
    record = json.loads((Path(made.run_dir) / "provenance.json").read_text())["init"]
    assert record["loaded"] > 4
    assert record["data"] == trained_on(runs["wgan"])
    assert record["data"]["name"] == "digits"
    assert made.provenance.init is not None
    assert made.provenance.init.data_sha256 == record["data"]["sha256"]
    assert any(name.startswith("critic.") for name in record["not_loaded"])
    assert not any(name.startswith("generator.") for name in record["not_loaded"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: {**state, "compact": {**state["compact"], "averaged": {"generator": ["x"]}}}, "x"),
        (lambda state: {**state, "compact": {**state["compact"], "half": ["y"]}}, "y"),
        (lambda state: {**state, "compact": []}, "unknown weights"),
        (lambda state: [state], "not an object"),
        (lambda state: {"tensor": [1], "dtype": "int64"}, "not an object"),
    ],
)
def test_a_state_that_does_not_fit_its_weights_is_refused(
    change: Any, says: str, runs: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    kept = compaction(runs["wgan"], "float16", silent)
    bundle = Path(push(runs["wgan"], str(tmp_path / "bundle"), compact=kept, say=silent))
    rewrite(bundle, change(json.loads((bundle / "state.json").read_text())))
    with pytest.raises(UsageError, match=says):
        pull(str(bundle))


# -- the package


@pytest.fixture
def package(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights package with one entry, in the place of one that may be installed."""
    root = tmp_path / "site" / shipped.PACKAGE
    (root / "tests").mkdir(parents=True)
    push(
        runs["wgan"],
        str(root / "tests" / "wgan"),
        compact=compaction(runs["wgan"], "float16", silent),
        say=silent,
    )
    (root / "__init__.py").write_text("raise AssertionError('data only')")
    monkeypatch.syspath_prepend(str(root.parent))
    importlib.invalidate_caches()
    return root


def test_an_address_of_the_package_is_read() -> None:
    assert parse("zoo://digits/ddpm-class") == Shipped("digits", "ddpm-class")
    assert str(Shipped("digits", "ddpm")) == "zoo://digits/ddpm"
    for wrong in ("zoo://", "zoo://digits", "zoo://digits/../x", "zoo://Digits/x", "zoo://digits/x/y"):
        with pytest.raises(UsageError, match="zoo://digits/ddpm"):
            parse(wrong)


def test_an_entry_is_sampled_by_its_address(
    package: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shipped.shipped() == [Shipped("tests", "wgan")]
    assert invoke(["sample", "zoo://tests/wgan", "-n", "8", "--out", str(tmp_path / "x.npz")]) == 0
    assert (tmp_path / "x.npz").stat().st_size > 100
    assert zoo_core.load("zoo://tests/wgan", say=silent).sample(2).shape == (2, 1, 8, 8)
    assert len(list((home / "runs").glob("digits/wgan/*"))) == 1
    assert shipped.PACKAGE not in sys.modules


def test_an_unknown_entry_names_the_nearest(package: Path, home: Path) -> None:
    with pytest.raises(NotFoundError, match="zoo://tests/wgan"):
        pull("zoo://tests/wgann")


def test_without_the_package_the_error_says_how_to_get_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotFoundError, match="pip install genzoo-weights"):
        pull("zoo://digits/ddpm")
    with pytest.raises(UsageError, match="comes with a package"):
        push("run", "zoo://digits/ddpm")


def test_weights_that_the_index_does_not_list_are_refused(
    package: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = load_index()
    (entry,) = (entry for entry in index.plugins if entry.name == "wgan")
    listed: dict[str, Any] = {"uri": "zoo://tests/wgan", "sha256": "0" * 64, "data": "digits"}
    changed = type(entry).model_validate({**entry.model_dump(), "weights": [listed]})
    monkeypatch.setattr(
        "zoo_core.registry.index.load_index", lambda: index.model_copy(update={"plugins": [changed]})
    )
    with pytest.raises(MachineError, match=r"registry\.yaml"):
        pull("zoo://tests/wgan")


# -- the entries that are committed

QUICK = 20.0
"""Seconds of a likelihood, when it was listed, above which it is not computed again: an ODE takes minutes."""
ENTRIES = sorted(path.parent for path in (ROOT / "weights").glob("genzoo_weights/*/*/manifest.json"))


def depends(entry: Path) -> tuple[str, ...]:
    """Return what an entry depends on: its files, its model's package, the networks, the format."""
    model = manager().find("plugin", json.loads((entry / "manifest.json").read_text())["plugin"])
    package = f"plugins/{model.spec.target.partition('.')[0]}"
    own = entry.relative_to(ROOT).as_posix()
    networks = ("zoo_core/hub", "zoo_core/nn", "zoo_core/diffusion", "zoo_core/seeds.py")
    return (own, package, *networks, "evaluation/zoo_eval/metrics", "evaluation/zoo_eval/extractors")


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(
            path, id=f"{path.parent.name}-{path.name}", marks=pytest.mark.slow(depends=depends(path))
        )
        for path in ENTRIES
    ],
)
def test_an_entry_reproduces_its_score(entry: Path, home: Path, tmp_path: Path) -> None:
    """Sampled and scored as listed: the distance is in its interval, likelihoods in their standard errors."""
    from zoo_core.runs import load
    from zoo_eval.pipeline import evaluate
    from zoo_eval.rescoring import identity_of
    from zoo_eval.sampling import source_of

    listed = read_result(entry / "result.json")
    (distance,) = [name for name in listed.metrics if re.fullmatch(r"FD\[[^]]+\]", name)]
    quick = listed.cost.metric_seconds.get("likelihood", 0) <= QUICK
    likelihoods = [name for name in listed.metrics if quick and name.startswith("bits_per_dim[")]
    folder = pull(str(Path(shutil.copytree(entry, tmp_path / "bundle"))))
    scored = ["frechet", "likelihood"] if likelihoods else ["frechet"]
    run = load(folder, config=resolve({"config": str(folder), "eval.metrics": scored}), say=silent)
    found = evaluate(replace(source_of(run), folder=None), identity_of(run))
    assert found.protocol.hash == listed.protocol.hash
    expected, value = listed.metrics[distance], found.metrics[distance]
    assert isinstance(expected, Value)
    assert isinstance(value, Value)
    assert value.n == expected.n == listed.protocol.fields["n_generated"]
    assert expected.interval is not None
    assert expected.interval.low <= value.value <= expected.interval.high
    for name in likelihoods:
        expected, value = listed.metrics[name], found.metrics[name]
        assert isinstance(expected, Value)
        assert isinstance(value, Value)
        assert expected.standard_error is not None
        assert abs(value.value - expected.value) <= expected.standard_error
