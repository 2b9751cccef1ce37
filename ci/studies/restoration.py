"""Restoration methods against the exact posterior, on a Gaussian and on a mixture, with the exact denoiser.

Run from the checkout:

    python ci/studies/restoration.py --steps 100 --n 200

Data are images of 4x4 pixels: a Gaussian with correlated pixels, and three modes of equal weight.
Measurements of --images images are restored --n times each. Printed, as means over the images:

- mean error: root mean square of the difference between the means of the restorations and of the posterior,
  in units of the posterior's standard deviation. The sampling error alone is about 1 / sqrt(n).
- spread: root mean square deviation of the restorations over that of the posterior; 1 is right.
- modes: total variation distance between the modes of the restorations and their posterior probabilities.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from zoo_core.diffusion.grids import karras
from zoo_core.registry.spec import load_target
from zoo_core.seeds import Seeds
from zoo_core.types import Cond, DataInfo
from zoo_restore.operator import Operator
from zoo_restore.problem import Problem
from zoo_restore.registry import method, operator, options_of
from zoo_restore.spec import DenoiserFacts, verdict

INFO = DataInfo("study", (1, 4, 4), 256)
D = 16
OPERATORS = ("inpaint", "lowres")
NOISES = (0.0, 0.1)
SETTINGS: Sequence[tuple[str, dict[str, str]]] = (
    ("repaint", {}),
    ("ddrm", {}),
    ("pigdm", {"prior_var": "0.25"}),
    ("pigdm", {"step": "published"}),
    ("pigdm", {"covariance": "jacobian", "iterations": "16"}),
    ("dps", {}),
    ("dps", {"normalize": "false", "scale": "0.5"}),
    ("sdedit", {}),
)


@dataclass
class Mixture:
    """Normals of one covariance and equal weights, and their exact denoiser.

    Attributes:
        means: (K, D) float64.
        cov: (D, D) float64.
    """

    means: Tensor
    cov: Tensor
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    prior_std: float = 80.0
    levels: Tensor | None = None
    space: Literal["data", "latent"] = "data"

    def alpha(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        """Return E[x0 | x], like x."""
        inverse = torch.linalg.inv(self.cov + sigma.double() ** 2 * torch.eye(D, dtype=torch.float64))
        off = x.flatten(1).double()[:, None] - self.means
        weight = (-(off @ inverse * off).sum(-1) / 2).softmax(1)
        each = self.means + off @ inverse @ self.cov
        return (weight[..., None] * each).sum(1).reshape(x.shape).to(x)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Return n images."""
        mode = torch.arange(n) % len(self.means)
        z = torch.randn(n, D, generator=rng, dtype=torch.float64)
        return (self.means[mode] + z @ torch.linalg.cholesky(self.cov).T).reshape(n, *INFO.shape)

    def posterior(self, degrade: Operator, y: Tensor, noise: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights (n, K), means (n, K, D) and covariance (D, D) of the modes given measurements."""
        s = degrade.spectrum
        seen = s.singular > 0
        unit = torch.eye(D, dtype=torch.float64).reshape(D, *INFO.shape)
        a = (s.to_coefficients(unit) * s.singular)[:, seen].T
        measured = s.measured(y)[:, seen]
        inner = torch.linalg.inv(a @ self.cov @ a.T + noise**2 * torch.eye(len(a), dtype=torch.float64))
        off = measured[:, None] - self.means @ a.T
        weight = (-(off @ inner * off).sum(-1) / 2).softmax(1)
        gain = self.cov @ a.T @ inner
        return weight, self.means + off @ gain.T, self.cov - gain @ a @ self.cov


def data_of(name: str) -> Mixture:
    """Return the data: `gaussian`, or `mixture` of three modes."""
    rng = torch.Generator().manual_seed(0)
    place = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij"), -1).reshape(
        -1, 2
    )
    near = torch.exp(-torch.cdist(place, place).square() / 4).double() + 0.01 * torch.eye(D)
    means = torch.randn(3, D, generator=rng, dtype=torch.float64) / 2
    return Mixture(means[:1], near / 4) if name == "gaussian" else Mixture(means, near / 50)


def measure(
    data: Mixture,
    degrade: Operator,
    noise: float,
    images: int,
    n: int,
    sigmas: Tensor,
    name: str,
    options: Any,
) -> tuple[float, float, float]:
    """Return mean error, spread and distance of the modes of one method."""
    rng = torch.Generator().manual_seed(1)
    x0 = data.sample(images, rng)
    y = degrade(x0)
    y = y + noise * torch.randn(y.shape, generator=rng, dtype=torch.float64)
    weight, means, cov = data.posterior(degrade, y, noise)
    center = (weight[..., None] * means).sum(1)
    between = (weight[..., None] * (means - center[:, None]).square()).sum(1)
    variance = (between + cov.diagonal()).mean(1)
    many = y.float().repeat_interleave(n, 0)
    problem = Problem(many, degrade.inverse(many), degrade, degrade.spectrum, noise)
    made = load_target(method(name).target)(
        data, problem, sigmas, noise=Seeds(0, range(len(many))), **options.model_dump()
    )
    made = made.detach().double().reshape(images, n, D)
    error = ((made.mean(1) - center).square().mean(1) / variance).mean().sqrt()
    spread = (made.var(1).mean(1) / variance).mean().sqrt()
    nearest = torch.cdist(made, data.means.expand(images, -1, -1)).argmin(-1)
    shares = torch.stack([(nearest == k).double().mean(1) for k in range(len(data.means))], 1)
    return float(error), float(spread), float((shares - weight).abs().sum(1).mean() / 2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="of the noise schedule")
    parser.add_argument("--n", type=int, default=200, help="restorations of each image")
    parser.add_argument("--images", type=int, default=4, help="images")
    given = parser.parse_args()
    print("| data | operator | noise | method | mean error | spread | modes |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ("gaussian", "mixture"):
        data = data_of(name)
        sigmas = karras(data, given.steps)
        for kind in OPERATORS:
            spec = operator(kind)
            degrade = load_target(spec.target)(options_of(spec, {}), INFO)
            for noise in NOISES:
                for by, options in SETTINGS:
                    if verdict(method(by), spec, DenoiserFacts()).kind == "refused":
                        continue
                    chosen = options_of(method(by), options)
                    error, spread, modes = measure(
                        data, degrade, noise, given.images, given.n, sigmas, by, chosen
                    )
                    label = " ".join([by, *(f"{key}={value}" for key, value in options.items())])
                    last = f"{modes:.2f}" if len(data.means) > 1 else ""
                    row = (name, kind, f"{noise:g}", label, f"{error:.2f}", f"{spread:.2f}", last)
                    print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
