"""Adaptive augmentation of what a critic sees (Karras et al. 2020, arXiv:2006.06676), for small data.

Every change is made with probability p. A critic that overfits its training images gives all of
them positive scores: r = E[sign f(x)] at real images (Eq. 1 of the paper) tends to 1. Where r is above its
target p rises, below it p falls, so that images are changed only as much as the critic overfits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo_gan.augmentation import Augmentation, augment

EVERY = 4
"""Updates of the critic that one decision is taken on (section 3.1)."""


class AdaptiveAugmentation(nn.Module):
    """Changes with one probability, and what steers it.

    Args:
        kinds: of change, in turn; each is drawn with probability p.
        target: of r; 0.6 in the paper.
        images: real images over which p goes from 0 to 1 at most; 500,000 in the paper.

    Attributes:
        p: the probability; it starts at 0, where no image is changed.
    """

    p: Tensor
    signs: Tensor
    seen: Tensor
    updates: Tensor

    def __init__(self, kinds: Sequence[Augmentation], target: float, images: int) -> None:
        super().__init__()
        self.kinds = tuple(kinds)
        self.target = target
        self.images = images
        for name in ("p", "signs", "seen", "updates"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return images (n, C, H, W), some of them changed."""
        return augment(x, self.kinds, rng, self.p)

    def tally(self, real: Tensor) -> Mapping[str, Tensor]:
        """Return the sums over scores of real images that `steer` needs."""
        return {"signs": real.sign().sum(), "seen": torch.ones_like(real).sum()}

    def steer(self, sums: Mapping[str, Tensor]) -> None:
        """Take in the tally of an update, and move p after every fourth by the images it was taken on."""
        self.signs += sums["signs"]
        self.seen += sums["seen"]
        self.updates += 1
        due = self.updates >= EVERY  # tensors throughout: a GPU's host need not wait
        step = torch.sign(self.signs / self.seen - self.target) * self.seen / self.images
        self.p.copy_(torch.where(due, self.p + step, self.p).clamp(0, 1))
        for counter in (self.signs, self.seen, self.updates):
            counter.mul_(~due)
