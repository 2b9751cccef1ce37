"""Images of latents and styles: arcs between latents, matrices whose rows and columns are told apart."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_core.viz.styles import every_pair, matrix, spherical


def test_an_arc_keeps_the_radius_and_turns_evenly() -> None:
    """Catches the straight line, whose middle has a length of 0.71."""
    start, end = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 1.0, 0]])
    points = spherical(start, end, 5)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(5))
    angles = torch.atan2(points[:, 1], points[:, 0])
    torch.testing.assert_close(angles, torch.linspace(0, math.pi / 2, 5))


def test_arcs_end_where_they_should_whatever_the_lengths() -> None:
    start, end = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    rows = spherical(start, 3 * end, 4).unflatten(0, (3, 4))
    torch.testing.assert_close(rows[:, 0], start)
    torch.testing.assert_close(rows[:, -1], 3 * end)


def test_latents_that_point_the_same_way_are_joined_by_a_line() -> None:
    """Catches a division by the sine of no angle."""
    start = torch.tensor([[1.0, 2.0]])
    torch.testing.assert_close(spherical(start, 3 * start, 3), torch.tensor([[1.0, 2], [2, 4], [3, 6]]))


def test_a_cell_of_a_matrix_stands_in_its_row_and_column() -> None:
    rows, columns = torch.tensor([-0.8, -0.4]), torch.tensor([0.0, 0.4, 0.8])
    a, b = every_pair(rows[:, None, None, None], columns[:, None, None, None])
    grid = matrix(rows.view(2, 1, 1, 1), columns.view(3, 1, 1, 1), (a + b) / 2)
    assert grid.columns == 4
    assert grid.images[0] is None
    pixels = torch.stack([torch.zeros(1, 1, 1) if x is None else x for x in grid.images]).view(3, 4)
    assert pixels[0, 1:].tolist() == pytest.approx(columns.tolist(), abs=0.01)
    assert pixels[1:, 0].tolist() == pytest.approx(rows.tolist(), abs=0.01)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            assert float(pixels[i + 1, j + 1]) == pytest.approx(float(row + column) / 2, abs=0.01)
