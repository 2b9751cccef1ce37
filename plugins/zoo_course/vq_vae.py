"""Vector quantization: a codebook on points of the plane, and where its gradients go."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import sample, toy
from zoo_course.topic import Exercise, Slip, Topic
from zoo_vae.quantizer import nearest_code, perplexity, straight_through

CODES = (2, 4, 8, 16, 32, 64)


def fit_codebook(x: Tensor, codes: int, steps: int = 40) -> Tensor:
    """Return K vectors that each are the mean of the points nearest to them, (K, D)."""
    rng = torch.Generator().manual_seed(0)
    codebook = x[torch.randperm(len(x), generator=rng)[:codes]].clone()
    for _ in range(steps):
        nearest = nearest_code(x, codebook)
        count = torch.bincount(nearest, minlength=codes)
        total = torch.zeros_like(codebook).index_add_(0, nearest, x)
        used = count > 0
        codebook[used] = total[used] / count[used, None]
    return codebook


def code_length(positions: int, codes: int) -> float:
    """Return the KL divergence of a deterministic code from the uniform prior, in nats: positions x log K."""
    return positions * math.log(codes)


def gradients(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of a loss |x - decoder(z_q)|^2 with respect to z_e, and with respect to z_q."""
    z = z.clone().requires_grad_()
    code = codebook[nearest_code(z.detach(), codebook)]
    quantized = straight_through(z, code)
    quantized.retain_grad()
    (torch.sin(quantized) - 0.3).square().sum().backward()
    assert z.grad is not None
    assert quantized.grad is not None
    return z.grad, quantized.grad


def _figure(out: Folder) -> Sequence[str]:
    x = sample(toy("swiss-roll"), 3000, seed=0)
    books = {codes: fit_codebook(x, codes) for codes in CODES}
    error = [float((x - book[nearest_code(x, book)]).square().sum(1).mean()) for book in books.values()]
    used = [
        float(perplexity(torch.bincount(nearest_code(x, book), minlength=k).double()))
        for k, book in books.items()
    ]
    book = books[16]
    line = torch.linspace(-1.3, 1.3, 260, dtype=torch.float64)
    cells = nearest_code(torch.cartesian_prod(line, line), book).reshape(260, 260)
    figure = make_figure(10.5, 4.4)
    left, right = figure.subplots(1, 2)
    left.pcolormesh(line, line, cells.T, cmap="tab20", alpha=0.35, shading="nearest")
    left.scatter(x[:, 0], x[:, 1], s=2, color="black", alpha=0.4)
    left.scatter(book[:, 0], book[:, 1], marker="*", s=120, color="white", edgecolors="black")
    left.set(title="16 codes (stars) and their cells", aspect="equal")
    right.plot([math.log(k) for k in CODES], error, marker="o")
    for k, value in zip(CODES, error, strict=True):
        right.annotate(
            f"K = {k}", (math.log(k), value), textcoords="offset points", xytext=(6, 4), fontsize=8
        )
    right.set(
        yscale="log",
        xlabel="cost of a code, log K nats",
        ylabel="mean squared error",
        title="rate and distortion",
    )
    out.plot(figure, "codebook")
    out.table(
        {"K": CODES, "nats": [math.log(k) for k in CODES], "error": error, "perplexity": used}, "codebook"
    )
    return [
        f"K = {k}: mean squared error {value:.4f}, perplexity of the codes {use:.1f}"
        for k, value, use in zip(CODES, error, used, strict=True)
    ]


TOPIC = Topic(
    question="what changes if the latent is one of K vectors?",
    look=(
        "Each point is replaced by the star of its cell; the cells are the points that are nearest to "
        "a star.",
        "Doubling K costs log 2 nats more per latent; here it divides the squared error by 2.3 to 3.4.",
        "The perplexity is below K: codes are not used equally often, so a fitted prior is shorter "
        "than log K.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="A VQ-VAE has 7 x 7 latents and K = 512 codes. What is the KL term of its bound "
            "with the uniform "
            "prior, in nats?",
            answer=lambda: code_length(49, 512),
            tolerance=0.2,
            hint="A deterministic code has entropy 0, so each latent costs log K.",
            slips=(
                Slip(lambda: 49 * math.log2(512), "This is in bits."),
                Slip(lambda: math.log(512), "This is the cost of one latent."),
            ),
        ),
    ),
)
