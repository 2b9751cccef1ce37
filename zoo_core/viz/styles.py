"""Interpolations between a generator's latents, and matrices of styles.

Any recipe that samples from one normal latent has interpolations. One with a style per layer, or one that
renders one image in the style of another, has a matrix of what a row and what a column gives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_core.interfaces import HasLatents, HasStyles, HasViews, Stylist, TrainedRun
from zoo_core.seeds import Seeds
from zoo_core.viz.image_grid import ImageGrid, draw_grids, stacked
from zoo_core.viz.plot import Job, Plot, run_line

SIDE = 8
"""Rows, and columns, of a strip or a matrix."""
STEPS = 9
"""Images along a strip."""


def jobs(run: TrainedRun) -> dict[str, Job]:
    """Return name -> drawing function for what a trained run's latents and styles have to show."""
    found: dict[str, Job] = {}
    if not run.data.info.is_image:
        return found
    if isinstance(run.recipe, HasLatents):
        found["interpolation"] = lambda: _interpolation(run)
    if isinstance(run.recipe, HasStyles):
        found["style-mixing"] = lambda: _style_mixing(run)
    if isinstance(run.recipe, HasViews):
        found["views"] = lambda: _views(run)
    if isinstance(run.recipe, Stylist) and run.data.origin is not None:
        found["content-and-style"] = lambda: _content_and_style(run)
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


def matrix(rows: Tensor, columns: Tensor, cells: Tensor, title: str = "") -> ImageGrid:
    """Return a grid: cell (i, j) at its place, its row's image on the left and its column's above.

    Args:
        rows: (m, C, H, W).
        columns: (n, C, H, W).
        cells: (m * n, C, H, W), row by row.
    """
    lines = torch.cat((rows[:, None], cells.unflatten(0, (len(rows), len(columns)))), 1)
    return ImageGrid([None, *columns, *lines.flatten(0, 1)], len(columns) + 1, title)


def every_pair(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return (m * n, ...) each, row by row: the row's, and the column's."""
    return rows.repeat_interleave(len(columns), 0), columns.repeat(len(rows), *(1,) * (columns.ndim - 1))


def _latents(run: TrainedRun, n: int) -> Tensor:
    assert isinstance(run.recipe, HasLatents)
    return Seeds(run.config.sample.seed, range(n), run.device).randn(run.recipe.latent_shape)


def _interpolation(run: TrainedRun) -> Plot:
    assert isinstance(run.recipe, HasLatents)
    z = _latents(run, 2 * SIDE).flatten(1)
    between = spherical(z[:SIDE], z[SIDE:], STEPS).unflatten(1, run.recipe.latent_shape)
    request = run.request([k for k in range(SIDE) for _ in range(STEPS)])
    with run.inference():
        images = list(run.recipe.from_latents(between, request).cpu())
    grid = ImageGrid(images, STEPS, column_labels=["z₁", *fractions(STEPS)[1:-1], "z₂"])
    note = (
        "Spherical interpolation between two latents in each row; numbers are fractions of the arc. "
        "All other noise is held fixed."
    )
    return Plot(draw_grids([grid], "Interpolation of latents", run_line(run), note), _numbers(grid))


def fractions(steps: int) -> list[str]:
    """Return the labels of points spaced evenly from 0 to 1."""
    return [f"{k / (steps - 1):.3g}" for k in range(steps)]


def _numbers(*grids: ImageGrid) -> dict[str, object]:
    if len(grids) == 1:
        return {"images": stacked(grids[0].images)}
    return {f"images_{k}": stacked(grid.images) for k, grid in enumerate(grids)}


def _views(run: TrainedRun) -> Plot:
    recipe = run.recipe
    assert isinstance(recipe, HasViews)
    z = _latents(run, 2 * SIDE)
    content, view = every_pair(z[:SIDE, : recipe.content_dim], z[SIDE:, recipe.content_dim :])
    with run.inference():
        images = recipe.from_latents(torch.cat((content, view), 1), run.request([0] * SIDE**2)).cpu()
    columns, rows = ([f"{kind} {k + 1}" for k in range(SIDE)] for kind in ("view", "content"))
    grid = ImageGrid(list(images), SIDE, column_labels=columns, row_labels=rows)
    return Plot(draw_grids([grid], "Content and view latents", run_line(run)), _numbers(grid))


def _style_mixing(run: TrainedRun) -> Plot:
    recipe = run.recipe
    assert isinstance(recipe, HasStyles)
    z = _latents(run, 2 * SIDE)
    rows, columns = z[:SIDE], z[SIDE:]
    coarse, fine = every_pair(rows, columns)
    grids = []
    with run.inference():
        left, above = (recipe.from_latents(part, run.request([0] * SIDE)).cpu() for part in (rows, columns))
        for first in sorted({max(1, recipe.styles // 3), max(1, 2 * recipe.styles // 3)}):
            cells = recipe.mixed(coarse, fine, first, run.request([0] * SIDE**2)).cpu()
            layers = "layer 1" if first == 1 else f"layers 1 to {first}"
            title = f"{layers} of {recipe.styles}: style of the image on the left; others: of that above"
            grids.append(matrix(left, above, cells, title))
    return Plot(draw_grids(grids, "Style mixing", run_line(run)), _numbers(*grids))


def _content_and_style(run: TrainedRun) -> Plot:
    recipe, origin = run.recipe, run.data.origin
    assert isinstance(recipe, Stylist)
    assert origin is not None
    to_model = run.to_model
    content = to_model(origin.test.examples(torch.arange(min(SIDE, len(origin.test)))))
    held = len(run.data.test)
    style = to_model(run.data.test.examples(torch.arange(held - min(SIDE, held), held)))
    with run.inference():
        rendered = recipe.stylize(*every_pair(content, style)).cpu()
    left = content.cpu().expand(-1, rendered.shape[1], -1, -1)
    grid = matrix(left, style.cpu(), rendered)
    note = "Test images: the content image on the left, the style image above."
    return Plot(draw_grids([grid], "Content and style", run_line(run), note), _numbers(grid))
