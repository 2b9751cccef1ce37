"""Oracle distributions: a frozen model is the law of data, and the files that carry it are checked."""

from __future__ import annotations

import contextlib
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import zoo_core
from tests.oracle.conftest import NAME, QUIET
from zoo_core.data.loading import to_unit
from zoo_core.errors import MachineError, NotFoundError, UsageError
from zoo_core.hub import shipped
from zoo_core.registry.manager import manager
from zoo_core.results import Value
from zoo_core.testing.datasets import CHECKS, DatasetSubject
from zoo_core.testing.results import NotApplicable
from zoo_core.types import DataInfo, Likelihood
from zoo_oracle.dataset import OracleConfig, load
from zoo_oracle.files import read_draws, read_law
from zoo_oracle.oracle import BATCH, Oracle, opened

# -- the law


def test_the_law_is_the_sum_over_classes(trained: Path) -> None:
    """log p(x) = log sum_y p(y) p(x | y), written out by hand, and drawn images are likelier than noise."""
    oracle = opened(trained)
    rows, label = oracle.draw(20, seed=3)
    assert label is not None
    run = oracle.run
    with run.inference(), torch.no_grad():
        x = to_unit(rows, 17)
        by_class = [run.recipe.log_prob(x, torch.full((20,), y)).double() for y in range(10)]
    expected = (torch.stack(by_class, 1) + oracle.frequencies.log()).logsumexp(1)
    torch.testing.assert_close(oracle.log_prob(rows.double()), expected, rtol=1e-5, atol=1e-4)
    noise = torch.randint(17, rows.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert float(oracle.log_prob(noise).mean()) < float(expected.mean())


def test_image_k_is_a_function_of_seed_and_k(trained: Path) -> None:
    """However many are drawn: new data can be asked for without end."""
    oracle = opened(trained)
    few, many = oracle.draw(3, seed=5), oracle.draw(8, seed=5)
    for one, other in zip(few, many, strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other[:3])
    assert not torch.equal(oracle.draw(8, seed=6)[0], many[0])


def test_classes_are_as_frequent_as_the_model_says(trained: Path) -> None:
    oracle = opened(trained)
    p = torch.tensor([0.5, 0.0, 0.25, *[0.0] * 6, 0.25], dtype=torch.float64)
    oracle.run.recipe.frequencies.copy_(p)
    _, label = oracle.draw(200, seed=0)
    assert label is not None
    found = label.bincount(minlength=10) / 200
    assert set(label.tolist()) == {0, 2, 9}
    torch.testing.assert_close(found, p.float(), rtol=0, atol=0.1)
    assert oracle.classes == 10


def test_probabilities_do_not_depend_on_the_batch() -> None:
    """More images than go through the model at once; the kind of likelihood must be exact."""
    asked = []

    def likelihoods(x: torch.Tensor, *, noise: object, k: int) -> list[Likelihood]:
        asked.append(len(x))
        return [Likelihood(-x.flatten(1).sum(1), "elbo"), Likelihood(x.flatten(1).sum(1), "exact")]

    info = DataInfo("world", (1, 2, 2), 17, task="unconditional")
    run = SimpleNamespace(
        data=SimpleNamespace(info=info), device=torch.device("cpu"), likelihoods=likelihoods
    )
    x = torch.arange(4 * (BATCH + 3)).reshape(-1, 1, 2, 2) % 17
    found = Oracle(run).log_prob(x)  # type: ignore[arg-type]
    torch.testing.assert_close(found, to_unit(x, 17).flatten(1).sum(1).double())
    assert asked == [BATCH, 3]
    assert Oracle(run).classes == 0  # type: ignore[arg-type]
    run.likelihoods = lambda x, *, noise, k: [Likelihood(x.flatten(1).sum(1), "elbo")]
    run.config = SimpleNamespace(plugin="vae")
    with pytest.raises(UsageError, match="no exact probabilities"):
        Oracle(run).log_prob(x)  # type: ignore[arg-type]


def test_opening_leaves_the_global_random_states(trained: Path) -> None:
    """A run that trains on the data opens their law at any time."""
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    before = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    opened(trained)
    assert (torch.rand(1), random.random(), np.random.rand()) == before


# -- the dataset


def test_the_dataset_is_what_was_drawn(installed: Path) -> None:
    data = load(OracleConfig())
    law = read_law(installed)
    image, label = read_draws(installed, law)
    assert label is not None
    assert (len(data.train), len(data.test)) == (60, 40)
    assert torch.equal(torch.cat((data.train.x, data.test.x)), image)
    assert data.train.label is not None
    assert torch.equal(data.train.label, label[:60])
    assert data.info == DataInfo(NAME, (1, 8, 8), 17, 10)
    assert data.density is not None
    oracle = opened(installed / "model")
    torch.testing.assert_close(data.density.log_prob(data.test.x), oracle.log_prob(image[60:]))
    drawn, classes = oracle.draw(100, seed=0)
    assert torch.equal(drawn, image)
    assert classes is not None
    assert torch.equal(classes, label)


def test_another_draw_is_other_data_of_the_same_law(installed: Path) -> None:
    shipped_, new, again = (load(OracleConfig(draw=k)) for k in (0, 1, 1))
    assert new.sha256 == again.sha256 != shipped_.sha256
    assert len(new.train) == len(shipped_.train)
    assert new.density is not None
    assert shipped_.density is not None
    torch.testing.assert_close(
        new.density.log_prob(shipped_.test.x), shipped_.density.log_prob(shipped_.test.x)
    )


def test_the_entropy_is_that_of_its_images(installed: Path) -> None:
    """By its own decomposition, and by the mean of -log p of other images."""
    law, oracle = read_law(installed), opened(installed / "model")
    rows, _ = oracle.draw(400, seed=9)
    bits = -oracle.log_prob(rows) / (64 * math.log(2))
    error = math.hypot(float(bits.std()) / 20, law.entropy_error)
    assert abs(float(bits.mean()) - law.entropy) < 4 * error
    assert 0 < law.entropy_error < 0.1


def test_models_are_scored_against_the_law(installed: Path, tmp_path: Path) -> None:
    """A likelihood by its divergence, a bound's as a bound; a model without one by its samples alone."""
    options = {
        "data": {"name": NAME},
        "eval": {"likelihood_n": 30, "baselines": False, "metrics": ["truth", "log-likelihood-error"]},
        "track": QUIET["track"],
        "preset": "tiny",
        "train": {"steps": 3},
    }
    found = {}
    for plugin in ("pixelcnn", "vae", "wgan"):
        done = zoo_core.run(plugin=plugin, run_dir=str(tmp_path / plugin), **options)
        assert done.result is not None
        found[plugin] = done.result.metrics
    exact, bound = found["pixelcnn"]["KL from truth[exact]"], found["vae"]["KL from truth[elbo]"]
    assert isinstance(exact, Value)
    assert isinstance(bound, Value)
    assert exact.bound == "exact"
    assert exact.value > 4 * (exact.standard_error or 0) > 0
    assert bound.bound == "upper"
    assert "implausible" in found["wgan"]
    assert not any(name.startswith("KL from") for name in found["wgan"])


# -- its files


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_oracle.files.shipped_root", lambda: None)
    with pytest.raises(NotFoundError, match=f"{shipped.DISTRIBUTION}, which is not installed") as error:
        load(OracleConfig())
    assert "pip install" in str(error.value)


@pytest.mark.parametrize(
    "file", ["law.json", "draws.npz", "model/manifest.json", "model/weights.safetensors"]
)
def test_a_damaged_file_is_refused(
    file: str, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(installed.parent, tmp_path / "oracles")
    monkeypatch.setattr("zoo_oracle.files.shipped_root", lambda: tmp_path)
    path = tmp_path / "oracles" / NAME / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises((MachineError, UsageError), match=r"damaged|differs"):
        load(OracleConfig(draw=1))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_passes_the_checks_of_a_dataset(check: Callable[[DatasetSubject], None], installed: Path) -> None:
    with contextlib.suppress(NotApplicable):
        check(DatasetSubject(manager().find("dataset", NAME)))


def other_law(path: Path) -> None:
    path.write_text(path.read_text().replace('"entropy":', ' "entropy":'))


def other_draws(path: Path) -> None:
    with np.load(path) as found:
        arrays = dict(found)
    np.savez_compressed(path, **{**arrays, "image": arrays["image"][::-1]})


def other_manifest(path: Path) -> None:
    path.write_text(path.read_text() + "\n")


@pytest.mark.parametrize(
    ("file", "change"),
    [("law.json", other_law), ("draws.npz", other_draws), ("model/manifest.json", other_manifest)],
)
def test_a_sound_file_of_other_content_is_refused(
    file: str,
    change: Callable[[Path], None],
    installed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches a sum that is not compared: another version of the package would be another truth."""
    shutil.copytree(installed.parent, tmp_path / "oracles")
    monkeypatch.setattr("zoo_oracle.files.shipped_root", lambda: tmp_path)
    change(tmp_path / "oracles" / NAME / file)
    with pytest.raises(MachineError, match="of another version than genzoo"):
        load(OracleConfig(draw=1))


def test_the_law_is_computed_on_the_cpu(trained: Path) -> None:
    """Catches a truth that depends on the machine: its run asks for whatever device there is."""
    oracle = opened(trained)
    assert oracle.run.config.device == "cpu"
    assert oracle.run.device.type == "cpu"
