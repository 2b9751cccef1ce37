"""A pool of pictures that were made before, which a critic is shown beside new ones.

A critic that sees the newest pictures only forgets what it had learnt to tell; CycleGAN shows it one from the
last 50 as often as a new one (Zhu et al. 2017, arXiv:1703.10593, section 4; arXiv:1612.07828, section 2.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

UNKEPT = -1
"""What `Pool.draw` says of a picture that is shown and not kept."""


class Pool(nn.Module):
    """Up to `size` pictures, kept in buffers, so that a resume continues with the same ones.

    A loss is pure, so showing and keeping are two steps: `draw` says what is shown and what is to be kept
    where, and `keep`, called after the optimiser's step, keeps it.

    Args:
        size: pictures that it holds; 0 shows new ones only.
        shape: (C, H, W).
    """

    pictures: Tensor
    count: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("pictures", torch.zeros(size, *shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def draw(self, new: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return (pictures to show (n, C, H, W), where each new one is to be kept (n,) int64).

        Until the pool is full new pictures are shown as they are, and kept. From then on half of them are
        shown and not kept, and each of the others takes the place of a kept one, which is shown in its stead.

        Args:
            new: (n, C, H, W), detached.
            rng: of the choice.
        """
        n, size = len(new), len(self.pictures)
        if not size:
            return new, torch.full((n,), UNKEPT, device=new.device)
        place = torch.randperm(max(n, size), generator=rng, device=new.device)[:n]
        heads = torch.rand(n, generator=rng, device=new.device) < 0.5
        swap = (self.count >= size) & heads & (place < size)  # no place is taken twice in a batch
        shown = torch.where(swap[:, None, None, None], self.pictures[place.clamp(max=size - 1)], new)
        where = torch.where(swap, place, torch.where(self.count >= size, UNKEPT, size))
        return shown, where

    def keep(self, new: Tensor, where: Tensor) -> None:
        """Keep pictures where `draw` said: a place, the next free one (`size`), or nowhere.

        Several processes' pictures come together; of two for one place the later stays, and those for which
        there is no room are left out.
        """
        size = len(self.pictures)
        if not size:
            return
        joins = where == size
        place = torch.where(joins, self.count + joins.cumsum(0) - 1, where)
        place = torch.where((place < 0) | (place >= size), size, place)
        turn = torch.arange(len(new), device=new.device)
        last = torch.full((size + 1,), -1, device=new.device).scatter_reduce(0, place, turn, "amax")[:size]
        kept = new[last.clamp(min=0)].to(self.pictures.dtype)
        self.pictures.copy_(torch.where((last >= 0)[:, None, None, None], kept, self.pictures))
        self.count.copy_((self.count + joins.sum()).clamp(max=size))
