"""Drawing: tensors to image files. Nothing here knows a run.

Sheets are uint8 images (C, H, W), written without smoothing: small ones are enlarged by whole factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PIXELS = 512
"""Least width of a written grid: small images are enlarged by whole factors, without smoothing."""


def to_uint8(x: Tensor) -> Tensor:
    """Return images in [-1, 1] as 8-bit ones: clamp, then round."""
    return x.float().clamp(-1, 1).add(1).mul(127.5).round_().to(torch.uint8)


def tile(x: Tensor, columns: int, gap: int = 1) -> Tensor:
    """Return images (n, C, H, W) side by side, row by row, as one uint8 image (C, H', W')."""
    images = to_uint8(x).cpu()
    n, channels, height, width = images.shape
    rows = math.ceil(n / columns)
    sheet = torch.full(
        (channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 110, dtype=torch.uint8
    )
    for place, image in enumerate(images):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def enlarged(sheet: Tensor) -> Any:
    """Return one uint8 image (C, H, W) as PIL's, enlarged by a whole factor to at least PIXELS wide."""
    from PIL import Image

    factor = max(1, math.ceil(PIXELS / sheet.shape[2]))
    sheet = sheet.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    array = sheet[0].numpy() if sheet.shape[0] == 1 else sheet[:3].permute(1, 2, 0).numpy()
    return Image.fromarray(array)


def write_png(sheet: Tensor, path: Path) -> None:
    """Write one uint8 image (C, H, W), enlarged by a whole factor to at least PIXELS wide."""
    enlarged(sheet).save(path)


def write_animation(sheets: Sequence[Tensor], path: Path, seconds: float = 3.0) -> None:
    """Write uint8 images (C, H, W), each enlarged, as a PNG that moves and begins again after a pause.

    Args:
        sheets: at least one, of one size. A viewer of still images shows the last.
        seconds: of the movement.
    """
    frames = [enlarged(sheet) for sheet in sheets]
    each = max(20, round(1000 * seconds / len(frames)))
    times = [each] * (len(frames) - 1) + [2000]
    frames[-1].save(path, save_all=True, append_images=frames, default_image=True, duration=times, loop=0)


def write_captioned(sheets: Sequence[tuple[str, Tensor]], path: Path) -> None:
    """Write sheets (C, H, W) side by side, each enlarged, with its caption above it."""
    import textwrap

    from PIL import Image, ImageDraw, ImageFont

    font, line, margin = ImageFont.load_default(size=16), 21, 10
    images = [enlarged(sheet) for _, sheet in sheets]
    texts = [
        textwrap.wrap(caption, max(12, int(image.width / font.getlength("n"))))
        for (caption, _), image in zip(sheets, images, strict=True)
    ]
    top = margin + line * max(map(len, texts)) + margin // 2
    width = margin + sum(image.width + margin for image in images)
    whole = Image.new("RGB", (width, top + max(p.height for p in images) + margin), "white")
    draw, left = ImageDraw.Draw(whole), margin
    for lines, image in zip(texts, images, strict=True):
        draw.multiline_text((left, margin - 2), "\n".join(lines), fill="black", font=font, spacing=4)
        whole.paste(image.convert("RGB"), (left, top))
        left += image.width + margin
    whole.save(path)


