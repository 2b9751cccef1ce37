"""How often each vector of a codebook is used, in an image."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from zoo_core.interfaces import HasCodebook, TrainedRun
from zoo_core.viz.drawing import make_figure

EXAMPLES = 10_000
"""Most training examples that are counted."""


def code_counts(codes: Tensor, size: int) -> Tensor:
    """Return how often each code stands at each place, (M, size) int64, for codes (n, M) in [0, size)."""
    return torch.stack([torch.bincount(place, minlength=size) for place in codes.T])


def draw_use(counts: Tensor, path: Path, title: str) -> None:
    """Draw the use of codes over all places, most used first, and at each place.

    Args:
        counts: (M, K).
    """
    share = counts.double() / counts.sum(1, keepdim=True)
    whole = share.mean(0)
    order = whole.argsort(descending=True)
    perplexity = math.exp(-float(torch.special.xlogy(whole, whole).sum()))
    places, size = counts.shape
    figure = make_figure(8.4, 3.2 + min(3.5, 0.16 * places + 1.2))
    above, below = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1 + min(2, places / 16)]}
    )
    above.bar(range(size), whole[order], width=0.9)
    above.axhline(1 / size, color="tab:orange", linewidth=1, label="all alike")
    above.legend(frameon=False)
    above.set_ylabel("share of all places")
    used = int((counts.sum(0) > 0).sum())
    above.set_title(f"{used} of {size} codes in use, perplexity {perplexity:.1f}", fontsize=10)
    shown = below.imshow(share[:, order], aspect="auto", cmap="viridis", interpolation="nearest", vmin=0)
    figure.colorbar(shown, ax=below, label="share")
    below.set(ylabel="place", xlabel="codes, the most used first")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def usage(run: TrainedRun, path: Path) -> None:
    """Draw which codes a trained run gives to the examples it was trained on."""
    assert isinstance(run.recipe, HasCodebook)
    rows = torch.arange(min(EXAMPLES, len(run.data.train)))
    codes = []
    with run.inference():
        for part in rows.split(run.config.eval.batch_size):
            x = run.to_model(run.data.train.examples(part))
            codes.append(run.recipe.likeliest_codes(x).cpu())
    counts = code_counts(torch.cat(codes), len(run.recipe.codebook))
    draw_use(counts, path, f"{run.config.plugin} on {run.config.data.name}: {len(rows):,} training examples")
