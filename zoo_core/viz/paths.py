"""Paths between data and noise in one coordinate: the forward SDE, the reverse SDE and the flow beside them.

All are drawn at unit variance, y = x / sqrt(1 + sigma^2), over the marginals that they share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from zoo_core.diffusion.sampling import BoundSampler, bind
from zoo_core.interfaces import HasDenoiser, TrainedRun
from zoo_core.registry.manager import manager
from zoo_core.seeds import Seeds
from zoo_core.viz.plot import Job, Plot, run_line
from zoo_core.viz.style import COLORS, DENSITY, INK, make_figure, set_title, styled

PATHS, STEPS, POINTS = 12, 200, 2000
"""Paths in a panel, their most steps, and the examples that the marginals are had from."""
REACH = 3.0
"""Of the drawing, in standard deviations of the noise."""
FAR = 20.0
"""Highest level drawn: beyond it only noise is to be seen."""
BLUR = 0.1
"""Least width of the marginals drawn, as a share of the data's standard deviation."""
Marginal = Callable[[Tensor, float], Tensor]
"""(x (m,), sigma) -> density of x = x0 + sigma eps there, (m,), up to a factor."""


class Panel(NamedTuple):
    """Paths of one process: name, levels (steps,), and states x at them, (steps, n)."""

    name: str
    sigmas: Tensor
    states: Tensor


def forward_sde(x: Tensor, sigmas: Tensor, noise: Seeds) -> Tensor:
    """Return the states of dx = dw in the clock sigma^2 at ascending levels, (steps, n, D), from x at 0.

    Args:
        x: (n, D).
        sigmas: (steps,), ascending, the first at least 0.
        noise: a stream for each of the n.
    """
    variances = torch.cat((sigmas.new_zeros(1), sigmas)) ** 2
    states = []
    for step in variances.diff().sqrt().tolist():
        x = x + step * noise.randn(x.shape[1:]).to(x)
        states.append(x)
    return torch.stack(states)


def kernels(x: Tensor, least: float) -> Marginal:
    """Return the marginal density of examples' values (m,) under noise, no narrower than `least`."""

    def density(at: Tensor, sigma: float) -> Tensor:
        width = max(least, sigma)
        return torch.exp(-0.5 * ((at[:, None] - x[None]) / width) ** 2).mean(1)

    return density


@styled
def draw_paths(panels: Sequence[Panel], marginal: Marginal, title: str, subtitle: str = "") -> Plot:
    """Return processes side by side: data on the left, noise on the right, the noise level on a log scale.

    Args:
        marginal: drawn behind, at each noise level as a fraction of its highest value.
    """
    levels = torch.cat([panel.sigmas for panel in panels])
    low, high = float(levels[levels > 0].min()), min(FAR, float(levels.max()))
    columns = torch.logspace(torch.tensor(low).log10(), torch.tensor(high).log10(), 120)
    y = torch.linspace(-REACH, REACH, 181)
    heights = torch.stack([marginal(y * (1 + s * s) ** 0.5, s) for s in columns.tolist()], dim=1)
    figure = make_figure(3.5 * len(panels) + 0.3, 4.1)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    numbers: dict[str, Tensor] = {}
    for place, (axes, panel) in enumerate(zip(all_axes, panels, strict=True)):
        axes.pcolormesh(
            columns,
            y,
            heights / heights.max(0).values,
            cmap=DENSITY,
            vmax=1.6,
            shading="nearest",
            rasterized=True,
        )
        axes.grid(False)
        at = panel.sigmas.clamp_min(low)
        scaled = panel.states / (1 + panel.sigmas[:, None] ** 2) ** 0.5
        for number, one in reversed(list(enumerate(scaled.unbind(1)))):
            first = number == 0
            name = "one path, emphasized" if first else "other paths" if number == 1 else None
            color, width = (INK, 1.6) if first else (COLORS[0], 0.8)
            axes.plot(at, one, linewidth=width, alpha=0.9, color=color, label=name)
        axes.set(
            xscale="log", xlim=(low, high), ylim=(-REACH, REACH), xlabel="noise level σ", title=panel.name
        )
        axes.xaxis.set_major_formatter("{x:g}")
        numbers |= {f"sigma_{place}": panel.sigmas, f"states_{place}": panel.states}
    all_axes[0].set_ylabel("x₁ / √(1 + σ²)")
    all_axes[-1].legend(loc="upper right", frameon=True, framealpha=0.8)
    how = "orange: density of data + σ·noise, the highest at each σ as 1"
    set_title(figure, title, f"{subtitle} · {how}" if subtitle else how)
    return Plot(figure, numbers)


def jobs(run: TrainedRun) -> dict[str, Job]:
    """Return name -> drawing function for a model of points that holds a denoiser of them."""
    if run.data.info.is_image or not isinstance(run.recipe, HasDenoiser):
        return {}
    return {"paths": lambda: _paths(run)} if run.recipe.denoiser().space == "data" else {}


def _named(name: str) -> BoundSampler:
    return bind(manager().find("sampler", name).spec)


def _paths(run: TrainedRun) -> Plot:
    """Return the first coordinate of the model's own paths, from one noise, beside the forward process."""
    assert isinstance(run.recipe, HasDenoiser)
    denoise = run.recipe.denoiser()
    real = run.data.train.examples(torch.arange(min(POINTS, len(run.data.train)))).cpu()
    steps = STEPS if denoise.levels is None else min(STEPS, len(denoise.levels))
    panels = []
    for name, sampler in (("reverse SDE", _named("euler-maruyama")), ("probability flow", _named("euler"))):
        request = replace(run.request(range(PATHS)), sampler=sampler, steps=steps, trace=True)
        drawn, sigmas = run.samples(request), sampler.grid(denoise, steps).cpu()
        unit = torch.stack([state.cpu() for state in (*drawn.trajectory, drawn.x)])[..., 0]
        panels.append(Panel(f"{name}, noise to data", sigmas, unit * (1 + sigmas[:, None] ** 2) ** 0.5))
    sigmas = panels[0].sigmas.flip(0)
    states = forward_sde(real[:PATHS], sigmas, Seeds(0, range(min(PATHS, len(real)))))
    panels.insert(0, Panel("forward SDE, data to noise", sigmas, states[..., 0]))
    marginal = kernels(real[:, 0], BLUR * float(real[:, 0].std()))
    return draw_paths(panels, marginal, f"First coordinate of {PATHS} paths", run_line(run))
