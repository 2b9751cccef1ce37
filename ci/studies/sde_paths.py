"""The forward SDE, the reverse SDE and the probability flow of an exact mixture in one dimension, drawn.

Run from the checkout; it takes seconds:

    python ci/studies/sde_paths.py --out docs/assets/sde-paths.png

The denoiser is the mixture's own, in closed form, so nothing is trained. Reverse SDE and flow start at the
same points, and end distributed alike: the test of two samples is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.toy import Mixture
from zoo_core.diffusion.grids import karras
from zoo_core.diffusion.samplers import euler, euler_maruyama
from zoo_core.diffusion.sdes import VP
from zoo_core.interfaces import Trace
from zoo_core.seeds import Seeds
from zoo_core.viz.paths import Panel, draw_paths, forward_sde

MIXTURE = Mixture(
    torch.tensor([[-1.4], [0.2], [1.1]], dtype=torch.float64),
    torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64),
    std=0.12,
)
PATHS, DRAWN = 2000, 12
STEPS = 400


class Exact:
    """The mixture's denoiser by Tweedie's formula: x + sigma^2 grad log p_sigma(x)."""

    space = "data"
    levels = None

    def __init__(self, mixture: Mixture) -> None:
        clock = VP()
        self.mixture = mixture
        self.sigma_min, self.sigma_max, self.prior_std = 5e-3, clock.ratio_max, clock.prior_std
        self.alpha = clock.alpha_of

    def __call__(self, x: Tensor, sigma: Tensor, cond: Any = None) -> Tensor:
        return x + sigma**2 * self.mixture.smoothed(float(sigma)).score(x)


def keep_in(states: list[Tensor]) -> Trace:
    """Return a callback that keeps a sampler's states."""
    return lambda step, sigma, x, x0: states.append(x)


def main() -> None:
    """Integrate, compare and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("sde-paths.png"), help="image to write, .png")
    given = parser.parse_args()
    from scipy.stats import ks_2samp

    denoise: Any = Exact(MIXTURE)
    sigmas = karras(denoise, STEPS)
    start = Seeds(0, range(PATHS)).randn((1,)).double() * denoise.prior_std
    panels = []
    for name, sampler in (
        ("reverse SDE, noise to data", euler_maruyama),
        ("probability flow, noise to data", euler),
    ):
        states: list[Tensor] = []
        end = sampler(
            denoise,
            start,
            sigmas,
            noise=Seeds(1, range(PATHS)),
            callback=keep_in(states),
        )
        panels.append(Panel(name, sigmas, torch.stack([*states, end])[..., 0]))
    rng = torch.Generator().manual_seed(2)
    which = torch.multinomial(MIXTURE.weights, PATHS, replacement=True, generator=rng)
    x = MIXTURE.means[which] + MIXTURE.std * torch.randn(PATHS, 1, generator=rng, dtype=torch.float64)
    up = sigmas.flip(0)
    panels.insert(
        0, Panel("forward SDE, data to noise", up, forward_sde(x, up, Seeds(3, range(PATHS)))[..., 0])
    )
    for panel in panels[1:]:
        p = ks_2samp(panel.states[-1].numpy(), x[:, 0].numpy()).pvalue
        print(f"{panel.name}: {PATHS} ends against {PATHS} of the mixture, Kolmogorov-Smirnov p = {p:.2f}")
    shown = [panel._replace(states=panel.states[:, :DRAWN]) for panel in panels]
    title = "A mixture of three normals: the same marginals with noise and without it"
    drawn = draw_paths(
        shown,
        lambda at, sigma: MIXTURE.smoothed(max(sigma, 0.03)).log_prob(at[:, None].double()).exp(),
        title,
    )
    given.out.write_bytes(drawn.png())
    print(given.out)


if __name__ == "__main__":
    main()
