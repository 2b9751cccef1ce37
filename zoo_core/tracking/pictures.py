"""Pictures of a run: sample grids, training curves, a denoising strip, points and their score field.

Each drawing function takes plain tensors and a path; `progress` and `final` decide what a run has to show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.events import Events
from zoo_core.interfaces import HasDenoiser
from zoo_core.tracking.trackers import read_metrics
from zoo_core.types import DataInfo, SampleRequest

if TYPE_CHECKING:
    from zoo_core.runs import Run

GRID = 64
"""Pictures in a sample grid."""
STRIP_ROWS, STRIP_COLUMNS = 6, 11
POINTS = 2000
PIXELS = 512
"""Least width of a written grid: small pictures are enlarged by whole factors, without smoothing."""


def to_uint8(x: Tensor) -> Tensor:
    """Return pictures in [-1, 1] as 8-bit ones: clamp, then round."""
    return x.float().clamp(-1, 1).add(1).mul(127.5).round_().to(torch.uint8)


def tile(x: Tensor, columns: int, gap: int = 1) -> Tensor:
    """Return pictures (n, C, H, W) side by side, row by row, as one uint8 picture (C, H', W')."""
    pictures = to_uint8(x).cpu()
    n, channels, height, width = pictures.shape
    rows = math.ceil(n / columns)
    sheet = torch.full(
        (channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 110, dtype=torch.uint8
    )
    for place, picture in enumerate(pictures):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = picture
    return sheet


def write_png(sheet: Tensor, path: Path) -> None:
    """Write one uint8 picture (C, H, W), enlarged by a whole factor to at least PIXELS wide."""
    from PIL import Image

    factor = max(1, math.ceil(PIXELS / sheet.shape[2]))
    sheet = sheet.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    array = sheet[0].numpy() if sheet.shape[0] == 1 else sheet[:3].permute(1, 2, 0).numpy()
    Image.fromarray(array).save(path)


def _figure(width: float = 8, height: float = 5) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves(records: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Draw every recorded loss against the step, a panel each."""
    names = [n for n in (records[0] if records else {}) if "/" in n and not n.startswith("lr/")]
    figure = _figure(9, 2.4 * max(1, math.ceil(len(names) / 2)))
    for place, name in enumerate(names):
        axes = figure.add_subplot(math.ceil(len(names) / 2), min(2, len(names)), place + 1)
        rows = [record for record in records if name in record]
        axes.plot([r["step"] for r in rows], [r[name] for r in rows], linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.3)
        axes.set_xlabel("step", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def scatter(real: Tensor, fake: Tensor, path: Path, title: str) -> None:
    """Draw real and generated points (n, 2) side by side on one scale."""
    figure = _figure(9, 4.6)
    lim = 1.15 * float(real.abs().max())
    for place, (name, points) in enumerate((("data", real), ("samples", fake))):
        axes = figure.add_subplot(1, 2, place + 1)
        axes.scatter(points[:, 0], points[:, 1], s=3, alpha=0.4, linewidths=0)
        axes.set(xlim=(-lim, lim), ylim=(-lim, lim), aspect="equal", title=name)
        axes.grid(alpha=0.2)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def score_field(
    score: Callable[[Tensor, float], Tensor], sigmas: Sequence[float], real: Tensor, path: Path, title: str
) -> None:
    """Draw the direction of a score over the plane at several noise levels, data behind it.

    Args:
        score: (points (n, 2), sigma) to the gradient of log p_sigma, (n, 2).
        sigmas: a panel each.
        real: data points.
    """
    figure = _figure(4.2 * len(sigmas), 4.4)
    for place, sigma in enumerate(sigmas):
        lim = 1.15 * float(real.abs().max()) + sigma
        line = torch.linspace(-lim, lim, 24)
        points = torch.cartesian_prod(line, line)
        arrows = score(points, sigma)
        arrows = arrows / arrows.norm(dim=1, keepdim=True).clamp_min(1e-9)
        axes = figure.add_subplot(1, len(sigmas), place + 1)
        axes.scatter(real[:1000, 0], real[:1000, 1], s=3, alpha=0.25, color="tab:orange", linewidths=0)
        axes.quiver(points[:, 0], points[:, 1], arrows[:, 0], arrows[:, 1], angles="xy", width=0.003)
        axes.set(xlim=(-lim, lim), ylim=(-lim, lim), aspect="equal", title=f"sigma = {sigma:.2g}")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def save_samples(x: Tensor, info: DataInfo, path: Path) -> None:
    """Write samples as a grid (.png), or as `samples` in an .npz: uint8 (n, H, W, C) or points (n, D).

    Raises:
        UsageError: for another suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        import numpy as np

        array = to_uint8(x).permute(0, 2, 3, 1).numpy() if info.is_image else x.numpy()
        np.savez_compressed(path, samples=array)
    elif path.suffix == ".png" and info.is_image:
        write_png(tile(x, math.ceil(math.sqrt(len(x)))), path)
    elif path.suffix == ".png":
        scatter(x, x, path, info.name)
    else:
        raise UsageError(
            f"can't write samples as {path.name!r}", "expected: a file that ends in .png or .npz"
        )


def _folder(run: Run) -> Path:
    folder = run.dir / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def progress(run: Run, step: int, events: Events) -> None:
    """Draw samples from fixed noise at a step of training."""
    path = _folder(run) / f"samples-{step:08d}.png"
    _samples(run, path, f"{run.config.plugin} on {run.config.data.name}, step {step}")
    events.tell("zoo_images", run=run, step=step, name="samples", path=str(path))


def _samples(run: Run, path: Path, title: str) -> None:
    if run.data.info.is_image:
        write_png(tile(run.sample(GRID), 8), path)
    elif run.data.info.shape == (2,):
        real = run.data.train.rows(torch.arange(min(POINTS, len(run.data.train))))
        scatter(real, run.sample(POINTS), path, title)


def _strip(run: Run, path: Path) -> None:
    """Draw a diffusion sampler on its way from noise, on the left, to pictures."""
    request = run.request(range(STRIP_ROWS))
    drawn = run.samples(
        SampleRequest(request.noise, request.cond, request.sampler, request.steps, trace=True)
    )
    if not drawn.trajectory:
        return
    last = len(drawn.trajectory) - 1
    chosen = [drawn.trajectory[round(i * last / (STRIP_COLUMNS - 2))] for i in range(STRIP_COLUMNS - 1)]
    columns = [*chosen, drawn.x]
    rows = torch.stack([c.cpu() for c in columns], dim=1).flatten(0, 1)
    write_png(tile(rows, len(columns)), path)


def _field(run: Run, path: Path) -> None:
    assert isinstance(run.recipe, HasDenoiser)
    denoise = run.recipe.denoiser()
    real = run.data.train.rows(torch.arange(min(POINTS, len(run.data.train))))
    spread = float(real.std())

    def score(points: Tensor, sigma: float) -> Tensor:
        level = torch.tensor(sigma, device=run.device)
        with run.harness.quiet(run.config.eval.weights):
            x0 = denoise(points.to(run.device), level)
        return (x0.cpu() - points) / sigma**2  # Tweedie's formula

    levels = [s for s in (2 * spread, spread / 2, spread / 8) if denoise.sigma_min <= s <= denoise.sigma_max]
    score_field(score, levels, real, path, f"{run.config.plugin} on {run.config.data.name}: score field")


def final(run: Run, events: Events) -> dict[str, str]:
    """Draw all that a trained run has to show and return name -> path within the run's folder."""
    folder, info = _folder(run), run.data.info
    title = f"{run.config.plugin} on {run.config.data.name}"
    jobs: dict[str, Callable[[Path], None]] = {"samples": lambda path: _samples(run, path, title)}
    if (run.dir / "metrics.jsonl").exists():
        jobs["curves"] = lambda path: curves(read_metrics(run.dir / "metrics.jsonl"), path, title)
    if isinstance(run.recipe, HasDenoiser):
        if info.is_image:
            jobs["denoising"] = lambda path: _strip(run, path)
        elif info.shape == (2,):
            jobs["score-field"] = lambda path: _field(run, path)
    drawn = {}
    for name, job in jobs.items():
        path = folder / f"{name}.png"
        try:
            job(path)
        except (OSError, ValueError, RuntimeError) as error:  # a picture is never worth a trained model
            run.warn(f"warning: could not draw {path.name}: {type(error).__name__}: {error}")
            continue
        if path.exists():
            drawn[name] = str(path.relative_to(run.dir))
            events.tell("zoo_images", run=run, step=run.harness.counts.total, name=name, path=str(path))
    return drawn
