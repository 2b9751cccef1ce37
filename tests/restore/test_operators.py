"""Conformance of every installed operator: it is what its spec says, and ours are those of their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.restore import linear
from zoo_core.cli import invoke
from zoo_core.data.corruptions import hole
from zoo_core.errors import UsageError, ZooError
from zoo_core.registry.spec import load_target
from zoo_core.testing import Failed
from zoo_core.types import DataInfo
from zoo_restore import operators as operators_module
from zoo_restore import registry
from zoo_restore.conformance import CHECKS, COLOR, check_operator
from zoo_restore.operator import Operator
from zoo_restore.registry import operator, operators, options_of
from zoo_restore.spec import OperatorSpec
from zoo_restore.spectrum import MaskSpectrum

SPECS = operators()


def made(spec: OperatorSpec, info: DataInfo = COLOR, **options: str) -> Operator:
    built: Operator = load_target(spec.target)(options_of(spec, options), info)
    return built


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_an_operator_is_what_its_spec_says(spec: OperatorSpec) -> None:
    check_operator(spec)


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


class Noisy(Operator):
    def __call__(self, x: Tensor) -> Tensor:
        return x + 1e-3 * torch.rand_like(x)


class Centered(Operator):
    def __call__(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Single(Operator):
    def __call__(self, x: Tensor) -> Tensor:
        return x.float()


class Flat(Operator):
    def __call__(self, x: Tensor) -> Tensor:
        return x / 2

    def view(self, y: Tensor) -> Tensor:
        return y.flatten(1)


class Unread(Flat):
    view = Operator.view

    def read(self, image: Tensor) -> Tensor:
        return image[..., :2]


class Cubed(Operator):
    def __call__(self, x: Tensor) -> Tensor:
        return x**3

    def inverse(self, y: Tensor) -> Tensor:
        return y


class Shifted(Cubed):
    def __call__(self, x: Tensor) -> Tensor:
        return x + 0.1


class OtherSpectrum(Halved):
    @property
    def spectrum(self) -> Any:  # type: ignore[override]
        return MaskSpectrum(torch.ones(self.data.shape, dtype=torch.bool))

    def __call__(self, x: Tensor) -> Tensor:
        return x.flip(-1)


class Long(Operator):
    """The left half is measured, and `inverse` fills the rest with ones."""

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., :8]

    def inverse(self, y: Tensor) -> Tensor:
        return torch.cat((y, torch.ones_like(y)), -1)


class Doubled(Long):
    def inverse(self, y: Tensor) -> Tensor:
        return torch.cat((2 * y, 0 * y), -1)


class Small(Long):
    def inverse(self, y: Tensor) -> Tensor:
        return y


class Rounded(Cubed):
    """Gradients of a straight-through estimator."""

    def __call__(self, x: Tensor) -> Tensor:
        return x + ((4 * x).round() / 4 - x).detach()


class Detached(Cubed):
    def __call__(self, x: Tensor) -> Tensor:
        return x.detach() / 2


class Painted(Cubed):
    """Hidden pixels are white."""

    def __call__(self, x: Tensor) -> Tensor:
        self.kept = torch.ones(self.data.shape, dtype=torch.bool)
        self.kept[:, 3] = False
        return torch.where(self.kept, x.detach(), 1.0)


class Unmasked(Painted):
    def __call__(self, x: Tensor) -> Tensor:
        return x.detach()


@pytest.mark.parametrize(
    ("made_of", "capabilities", "what"),
    [
        (Noisy, (), "two calls on the same images differ"),
        (Centered, (), "an image alone and in a batch"),
        (Single, (), "in torch.float64 it made 8 measurements in torch.float32"),
        (Flat, ("linear",), "view returned shape"),
        (Unread, ("linear",), "read returned shape"),
        (Cubed, ("linear",), "A(2 a - 3 b) and 2 A(a) - 3 A(b)"),
        (Shifted, ("linear",), "A(2 a - 3 b) and 2 A(a) - 3 A(b)"),
        (OtherSpectrum, ("linear",), "U S V^T x and A x"),
        (Long, ("linear",), "times as long as x"),
        (Doubled, ("pseudo_inverse",), "the spec says at most 0.0001"),
        (Small, ("pseudo_inverse",), "inverse returned shape"),
        (Cubed, (), "gradients flow through it"),
        (Rounded, ("differentiable",), "a directional derivative is"),
        (Detached, ("differentiable",), "no gradient flows"),
        (Painted, ("mask",), "A(x) is not x where `kept` is true"),
        (Unmasked, ("mask",), "no attribute `kept`"),
    ],
)
def test_an_operator_that_breaks_its_spec_is_told_what_to_do(
    made_of: type[Operator], capabilities: tuple[str, ...], what: str
) -> None:
    spec = OperatorSpec("broken", f"{__name__}:{made_of.__name__}", **dict.fromkeys(capabilities, True))
    with pytest.raises(Failed) as failure:
        check_operator(spec)
    assert what in failure.value.what
    assert failure.value.do


def test_checks_are_run_by_name(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke(["restore", "--check", "inpaint"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("  ok  ") == len(CHECKS)
    assert invoke(["restore", "--check", "jpeg"]) == 0
    assert "--  a linear operator is linear: its spec does not say linear=True" in capsys.readouterr().out
    monkeypatch.setattr(operators_module.JPEG, "inverse", lambda self, y: y[..., :2])
    assert invoke(["restore", "--check", "jpeg"]) == 4
    assert "do: correct `inverse`" in capsys.readouterr().out
    assert invoke(["restore", "--check", "jpg"]) == 2
    assert "jpeg" in capsys.readouterr().err


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
