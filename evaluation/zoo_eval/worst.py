"""The worst samples of a source: farthest from the training data in features, and least likely to the model.

They are chosen by value among the scored samples. The sheet is written to `plots/` and attached to the result
as `worst`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.data.loading import to_unit
from zoo_core.interfaces import EvalContext, HasCritic, HasDenoiser, HasLikelihood
from zoo_core.seeds import Seeds
from zoo_core.viz.image_grid import ImageGrid, draw_grids, interleaved
from zoo_core.viz.plane import draw_worst
from zoo_core.viz.plot import Plot
from zoo_eval.metrics.memorization import nearest_training
from zoo_eval.numbers import number

MOST = 2000
"""Samples among which the worst are looked for, where the memorization check sets no number."""
SCORED = 512
"""Samples that the model's own likelihood or critic is asked for."""
COLUMNS = 8


@dataclass(frozen=True)
class Ranking:
    """Samples from worst to best by one criterion.

    Attributes:
        name: of the criterion.
        values: (n,) of samples 0 to n - 1.
        highest: whether the highest value is the worst.
    """

    name: str
    values: Tensor
    highest: bool

    def worst(self, k: int) -> Tensor:
        """Return the indices of the k worst samples, the worst first; of equals the first is worse."""
        return self.values.argsort(descending=self.highest, stable=True)[:k]


def own_ranking(ctx: EvalContext) -> Ranking | None:
    """Return samples by the model's own critic or likelihood; None where there is none, or it is costly.

    The likelihood of a diffusion model takes as many network evaluations as there are noise levels, for every
    sample: it is left out.
    """
    if ctx.run is None or isinstance(ctx.recipe, HasDenoiser):
        return None
    recipe = ctx.recipe
    x = _unit(ctx, ctx.rows[:SCORED])
    parts: list[Tensor] = []
    name = ""
    with ctx.inference():
        for index in torch.arange(len(x)).split(ctx.config.eval.batch_size):
            batch = x[index].to(ctx.device)
            if isinstance(recipe, HasCritic):
                name = "critic's score"
                cond = ctx.run.request(index.tolist()).cond
                parts.append(recipe.critic_scores(batch, cond).double().cpu())
            elif isinstance(recipe, HasLikelihood):
                noise = Seeds(0, index.tolist(), ctx.device)
                found = recipe.likelihoods(batch, noise=noise, k=1)
                if not found:
                    return None
                name = f"log-likelihood, {found[0].kind} (nats)"
                parts.append(found[0].log_prob.double().cpu())
            else:
                return None
    return Ranking(name, torch.cat(parts), highest=False)


def _unit(ctx: EvalContext, rows: Tensor) -> Tensor:
    levels = ctx.data.info.levels
    return rows.float() if levels is None else to_unit(rows, levels)


def worst_samples(ctx: EvalContext, k: int) -> Plot:
    """Return the sheet of the k worst samples by each criterion."""
    n = ctx.protocol.memorization_n or min(MOST, len(ctx.rows))
    found = nearest_training(ctx, n)
    far = Ranking(
        f"distance to the nearest training example ({ctx.protocol.extractor})", found.distance, True
    )
    own = own_ranking(ctx)
    rankings = [far] if own is None else [far, own]
    config = ctx.config
    line = f"{config.plugin or 'samples'} on {ctx.data.info.name}"
    subtitle = f"{line} · worst first, of the first {n:,} samples"
    subtitle += f" (of the first {len(own.values):,} by the model itself)" if own else ""
    numbers: dict[str, Tensor] = {}
    for name, ranking in zip(("distance", "own"), rankings, strict=False):
        chosen = ranking.worst(k)
        numbers |= {f"{name}_index": chosen, f"{name}_value": ranking.values[chosen]}
    if not ctx.data.info.is_image:
        chosen_points = [(r.name, _unit(ctx, ctx.rows[r.worst(k)])) for r in rankings]
        shown = ctx.data.train.examples(torch.arange(min(MOST, len(ctx.data.train)))).cpu()
        return draw_worst(shown, ctx.rows[:MOST], chosen_points, subtitle, numbers)
    near = _unit(ctx, ctx.data.train.examples(found.index[far.worst(k)]).cpu())
    grids = [_grid(ctx, far, k, near)] + ([] if own is None else [_grid(ctx, own, k)])
    note = f"Below each image: its {far.name}" + (f", or its {own.name}." if own else ".")
    return Plot(draw_grids(grids, "Worst samples", subtitle, note), numbers)


def _grid(ctx: EvalContext, ranking: Ranking, k: int, near: Tensor | None = None) -> ImageGrid:
    chosen = ranking.worst(k)
    columns = min(COLUMNS, len(chosen))
    kinds = [_unit(ctx, ctx.rows[chosen])] + ([] if near is None else [near])
    images = interleaved(*kinds, columns=columns)
    labels = [number(float(value)) for value in ranking.values[chosen]]
    if near is None:
        return ImageGrid(images, columns, f"lowest {ranking.name}", cell_labels=labels)
    rows = len(images) // columns // 2
    cells: list[str] = []
    for row in range(rows):
        cells += _padded(labels[row * columns : (row + 1) * columns], columns) + [""] * columns
    names = ["sample", "nearest"] * rows
    return ImageGrid(images, columns, "farthest from the training data", (), names, cells, group=2)


def _padded(labels: Sequence[str], columns: int) -> list[str]:
    return [*labels, *[""] * (columns - len(labels))]


def attach_worst(ctx: EvalContext) -> Plot | None:
    """Attach the sheet of worst samples to the result, and return it; None where none is asked for."""
    config, info = ctx.config, ctx.data.info
    drawable = (info.is_image or info.shape == (2,)) and ctx.data.described is None
    if not config.track.plots or not config.plots.worst or not drawable:
        return None
    plot = worst_samples(ctx, config.plots.worst)
    ctx.attach("worst", plot.png(), "png")
    return plot
