"""How often each vector of a codebook is used."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo_core.interfaces import HasCodebook, TrainedRun
from zoo_core.viz.plot import Plot, run_line
from zoo_core.viz.style import COLORS, make_figure, set_title, styled

EXAMPLES = 10_000
"""Most training examples that are counted."""


def code_counts(codes: Tensor, size: int) -> Tensor:
    """Return how often each code stands at each place, (M, size) int64, for codes (n, M) in [0, size)."""
    return torch.stack([torch.bincount(place, minlength=size) for place in codes.T])


@styled
def draw_use(counts: Tensor, subtitle: str = "") -> Plot:
    """Return the use of codes over all positions, most used first, and at each position.

    Args:
        counts: (M, K).
    """
    share = counts.double() / counts.sum(1, keepdim=True)
    whole = share.mean(0)
    order = whole.argsort(descending=True)
    perplexity = math.exp(-float(torch.special.xlogy(whole, whole).sum()))
    places, size = counts.shape
    figure = make_figure(7.6, 3.4 + min(3.5, 0.16 * places + 1.2))
    above, below = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1 + min(2, places / 16)]}
    )
    above.bar(range(size), whole[order], width=0.9, color=COLORS[0])
    above.axhline(1 / size, color=COLORS[1], linewidth=1, label="uniform use")
    above.legend()
    above.set_ylabel("fraction of positions")
    used = int((counts.sum(0) > 0).sum())
    above.set_title(f"{used} of {size} codes in use, perplexity {perplexity:.1f}")
    shown = below.imshow(share[:, order], aspect="auto", cmap="viridis", vmin=0)
    below.grid(False)
    figure.colorbar(shown, ax=below, label="fraction")
    below.set(ylabel="position", xlabel="codes, most used first")
    set_title(figure, "Codebook usage", subtitle)
    return Plot(figure, {"counts": counts})


def usage(run: TrainedRun) -> Plot:
    """Return which codes a trained run gives to the examples it was trained on."""
    assert isinstance(run.recipe, HasCodebook)
    rows = torch.arange(min(EXAMPLES, len(run.data.train)))
    codes = []
    with run.inference():
        for part in rows.split(run.config.eval.batch_size):
            x = run.to_model(run.data.train.examples(part))
            codes.append(run.recipe.likeliest_codes(x).cpu())
    counts = code_counts(torch.cat(codes), len(run.recipe.codebook))
    return draw_use(counts, f"{run_line(run)} · {len(rows):,} training examples")
