"""The oracles of the weights package: their files, and their entropy against their own images."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from zoo_eval.extractors.classifiers import Classifier
from zoo_oracle.dataset import OracleConfig, load
from zoo_oracle.files import SHA256, folder_of, read_law

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ci"))
N = 400


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights package of the repository, installed."""
    root = ROOT / "weights" / "genzoo_weights"
    monkeypatch.setattr("zoo_oracle.files.shipped_root", lambda: root)
    return root


def test_the_package_holds_every_registered_oracle() -> None:
    """Catches an oracle whose files are missing or others than the code expects, or that the script lacks."""
    import oracles

    assert list(oracles.faults()) == []
    assert set(oracles.ORACLES) == set(SHA256)


@pytest.mark.slow(
    depends=("plugins/zoo_oracle", "plugins/zoo_autoregressive", "plugins/zoo_vae", "weights/genzoo_weights")
)
@pytest.mark.parametrize("name", sorted(SHA256))
def test_an_oracle_is_the_law_of_its_images(name: str, package: Path) -> None:
    """The code length of test images is the entropy, and their labels are what a classifier sees in them."""
    data, law = load(OracleConfig(name=name)), read_law(folder_of(name))
    assert data.density is not None
    assert data.test.label is not None
    bits = -data.density.log_prob(data.test.x[:N]) / (64 * math.log(2))
    error = math.hypot(float(bits.std()) / math.sqrt(N), law.entropy_error)
    assert abs(float(bits.mean()) - law.entropy) < 4 * error
    assert law.entropy_error <= 3e-4
    seen = Classifier("digits-classifier", "cpu")(data.test.x[:N], data.info)
    assert float((seen == data.test.label[:N]).double().mean()) > 0.9
    noise = torch.randint(17, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert float(data.density.log_prob(noise).max()) < float(data.density.log_prob(data.test.x[:N]).min())
