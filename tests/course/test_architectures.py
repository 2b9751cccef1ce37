"""Sizes, overlaps and receptive fields against torch's layers, and the tables of DCGAN."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zoo_course.architectures import TOPIC, _dcgan, contributions, receptive_field, transposed_side, truncated
from zoo_course.oracle import normals


@pytest.mark.parametrize(("side", "kernel", "stride", "padding"), [(8, 4, 2, 1), (5, 3, 2, 0), (4, 4, 1, 0)])
def test_the_side_is_torchs(side: int, kernel: int, stride: int, padding: int) -> None:
    layer = nn.ConvTranspose2d(1, 1, kernel, stride, padding)
    assert layer(torch.zeros(1, 1, side, side)).shape[-1] == transposed_side(side, kernel, stride, padding)


def test_overlaps_are_even_only_if_the_stride_divides_the_kernel() -> None:
    assert contributions(8, 4, 2, 1)[1:-1, 1:-1].unique().tolist() == [4]
    assert contributions(8, 3, 2, 1)[1:-1, 1:-1].unique().tolist() == [1, 2, 4]


@pytest.mark.parametrize("layers", [[(4, 2)] * 4, [(4, 2), (4, 2), (4, 1), (4, 1)], [(3, 1), (5, 2), (3, 1)]])
def test_the_receptive_field_is_where_a_gradient_arrives(layers: list[tuple[int, int]]) -> None:
    x = torch.zeros(1, 1, 1, 160, requires_grad=True)
    y = x
    for kernel, stride in layers:
        y = nn.functional.conv2d(y, torch.ones(1, 1, 1, kernel), stride=(1, stride))
    y[0, 0, 0, y.shape[-1] // 2].backward()
    assert int((x.grad != 0).sum()) == receptive_field(layers)


def test_dcgans_table() -> None:
    up, down = _dcgan()
    assert up == [(1024, 4), (512, 8), (256, 16), (128, 32), (3, 64)]
    assert down == [(3, 64), (64, 32), (128, 16), (256, 8), (512, 4)]


def test_the_answers() -> None:
    first, second = TOPIC.exercises
    assert first.answer() == 1 + 3 * (1 + 2 + 4 + 8)
    w = normals(1000, 3, seed=0)
    ratio = truncated(w, 0.7).var(0) / w.var(0)
    assert second.answer() == pytest.approx(float(ratio.mean()))
