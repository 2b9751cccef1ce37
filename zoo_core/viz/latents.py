"""A model's latents: reconstructions, traversals, interpolations, a map of the codes.

Any recipe that can encode and decode has them; integer codes are reconstructed only, because nothing lies
between them. All examples are of the test split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo_core.interfaces import HasCodebook, HasEncoder, HasLikelihood, HasOutput, TrainedRun
from zoo_core.seeds import Seeds
from zoo_core.viz import codebook
from zoo_core.viz.image_grid import ImageGrid, draw_grids, interleaved, stacked
from zoo_core.viz.plane import scatter
from zoo_core.viz.plot import Job, Plot, run_line
from zoo_core.viz.style import COLORS, MARKERS, make_figure, set_title, styled

COLUMNS, GROUPS = 10, 4
"""Columns of a grid of pairs, and its pairs of rows."""
SIDE = 8
"""Rows of a grid of interpolations or traversals."""
STEPS = 9
"""Images along a traversal or an interpolation."""
CODES = 1000
"""Test examples whose codes are looked at."""
REACH = 0.01
"""A traversal leaves out this share of the codes at each end."""


def jobs(run: TrainedRun) -> dict[str, Job]:
    """Return name -> drawing function for what a trained run's latents may have to show.

    A function draws nothing where the codes turn out to be of another kind.
    """
    info = run.data.info
    found: dict[str, Job] = {}
    if isinstance(run.recipe, HasOutput) and info.is_image:
        found["mean-and-draw"] = lambda: _mean_and_draw(run)
    if isinstance(run.recipe, HasEncoder):
        if info.is_image or info.shape == (2,):
            found["reconstructions"] = lambda: _reconstructions(run)
        if info.is_image:
            found["interpolation"] = lambda: _interpolation(run)
            found["traversals"] = lambda: _traversals(run)
        found["latent-map"] = lambda: _latent_map(run)
    if isinstance(run.recipe, HasCodebook):
        found["codebook-usage"] = lambda: codebook.usage(run)
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


def _pairs(run: TrainedRun, kinds: Mapping[str, Tensor], title: str) -> Plot:
    """Return images of two kinds in pairs of rows, each below its counterpart."""
    columns = min(COLUMNS, len(next(iter(kinds.values()))))
    images = interleaved(*kinds.values(), columns=columns)
    labels = list(kinds) * (len(images) // columns // len(kinds))
    grid = ImageGrid(images, columns, row_labels=labels, group=len(kinds))
    return Plot(
        draw_grids([grid], title, run_line(run)), {k: stacked(list(x.cpu())) for k, x in kinds.items()}
    )


def _mean_and_draw(run: TrainedRun) -> Plot:
    assert isinstance(run.recipe, HasOutput)
    with run.inference():
        mean, drawn = run.recipe.mean_and_draw(run.request(range(COLUMNS * GROUPS)))
    return _pairs(run, {"mean": mean, "random draw": drawn}, "Decoder's mean and a random draw at one latent")


def _reconstructions(run: TrainedRun) -> Plot:
    if not run.data.info.is_image:
        x = examples(run, CODES)
        names = ("test points", "reconstructions")
        return scatter(
            x.cpu(), decoded(run, encoded(run, x)), "Reconstructions of test points", run_line(run), names
        )
    x = examples(run, COLUMNS * GROUPS)
    kinds = {"test image": x, "reconstruction": decoded(run, encoded(run, x))}
    return _pairs(run, kinds, "Reconstructions of test images")


def _interpolation(run: TrainedRun) -> Plot | None:
    x = examples(run, 2 * SIDE)
    codes = encoded(run, x)
    if not codes.is_floating_point():
        return None
    half = len(x) // 2
    between = decoded(run, along(codes[:half], codes[half : 2 * half], STEPS)).unflatten(0, (half, STEPS))
    first, last = (part.cpu()[:, None] for part in (x[:half], x[half : 2 * half]))
    rows = torch.cat((first, between, last), 1)
    inner = [f"{k / (STEPS - 1):.3g}" for k in range(STEPS)]
    labels = ["image A", *inner, "image B"]
    grid = ImageGrid(list(rows.flatten(0, 1)), rows.shape[1], column_labels=labels)
    note = (
        "Test images A and B at the ends; between them decoded codes on the straight line from A's code (0) "
        "to B's code (1)."
    )
    figure = draw_grids([grid], "Interpolation of codes", run_line(run), note)
    return Plot(figure, {"images": stacked(list(rows.flatten(0, 1)))})


def kl_by_dimension(run: TrainedRun, x: Tensor) -> dict[str, float]:
    """Return the mean KL term of each latent dimension in nats, by name; {} where the model tells none."""
    if not isinstance(run.recipe, HasLikelihood):
        return {}
    with run.inference():
        found = run.recipe.likelihoods(x, noise=Seeds(0, range(len(x)), run.device), k=1)
    return {name: float(kl.mean()) for one in found for name, kl in one.kl.items()}


def _traversals(run: TrainedRun) -> Plot | None:
    x = examples(run, CODES)
    codes = encoded(run, x)
    if not codes.is_floating_point() or codes.ndim != 2:
        return None
    low, high = (torch.quantile(codes, share, dim=0) for share in (REACH, 1 - REACH))
    base = codes[0]
    start, end = base.repeat(len(base), 1), base.repeat(len(base), 1)
    start.diagonal().copy_(low)
    end.diagonal().copy_(high)
    change = (decoded(run, end) - decoded(run, start)).flatten(1).square().mean(1)
    shown = change.argsort(descending=True)[:SIDE].cpu()
    rows = decoded(run, along(start[shown], end[shown], STEPS))
    names = [f"z{int(k) + 1}" for k in shown]
    kl = kl_by_dimension(run, x[: run.config.eval.batch_size])
    if not all(name in kl for name in names):
        kl = {}
    labels = [f"{name}   KL {kl[name]:.2f}" if kl else name for name in names]
    percent = torch.linspace(100 * REACH, 100 * (1 - REACH), STEPS)
    columns = ["1st pct.", *[""] * (STEPS - 2), "99th pct."]
    grid = ImageGrid(list(rows), STEPS, column_labels=columns, row_labels=labels)
    note = (
        f"One latent dimension in each row, from the 1st to the 99th percentile of {len(codes):,} codes of "
        "test images in even steps; the others are those of the first test image. Rows are sorted by the "
        "change of the image." + (" KL: mean KL term of the dimension, nats." if kl else "")
    )
    numbers = {
        "images": stacked(list(rows)),
        "dimension": shown + 1,
        "change": change[shown.to(change.device)].cpu(),
        "percent": percent,
    }
    numbers |= {"kl_nats": [kl[name] for name in names]} if kl else {}
    return Plot(draw_grids([grid], "Latent traversals", run_line(run), note), numbers)


def planar(codes: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Return codes (n, d) in the plane, (n, 2), and the names of its axes.

    Two latents are taken as they are; of more, their two principal components, whose signs make the largest
    loading positive.
    """
    if codes.shape[1] == 2:
        return codes, ("z1", "z2")
    centered = (codes - codes.mean(0)).double()
    _, values, vectors = torch.linalg.svd(centered, full_matrices=False)
    axes = vectors[:2]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    shares = (values[:2].square() / values.square().sum()).tolist()
    names = [f"PC {k + 1} of {codes.shape[1]} ({share:.0%} of variance)" for k, share in enumerate(shares)]
    return (centered @ axes.T).float(), (names[0], names[1])


