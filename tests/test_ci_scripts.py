"""The scripts of ci/: benches and studies run at their smallest, and the checks refuse what they should."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

import zoo_core
from zoo_core.registry.manager import manager

CI = Path(__file__).parent.parent / "ci"


def run(script, *words):
    found = subprocess.run(
        [sys.executable, CI / script, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.parametrize(("size", "fits"), [(7_999_999, True), (8_000_000, False)])
def test_a_wheel_of_eight_megabytes_is_refused(size, fits, tmp_path):
    """Catches a file that makes the wheel too large; the build is replaced by a file of that size."""
    stub = tmp_path / "python3"
    stub.write_text(
        "#!/usr/bin/env bash\n"
        'if [ "$2" = venv ]; then echo built; exit 7; fi\n'
        'mkdir -p "$7"\n'
        f'head -c {size} /dev/zero > "$7/genzoo-0-py3-none-any.whl"\n'
    )
    stub.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", CI / "wheel"], capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False
    )
    assert done.returncode == (7 if fits else 1), done.stdout + done.stderr
    assert ("built" in done.stdout) == fits
    assert (f"it has {size} bytes" in done.stdout) != fits


def test_everything_that_tests_need_is_installed():
    """Catches a library of the extra `test` that is missing, so that its tests are skipped for ever."""
    extras = tomllib.loads((CI.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = [Requirement(text) for text in extras["test"]]
    needed += [
        Requirement(text) for one in needed if one.name == "genzoo" for e in one.extras for text in extras[e]
    ]
    assert {"onnx", "onnxruntime", "onnxscript", "datasets", "diffusers"} <= {one.name for one in needed}
    for one in needed:
        assert one.name == "genzoo" or one.specifier.contains(importlib.metadata.version(one.name)), one


@pytest.mark.slow(depends=("zoo_core", "ci/bench"))
def test_samplers_beside_a_bare_loop():
    """Catches a bench that a renamed sampler has broken, and one that leaves a loop out."""
    rows = json.loads(run("bench/samplers.py", "--rounds", 2, "--steps", 4, "--json"))
    assert "bare" in json.dumps(rows)
    assert all("ours" in loops for batch in rows.values() for loops in batch.values())


@pytest.mark.slow(
    depends=("zoo_core/training/compilation.py", "zoo_core/nn/unet.py", "ci/bench/compilation.py")
)
def test_compilation_of_a_chain_is_timed(monkeypatch):
    """Catches a bench that compiles nothing a second time; torch.compile is left out, for its minutes."""
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    words = ["--batch", 1, "--size", 8, "--channels", 8, "--rounds", 2, "--steps", 1000]
    lines = run("bench/compilation.py", *words).splitlines()
    assert [line.split()[0] for line in lines] == ["threads", "cold", "warm"]
    assert all("1,000 steps" in line for line in lines[1:])


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


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins", "ci/gpu", "ci/studies"))
def test_the_gpu_script_runs_on_a_cpu(tmp_path, monkeypatch):
    """Catches a part that can no longer build its contestants; torch.compile is left out, for its minutes."""
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    run("gpu/run", "--device", "cpu", "--smoke", "--limit", 3600, "--out", tmp_path)
    found = json.loads((tmp_path / "gpu-cpu.json").read_text())
    assert all("seconds" in found[part] for part in load("gpu/run").PARTS)
    assert [one["passed"] for one in found["models"]["models"].values()] == [True]
    assert found["train"]["harness / bare, eager"] > 0
    assert found["train"]["small, graphs / compiled"] > 0
    assert "small, graphs, bfloat16" in found["sample"]["calls_per_s"]
    assert "host_waits" in found["sample"]["zoo_samples"]
    noise = found["sample"]["noise"]
    assert (noise["integers_equal"], noise["uniforms_equal"], noise["normals_ulps"]) == (True, True, 0)
    assert all(each["largest_relative_gap"] == 0 for each in found["score"]["metrics"].values())
    assert "translations" in found["score"]["metrics"]
    assert {"extraction, mnist", "samples"} <= found["score"]["overlap"].keys()
    assert found["score"]["evaluation"]["metric_seconds"].keys() >= {"frechet", "kernel", "memorization"}
    assert [row["paired"] for row in found["quality"]["rows"]] == [True, True, True]


def test_the_gpu_script_keeps_what_a_part_has_printed():
    """Catches rows that are lost with a part that fails, and a part that is never ended."""
    script = load("gpu/run")
    printed = """echo '{"a": {"x": 1}}'; echo a line of a library; echo '{"a": {"y": 2}}'; """
    assert list(script.rows(["sh", "-c", printed], 600)) == [{"a": {"x": 1}}, {"a": {"y": 2}}]
    *kept, fault = script.rows(["sh", "-c", f"{printed} exit 3"], 600)
    assert (len(kept), fault) == (2, {"fault": "exit status 3"})
    *kept, fault = script.rows(["sh", "-c", f"{printed} sleep 3600; true"], 2)
    assert (len(kept), fault) == (2, {"fault": "took over 2 s"})
    both = script.merged({"a": {"x": 1, "z": 0}, "b": 1}, {"a": {"y": 2, "z": 3}, "b": 2})
    assert both == {"a": {"x": 1, "y": 2, "z": 3}, "b": 2}


def test_units_in_the_last_place_are_counted_across_zero(monkeypatch):
    """Catches bits of negative numbers that are taken for their order."""
    monkeypatch.syspath_prepend(str(CI / "gpu"))
    ulps = importlib.import_module("sample").ulps
    one = torch.tensor([1.0, -1.0, 0.0, -0.0])
    assert ulps(one, one) == ulps(torch.tensor([0.0]), torch.tensor([-0.0])) == 0
    up, down = torch.nextafter(one, torch.tensor(2.0)), torch.nextafter(one, torch.tensor(-2.0))
    assert (ulps(one, up), ulps(one, down), ulps(up, down)) == (1, 1, 2)


@pytest.fixture
def fast_paths(monkeypatch):
    monkeypatch.syspath_prepend(str(CI / "studies"))
    return importlib.import_module("fast_paths")


def test_fast_samples_are_compared_with_slow_ones_in_pairs(fast_paths):
    """Catches pairs that are resampled apart, a difference with its sign turned, and an unused bound."""
    rng = torch.Generator().manual_seed(0)
    rows, other = (torch.randn(400, 4, generator=rng).double() for _ in range(2))
    real = fast_paths.moments(torch.randn(4000, 4, generator=rng).double() + 1)

    def drawn(features):
        return fast_paths.Drawn("", features, 1, 0.0, False)

    same = fast_paths.compared(real, drawn(rows), drawn(rows), 0.05)
    assert (same["difference"], same["interval"], same["passed"]) == (0, [0, 0], True)
    worse = fast_paths.compared(real, drawn(rows), drawn(rows - 0.1), 0.05)
    assert worse["interval"][0] > 0
    assert worse["difference"] == pytest.approx(0.8, abs=0.1)  # of |1 + 0.1|^2 - |1|^2 in 4 dimensions
    assert worse["upper_part"] == pytest.approx(worse["interval"][1] / worse["FD"][1])
    assert not worse["passed"]
    assert fast_paths.compared(real, drawn(rows), drawn(rows - 0.1), 0.5)["passed"]
    better = fast_paths.compared(real, drawn(rows), drawn(rows + 0.1), 0.05)
    assert better["interval"][1] < 0
    assert better["passed"]
    apart = fast_paths.compared(real, drawn(rows), drawn(other), 0.05, paired=False)
    assert apart["passed"] is None
    width = worse["interval"][1] - worse["interval"][0]
    assert apart["interval"][1] - apart["interval"][0] > 5 * width


@pytest.mark.slow(depends=("zoo_core", "evaluation", "plugins", "ci/studies"))
def test_a_sampler_that_adds_noise_is_not_paired_with_the_ode(tmp_path):
    """Catches a setting that is drawn in another's steps or precision, and a chain that is held to an ODE."""
    options = {"sampler": "ancestral", "eval.baselines": False, "eval.metrics": ["frechet"]}
    result = zoo_core.run(plugin="ddpm", preset="tiny", run_dir=str(tmp_path / "run"), **options)
    lines = run("studies/fast_paths.py", result.run_dir, "--n", 80, "--nfe", 5, "--out", tmp_path)
    record = json.loads((tmp_path / "fast_paths.json").read_text())
    own, fast, rounded = record["rows"]
    assert [row["paired"] for row in record["rows"]] == [False, True, True]
    assert [row["nfe"] for row in record["rows"]] == [[10, 5], [20, 5], [10, 10]]
    assert rounded["FD"][0] != rounded["FD"][1] == own["FD"][0]
    assert rounded["fast"].endswith("bfloat16")
    assert fast["slow"] == own["slow"]
    assert lines.count("not paired") == 1


