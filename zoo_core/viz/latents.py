"""What a model's latents mean, in images: reconstructions, traversals, interpolations, a map of the codes.

Any recipe that can encode and decode gets them, whatever its family; codes that are integers are
reconstructed only, because nothing lies between them. All examples are of the test split.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from zoo_core.interfaces import HasCodebook, HasEncoder, HasOutput, TrainedRun
from zoo_core.viz import codebook
from zoo_core.viz.drawing import make_figure, scatter, tile, write_captioned

SIDE = 8
"""Rows and columns of a sheet."""
STEPS = 9
"""Images along a traversal or an interpolation."""
CODES = 1000
"""Test examples whose codes are looked at."""
REACH = 0.01
"""A traversal leaves out this share of the codes at each end."""


def jobs(run: TrainedRun) -> dict[str, Callable[[Path], None]]:
    """Return name -> drawing function for what a trained run's latents may have to show.

    A function draws nothing where the codes turn out to be of another kind.
    """
    info = run.data.info
    found: dict[str, Callable[[Path], None]] = {}
    if isinstance(run.recipe, HasOutput) and info.is_image:
        found["mean-and-draw"] = lambda path: _mean_and_draw(run, path)
    if isinstance(run.recipe, HasEncoder):
        if info.is_image or info.shape == (2,):
            found["reconstructions"] = lambda path: _reconstructions(run, path)
        if info.is_image:
            found["interpolation"] = lambda path: _interpolation(run, path)
            found["traversals"] = lambda path: _traversals(run, path)
        found["latent-map"] = lambda path: _latent_map(run, path)
    if isinstance(run.recipe, HasCodebook):
        found["codebook-usage"] = lambda path: codebook.usage(run, path)
    return found


def examples(run: TrainedRun, n: int) -> Tensor:
    """Return the first n test examples as the model sees them, on its device."""
    return run.to_model(run.data.test.examples(torch.arange(min(n, len(run.data.test)))))


def encoded(run: TrainedRun, x: Tensor) -> Tensor:
    """Return the codes of examples under the weights that are scored."""
    assert isinstance(run.recipe, HasEncoder)
    with run.inference():
        return torch.cat([run.recipe.encode(part) for part in x.split(run.config.eval.batch_size)])


def decoded(run: TrainedRun, codes: Tensor) -> Tensor:
    """Return what codes decode to, on the CPU."""
    assert isinstance(run.recipe, HasEncoder)
    with run.inference():
        parts = [run.recipe.decode(part) for part in codes.split(run.config.eval.batch_size)]
    return torch.cat(parts).cpu()


def along(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Return points on straight lines, (n * steps, ...) line by line, ends included, for (n, ...) each."""
    t = torch.linspace(0, 1, steps, device=start.device).view(1, steps, *[1] * (start.ndim - 1))
    return (start[:, None] + t * (end - start)[:, None]).flatten(0, 1)


def _mean_and_draw(run: TrainedRun, path: Path) -> None:
    assert isinstance(run.recipe, HasOutput)
    with run.inference():
        mean, draw = run.recipe.mean_and_draw(run.request(range(SIDE * SIDE)))
    sheets = [
        ("samples: the mean of the decoder's distribution", tile(mean, SIDE)),
        ("the same latents: a draw from the decoder's distribution", tile(draw, SIDE)),
    ]
    write_captioned(sheets, path)


def _reconstructions(run: TrainedRun, path: Path) -> None:
    if not run.data.info.is_image:
        x = examples(run, CODES)
        title = f"{run.config.plugin} on {run.config.data.name}: reconstructions of test points"
        scatter(x.cpu(), decoded(run, encoded(run, x)), path, title, names=("originals", "reconstructions"))
        return
    x = examples(run, SIDE * SIDE)
    sheets = [
        ("test images", tile(x, SIDE)),
        ("their reconstructions", tile(decoded(run, encoded(run, x)), SIDE)),
    ]
    write_captioned(sheets, path)


def _interpolation(run: TrainedRun, path: Path) -> None:
    x = examples(run, 2 * SIDE)
    codes = encoded(run, x)
    if not codes.is_floating_point():
        return
    half = len(x) // 2
    between = decoded(run, along(codes[:half], codes[half : 2 * half], STEPS)).unflatten(0, (half, STEPS))
    first, last = (part.cpu()[:, None] for part in (x[:half], x[half : 2 * half]))
    rows = torch.cat((first, between, last), 1)
    caption = "test images at both ends; between them the straight line from code to code, decoded"
    write_captioned([(caption, tile(rows.flatten(0, 1), rows.shape[1]))], path)


def _traversals(run: TrainedRun, path: Path) -> None:
    codes = encoded(run, examples(run, CODES))
    if not codes.is_floating_point() or codes.ndim != 2:
        return
    low, high = (torch.quantile(codes, share, dim=0) for share in (REACH, 1 - REACH))
    base = codes[0]
    start, end = base.repeat(len(base), 1), base.repeat(len(base), 1)
    start.diagonal().copy_(low)
    end.diagonal().copy_(high)
    change = (decoded(run, end) - decoded(run, start)).flatten(1).square().mean(1)
    shown = change.argsort(descending=True)[:SIDE]
    rows = decoded(run, along(start[shown], end[shown], STEPS))
    names = ", ".join(f"z{int(k) + 1}" for k in shown)
    caption = (
        f"{names}, a row each, from the 1st to the 99th percentile of {len(codes):,} test images' codes; "
        "the others stay at the first image's"
    )
    write_captioned([(caption, tile(rows, STEPS))], path)


def planar(codes: Tensor) -> tuple[Tensor, str]:
    """Return codes (n, d) in the plane, (n, 2), and how they came there: as they are, or their two principal
    components, whose signs make the largest loading positive."""
    if codes.shape[1] == 2:
        return codes, "both latents"
    centered = (codes - codes.mean(0)).double()
    _, values, vectors = torch.linalg.svd(centered, full_matrices=False)
    axes = vectors[:2]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    share = float(values[:2].square().sum() / values.square().sum())
    return (
        centered @ axes.T
    ).float(), f"two principal components of {codes.shape[1]}: {share:.0%} of variance"


def _latent_map(run: TrainedRun, path: Path) -> None:
    x = examples(run, CODES)
    codes = encoded(run, x).flatten(1).cpu()
    if not codes.is_floating_point() or codes.shape[1] < 2:
        return
    points, how = planar(codes)
    figure = make_figure(7.4, 6.4)
    axes = figure.add_subplot()
    label = run.data.test.label
    if label is None:
        axes.scatter(points[:, 0], points[:, 1], s=12, linewidths=0)
    else:
        label = label[: len(x)].cpu()
        for k in label.unique().tolist():
            names = run.data.class_names
            own = points[label == k]
            name = names[k] if k < len(names) else str(k)
            axes.scatter(own[:, 0], own[:, 1], s=14, linewidths=0, alpha=0.8, color=f"C{k % 10}", label=name)
        axes.legend(title="class", markerscale=2, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.2)
    axes.set_title(f"{run.config.plugin} on {run.config.data.name}: codes of {len(x):,} test examples\n{how}")
    figure.savefig(path)
