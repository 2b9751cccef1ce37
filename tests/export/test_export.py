"""Exported networks: read back, they equal the network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open

import zoo_core
from tests.conftest import CHECKOUT
from zoo_core.cli import invoke
from zoo_core.errors import PluginError
from zoo_core.runs.job import run
from zoo_export import formats
from zoo_export.networks import network, parts_of

QUIET = {"eval.protocol": "none", "track.wandb": "off", "track.plots": False, "track.progress": False}
Trained = Callable[[str], str]
EXPORTED = ("zoo_core/nn", "zoo_core/diffusion", "plugins/zoo_export", "plugins/zoo_ddpm", "plugins/zoo_gan")
"""What a test that exports wgan and ddpm depends on."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A function that returns the folder of a run of two steps, trained once."""
    root = tmp_path_factory.mktemp("trained")
    made: dict[str, str] = {}

    def of(plugin: str) -> str:
        if plugin not in made:
            options = {"plugin": plugin, "preset": "tiny", "train.steps": 2, "train.batch_size": 8}
            made[plugin] = run(options | QUIET, run_dir=str(root / plugin)).run_dir
        return made[plugin]

    return of


def test_a_state_dict_holds_the_scored_weights_of_the_part_alone(
    trained: Trained, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["export", trained("vae"), "--to", "state_dict", "--out", "vae.safetensors"]) == 0
    made = zoo_core.load(trained("vae"))
    own = made.recipe.state_dict()
    with safe_open("vae.safetensors", framework="pt") as file:
        names = set(file.keys())
        facts = json.loads(file.metadata()["zoo"])
        for name in names:
            assert torch.equal(file.get_tensor(name), own[name.removeprefix("recipe.")])
    assert {name.split(".")[1] for name in names} == {"decoder"}
    assert facts["part"] == "decoder"
    assert facts["shape"] == [1, 8, 8]
    with network(made) as found:
        z = found.inputs["z"]
        assert torch.equal(found.module(z), made.recipe.decode(z))  # type: ignore[operator]


@pytest.mark.slow(depends=EXPORTED)
@pytest.mark.parametrize("plugin", ["wgan", "ddpm"])
def test_a_program_equals_the_network_at_any_batch(plugin: str, trained: Trained, home: Path) -> None:
    path = Path("net.pt2")
    with network(zoo_core.load(trained(plugin))) as found:
        assert formats.export(found, "pt2", path) <= 1e-5
        given = found.batch(5)
        expected = found.module(*given)
    program = torch.export.load(path)
    assert torch.allclose(program.module()(*given), expected, atol=1e-6)