@pytest.mark.slow(depends=("zoo_core", "ci/bench"))
def test_noise_beside_a_network_call():
    """Catches a bench that can no longer build the network."""
    found = json.loads(run("bench/noise.py", "--batch", 2, "--rounds", 2, "--json"))
    assert 0 < found["2"]["part"] < 1


@pytest.mark.slow(depends=("zoo_core", "ci/bench", "plugins/zoo_ddpm"))
def test_memory_of_a_folder():
    """Catches a process that is measured before it has loaded anything."""
    words = ["--memory", "--images", 60, "--side", 8, "--steps", 2, "--batch", 4, "--json"]
    found = json.loads(run("bench/data.py", *words))
    assert found["first start"]["images"] == 60
    for row in found.values():
        assert 0 < row["before_mb"] < row["peak_anonymous_mb"] <= row["maxrss_mb"] * 1.05


@pytest.mark.slow(depends=("zoo_core", "ci/studies", "plugins/zoo_lottery"))
def test_the_intervals_of_the_lottery_cover_known_components():
    found = json.loads(run("studies/lottery.py", "--repeats", 200, "--bootstrap", 0, "--json"))
    assert len(found) == 9
    assert all(0.9 <= share <= 0.99 for share in found.values())


@pytest.mark.slow(depends=("ci/studies", "plugins/zoo_fidelity", "evaluation/zoo_eval/audit"))
def test_the_study_of_optional_metrics_prints_a_table_and_draws(tmp_path):
    """Catches a metric without a column, and a replacement that replaces nothing."""
    record = tmp_path / "fidelity.json"
    lines = run("studies/fidelity.py", "--n", 300, "--out", record).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert {"clipped-density", "clipped-coverage", "FLD", "vendi", "C_T"} < set(rows[0])
    assert {row[0] for row in rows[2:] if row[1] == "0"} == {row[0] for row in rows[2:]}
    noise = [float(row[rows[0].index("clipped-coverage")]) for row in rows if row[0] == "uniform noise"]
    assert noise == sorted(noise, reverse=True)
    assert noise[-1] < 0.1 < 0.9 < noise[0]
    run("studies/fidelity.py", record)
    assert record.with_suffix(".png").stat().st_size > 5000


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


def test_equal_samplers_share_a_curve_and_labels_keep_their_distance(monkeypatch):
    """Catches a curve hidden under another, labels out of the curves' order, and labels that overlap."""
    monkeypatch.syspath_prepend(CI / "studies")
    study = importlib.import_module("samplers_nfe")
    scores = {"ddim": (3, 2), "heun": (9, 1), "euler": (3, 2), "unipc": (4, 2.5)}
    rows = [
        {"sampler": name, "calls": calls, "value": value}
        for name, values in scores.items()
        for calls, value in reversed(list(enumerate(values)))
    ]
    curves = study.curves_of(rows)
    assert list(curves) == ["unipc", "ddim = euler", "heun"]
    assert [row["value"] for row in curves["heun"]] == [9, 1]
    assert study.spread([0, 5, 5, 5.5, 9], 1) == pytest.approx([0, 25 / 6, 31 / 6, 37 / 6, 9])
    assert study.spread([0, 0.9, 1.4], 1) == pytest.approx([-7 / 30, 23 / 30, 53 / 30])


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
