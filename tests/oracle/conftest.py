"""An oracle of a tiny run, in a weights package of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import zoo_core
from zoo_core.hub import shipped

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "ci"))
NAME = "oracle-digits"
QUIET = {"eval": {"protocol": "none"}, "track": {"wandb": "off", "progress": False, "plots": False}}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of few steps whose likelihood is exact, conditional on the class."""
    folder = tmp_path_factory.mktemp("law") / "run"
    data = {"name": "digits", "task": "class"}
    zoo_core.run(plugin="pixelcnn", preset="tiny", data=data, run_dir=str(folder), **QUIET)
    return folder


@pytest.fixture(scope="session")
def package(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Root of a weights package that holds the oracle of that run, and the sha256 of its law.json."""
    import oracles

    root = tmp_path_factory.mktemp("package")
    target = root / "oracles" / NAME
    sha256 = oracles.make(NAME, trained, target, train=60, test=40, draws=300, conditioned=200)
    return root, sha256


@pytest.fixture
def installed(package: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the oracle, where the weights package with it is the one that is installed."""
    from zoo_oracle import files

    root, sha256 = package
    monkeypatch.setattr(shipped, "shipped_root", lambda: root)
    monkeypatch.setattr(files, "shipped_root", lambda: root)
    monkeypatch.setattr(files, "SHA256", {NAME: sha256})
    monkeypatch.setattr("zoo_oracle.dataset.SHA256", {NAME: sha256})
    return root / "oracles" / NAME
