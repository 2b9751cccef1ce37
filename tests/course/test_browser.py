"""The interactive page: its script computes what Python computes."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.data.toy import TOYS, Mixture
from zoo_core.errors import NotFoundError
from zoo_core.seeds import Seeds, generator, purpose_key
from zoo_core.types import Cond
from zoo_course.browser.chains import SAMPLERS, sample
from zoo_course.browser.encoding import decode, encode
from zoo_course.browser.networks import SmallDenoiser, denoising_loss, even_levels, normal_levels
from zoo_course.browser.page import read_models, script, write_page
from zoo_course.browser.training import PLANES, Models, fit_plane, train, within_class_std
from zoo_course.oracle import OracleDenoiser
from zoo_vae.decoders import DiscretizedLogistic

Script = Callable[[str], Any]
"""Runs JavaScript after the page's arithmetic, with the networks in MODELS, and returns what it returns."""
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def models() -> Models:
    """Networks that are trained a little: their arithmetic is that of trained ones."""
    with torch.random.fork_rng():
        return train(fraction=0.03)


@pytest.fixture
def node(models: Models, tmp_path: Path) -> Script:
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs node on PATH, such as Debian's package `nodejs`")

    def run(body: str) -> Any:
        source = f"{script('seeds', 'networks', 'samplers')}\nconst MODELS = {json.dumps(encode(models))};\n"
        (tmp_path / "run.js").write_text(
            f"{source}\nconst found = (() => {{ {body} }})();\n"
            "console.log(JSON.stringify(found, (_, v) => ArrayBuffer.isView(v) ? [...v] : v));\n"
        )
        done = subprocess.run(
            [program, tmp_path / "run.js"], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def close(found: list[float], expected: Tensor) -> bool:
    """Whether numbers of the script are those of Python, row by row."""
    return torch.allclose(torch.tensor(found), expected.flatten().float(), rtol=0, atol=TOLERANCE)


# -- the noise


def test_keys_of_the_script_are_those_of_python(node: Script) -> None:
    """Catches a wrong BLAKE2b: other words, lengths up to a block, letters beyond ASCII, large seeds."""
    asked = [[0, ""], [0, "start"], [7, "step"], [4294967296, "x" * 100], [1, "é"], [-3, "start"]]
    found = node(f"return {json.dumps(asked)}.map(([seed, name]) => purposeKey(seed, name));")
    assert found == [list(purpose_key(seed, name)) for seed, name in asked]


def test_philox_of_the_script_gives_the_published_numbers(node: Script) -> None:
    """The known-answer vectors of Random123 for philox4x32-10, as in tests/test_seeds.py."""
    found = node(
        "return [philox([0, 0, 0, 0], [0, 0]),"
        " philox(Array(4).fill(0xffffffff), Array(2).fill(0xffffffff)),"
        " philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])];"
    )
    assert [" ".join(f"{word:08x}" for word in words) for words in found] == [
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ]


@pytest.mark.parametrize("dims", [1, 2, 5, 64])
def test_normals_of_the_script_are_those_of_python(node: Script, dims: int) -> None:
    """Catches swapped words of the counter: several samples, one beyond 2^32, several steps and blocks."""
    indices = [0, 3, 2**32 + 5]
    for step in (0, 9):
        found = node(f"return randn(11, {indices}, 'step', {step}, {dims});")
        expected = Seeds(11, indices).randn((dims,), name="step", step=step)
        assert torch.allclose(torch.tensor(found), expected.flatten(), rtol=3e-7, atol=1e-7)


# -- the networks


def test_denoisers_of_the_script_are_those_of_torch(node: Script, models: Models) -> None:
    for name, one in models.planes.items():
        x = Seeds(0, range(5)).randn((2,)) * 2
        for sigma in (0.01, 0.3, 10.0):
            found = node(
                f"return denoise(readDenoiser(MODELS.planes['{name}'].denoiser),"
                f" {x.flatten().tolist()}, {sigma}, null);"
            )
            assert close(found, one.denoise(x, torch.tensor(sigma))), (name, sigma)
    net = models.digits.denoise
    x, label = Seeds(0, range(4)).randn((64,)), torch.tensor([0, 3, 9, 10])
    for sigma in (0.02, 1.0, 20.0):
        found = node(
            f"return denoise(readDenoiser(MODELS.digits.denoiser), {x.flatten().tolist()}, {sigma},"
            f" {label.tolist()});"
        )
        assert close(found, net(x, torch.tensor(sigma), Cond(label=label))), sigma


def test_the_script_decodes_latents_as_torch_does(node: Script, models: Models) -> None:
    z = torch.tensor([[0.0, 0.0], [-2.5, 1.0], [4.0, -4.0]])
    found = node(f"return decodeLatents(readLayers(MODELS.latents.layers), {z.flatten().tolist()});")
    out = models.latents.decoder(z).reshape(-1, 2, 1, 8, 8)
    assert close(found, DiscretizedLogistic(17, components=1).mean(out))


# -- whole chains


CHAINS = [
    ("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0), ("ancestral", 0.0), ("euler", 0.0), ("heun", 0.0)
]  # fmt: skip


@pytest.mark.parametrize(("sampler", "eta"), CHAINS)
def test_sample_k_of_the_script_is_sample_k_of_python(
    node: Script, models: Models, sampler: str, eta: float
) -> None:
    """Whole chains with the same noise, on the plane and guided ones of the digits."""
    assert {name for name, _ in CHAINS} == set(SAMPLERS)
    indices = [0, 5, 17]
    given = {"indices": indices, "seed": 3, "sampler": sampler, "eta": eta}
    for name, one in models.planes.items():
        asked = json.dumps({**given, "steps": 12})
        found = node(f"return [...chain(readDenoiser(MODELS.planes['{name}'].denoiser), {asked})].at(-1).x;")
        expected = sample(one.denoise, indices, seed=3, sampler=sampler, steps=12, eta=eta)
        assert close(found, expected), name
    label = torch.tensor([2, 10, 7])
    for scale in (1.0, 3.0):
        asked = json.dumps({**given, "steps": 9, "labels": label.tolist(), "scale": scale})
        found = node(f"return [...chain(readDenoiser(MODELS.digits.denoiser), {asked})].at(-1).x;")
        expected = sample(
            models.digits.denoise, indices, seed=3, sampler=sampler, steps=9, eta=eta, label=label,
            guidance_scale=scale,
        )  # fmt: skip
        assert close(found, expected), scale


def test_a_chain_tells_its_levels_and_its_evaluations(node: Script) -> None:
    for sampler, calls in (("ddim", 6), ("heun", 11)):
        asked = json.dumps({"indices": [0], "sampler": sampler, "steps": 6})
        states = node(
            f"return [...chain(readDenoiser(MODELS.planes.ring.denoiser), {asked})]"
            ".map(({ step, sigma, calls }) => [step, sigma, calls]);"
        )
        assert [step for step, _, _ in states] == list(range(7))
        assert [states[0][1], states[-1][1]] == [10, 0]
        assert states[-1][2] == calls


def test_an_unknown_sampler_is_refused(models: Models) -> None:
    with pytest.raises(NotFoundError, match="sampler"):
        sample(models.planes["ring"].denoise, range(1), sampler="hein")


# -- the networks and their training, in Python


def test_an_untrained_denoiser_is_exact_for_a_normal_distribution() -> None:
    """Tweedie's formula in closed form; catches wrong coefficients and a basis that is not orthogonal."""
    rng = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.5, 0.0], [-0.3, 0.2, 0.1]])
    x0 = torch.randn(5000, 3, generator=rng) @ mixing.T + torch.tensor([1.0, -2.0, 0.5])
    model = SmallDenoiser(x0, 0, 8, 0.01, 10.0)
    mean, cov = x0.mean(0), torch.cov(x0.T, correction=0)
    x = x0[:20] + 0.7 * torch.randn(20, 3, generator=rng)
    for sigma in (0.05, 0.7, 9.0):
        gain = cov @ torch.linalg.inv(cov + sigma**2 * torch.eye(3))
        assert torch.allclose(model(x, torch.tensor(sigma)), mean + (x - mean) @ gain.T, atol=1e-4)


