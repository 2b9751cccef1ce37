"""What lies between a generator's latents, and what its styles do, in images.

Any recipe that draws from one normal latent gets a strip between pairs of them; one with a style a layer, or
one that paints one image in the style of another, gets a matrix: what a row gives, and what a column gives.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from zoo_core.interfaces import HasLatents, HasStyles, HasViews, Stylist, TrainedRun
from zoo_core.seeds import Seeds
from zoo_core.viz.drawing import tile, write_captioned

SIDE = 8
"""Rows, and columns, of a strip or a matrix."""
STEPS = 9
"""Images along a strip."""


def jobs(run: TrainedRun) -> dict[str, Callable[[Path], None]]:
    """Return name -> drawing function for what a trained run's latents and styles have to show."""
    found: dict[str, Callable[[Path], None]] = {}
    if not run.data.info.is_image:
        return found
    if isinstance(run.recipe, HasLatents):
        found["interpolation"] = lambda path: _interpolation(run, path)
    if isinstance(run.recipe, HasStyles):
        found["style-mixing"] = lambda path: _style_mixing(run, path)
    if isinstance(run.recipe, HasViews):
        found["views"] = lambda path: _views(run, path)
    if isinstance(run.recipe, Stylist) and run.data.origin is not None:
        found["content-and-style"] = lambda path: _content_and_style(run, path)
    return found


def spherical(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Return points on great arcs, (n * steps, d) arc by arc, ends included, for (n, d) each.

    White 2016 (arXiv:1609.04468): no point is as short as the middle of a straight line, which normal latents
    hardly ever are. Where both point the same way the arc is the straight line between them.
    """
    t = torch.linspace(0, 1, steps, device=start.device).view(1, steps, 1)
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=1)[:, None, None].clamp(-1, 1)
    angle = cosine.acos()
    sine = angle.sin()
    flat = sine.abs() < 1e-4
    safe = torch.where(flat, torch.ones_like(sine), sine)
    first = torch.where(flat, 1 - t, ((1 - t) * angle).sin() / safe)
    last = torch.where(flat, t.expand_as(first), (t * angle).sin() / safe)
    return (first * start[:, None] + last * end[:, None]).flatten(0, 1)


def matrix(rows: Tensor, columns: Tensor, cells: Tensor) -> Tensor:
    """Return one sheet: cell (i, j) at its place, its row's image on the left and its column's above.

    Args:
        rows: (m, C, H, W).
        columns: (n, C, H, W).
        cells: (m * n, C, H, W), row by row.
    """
    corner = torch.ones_like(columns[:1])
    lines = torch.cat((rows[:, None], cells.unflatten(0, (len(rows), len(columns)))), 1)
    return tile(torch.cat((corner, columns, lines.flatten(0, 1))), len(columns) + 1)


def every_pair(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return (m * n, ...) each, row by row: the row's, and the column's."""
    return rows.repeat_interleave(len(columns), 0), columns.repeat(len(rows), *(1,) * (columns.ndim - 1))


def _latents(run: TrainedRun, n: int) -> Tensor:
    assert isinstance(run.recipe, HasLatents)
    return Seeds(run.config.sample.seed, range(n), run.device).randn(run.recipe.latent_shape)


def _interpolation(run: TrainedRun, path: Path) -> None:
    assert isinstance(run.recipe, HasLatents)
    z = _latents(run, 2 * SIDE).flatten(1)
    between = spherical(z[:SIDE], z[SIDE:], STEPS).unflatten(1, run.recipe.latent_shape)
    request = run.request([k for k in range(SIDE) for _ in range(STEPS)])
    with run.inference():
        drawn = run.recipe.from_latents(between, request)
    caption = "from latent to latent along a great arc; what else is random stays"
    write_captioned([(caption, tile(drawn, STEPS))], path)


def _views(run: TrainedRun, path: Path) -> None:
    recipe = run.recipe
    assert isinstance(recipe, HasViews)
    z = _latents(run, 2 * SIDE)
    content, view = every_pair(z[:SIDE, : recipe.content_dim], z[SIDE:, recipe.content_dim :])
    with run.inference():
        drawn = recipe.from_latents(torch.cat((content, view), 1), run.request([0] * SIDE**2))
    write_captioned([("a content a row, a view a column", tile(drawn, SIDE))], path)


def _style_mixing(run: TrainedRun, path: Path) -> None:
    recipe = run.recipe
    assert isinstance(recipe, HasStyles)
    z = _latents(run, 2 * SIDE)
    rows, columns = z[:SIDE], z[SIDE:]
    coarse, fine = every_pair(rows, columns)
    sheets = []
    with run.inference():
        left, above = (recipe.from_latents(part, run.request([0] * SIDE)) for part in (rows, columns))
        for first in sorted({max(1, recipe.styles // 3), max(1, 2 * recipe.styles // 3)}):
            cells = recipe.mixed(coarse, fine, first, run.request([0] * SIDE**2))
            caption = (
                f"the first {first} of {recipe.styles} layers in the style on the left, others in that above"
            )
            sheets.append((caption, matrix(left, above, cells)))
    write_captioned(sheets, path)


def _content_and_style(run: TrainedRun, path: Path) -> None:
    recipe, origin = run.recipe, run.data.origin
    assert isinstance(recipe, Stylist)
    assert origin is not None
    to_model = run.to_model
    content = to_model(origin.test.examples(torch.arange(min(SIDE, len(origin.test)))))
    held = len(run.data.test)
    style = to_model(run.data.test.examples(torch.arange(held - min(SIDE, held), held)))
    with run.inference():
        painted = recipe.stylize(*every_pair(content, style)).cpu()
    left = content.cpu().expand(-1, painted.shape[1], -1, -1)
    caption = "test images: the content on the left, the style above"
    write_captioned([(caption, matrix(left, style.cpu(), painted))], path)
