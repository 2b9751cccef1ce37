"""Conformance of every installed operator: it is what its spec says, and ours are those of their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.restore import linear
from zoo_core.data.corruptions import hole
from zoo_core.errors import UsageError, ZooError
from zoo_core.registry.spec import load_target
from zoo_core.types import DataInfo
from zoo_restore import registry
from zoo_restore.operator import Operator
from zoo_restore.registry import operator, operators, options_of
from zoo_restore.spec import OperatorSpec

COLOR = DataInfo("color", (3, 16, 16), 256)
SPECS = operators()


def made(spec: OperatorSpec, info: DataInfo = COLOR, **options: str) -> Operator:
    built: Operator = load_target(spec.target)(options_of(spec, options), info)
    return built


def images(n: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return smooth and rough images in [-1, 1]."""
    rng = torch.Generator().manual_seed(0)
    rough = torch.rand(n, *COLOR.shape, generator=rng, dtype=dtype) * 2 - 1
    smooth = torch.nn.functional.avg_pool2d(rough, 5, 1, 2)
    return torch.cat((rough, smooth))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_an_operator_is_what_its_spec_says(spec: OperatorSpec) -> None:
    degrade = made(spec)
    x = images()
    y = degrade(x)
    assert y.dtype == x.dtype
    assert torch.equal(y, degrade(x))
    for k in range(len(x)):  # each image alone, as a batch of one
        assert torch.allclose(degrade(x[k : k + 1])[0], y[k])
    assert degrade.view(y).shape[0] == len(x)
    assert degrade.read(x).shape == y.shape
    if spec.linear:
        a, b = x[:4], x[4:]
        assert torch.allclose(degrade(2 * a - 3 * b), 2 * degrade(a) - 3 * degrade(b), atol=1e-10)
        assert bool((degrade(torch.zeros_like(a)) == 0).all())
    if spec.pseudo_inverse:
        again = degrade(degrade.inverse(y))
        assert degrade.inverse(y).shape == x.shape
        assert float((again - y).abs().max()) <= spec.tolerance
        assert float((again - y).abs().mean()) < float((degrade(torch.zeros_like(x)) - y).abs().mean())
    if spec.differentiable:
        small = x[:1, :, :16, :16].clone().requires_grad_(True)
        direction = images(1)[1:2]
        (gradient,) = torch.autograd.grad(degrade(small).square().sum(), small)
        step = 1e-6
        with torch.no_grad():
            ahead, behind = (degrade(small + sign * step * direction).square().sum() for sign in (1, -1))
        slope = float((ahead - behind) / (2 * step))
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5)
    else:
        assert not degrade(x.clone().requires_grad_(True)).requires_grad
    if spec.mask:
        kept = degrade.kept
        assert tuple(kept.shape) == COLOR.shape
        assert kept.dtype == torch.bool
        assert torch.equal(y, x * kept)


@pytest.mark.parametrize("spec", [s for s in SPECS if s.linear], ids=lambda spec: spec.name)
def test_a_decomposition_is_one_of_the_operator(spec: OperatorSpec) -> None:
    """V and U keep lengths, U S V^T x is A x, and U^T y of y = A x is S V^T x."""
    degrade = made(spec)
    x = images()
    s = degrade.spectrum
    c = s.to_coefficients(x)
    assert bool((s.singular >= 0).all())
    assert torch.allclose(s.to_image(c), x, atol=1e-10)
    assert torch.allclose(c.square().sum(1), x.flatten(1).square().sum(1))
    assert torch.allclose(s.to_measurement(c * s.singular), degrade(x), atol=1e-10)
    assert torch.allclose(s.measured(degrade(x)), c * s.singular, atol=1e-10)
    # the pseudo-inverse of least length, A^+ A is a projection
    inverse = degrade.inverse(degrade(x))
    assert torch.allclose(degrade.inverse(degrade(inverse)), inverse, atol=1e-6)
    assert bool((inverse.flatten(1).norm(dim=1) <= x.flatten(1).norm(dim=1) + 1e-9).all())


