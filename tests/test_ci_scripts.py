"""The scripts of ci/: benches and studies run at their smallest, and the checks refuse what they should."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import zoo_core
from zoo_core.registry.manager import manager

CI = Path(__file__).parent.parent / "ci"


def run(script, *words):
    found = subprocess.run(
        [sys.executable, CI / script, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.slow(depends=("zoo_core", "ci/bench"))
def test_samplers_beside_a_bare_loop():
    """Catches a bench that a renamed sampler has broken, and one that leaves a loop out."""
    rows = json.loads(run("bench/samplers.py", "--rounds", 2, "--steps", 4, "--json"))
    assert "bare" in json.dumps(rows)
    assert all("ours" in loops for batch in rows.values() for loops in batch.values())


@pytest.mark.slow(depends=("zoo_core", "ci/bench"))
def test_throughput():
    """Catches a bench that can no longer build a preset."""
    words = [
        "--plugins",
        "ddpm",
        "--data",
        "digits",
        "--preset",
        "tiny",
        "--batch",
        2,
        "--steps",
        1,
        "--rounds",
        1,
    ]
    assert "images/s in training" in run("bench/throughput.py", *words)


@pytest.mark.slow(depends=("ci/gpu", "zoo_core/nn", "zoo_core/training"))
def test_the_gpu_script_runs_on_a_cpu(tmp_path, monkeypatch):
    """Catches a part that can no longer build its contestants; torch.compile is left out, for its minutes."""
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    run("gpu/run", "train", "sample", "score", "--device", "cpu", "--smoke", "--out", tmp_path)
    found = json.loads((tmp_path / "gpu-cpu.json").read_text())
    assert found["train"]["harness / bare, eager"] > 0
    assert "host_waits" in found["sample"]["zoo_samples"]
    assert all(each["largest_relative_gap"] == 0 for each in found["score"]["metrics"].values())
    assert "translations" in found["score"]["metrics"]
    assert {"extraction, mnist", "samples"} <= found["score"]["overlap"].keys()


@pytest.mark.slow(depends=("zoo_core", "ci/studies", "plugins/zoo_lottery"))
def test_the_intervals_of_the_lottery_cover_known_components():
    found = json.loads(run("studies/lottery.py", "--repeats", 200, "--bootstrap", 0, "--json"))
    assert len(found) == 9
    assert all(0.9 <= share <= 0.99 for share in found.values())


@pytest.mark.slow(depends=("ci/studies", "plugins/zoo_fidelity", "evaluation/zoo_eval/audit"))
def test_the_study_of_optional_metrics_prints_a_table_and_draws(tmp_path):
    """Catches a metric without a column, and a replacement that replaces nothing."""
    lines = run("studies/fidelity.py", "--n", 300, "--out", tmp_path / "plot.png").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert {"clipped-density", "clipped-coverage", "FLD", "vendi", "C_T"} < set(rows[0])
    assert {row[0] for row in rows[2:] if row[1] == "0"} == {row[0] for row in rows[2:]}
    noise = [float(row[rows[0].index("clipped-coverage")]) for row in rows if row[0] == "uniform noise"]
    assert noise == sorted(noise, reverse=True)
    assert noise[-1] < 0.1 < 0.9 < noise[0]
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins", "ci/studies"))
def test_every_sampler_of_one_run(tmp_path):
    """Catches a sampler that is left out of the table, and a image that is not drawn."""
    result = zoo_core.run(
        plugin="vp-sde", preset="tiny", run_dir=str(tmp_path / "run"), **{"eval.baselines": False}
    )
    out = tmp_path / "study"
    words = ["--n", 200, "--steps", 2, "--tolerances", 0.5, "--out", out]
    run("studies/samplers_nfe.py", result.run_dir, *words)
    record = json.loads((out / "samplers.json").read_text())
    assert len(record["rows"]) == len(
        [entry for entry in manager().entries("sampler") if not entry.spec.parts]
    )
    assert record["config_hash"] == result.config_hash
    assert (out / "samplers.png").stat().st_size > 5000


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins", "ci/studies"))
def test_guidance_by_a_weaker_run_is_chosen_on_the_validation_part(tmp_path):
    """Catches a scale or an interval without effect, and a choice by another score."""
    options = {"plugin": "edm", "preset": "tiny", "data.validation": 0.1, "eval.baselines": False}
    weak = tmp_path / "weak"
    zoo_core.run(run_dir=str(weak), **options, **{"train.steps": 20})
    guided = {"sample.guide": "auto", "sample.guidance_run": str(weak)}
    result = zoo_core.run(run_dir=str(tmp_path / "run"), **options, **guided)
    out = tmp_path / "study"
    words = ["--n", 200, "--scales", 1, 2, "--interval", 0.2, 2, "--select", "--fresh", 2, "--out", out]
    run("studies/guidance.py", result.run_dir, *words)
    record = json.loads((out / "guidance.json").read_text())
    assert [(row["scale"], row["interval"]) for row in record["rows"]] == [
        (1, None),
        (2, None),
        (2, [0.2, 2]),
    ]
    assert len({row["distance"][0] for row in record["rows"]}) == 3
    plain, chosen = record["fresh"]
    best = min(record["rows"], key=lambda row: row["validation"])
    assert (plain["scale"], plain["interval"]) == (1, None)
    assert (chosen["scale"], chosen["interval"]) == (best["scale"], best["interval"])
    assert record["rows"][0]["distance"][0] not in plain["distances"]
    assert len(set(plain["distances"])) == 2
    assert (out / "guidance.png").stat().st_size > 5000


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins", "ci/studies"))
def test_fitted_levels_are_compared_on_noise_that_the_fit_has_not_seen(tmp_path):
    """Catches a fit that is not used, pairs of unlike noise, and a seed that is drawn twice."""
    result = zoo_core.run(
        plugin="vp-sde", preset="tiny", run_dir=str(tmp_path / "run"), **{"eval.baselines": False}
    )
    out = tmp_path / "study"
    words = ["--nfe", 3, 6, "--n", 200, "--seeds", 2, "--out", out]
    lines = run("studies/fitted_levels.py", result.run_dir, *words).splitlines()
    rows = json.loads((out / "fitted.json").read_text())["rows"]
    assert [row["calls"] for row in rows] == [3, 6]
    for row in rows:
        assert len({value for pair in row["pairs"] for value in pair}) == 4
        assert row["levels"] == sorted(row["levels"], reverse=True)
    assert sum(line.startswith(("| 3 |", "| 6 |")) for line in lines) == 2


def test_p_values_are_corrected_for_their_number(monkeypatch):
    """Holm 1979: the smallest of m times m, each next by one less, never below the one before."""
    monkeypatch.syspath_prepend(CI / "studies")
    holm = importlib.import_module("fitted_levels").holm
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.3, 0.2]) == pytest.approx([0.4, 0.4])
    assert holm([0.9]) == [0.9]


def load(script):
    """The module of a script of ci/ that has no suffix."""
    loader = importlib.machinery.SourceFileLoader(script, str(CI / script))
    spec = importlib.util.spec_from_loader(script, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_slow_tests_run_when_what_they_depend_on_changes(monkeypatch):
    """Catches a manifest that keeps a pass after a dependency or a library has changed, or never rests."""
    slow = load("slow")
    before = slow.dependency_hash(["ci/words"])
    assert before == slow.dependency_hash(["ci/words"])
    assert before != slow.dependency_hash(["ci/slow"])
    monkeypatch.setattr(slow, "file_hash", lambda name: "other")
    changed = slow.dependency_hash(["ci/words"])
    monkeypatch.setattr(slow, "versions", lambda: "torch 0")
    assert len({before, changed, slow.dependency_hash(["ci/words"])}) == 3
    hashes = {f"test_{k}": "now" for k in range(100)}
    assert slow.chosen(hashes, {}, None) == list(hashes)
    assert slow.chosen(hashes, hashes, None) == []
    assert slow.chosen(hashes, hashes | {"test_7": "then"}, None) == ["test_7"]
    turns = [slow.chosen(hashes, hashes, turn) for turn in range(10)]
    assert sorted(node for turn in turns for node in turn) == sorted(hashes)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("picture_every = 4", "image"),
        ("class PictureSheet:", "image"),
        ("the optimiser's rate", "optimizer"),
        ("class DiscretisedLogistic:", "discretized"),
        ("misorganised", "misorganized"),
        ("a grayscale neighbourhood", "neighborhood"),
        ("sample.guidance=2", "guidance_scale"),
    ],
)
def test_replaced_words_are_refused(tmp_path, text, instead):
    """Catches a word that the check overlooks inside a name, or in another form."""
    words = load("words")
    (tmp_path / "a.py").write_text(text)
    assert any(instead in place for place in words.places(tmp_path / "a.py", "a.py", []))
    assert not list(words.places(tmp_path / "a.py", "a.py", [text]))


def test_ordinary_words_are_not_refused(tmp_path):
    """Catches a rule for spelling that takes the ordinary words of diffusion for British ones."""
    words = load("words")
    fine = "denoise noise raises otherwise pairwise precise clockwise advise exercise disabled analysis hours"
    (tmp_path / "a.py").write_text(fine)
    assert not list(words.places(tmp_path / "a.py", "a.py", []))


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("zoo_core/data/table.py", "from zoo_core.training import harness", "layers of zoo_core"),
        ("zoo_core/registry/spec.py", "import zoo_vae", "plugins -> zoo_core"),
        ("evaluation/zoo_eval/features.py", "import zoo_eval.context", "no circle of imports"),
    ],
)
def test_lint_imports_refuses_a_planted_violation(tmp_path, module, line, contract):
    """Catches contracts that hold whatever is imported."""
    ignored = shutil.ignore_patterns("__pycache__", "*.zip")
    for part in ("zoo_core", "plugins", "evaluation"):
        shutil.copytree(CI.parent / part, tmp_path / part, ignore=ignored)
    shutil.copy(CI.parent / "pyproject.toml", tmp_path)
    path = tmp_path / module
    path.write_text(path.read_text() + f"\n\ndef planted() -> None:\n    {line}\n")
    roots = ":".join(str(tmp_path / part) for part in (".", "plugins", "evaluation"))
    call = "from importlinter.cli import lint_imports_command as lint; lint()"
    found = subprocess.run(
        [sys.executable, "-c", call, "--no-cache"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": roots},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1, found.stdout + found.stderr
    assert contract in found.stdout.partition("Broken contracts")[2]


SCRIPTS = sorted(path for path in CI.rglob("*.py") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(CI).as_posix())
def test_what_a_script_imports_of_the_packages_exists(script: Path) -> None:
    # catches a study that nobody has run since a function moved
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zoo_"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_a_board_has_the_results_that_its_commands_make(tmp_path, monkeypatch):
    """Catches a default that moved away from the committed results, and an exception without a reason."""
    monkeypatch.syspath_prepend(CI)
    boards = importlib.import_module("boards")
    commands = {"mnist": ("plugin=gaussian,histogram data=mnist", "plugin=gaussian data=digits")}
    missing = boards.unmade(commands, tmp_path, {})
    assert [line.split("/")[1:3] for line in missing] == [
        ["mnist", "gaussian"],
        ["mnist", "histogram"],
        ["digits", "gaussian"],
    ]
    for name in [line.partition(":")[0].removeprefix("results/") for line in missing[1:]]:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "result.json").touch()
    assert boards.unmade(commands, tmp_path, {}) == missing[:1]
    assert boards.unmade(commands, tmp_path, {"mnist/gaussian": "why"}) == []
    stale = boards.unmade(commands, tmp_path, {"mnist/gaussian": "why", "mnist/histogram": "why"})
    assert stale == ["mnist/histogram: made; take it out of EXCEPTIONS"]
    moved = {"mnist": ("plugin=histogram data=mnist train.batch_size=7",)}
    assert len(boards.unmade(moved, tmp_path, {})) == 1


def test_the_index_lists_the_weights_that_are_there_and_keeps_other_addresses(tmp_path, monkeypatch):
    """Writing twice changes nothing; an entry that is gone goes; addresses elsewhere stay."""
    monkeypatch.syspath_prepend(CI)
    weights = importlib.import_module("weights")
    text = (
        "plugins:\n  - name: ddpm\n    license: X\n  - name: other\n    weights:\n"
        '      - {uri: "https://x", data: y}\n  - name: wgan\n    license: X\nliterature: []\n'
    )
    monkeypatch.setattr(
        weights, "entries", lambda: iter([("zoo://a/wgan", tmp_path), ("zoo://b/wgan", tmp_path)])
    )
    monkeypatch.setattr(weights, "record", lambda address, folder: (address[-4:], {"uri": address}))
    once = weights.listed(text)
    assert weights.listed(once) == once
    added = '    license: X\n    weights:\n      - {"uri": "zoo://a/wgan"}\n      - {"uri": "zoo://b/wgan"}\nliterature'
    assert added in once
    assert 'weights:\n      - {uri: "https://x", data: y}\n' in once
    monkeypatch.setattr(weights, "entries", lambda: iter([("zoo://d/other", tmp_path)]))
    monkeypatch.setattr(weights, "record", lambda address, folder: ("other", {"uri": address}))
    both = weights.listed(text)
    assert 'weights:\n      - {"uri": "zoo://d/other"}\n      - {uri: "https://x"' in both
    assert weights.listed(both) == both
    monkeypatch.setattr(weights, "entries", lambda: iter([]))
    assert weights.listed(once) == text
