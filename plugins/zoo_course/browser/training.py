"""Training of the networks of the interactive page: fixed seeds, CPU, less than a minute in total."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo_core.data.toy import TOYS
from zoo_core.seeds import generator
from zoo_course.browser.networks import SmallDenoiser, denoising_loss, even_levels, normal_levels
from zoo_course.oracle import digits
from zoo_course.vae import train_plane

PLANES = ("swiss-roll", "moons", "ring")
POINTS = 10_000
"""Training points of the plane."""
SHOWN = 600
"""Of them, those that the page draws behind the samples."""
PLANE_STEPS, DIGITS_STEPS, VAE_STEPS = 2400, 2000, 1500
PLANE_RATE, DIGITS_RATE = 5e-3, 3e-3
"""Learning rates at the start; they fall to 0 as a cosine."""
DROPPED = 0.15
"""Probability of the null label in training, for classifier-free guidance."""


@dataclass(frozen=True)
class Plane:
    """A denoiser of points of the plane.

    Attributes:
        denoise: the network.
        points: some training points, (SHOWN, 2).
    """

    denoise: SmallDenoiser
    points: Tensor


@dataclass(frozen=True)
class Latents:
    """The decoder of a VAE of the digits with two latents.

    Attributes:
        decoder: latents (n, 2) to mean and log-scale of a logistic for each of 64 pixels, (n, 128).
        codes: posterior means of the training digits, (n, 2).
        labels: of the training digits, (n,).
    """

    decoder: nn.Sequential
    codes: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Digits:
    """A class-conditional denoiser of the digits.

    Attributes:
        denoise: the network, of flat images (n, 64) in [-1, 1].
        spread: see `within_class_std`, of the training digits.
    """

    denoise: SmallDenoiser
    spread: float


@dataclass(frozen=True)
class Models:
    """All networks of the page."""

    planes: dict[str, Plane]
    latents: Latents
    digits: Digits


def within_class_std(x: Tensor, label: Tensor) -> float:
    """Return the square root of the mean over classes and pixels of the variance within a class.

    Args:
        x: (n, D).
        label: (n,), at least two rows of each class.
    """
    variances = [x[label == one].var(0).mean() for one in label.unique()]
    return float(torch.stack(variances).mean().sqrt())


def fit(
    model: SmallDenoiser,
    x0: Tensor,
    label: Tensor | None,
    levels: Callable[[SmallDenoiser, int, torch.Generator], Tensor],
    *,
    steps: int,
    batch: int,
    rate: float,
    name: str,
) -> None:
    """Train a denoiser in place with Adam on `denoising_loss`.

    Args:
        x0: training data, (n, D).
        label: (n,); None without classes.
        levels: draws the noise levels of a batch.
        steps, batch: number of steps, and examples in each.
        rate: learning rate at the start.
        name: of the random numbers.
    """
    rng = generator(0, "browser", name)
    optimizer = torch.optim.Adam(model.net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2
    )
    for _ in range(steps):
        chosen = torch.randint(len(x0), (batch,), generator=rng)
        given = None
        if label is not None:
            dropped = torch.rand(batch, generator=rng) < DROPPED
            given = label[chosen].masked_fill(dropped, model.classes)
        loss = denoising_loss(model, x0[chosen], levels(model, batch, rng), given, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    model.requires_grad_(False).eval()


def fit_plane(name: str, steps: int = PLANE_STEPS) -> Plane:
    """Return the denoiser of a toy dataset of the plane, trained for this number of steps."""
    x0, _ = TOYS[name].draw(POINTS, generator(0, "browser-data", name))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallDenoiser(x0, 0, 64, sigma_min=0.01, sigma_max=10.0)
    fit(model, x0, None, normal_levels, steps=steps, batch=512, rate=PLANE_RATE, name=name)
    return Plane(model, x0[:SHOWN])


def fit_digits(steps: int = DIGITS_STEPS) -> Digits:
    """Return the class-conditional denoiser of the digits, trained for this number of steps."""
    images, label = digits()
    x0 = images.flatten(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallDenoiser(x0, 10, 192, sigma_min=0.02, sigma_max=20.0)
    fit(model, x0, label, even_levels, steps=steps, batch=128, rate=DIGITS_RATE, name="digits")
    return Digits(model, within_class_std(x0, label))


def fit_latents(steps: int = VAE_STEPS) -> Latents:
    """Return the decoder of the VAE of `zoo course vae`, trained for this number of steps."""
    encoder, decoder, x, label, _ = train_plane(steps)
    assert isinstance(decoder, nn.Sequential)
    with torch.no_grad():
        codes = encoder(x)[:, :2]
    return Latents(decoder.requires_grad_(False).eval(), codes, label)


def train(fraction: float = 1.0) -> Models:
    """Train all networks.

    Args:
        fraction: of the number of steps; the tests use little of it.
    """

    def scaled(steps: int) -> int:
        return max(1, round(fraction * steps))

    planes = {name: fit_plane(name, scaled(PLANE_STEPS)) for name in PLANES}
    return Models(planes, fit_latents(scaled(VAE_STEPS)), fit_digits(scaled(DIGITS_STEPS)))
