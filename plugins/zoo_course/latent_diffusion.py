"""Latent diffusion: a linear autoencoder of the digits, and diffusion of its codes with an exact denoiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.data.toy import Mixture
from zoo_core.diffusion.grids import karras
from zoo_core.diffusion.samplers import euler
from zoo_core.seeds import Seeds
from zoo_core.viz.drawing import tile
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import OracleDenoiser, digits
from zoo_course.topic import Exercise, Slip, Topic

DIMS = (1, 2, 4, 8, 16, 32, 64)
LATENT, BANDWIDTH = 16, 0.25
"""Dimensions of the codes, and the width of the kernel around each training code."""


class LinearAutoencoder:
    """Principal components, scaled so that each code has variance 1.

    Args:
        x: flat images (n, D).
        dims: of a code.
    """

    def __init__(self, x: Tensor, dims: int) -> None:
        self.mean = x.mean(0)
        _, values, components = torch.linalg.svd(x - self.mean, full_matrices=False)
        self.components = components[:dims]
        self.scale = values[:dims] / len(x) ** 0.5

    def encode(self, x: Tensor) -> Tensor:
        """Return codes (n, dims) of unit variance."""
        return (x - self.mean) @ self.components.T / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """Return flat images (n, D)."""
        return (z * self.scale) @ self.components + self.mean


def reconstruction_error(x: Tensor, dims: int) -> float:
    """Return the mean squared error of a pixel after encoding and decoding."""
    model = LinearAutoencoder(x, dims)
    return float((model.decode(model.encode(x)) - x).square().mean())


def code_density(codes: Tensor) -> Mixture:
    """Return a mixture with a normal of width BANDWIDTH at each training code."""
    weights = torch.full((len(codes),), 1 / len(codes), dtype=torch.float64)
    return Mixture(codes, weights, BANDWIDTH)


def _figure(out: Folder) -> Sequence[str]:
    images, _ = digits()
    x = images.flatten(1).double()
    errors = [reconstruction_error(x, dims) for dims in DIMS]
    model = LinearAutoencoder(x, LATENT)
    denoise = OracleDenoiser(code_density(model.encode(x)), sigma_min=0.02)
    start = Seeds(0, range(64)).randn((LATENT,)).double() * denoise.prior_std
    codes = euler(denoise, start, karras(denoise, 30), noise=Seeds(0, range(64)))
    samples = model.decode(codes)
    rows = [x[:64], model.decode(model.encode(x[:64])), samples]
    figure = make_figure(13, 3.6)
    axes = figure.subplots(1, 4)
    for place, (name, flat) in enumerate(
        zip(("digits", f"decoded from {LATENT} numbers", "decoded samples of the codes"), rows, strict=True)
    ):
        axes[place].imshow(tile(flat.reshape(-1, 1, 8, 8), 8)[0], cmap="gray")
        axes[place].set(title=name, xticks=[], yticks=[])
    axes[3].plot(DIMS, errors, marker="o")
    axes[3].set(xscale="log", xlabel="dimensions of a code", title="mean squared error of a pixel")
    out.plot(figure, "codes")
    out.table({"dims": DIMS, "error": errors}, "errors")
    out.arrays("codes", codes=codes, samples=samples)
    spread = model.encode(x).var(0, correction=0)
    return [
        f"variance of the codes: {float(spread.min()):.4f} to {float(spread.max()):.4f}",
        f"error of a pixel with {LATENT} of 64 dimensions: {errors[DIMS.index(LATENT)]:.4f}, variance "
        f"of a pixel {float(x.var(0).mean()):.4f}",
    ]


TOPIC = Topic(
    question="why diffuse codes instead of pixels?",
    look=(
        "A quarter of the numbers keeps most of a digit. What the decoder loses, no diffusion of codes "
        "can restore.",
        "The samples are decoded codes: diffusion worked in 16 dimensions instead of 64.",
        "The error falls fast at first: most of the variance is in few directions.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="Codes have the standard deviation 5.5 and are diffused with a schedule made for "
            "unit variance whose "
            "last noise level is sigma = 80. By which factor must codes be multiplied first?",
            answer=lambda: 1 / 5.5,
            tolerance=2e-3,
            hint="The schedule assumes data of standard deviation 1.",
            slips=(
                Slip(lambda: 5.5, "This would make the standard deviation 30."),
                Slip(lambda: 1 / 5.5**2, "Divide by the standard deviation, not the variance."),
            ),
        ),
    ),
)
