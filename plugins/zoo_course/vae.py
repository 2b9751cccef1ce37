"""Variational autoencoders: the bound and its gap, gradients through a sample, and a decoded latent plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.viz.drawing import tile
from zoo_core.viz.style import COLORS
from zoo_course.folder import Folder, make_figure
from zoo_course.kl import gaussian_kl
from zoo_course.oracle import digits, normals
from zoo_course.topic import Exercise, Slip, Topic
from zoo_vae.bounds import gaussian_kl as latent_kl
from zoo_vae.bounds import mean_and_log_var, reparameterize
from zoo_vae.decoders import DiscretizedLogistic

CURVE_NOISE = 0.12
"""Standard deviation of p(x | z) around the curve."""
Z = torch.linspace(-4, 4, 801, dtype=torch.float64)
"""Latents of the quadratures."""
SIDE, STEPS = 15, 1500
"""Of the decoded grid, and training steps of its autoencoder."""


def curve(z: Tensor) -> Tensor:
    """Return the mean of p(x | z), (n, 2): one hidden layer of three tanh units."""
    hidden = torch.tanh(torch.stack((1.5 * z + 1.5, 2.5 * z, 1.5 * z - 1.5), 1))
    out = torch.tensor([[0.9, -0.9], [-0.9, 1.8], [0.9, -0.9]], dtype=z.dtype)
    return hidden @ out + torch.stack((0.35 * z, torch.zeros_like(z)), 1)


def log_joint(x: Tensor) -> Tensor:
    """Return log p(x | z) p(z) at the latents Z, (801,), for one x (2,)."""
    error = (x - curve(Z)).square().sum(1) / CURVE_NOISE**2
    return -0.5 * (error + Z**2) - math.log(CURVE_NOISE**2) - 1.5 * math.log(2 * math.pi)


def log_evidence(x: Tensor) -> float:
    """Return log p(x) by quadrature, in nats."""
    return float(torch.logsumexp(log_joint(x), 0) + math.log(float(Z[1] - Z[0])))


def elbo(x: Tensor, mean: float, std: float) -> float:
    """Return the ELBO of x with q = N(mean, std^2), by quadrature, in nats."""
    log_q = -0.5 * ((Z - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))
    return float(torch.trapezoid(log_q.exp() * (log_joint(x) - log_q), Z))


def best_q(x: Tensor) -> tuple[float, float]:
    """Return mean and standard deviation of the normal q with the largest ELBO."""
    from scipy.optimize import minimize

    start = float(Z[log_joint(x).argmax()])
    found = minimize(lambda v: -elbo(x, v[0], math.exp(v[1])), [start, math.log(0.2)], method="Nelder-Mead")
    return float(found.x[0]), math.exp(float(found.x[1]))


def reparameterized_variance(mean: float, std: float) -> float:
    """Return the variance of d/dmean of |mean + std eps|^2 in one dimension: 4 std^2."""
    return 4 * std**2


def score_function_variance(mean: float, std: float, dims: int = 1) -> float:
    """Return the variance of |z|^2 d/dmean_1 log N(z; mean, std^2 I), one component, in closed form.

    In one dimension it is mean^4 / std^2 + 14 mean^2 + 15 std^2. The other dimensions add a random factor
    that is independent of the first.
    """
    first = mean**4 / std**2 + 14 * mean**2 + 15 * std**2
    rest = (dims - 1) * (mean**2 + std**2)
    square = rest**2 + (dims - 1) * (2 * std**4 + 4 * mean**2 * std**2)
    return first + (square + 2 * (mean**2 + 3 * std**2) * rest) / std**2


def _curve_plot(out: Folder) -> list[str]:
    z = normals(1500, seed=0)
    x = curve(z) + CURVE_NOISE * normals(1500, 2, seed=1)
    chosen = torch.tensor([0.0, 0.88], dtype=torch.float64), torch.tensor([1.2, 0.35], dtype=torch.float64)
    figure = make_figure(11, 4.2)
    left, right = figure.subplots(1, 2)
    left.scatter(x[:, 0], x[:, 1], c=z, cmap="viridis", s=5, alpha=0.6)
    left.plot(*curve(Z).T, color="black", linewidth=0.8)
    left.set(title="x = f(z) + noise, colored by the latent z", aspect="equal", xlabel="x1", ylabel="x2")
    lines = []
    for number, one in enumerate(chosen):
        color = (COLORS[1], COLORS[0])[number]
        left.plot(*one, marker="*", markersize=14, color=color, markeredgecolor="white")
        posterior = (log_joint(one) - log_evidence(one)).exp()
        mean, std = best_q(one)
        q = torch.exp(-0.5 * ((Z - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
        gap = log_evidence(one) - elbo(one, mean, std)
        right.plot(Z, posterior, color=color, label=f"p(z | x) of the {('orange', 'blue')[number]} star")
        right.plot(Z, q, color=color, linestyle="--", label=f"best normal q, gap {gap:.3f} nats")
        lines.append(
            f"star {number + 1}: log p(x) = {log_evidence(one):.3f}, ELBO = "
            f"{elbo(one, mean, std):.3f}, gap {gap:.3f} nats"
        )
    right.set(title="posterior and the normal q of the largest ELBO", xlabel="z", xlim=(-0.6, 2.0))
    right.legend(fontsize=8)
    out.plot(figure, "curve")
    out.arrays("curve", z=z, x=x)
    return lines


def _gradient_plot(out: Folder) -> list[str]:
    stds = torch.logspace(-1, 0.5, 60).tolist()
    dims = [1, 2, 5, 10, 20, 50, 100]
    figure = make_figure(10.5, 3.8)
    left, right = figure.subplots(1, 2)
    left.plot(stds, [score_function_variance(1, s) for s in stds], label="score function")
    left.plot(stds, [reparameterized_variance(1, s) for s in stds], label="reparameterization")
    left.set(
        xscale="log", yscale="log", xlabel="standard deviation of q", title="variance of one gradient sample"
    )
    left.legend()
    right.plot(dims, [score_function_variance(1, 1, d) for d in dims], marker="o", label="score function")
    right.plot(dims, [reparameterized_variance(1, 1)] * len(dims), marker="o", label="reparameterization")
    right.set(xscale="log", yscale="log", xlabel="dimensions", title="one component of the gradient, std 1")
    right.legend()
    out.plot(figure, "gradients")
    out.table({"dims": dims, "score_function": [score_function_variance(1, 1, d) for d in dims]}, "gradients")
    eps = normals(200_000, seed=2)
    measured = (1 + eps) ** 2 * eps
    return [
        f"d/dmean E[z^2] at mean 1, std 1: score function {float(measured.mean()):.3f} +- variance "
        f"{float(measured.var()):.1f} ({score_function_variance(1, 1):.0f} in closed form); "
        f"reparameterized variance "
        f"{reparameterized_variance(1, 1):.0f}"
    ]


def train_plane(steps: int) -> tuple[nn.Module, nn.Module, Tensor, Tensor, float]:
    """Train a VAE of the digits with two latents; return encoder, decoder, images, labels, ELBO in nats."""
    x, label = digits()
    output = DiscretizedLogistic(17, components=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4)
        )
        decoder = nn.Sequential(
            nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2 * 64)
        )
    rng = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    total = 0.0
    for step in range(steps):
        chosen = torch.randint(len(x), (128,), generator=rng)
        mean, log_var = mean_and_log_var(encoder(x[chosen]))
        z = reparameterize(mean, log_var, torch.randn(mean.shape, generator=rng))
        out = decoder(z).reshape(-1, 2, 1, 8, 8)
        bound = (output.log_prob(x[chosen], out).flatten(1).sum(1) - latent_kl(mean, log_var)).mean()
        optimizer.zero_grad()
        (-bound).backward()
        optimizer.step()
        total += float(bound.detach()) if step >= steps - 100 else 0.0
    return encoder, decoder, x, label, total / min(100, steps)


def _plane_plot(out: Folder) -> list[str]:
    encoder, decoder, x, label, bound = train_plane(STEPS)
    output: Any = DiscretizedLogistic(17, components=1)
    quantiles = torch.special.ndtri((torch.arange(SIDE) + 0.5) / SIDE)
    grid = torch.stack((quantiles.repeat(SIDE), quantiles.flip(0).repeat_interleave(SIDE)), 1)
    with torch.no_grad():
        images = output.mean(decoder(grid).reshape(-1, 2, 1, 8, 8))
        codes = encoder(x)[:, :2]
    figure = make_figure(10.5, 5)
    left, right = figure.subplots(1, 2)
    left.imshow(tile(images, SIDE)[0], cmap="gray")
    left.set(title="decoded means at quantiles of the prior", xticks=[], yticks=[])
    dots = right.scatter(codes[:, 0], codes[:, 1], c=label, cmap="tab10", s=6)
    right.set(title="posterior means of the training digits", aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
    figure.colorbar(dots, ax=right, ticks=range(10), shrink=0.8)
    out.plot(figure, "plane")
    out.arrays("plane", latents=grid, images=images, codes=codes, labels=label)
    return [f"ELBO of the last 100 batches: {bound:.1f} nats, {-bound / (64 * math.log(2)):.3f} bits/dim"]


def _figure(out: Folder) -> Sequence[str]:
    return [*_curve_plot(out), *_gradient_plot(out), *_plane_plot(out)]


TOPIC = Topic(
    question="how can a model with latents be trained if its likelihood is an integral without a "
    "closed form?",
    look=(
        "curve.png: one latent draws a curve in the plane; noise around it makes a density.",
        "curve.png: where the curve comes near itself, the posterior has several modes. A normal q "
        "takes one: gap.",
        "gradients.png: both estimators have the same mean; the variance of the score function "
        "explodes with the dimension.",
        "plane.png: neighbors in the latent plane decode to similar digits, and classes form regions.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="p(z) = N(0, 1), p(x | z) = N(z, 1), x = 2 and q(z | x) = N(1, 1). What is log "
            "p(x) - ELBO, in nats?",
            answer=lambda: gaussian_kl(1, 1, 1, math.sqrt(0.5)),
            tolerance=1e-3,
            hint="The gap is KL(q || p(z | x)), and the posterior is N(x / 2, 1 / 2).",
            slips=(
                Slip(
                    lambda: gaussian_kl(1, 1, 1, 0.5),
                    "1/2 is the variance of the posterior, not its standard deviation.",
                ),
                Slip(lambda: gaussian_kl(1, 1, 0, 1), "This is KL(q || p(z)), a term of the ELBO."),
                Slip(
                    lambda: gaussian_kl(1, math.sqrt(0.5), 1, 1),
                    "This is the other direction of the divergence.",
                ),
            ),
        ),
        Exercise(
            question="z ~ N(1, 0.5²). What is the variance of the score-function estimate z^2 d/dmean "
            "log q(z) of "
            "d/dmean E[z^2], for one sample?",
            answer=lambda: score_function_variance(1.0, 0.5),
            tolerance=0.02,
            hint="Write z = 1 + 0.5 eps: the estimate is z^2 eps / 0.5. Its mean is 2; use E[eps^4] = "
            "3 and E[eps^6] = 15.",
            slips=(
                Slip(
                    lambda: score_function_variance(1, 0.5) + 4,
                    "This is the second moment. Subtract the squared mean, 4.",
                ),
                Slip(
                    lambda: reparameterized_variance(1, 0.5),
                    "This is the variance of the reparameterized estimate.",
                ),
            ),
        ),
    ),
)
