"""The diffusion models' benches and studies run, at their smallest: figures are made by hand, not here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import zoo_core

CI = Path(__file__).parent.parent / "ci"


def run(script, *words):
    found = subprocess.run(
        [sys.executable, CI / script, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_samplers_beside_a_bare_loop():
    """Catches a bench that a renamed sampler has broken, and one that leaves a loop out."""
    rows = json.loads(run("bench/samplers.py", "--rounds", 2, "--steps", 4, "--json"))
    assert "bare" in json.dumps(rows)
    assert all("ours" in loops for batch in rows.values() for loops in batch.values())


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
    assert "pictures/s in training" in run("bench/throughput.py", *words)


def test_every_sampler_of_one_run(tmp_path):
    """Catches a sampler that is left out of the table, and a picture that is not drawn."""
    result = zoo_core.run(
        plugin="vp-sde", preset="tiny", run_dir=str(tmp_path / "run"), **{"eval.baselines": False}
    )
    out = tmp_path / "study"
    words = ["--n", 200, "--steps", 2, "--tolerances", 0.5, "--out", out]
    run("studies/samplers_nfe.py", result.run_dir, *words)
    record = json.loads((out / "samplers.json").read_text())
    assert len(record["rows"]) == 12
    assert record["config_hash"] == result.config_hash
    assert (out / "samplers.png").stat().st_size > 5000