@pytest.mark.parametrize("name", ["inpaint", "uncrop", "lowres", "blur", "gray"])
def test_an_operator_is_the_matrix_of_its_definition(name: str) -> None:
    info = DataInfo("small", linear.SHAPE, 256)
    options = {"threshold": "0"} if name == "blur" else {}
    degrade = made(operator(name), info, **options)
    unit = torch.eye(linear.D, dtype=torch.float64).reshape(-1, *linear.SHAPE)
    assert np.allclose(degrade(unit).flatten(1).numpy().T, linear.matrix_of(name), atol=1e-12)


def test_masks_are_those_that_are_asked_for(tmp_path: Any) -> None:
    from PIL import Image

    inpaint = operator("inpaint")
    kept = made(inpaint).kept
    assert not kept[(..., *hole(16, 16))].any()
    assert int(kept.sum()) == 3 * (256 - 64)
    some = made(inpaint, mask="random", fraction="0.25").kept
    assert 0.65 < float(some.double().mean()) < 0.85
    assert torch.equal(some[0], some[2])
    drawn = torch.zeros(16, 16, dtype=torch.uint8)
    drawn[2:5, 3] = 255
    Image.fromarray(drawn.numpy()).save(tmp_path / "mask.png")
    assert torch.equal(made(inpaint, mask=str(tmp_path / "mask.png")).kept[1], drawn == 0)
    for mask, words in (("nowhere.png", "can't read"), (str(tmp_path / "mask.png"), "is 16x16")):
        with pytest.raises(UsageError, match=words):
            made(inpaint, DataInfo("small", (1, 8, 8), 256), mask=mask)
    Image.new("L", (16, 16)).save(tmp_path / "none.png")
    with pytest.raises(UsageError, match="hides 0 of 256"):
        made(inpaint, mask=str(tmp_path / "none.png"))
    with pytest.raises(UsageError, match="does not divide"):
        made(operator("lowres"), factor="5")
    with pytest.raises(UsageError, match="needs color images"):
        made(operator("gray"), DataInfo("gray", (1, 16, 16), 256))
    with pytest.raises(ZooError, match=r"did you mean: operator\.factor=4"):
        made(operator("lowres"), factr="4")


class Halved(Operator):
    """Half of each image, an operator of a third party that states nothing but its function."""

    def __call__(self, x: Tensor) -> Tensor:
        return (x[..., :2] + x[..., 2:]) / 3


THIRD_PARTY = [
    OperatorSpec(
        "halved",
        f"{__name__}:Halved",
        summary="a test",
        linear=True,
        pseudo_inverse=True,
        differentiable=True,
    )
]


class _Point:
    name, value = "other", "other:OPERATORS"

    def __init__(self, specs: Any) -> None:
        self.specs = specs

    def load(self) -> Any:
        return self.specs


def test_a_third_party_registers_an_operator_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(specs: Any) -> None:
        monkeypatch.setattr(registry, "entry_points", lambda group: [_Point(specs)])
        operators.cache_clear()

    try:
        installed(THIRD_PARTY)
        assert operator("halved") is THIRD_PARTY[0]
        degrade = Halved(options_of(THIRD_PARTY[0], {}), DataInfo("small", (1, 2, 4), 256))
        x = torch.rand(3, 1, 2, 4, dtype=torch.float64)
        matrix = degrade(torch.eye(8, dtype=torch.float64).reshape(8, 1, 2, 4)).flatten(1).numpy().T
        expected = degrade(x).flatten(1).numpy() @ np.linalg.pinv(matrix).T
        assert np.allclose(degrade.inverse(degrade(x)).flatten(1).numpy(), expected)
        installed([OperatorSpec("blur", "other:Blur")])
        with pytest.raises(ZooError, match="name of another operator"):
            operators()
        installed(["blur"])
        with pytest.raises(ZooError, match="is not a OperatorSpec"):
            operators()
    finally:
        monkeypatch.undo()
        operators.cache_clear()
