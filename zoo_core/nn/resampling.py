"""Halving and doubling of an image's side by a filter, without weights.

A filter of two taps is the plain mean of four pixels and their repetition. Four taps, 1 3 3 1, are the one
that NCSN++ takes from StyleGAN-2: it aliases less (Zhang 2019, arXiv:1904.11486; Song et al. 2021,
arXiv:2011.13456, appendix H.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BOX = (1, 1)
FIR = (1, 3, 3, 1)


class Resampler(nn.Module):
    """A separable filter, normalized: it keeps a constant image as it is, but at the edge where it is wide.

    Args:
        taps: of one axis, an even number.
    """

    kernel: Tensor

    def __init__(self, taps: Sequence[int] = BOX) -> None:
        super().__init__()
        row = torch.tensor(taps, dtype=torch.float32)
        row = row / row.sum()
        self.register_buffer("kernel", torch.outer(row, row)[None, None], persistent=False)
        self.margin = len(taps) // 2 - 1

    def down(self, x: Tensor) -> Tensor:
        """Return (n, C, H, W) at half the side; an odd side is rounded up."""
        height, width = x.shape[-2:]
        if height % 2 or width % 2:
            x = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        weight = self.kernel.to(x).repeat(x.shape[1], 1, 1, 1)
        return F.conv2d(x, weight, stride=2, padding=self.margin, groups=x.shape[1])

    def up(self, x: Tensor, size: torch.Size) -> Tensor:
        """Return (n, C, H, W) at `size`, (2 H, 2 W) or a row or column less."""
        weight = 4 * self.kernel.to(x).repeat(x.shape[1], 1, 1, 1)
        x = F.conv_transpose2d(x, weight, stride=2, padding=self.margin, groups=x.shape[1])
        return x[..., : size[0], : size[1]]
