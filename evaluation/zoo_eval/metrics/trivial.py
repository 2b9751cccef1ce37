"""Trivial translations: what an image task's scores are compared with.

Each is made of the source image, and at most of means over the training pairs: the source itself, its bicubic
interpolation where it is a mean over blocks, each channel as a linear function of the source's (the mean
color of a gray value), and the mean training image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

LARGEST = 4096
"""Training pairs that a linear function is fitted to."""
Translation = Callable[[Tensor], Tensor]
"""Source images in [0, 1], (n, C, H, W), to images like the targets."""


def translations(pairs: Iterable[tuple[Tensor, Tensor]], name: str) -> Mapping[str, Translation]:
    """Return the trivial translations by name.

    Args:
        pairs: training pairs in [0, 1] in parts, (n, C, H, W) and (n, C', H, W), row by row.
        name: of the source, as `data.source` takes it.
    """
    total = gram = cross = torch.zeros((), dtype=torch.float64)
    count, block, channels = 0, 8, (0, 0)
    for source, target in pairs:
        channels = source.shape[1], target.shape[1]
        count += len(target)
        total = total + target.double().sum(0, keepdim=True)
        block = min(block, block_side(source))
        pixels = source.double().movedim(1, -1).flatten(0, -2)
        inputs = torch.cat((pixels, torch.ones_like(pixels[:, :1])), 1)
        outputs = target.double().movedim(1, -1).flatten(0, -2)
        gram, cross = gram + inputs.T @ inputs, cross + inputs.T @ outputs
    mean = (total / count).float()
    found: dict[str, Translation] = {"mean image": lambda x: mean.expand(len(x), -1, -1, -1)}
    if channels[0] in (1, channels[1]):
        found["copy"] = lambda x: x.expand(-1, channels[1], -1, -1)
    if name == "lowres":
        found["bicubic"] = lambda x: interpolated(x, block).expand(-1, channels[1], -1, -1)
    # the pseudo-inverse, because the channels of a source may be proportional
    weights = torch.linalg.pinv(gram, hermitian=True) @ cross

    def linear(x: Tensor) -> Tensor:
        flat = x.double().movedim(1, -1)
        return (flat @ weights[:-1] + weights[-1]).movedim(-1, 1).clamp(0, 1).float()

    found["linear in color"] = linear
    return found


def block_side(x: Tensor) -> int:
    """Return the side of the largest square blocks, up to 8 pixels, in which images are constant."""
    for side in (8, 4, 2):
        if x.shape[2] % side or x.shape[3] % side:
            continue
        first = x[..., ::side, ::side].repeat_interleave(side, 2).repeat_interleave(side, 3)
        if torch.equal(first, x):
            return side
    return 1


def interpolated(x: Tensor, block: int) -> Tensor:
    """Return images that are constant in blocks as their bicubic interpolation, at the same size."""
    small = x[..., ::block, ::block]
    size = (x.shape[2], x.shape[3])
    made = torch.nn.functional.interpolate(small, size, mode="bicubic", align_corners=False)
    return made.clamp(0, 1)
