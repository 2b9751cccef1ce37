"""The probability flow: paths with and without noise that share their marginals, and the likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.diffusion.grids import karras
from zoo_core.diffusion.ode import flow_log_prob
from zoo_core.diffusion.samplers import euler, euler_maruyama
from zoo_core.diffusion.sdes import VE
from zoo_core.seeds import Seeds
from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import OracleDenoiser, line_mixture, record
from zoo_course.topic import Exercise, Slip, Topic

STEPS, PATHS, DRAWN = 300, 1500, 14
LOWEST = 0.01


def denoiser() -> OracleDenoiser:
    """Return the exact denoiser of three modes on the line, for noise levels from LOWEST to 20."""
    return OracleDenoiser(line_mixture(), VE(LOWEST, 20.0))


def paths(n: int, seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Return name -> (levels (steps + 1,), states (steps + 1, n)) of the reverse SDE and of the flow."""
    denoise = denoiser()
    sigmas = karras(denoise, STEPS)
    start = Seeds(seed, range(n)).randn((1,)).double() * denoise.prior_std
    found = {}
    for name, sampler in (("reverse SDE", euler_maruyama), ("probability flow", euler)):
        states: list[Tensor] = []
        end = sampler(denoise, start, sigmas, noise=Seeds(seed + 1, range(n)), callback=record(states))
        found[name] = sigmas, torch.stack([*states, end])[..., 0]
    return found


def gaussian_flow(x: float, data_std: float, sigma: float, end: float) -> float:
    """Return where the flow of N(0, data_std^2) carries x from level sigma to level `end`."""
    return x * math.sqrt((data_std**2 + end**2) / (data_std**2 + sigma**2))


def log_likelihood(x: Tensor) -> Tensor:
    """Return log p(x) by the flow, (n,), for points x (n,): of the data with noise LOWEST."""
    found = flow_log_prob(
        denoiser(), x[:, None], noise=Seeds(0, range(len(x))), probe="exact", tolerance=1e-6
    )
    return found.log_prob


def crossings(states: Tensor) -> int:
    """Return how many neighboring pairs of paths change their order, for states (steps, n)."""
    order = states[:, states[0].argsort()]
    return int((order.diff(dim=1) < 0).any(0).sum())


def _figure(out: Folder) -> Sequence[str]:
    from scipy.stats import ks_2samp

    found = paths(PATHS)
    grid = torch.linspace(-3, 3, 241, dtype=torch.float64)
    figure = make_figure(13, 4)
    axes = figure.subplots(1, 3)
    for place, (name, (sigmas, states)) in enumerate(found.items()):
        levels = sigmas.clamp_min(LOWEST)
        height = torch.stack(
            [
                line_mixture().smoothed(float(s)).log_prob((grid * (1 + s * s).sqrt())[:, None]).exp()
                for s in levels
            ],
            1,
        )
        axes[place].pcolormesh(
            levels, grid, height / height.max(0).values, cmap="Oranges", vmax=1.6, shading="nearest"
        )
        axes[place].plot(
            levels, states[:, :DRAWN] / (1 + levels[:, None] ** 2).sqrt(), linewidth=0.8, color=COLORS[0]
        )
        axes[place].set(
            xscale="log", xlim=(20, LOWEST), ylim=(-3, 3), xlabel="sigma", title=f"{name}: {DRAWN} paths"
        )
    axes[0].set_ylabel("x / sqrt(1 + sigma²)")
    x = torch.linspace(-2.2, 2.0, 85, dtype=torch.float64)
    flow, exact = log_likelihood(x), line_mixture().smoothed(LOWEST).log_prob(x[:, None])
    axes[2].plot(x, exact, label="exact log-density")
    axes[2].plot(x[::4], flow[::4], "o", markersize=4, label="by the probability flow")
    axes[2].set(xlabel="x", title="log-likelihood, nats")
    axes[2].legend(fontsize=8)
    out.plot(figure, "paths")
    out.arrays(
        "paths",
        sigmas=found["reverse SDE"][0],
        **{k.replace(" ", "_"): v[1][:, :DRAWN] for k, v in found.items()},
    )
    out.table({"x": x.tolist(), "exact": exact.tolist(), "flow": flow.tolist()}, "likelihood")
    ends = [states[-1].numpy() for _, states in found.values()]
    p = ks_2samp(*ends).pvalue
    inside = exact > -20
    return [
        f"Kolmogorov-Smirnov test of the two sets of {PATHS} ends: p = {p:.2f}",
        *(
            f"{name}: {crossings(states[:, :DRAWN])} of {DRAWN - 1} neighboring pairs of paths cross"
            for name, (_, states) in found.items()
        ),
        f"largest error of the log-likelihood where it is above -20: "
        f"{float((flow - exact)[inside].abs().max()):.4f} nats",
    ]


TOPIC = Topic(
    question="can the noise be left out of the reverse process?",
    look=(
        "Both processes fill the same orange marginals at every noise level.",
        "Paths of the SDE forget their start and cross; paths of the flow are smooth and never cross.",
        "The flow has a change of variables, so it gives the density of each point.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="Data N(0, 1) in the variable x0 + sigma eps. The flow starts at x = 4 with sigma "
            "= 3. Where does it end at "
            "sigma = 0?",
            answer=lambda: gaussian_flow(4.0, 1.0, 3.0, 0.0),
            tolerance=5e-3,
            hint="x / sqrt(1 + sigma^2) does not change along the flow.",
            slips=(
                Slip(lambda: 4 / 10, "This is E[x0 | x], the end of a single Euler step."),
                Slip(lambda: 4 / 3, "The variance at sigma = 3 is 1 + 9."),
            ),
        ),
    ),
)
