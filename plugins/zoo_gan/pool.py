"""A pool of earlier generated images, which a critic sees together with new ones.

A critic that sees the newest images only forgets what it had learned; CycleGAN shows it one from the
last 50 as often as a new one (Zhu et al. 2017, arXiv:1703.10593, section 4; arXiv:1612.07828, section 2.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

UNKEPT = -1
"""Index that `Pool.draw` returns for an image that is shown and not kept."""


class Pool(nn.Module):
    """Up to `size` images, kept in buffers, so that a resume continues with the same ones.

    A loss is pure, so showing and keeping are two steps: `draw` says what is shown and what is to be kept
    where, and `keep`, called after the optimizer's step, keeps it.

    Args:
        size: images that it holds; 0 shows new ones only.
        shape: (C, H, W).
    """

    images: Tensor
    count: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def draw(self, new: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return (images to show (n, C, H, W), where each new one is to be kept (n,) int64).

        Until the pool is full new images are shown as they are, and kept. From then on half of them are
        shown and not kept, and each of the others takes the place of a kept one, which is shown in its stead.

        Args:
            new: (n, C, H, W), detached.
            rng: of the choice.
        """
        n, size = len(new), len(self.images)
        if not size:
            return new, torch.full((n,), UNKEPT, device=new.device)
        place = torch.randperm(max(n, size), generator=rng, device=new.device)[:n]
        heads = torch.rand(n, generator=rng, device=new.device) < 0.5
        swap = (self.count >= size) & heads & (place < size)  # no place is taken twice in a batch
        shown = torch.where(swap[:, None, None, None], self.images[place.clamp(max=size - 1)], new)
        where = torch.where(swap, place, torch.where(self.count >= size, UNKEPT, size))
        return shown, where

    def keep(self, new: Tensor, where: Tensor) -> None:
        """Keep images where `draw` said: a place, the next free one (`size`), or nowhere.

        Several processes' images come together; of two for one place the later stays, and those for which
        there is no space are left out.
        """
        size = len(self.images)
        if not size:
            return
        joins = where == size
        place = torch.where(joins, self.count + joins.cumsum(0) - 1, where)
        place = torch.where((place < 0) | (place >= size), size, place)
        turn = torch.arange(len(new), device=new.device)
        last = torch.full((size + 1,), -1, device=new.device).scatter_reduce(0, place, turn, "amax")[:size]
        kept = new[last.clamp(min=0)].to(self.images.dtype)
        self.images.copy_(torch.where((last >= 0)[:, None, None, None], kept, self.images))
        self.count.copy_((self.count + joins.sum()).clamp(max=size))