def _latent_map(run: TrainedRun) -> Plot | None:
    x = examples(run, CODES)
    codes = encoded(run, x).flatten(1).cpu()
    if not codes.is_floating_point() or codes.shape[1] < 2:
        return None
    points, names = planar(codes)
    label = run.data.test.label
    label = None if label is None else label[: len(x)].cpu()
    return draw_map(points, names, label, run.data.class_names, f"{run_line(run)} · {len(x):,} test examples")


@styled
def draw_map(
    points: Tensor, names: tuple[str, str], label: Tensor | None, classes: Sequence[str], subtitle: str
) -> Plot:
    """Return codes in the plane, a color and a marker for each class.

    Args:
        points: (n, 2).
        names: of the axes.
        label: (n,) int64; None for one color.
        classes: names of the classes.
    """
    figure = make_figure(6.6, 5.2)
    axes = figure.add_subplot()
    for k in [None] if label is None else label.unique().tolist():
        own = points if label is None else points[label == k]
        name = None if k is None else classes[k] if k < len(classes) else str(k)
        place = k or 0
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=20,
            linewidths=0.3,
            edgecolors="white",
            alpha=0.85,
            label=name,
            color=COLORS[place % len(COLORS)],
            marker=MARKERS[place % len(MARKERS)],
        )
    if label is not None:
        axes.legend(title="class", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel=names[0], ylabel=names[1])
    set_title(figure, "Latent map", subtitle)
    numbers = {names[0]: points[:, 0], names[1]: points[:, 1]}
    return Plot(figure, numbers if label is None else {**numbers, "class": label})