def test_the_loss_of_the_exact_denoiser_is_least() -> None:
    """F of the exact denoiser of two points, from its definition, has a smaller loss than F = 0."""
    points = Mixture(torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([0.5, 0.5]).double(), 0.0)
    x0 = torch.tensor([[-1.0], [1.0]]).repeat(512, 1)
    model = SmallDenoiser(x0, 0, 8, 0.05, 5.0)
    sigma = even_levels(model, len(x0), torch.Generator().manual_seed(1))
    plain = denoising_loss(model, x0, sigma, None, torch.Generator().manual_seed(0))

    class Exact(SmallDenoiser):
        def residual(self, y: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
            x = self.mean + y @ self.basis.T
            x0 = torch.tanh(x / sigma[:, None] ** 2)
            skip, out = self.scales(sigma)
            return (self.coordinates(x0) - skip * y) / out

    known = Exact(x0, 0, 8, 0.05, 5.0)
    exact = denoising_loss(known, x0, sigma, None, torch.Generator().manual_seed(0))
    oracle = OracleDenoiser(points, sigma_min=0.05)
    at = torch.tensor([[0.3]])
    assert float(oracle(at, torch.tensor(0.8))) == pytest.approx(float(torch.tanh(at / 0.64)), abs=1e-5)
    assert 0 < float(exact.detach()) < 0.7 * float(plain.detach())


def test_noise_levels_are_drawn_as_they_say() -> None:
    """log sigma evenly between the ends, or normal about -1.2 with standard deviation 1.2 (EDM's table 1)."""
    model = SmallDenoiser(torch.randn(50, 2), 0, 8, 0.01, 10.0)
    rng = torch.Generator().manual_seed(0)
    even, normal = (draw(model, 4000, rng).log() for draw in (even_levels, normal_levels))
    low, high = math.log(0.01), math.log(10)
    assert float(even.mean()) == pytest.approx((low + high) / 2, abs=0.01)
    assert float(even.std()) == pytest.approx((high - low) / 12**0.5, abs=0.01)
    assert float(normal.mean()) == pytest.approx(-1.2, abs=0.02)
    assert float(normal.std()) == pytest.approx(1.2, abs=0.02)
    assert low - 1e-5 <= float(normal.min()) <= float(normal.max()) <= high + 1e-5


@pytest.mark.slow(depends=("plugins/zoo_course", "zoo_core/diffusion", "zoo_core/nn"))
@pytest.mark.parametrize("name", PLANES)
def test_samples_of_the_pages_points_lie_on_the_data(name: str) -> None:
    """Median distance from a sample of the ODE to the nearest of 20,000 new points; without training 0.1."""
    drawn, _ = TOYS[name].draw(20_000, generator(1, "browser-test"))
    model = fit_plane(name).denoise
    near = torch.cdist(sample(model, range(400), sampler="euler", steps=40), drawn.float()).min(1).values
    assert float(near.median()) < 0.006


def test_the_spread_within_classes_is_that_of_its_definition() -> None:
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [10.0, 1.0], [10.0, 5.0]])
    assert within_class_std(x, torch.tensor([0, 0, 1, 1])) == pytest.approx(((2 + 0 + 0 + 8) / 4) ** 0.5)


def test_networks_are_read_as_they_were_written(models: Models) -> None:
    plain = encode(models)
    again = encode(decode(json.loads(json.dumps(plain))))
    assert again == plain


# -- the page


def test_the_page_is_one_file_that_fetches_nothing_and_holds_its_networks(
    models: Models, tmp_path: Path
) -> None:
    path = write_page(tmp_path / "page.html", models)
    text = path.read_text()
    assert len(text) < 3e6
    for wrong in (
        r"\bsrc=", r"^\s*import\b", r"\bimport\(", r"\bfetch\(", r"url\(", "{{", "SharedArrayBuffer",
        "type=.module", "https?://",
    ):  # fmt: skip
        assert not re.search(wrong, text, re.MULTILINE), wrong
    assert "default-src 'none'" in text
    assert encode(read_models(path)) == encode(models)
    assert "zoo course guidance" in text
    linked = write_page(tmp_path / "linked.html", models, pages="../").read_text()
    assert 'href="../guidance/index.html"' in linked
