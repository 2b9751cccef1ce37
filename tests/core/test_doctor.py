"""A torchvision that was built for another torch is met with one sentence and the command that fixes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from zoo_core.cli.doctor import examine
from zoo_core.errors import MachineError
from zoo_core.machine import threads
from zoo_core.machine.libraries import explain_import

CLASH = "operator torchvision::nms does not exist"


def zoo(words: list[str], home: Path, fake: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line where `import torchvision` fails as a mismatched build does."""
    package = fake / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise RuntimeError({CLASH!r})")
    return subprocess.run(
        [sys.executable, "-m", "zoo_core.cli", *words],
        env={**os.environ, "PYTHONPATH": str(fake), "ZOO_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow(depends=("zoo_core",))
def test_the_doctor_names_the_clash_and_its_cure(home: Path, tmp_path: Path) -> None:
    done = zoo(["doctor"], home, tmp_path / "fake")
    assert done.returncode == 5
    assert "does not fit torch" in done.stdout
    assert "fix: pip install --upgrade torch torchvision" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_run_that_needs_it_says_so_in_one_sentence(home: Path, tmp_path: Path) -> None:
    words = [
        "run",
        "plugin=wgan",
        "preset=tiny",
        "track.wandb=off",
        "track.plots=false",
        "eval.baselines=false",
    ]
    done = zoo([*words, "data=mnist", f"data.root={tmp_path}"], home, tmp_path / "fake")
    assert done.returncode == 5
    assert done.stderr.count("error:") == 1
    assert "do not fit together" in done.stderr
    assert "pip install --upgrade torch torchvision" in done.stderr
    assert "Traceback" not in done.stderr


def test_only_that_clash_is_explained() -> None:
    explain_import(ImportError("something else"))
    with pytest.raises(MachineError, match="do not fit together"):
        explain_import(RuntimeError(CLASH))


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ("3", "3 of 4 cores, by OMP_NUM_THREADS=3"),
        (None, "3 of 4 cores; runs side by side divide them"),
    ],
)
def test_the_doctor_says_who_decides_the_threads(
    named: str | None, line: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a variable that is not named where it decides, and named where it is not set."""
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    if named:
        monkeypatch.setenv(threads.VARIABLE, named)
    (found,) = [finding for finding in examine() if finding.what == "threads"]
    assert found.value == line


def test_a_healthy_environment_has_nothing_to_fix(home: Path) -> None:
    assert [finding for finding in examine() if finding.problem] == []