def make_figure(width: float = 8, height: float = 5) -> Any:
    """Return a matplotlib figure of a size in inches that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves(records: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Draw every recorded loss against the step, a panel each."""
    seen = dict.fromkeys(name for record in records for name in record)  # a later stage has losses of its own
    names = [name for name in seen if "/" in name and not name.startswith("lr/")]
    figure = make_figure(9, 2.4 * max(1, math.ceil(len(names) / 2)))
    for place, name in enumerate(names):
        axes = figure.add_subplot(math.ceil(len(names) / 2), min(2, len(names)), place + 1)
        rows = [record for record in records if name in record]
        axes.plot([r["step"] for r in rows], [r[name] for r in rows], linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.3)
        axes.set_xlabel("step", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def scatter(
    left: Tensor, right: Tensor, path: Path, title: str, names: tuple[str, str] = ("data", "samples")
) -> None:
    """Draw two sets of points (n, 2), each under its name, side by side on the first one's scale."""
    figure = make_figure(9, 4.6)
    lim = 1.15 * float(left.abs().max())
    for place, (name, points) in enumerate(zip(names, (left, right), strict=True)):
        axes = figure.add_subplot(1, 2, place + 1)
        axes.scatter(points[:, 0], points[:, 1], s=3, alpha=0.4, linewidths=0)
        axes.set(xlim=(-lim, lim), ylim=(-lim, lim), aspect="equal", title=name)
        axes.locator_params(nbins=7)
        axes.grid(alpha=0.2)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


Surface = Callable[[Tensor], Tensor]
"""Points (n, 2) to a log-density there, (n,)."""
DROPS = (0.5, 2.0, 4.5, 8.0)
"""In nats below the highest point: the contours of a normal at 1, 2, 3 and 4 standard deviations."""


def _landscape(axes: Any, surface: Surface | None, real: Tensor, lim: float) -> None:
    """Draw contours of a density, or data points where it is not known, over [-lim, lim]^2."""
    axes.set(xlim=(-lim, lim), ylim=(-lim, lim), aspect="equal")
    axes.locator_params(nbins=7)
    if surface is None:
        axes.scatter(real[:1000, 0], real[:1000, 1], s=3, alpha=0.25, color="tab:orange", linewidths=0)
        return
    line = torch.linspace(-lim, lim, 161)
    height = surface(torch.cartesian_prod(line, line)).reshape(len(line), len(line)).T.cpu()
    top = float(height.max())
    levels = [top - drop for drop in reversed(DROPS)]
    axes.contourf(line, line, height, levels=[*levels, top + 1e-6], cmap="Oranges", alpha=0.5)
    axes.contour(line, line, height, levels=levels, colors="tab:brown", linewidths=0.4)


def score_field(
    score: Callable[[Tensor, float], Tensor],
    panels: Sequence[tuple[float, Surface | None]],
    real: Tensor,
    path: Path,
    title: str,
) -> None:
    """Draw the direction of a score over the plane at several noise levels, the density behind it.

    Args:
        score: (points (n, 2), sigma) to the gradient of log p_sigma, (n, 2).
        panels: a level each, with log p_sigma, or None where it is not known: then data are drawn.
        real: data points.
    """
    figure = make_figure(4.2 * len(panels), 4.4)
    for place, (sigma, surface) in enumerate(panels):
        lim = 1.15 * float(real.abs().max()) + sigma
        line = torch.linspace(-lim, lim, 24)
        points = torch.cartesian_prod(line, line)
        arrows = score(points, sigma)
        arrows = arrows / arrows.norm(dim=1, keepdim=True).clamp_min(1e-9)
        axes = figure.add_subplot(1, len(panels), place + 1)
        _landscape(axes, surface, real, lim)
        axes.quiver(points[:, 0], points[:, 1], arrows[:, 0], arrows[:, 1], angles="xy", width=0.003)
        axes.set_title(f"sigma = {sigma:.2g}")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def walks(
    panels: Sequence[tuple[str, Tensor]], surface: Surface | None, real: Tensor, path: Path, title: str
) -> None:
    """Draw walks over a density, each from a ring to a dot.

    Args:
        panels: a name each, and the states of its walkers, (steps, n, 2).
        surface: log p, or None where it is not known: then data are drawn.
        real: data points.
    """
    figure = make_figure(4.8 * len(panels), 5)
    lim = 1.2 * float(real.abs().max())
    for place, (name, states) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        _landscape(axes, surface, real, lim)
        for walk in states.unbind(1):
            axes.plot(walk[:, 0], walk[:, 1], linewidth=0.6, alpha=0.55, color="tab:blue")
        start, end = states[0], states[-1]
        axes.scatter(start[:, 0], start[:, 1], s=16, facecolors="none", edgecolors="tab:blue", linewidths=0.8)
        axes.scatter(end[:, 0], end[:, 1], s=14, color="black", zorder=3, linewidths=0)
        axes.set_title(name)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)
