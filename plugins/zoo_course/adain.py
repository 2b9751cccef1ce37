"""Adaptive instance normalization: the channel statistics of one image given to another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.nn.adain import adain, statistics
from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.topic import Exercise, Slip, Topic


def photographs() -> tuple[Tensor, Tensor]:
    """Return the two photographs that scikit-learn ships, (1, 3, 107, 160) in [0, 1] each."""
    from sklearn.datasets import load_sample_images

    first, second = (
        torch.from_numpy(x.copy()).permute(2, 0, 1)[None] / 255 for x in load_sample_images().images
    )
    return first[..., ::4, ::4].double(), second[..., ::4, ::4].double()


def batch_normalized(x: Tensor) -> Tensor:
    """Return images normalized by the statistics of their batch, like x (n, c, H, W)."""
    mean = x.mean((0, 2, 3), keepdim=True)
    return (x - mean) / ((x - mean).square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()


def transferred(value: float, own: tuple[float, float], style: tuple[float, float]) -> float:
    """Return a value of a channel with (mean, std) `own` after it was given those of `style`."""
    return style[1] * (value - own[0]) / own[1] + style[0]


def _shown(x: Tensor) -> Tensor:
    return x[0].clamp(0, 1).permute(1, 2, 0)


def _figure(out: Folder) -> Sequence[str]:
    content, style = photographs()
    result = adain(content, *statistics(style))
    figure = make_figure(12, 5.2)
    axes = figure.subplots(2, 3)
    for place, (name, image) in enumerate(
        (("content x", content), ("style y", style), ("AdaIN(x, y), on pixels", result))
    ):
        axes[0, place].imshow(_shown(image))
        axes[0, place].set(title=name, xticks=[], yticks=[])
        for channel, color in enumerate((COLORS[1], COLORS[2], COLORS[0])):
            axes[1, place].hist(
                image[0, channel].flatten().numpy(), bins=50, histtype="step", color=color, density=True
            )
        axes[1, place].set(xlim=(-0.5, 1.5), xlabel="value", yticks=[])
    out.plot(figure, "photographs")
    alone, together = batch_normalized(content), batch_normalized(torch.cat((content, style)))[:1]
    out.table(
        {
            name: torch.cat([part.flatten() for part in statistics(image)]).tolist()
            for name, image in (("content", content), ("style", style), ("result", result))
        },
        "statistics",
    )
    pairs = zip(statistics(style), statistics(result), strict=True)
    difference = max(float((one - other).abs().max()) for one, other in pairs)
    return [
        f"largest difference between the statistics of style and result: {difference:.2e}",
        f"batch normalization of x changes by {float((alone - together).abs().max()):.2f} if y joins "
        f"the batch; AdaIN by 0",
    ]


TOPIC = Topic(
    question="how can the style of an image be a parameter of a layer?",
    look=(
        "The result has the shapes of the content and the colors of the style.",
        "Its histograms have the means and widths of the style's, and the shapes of the content's.",
        "On pixels the style is color only; in deeper features it is texture.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="A channel of the content has mean 2 and standard deviation 4, that of the style "
            "mean 10 and standard "
            "deviation 2. What does AdaIN make of the content's value 6?",
            answer=lambda: transferred(6.0, (2.0, 4.0), (10.0, 2.0)),
            tolerance=1e-2,
            hint="Normalize with the content's statistics, then scale and shift with the style's.",
            slips=(
                Slip(lambda: transferred(6.0, (10.0, 2.0), (2.0, 4.0)), "Content and style are exchanged."),
                Slip(
                    lambda: transferred(6.0, (2.0, 16.0), (10.0, 4.0)),
                    "Divide by the standard deviation, not the variance.",
                ),
            ),
        ),
    ),
)
