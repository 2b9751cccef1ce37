"""Augmentation of training images: pure functions of a batch and a generator.

`edm_augment` is the non-leaking augmentation of Karras et al. 2022, arXiv:2206.00364, appendix F.2: each
image is changed by geometric transformations that are drawn for it, and the network is conditioned on the
parameters of all of them, so that at parameters 0 it models images as they are. The pipeline is that of
Karras et al. 2020, arXiv:2006.06676, without its color transformations.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LABELS = 9
"""Numbers of an augmentation label: x-flip, y-flip, scale, rotation (2), anisotropy (2), translation (2)."""
A_PROB = 0.12
"""Probability of each transformation for CIFAR-10 (table 6 of the paper); 0.15 for faces and animals."""
SCALE = 2**0.2
"""A_scale and A_aniso: factor of a scaling at parameter 1."""
SHIFT = 1 / 8
"""A_trans: translation at parameter 1, in units of the side."""


def mirrored_where(x: Tensor, mask: Tensor, dim: int = 3) -> Tensor:
    """Return images (n, C, H, W), those in the mask (n,) reversed along `dim`."""
    return torch.where(mask[:, None, None, None], x.flip(dim), x)


def edm_augment(x: Tensor, rng: torch.Generator, p: float = A_PROB) -> tuple[Tensor, Tensor]:
    """Return augmented images and their labels (table 6 of the paper).

    The horizontal flip is made with probability 1/2, the others with probability p each. Flips are exact;
    the rest is one resampling. An image whose label is 0 is returned as it is.

    Args:
        x: (n, C, H, W).
        rng: of the draws.
        p: probability of each transformation; with 0 nothing is changed, the horizontal flip included.

    Returns:
        images like x, and labels (n, 9), float32.
    """
    label = draw_labels(len(x), rng, p).to(x.device)
    return transform(x, label), network_labels(label)


def draw_labels(n: int, rng: torch.Generator, p: float) -> Tensor:
    """Return the parameters a_0..a_7 of n images, (n, 8) float32; 0 where a transformation is not applied.

    They are: x-flip and y-flip in {0, 1}, scale ~ N(0, 1), angle of the rotation and of the anisotropy's axis
    in [-pi, pi), anisotropy ~ N(0, 1), and translation (x, y) ~ N(0, 1).
    """
    device = rng.device
    flips = torch.randint(2, (n, 2), generator=rng, device=device).float()
    normal = torch.randn(n, 4, generator=rng, device=device)
    angles = math.pi * (2 * torch.rand(n, 2, generator=rng, device=device) - 1)
    chosen = torch.rand(n, 5, generator=rng, device=device) < p
    flip_y, scale, rotate, stretch, move = chosen.unbind(1)
    flip_x = torch.full_like(flip_y, p > 0)  # always on, as in the paper
    parts = (
        flips[:, 0] * flip_x,
        flips[:, 1] * flip_y,
        normal[:, 0] * scale,
        angles[:, 0] * rotate,
        angles[:, 1] * stretch,
        normal[:, 1] * stretch,
        normal[:, 2] * move,
        normal[:, 3] * move,
    )
    return torch.stack(parts, 1)


def network_labels(parameters: Tensor) -> Tensor:
    """Return what the network is conditioned on, (n, 9): an angle by its sine and cosine, 0 for none."""
    flip_x, flip_y, scale, angle, axis, stretch, move_x, move_y = parameters.unbind(1)
    turned = (angle.cos() - 1, angle.sin(), stretch * axis.cos(), stretch * axis.sin())
    return torch.stack((flip_x, flip_y, scale, *turned, move_x, move_y), 1)


def matrices(parameters: Tensor, height: int, width: int) -> Tensor:
    """Return the map of pixel coordinates from the image's center, (n, 3, 3), that parameters stand for.

    The flips are left out. In the order of application: scaling, rotation, anisotropy, translation.

    Args:
        parameters: (n, 8).
        height, width: of the images, in pixels.
    """
    _, _, scale, angle, axis, stretch, move_x, move_y = parameters.double().unbind(1)
    zoom, long = SCALE**scale, SCALE**stretch
    scaled = diagonal(zoom, zoom)
    stretched = rotation(axis) @ diagonal(long, 1 / long) @ rotation(-axis)
    shift = torch.stack((SHIFT * width * move_x, SHIFT * height * move_y), 1)
    return translation(shift) @ stretched @ rotation(-angle) @ scaled


def diagonal(x: Tensor, y: Tensor) -> Tensor:
    """Return scalings by x and y, (n, 3, 3), for (n,) each."""
    return torch.diag_embed(torch.stack((x, y, torch.ones_like(x)), 1))


def rotation(angle: Tensor) -> Tensor:
    """Return rotations, (n, 3, 3), by angles (n,) in radians."""
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = ((angle.cos(), -angle.sin(), zero), (angle.sin(), angle.cos(), zero), (zero, zero, one))
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def translation(shift: Tensor) -> Tensor:
    """Return translations, (n, 3, 3), by (x, y) in pixels, (n, 2)."""
    matrix = torch.eye(3, dtype=shift.dtype, device=shift.device).repeat(len(shift), 1, 1)
    matrix[:, :2, 2] = shift
    return matrix


def warp(x: Tensor, matrix: Tensor) -> Tensor:
    """Return images mapped by matrices of their pixel coordinates; pixels outside the image are reflected.

    Resampling is bilinear at twice the resolution, to which images are brought bicubically; the paper uses
    wavelet filters there.

    Args:
        x: (n, C, H, W).
        matrix: from an image's coordinates to those of the result, (n, 3, 3), (x, y) from the center.
    """
    height, width = x.shape[2:]
    half = torch.tensor([width / 2, height / 2, 1.0], dtype=matrix.dtype, device=matrix.device)
    back = torch.linalg.inv(matrix) * half / half[:, None]  # in units in which the image is [-1, 1]
    fine = F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
    grid = F.affine_grid(back[:, :2].to(x.dtype), list(fine.shape), align_corners=False)
    moved = F.grid_sample(fine, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(moved, 2)


def transform(x: Tensor, parameters: Tensor) -> Tensor:
    """Return images (n, C, H, W) under the transformations of their parameters, (n, 8)."""
    x = mirrored_where(x, parameters[:, 0] > 0, dim=3)
    x = mirrored_where(x, parameters[:, 1] > 0, dim=2)
    resampled = (parameters[:, 2:] != 0).any(1)
    warped = warp(x, matrices(parameters, x.shape[2], x.shape[3]))
    return torch.where(resampled[:, None, None, None], warped, x)