@pytest.mark.slow(depends=EXPORTED)
@pytest.mark.parametrize("plugin", ["wgan", "ddpm"])
def test_an_onnx_model_equals_the_network_at_any_batch(plugin: str, trained: Trained, home: Path) -> None:
    path = Path("net.onnx")
    with network(zoo_core.load(trained(plugin))) as found:
        assert formats.export(found, "onnx", path) <= formats.TOLERANCE
        given = found.batch(5)
        expected = found.module(*given)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    named = dict(zip(found.inputs, (value.numpy() for value in given), strict=True))
    (out,) = session.run(None, named)
    assert abs(torch.from_numpy(out) - expected).max() <= 1e-4 * expected.abs().max()
    facts = json.loads(session.get_modelmeta().custom_metadata_map["zoo"])
    assert facts["plugin"] == plugin
    if plugin != "ddpm":
        return
    page = (CHECKOUT / "docs" / "export.md").read_text()
    sampler = page.partition("```text\n")[2].partition("```")[0].partition("\nimages = ")[0]
    names: dict[str, Any] = {}
    exec(sampler, names)
    drawn = names["sample"](str(path), 3, steps=2)
    noise = np.random.default_rng(0).standard_normal((3, *facts["shape"]))
    x = torch.from_numpy(facts["prior_std"] * noise)
    high, low = facts["sigma_max"], facts["sigma_min"]
    with torch.no_grad():  # two steps of Euler's method by hand: high -> low -> 0
        for sigma, following in ((high, low), (low, 0.0)):
            x0 = found.module(x.float(), torch.full((3,), sigma)).double()
            x = x + (following - sigma) * (x - x0) / sigma
    assert np.allclose(drawn, x.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow(depends=(*EXPORTED, "weights/genzoo_weights/digits/ddpm"))
def test_an_onnx_model_of_trained_weights_equals_the_network(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x0 to 1e-4 at two noise levels; at the highest, where terms cancel, the noise (x - x0) / sigma."""
    monkeypatch.syspath_prepend(CHECKOUT / "weights")
    path = Path("net.onnx")
    with network(zoo_core.load("zoo://digits/ddpm")) as found:
        assert formats.export(found, "onnx", path) <= formats.TOLERANCE
        probes = list(found.probes())
        expected = [found.module(*given) for given in probes]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for given, x0 in zip(probes, expected, strict=True):
        x, sigma = given[0], float(given[1][0])
        named = dict(zip(found.inputs, (value.numpy() for value in given), strict=True))
        out = torch.from_numpy(session.run(None, named)[0])
        if sigma < found.facts["sigma_max"] * 0.99:
            assert float((out - x0).abs().max()) <= 1e-4 * float(x0.abs().max())
        else:
            noise, same = (x - x0) / sigma, (x - out) / sigma
            assert float((same - noise).abs().max()) <= 1e-5 * float(noise.abs().max())


def test_rounding_of_terms_that_cancel_is_allowed_and_no_more(
    trained: Trained, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """34 roundings of x where x0 = x - sigma eps; a hundredth of x0 at the highest level is refused."""
    x0 = torch.tensor([1.0, -0.5])
    assert formats.difference(x0, x0 + 2e-4) == pytest.approx(2e-4, rel=1e-3)
    assert formats.difference(x0, x0 + 2e-4, canceled=500.0) == pytest.approx(2e-4 / 11, rel=1e-3)
    roundings = formats.CANCELED * formats.TOLERANCE / 2**-24
    assert roundings == pytest.approx(34, rel=0.02)
    with network(zoo_core.load(trained("wgan"))) as found:
        assert found.canceled(found.batch(2)) == 0
    with network(zoo_core.load(trained("ddpm"))) as found:
        high = found.facts["sigma_max"]

        def off(given_network: Any, to: Path) -> formats.Call:
            to.touch()
            return lambda given: found.module(*given) * (1.01 if float(given[1][0]) > 0.99 * high else 1.0)

        monkeypatch.setattr(formats, "_onnx", off)
        with pytest.raises(PluginError, match="differs from the network"):
            formats.export(found, "onnx", Path("net.onnx"))


def test_probes_cover_three_batches_and_three_noise_levels(trained: Trained, home: Path) -> None:
    with network(zoo_core.load(trained("ddpm"))) as found:
        probes = list(found.probes())
        assert [len(given[0]) for given in probes] == [1, 1, 1, 2, 2, 2, 7, 7, 7]
        sigmas = {float(given[1][0]) for given in probes}
        assert len(sigmas) == 3
        assert {min(sigmas), max(sigmas)} == {
            float(torch.tensor(found.facts[name])) for name in ("sigma_min", "sigma_max")
        }


def test_an_export_that_differs_is_removed(
    trained: Trained, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("net.pt2")
    with network(zoo_core.load(trained("wgan"))) as found:
        write = formats._pt2

        def off(given_network: Any, to: Path) -> formats.Call:
            call = write(given_network, to)
            return lambda given: call(given) * 1.001

        monkeypatch.setattr(formats, "_pt2", off)
        with pytest.raises(PluginError, match=r"differs from the network by 0\.001"):
            formats.export(found, "pt2", path)
    assert not path.exists()


def test_what_can_not_be_exported_is_said(
    trained: Trained, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        assert invoke(["export", *words]) != 0
        return capsys.readouterr().err

    folder = trained("wgan")
    assert parts_of(zoo_core.load(folder)) == ["generator"]
    capsys.readouterr()
    assert "--out FILE.onnx" in refused(folder, "--to", "onnx", "--out", "net.pt2")
    assert "wgan has no denoiser" in refused(folder, "--to", "pt2", "--out", "net.pt2", "--part", "denoiser")
    Path("net.pt2").write_text("mine")
    assert "net.pt2 exists" in refused(folder, "--to", "pt2", "--out", "net.pt2")
    assert Path("net.pt2").read_text() == "mine"
    assert "no folder" in refused(folder, "--to", "pt2", "--out", "nowhere/net.pt2")
    fitted = run({"plugin": "gaussian"} | QUIET)
    assert "gaussian has no single network" in refused(fitted.run_dir, "--to", "pt2", "--out", "g.pt2")
