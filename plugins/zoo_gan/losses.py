"""The objectives of the adversarial game, each in the two halves that the two networks minimize.

Scores are what a critic returns, unbounded and of any shape: (n,), or a PatchGAN's map (n, 1, h, w). Where a
loss speaks of a probability the score is its logit, and the softplus forms stay finite at any logit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AdversarialLoss:
    """A game's two losses.

    Attributes:
        critic: (scores of real, scores of fake) to the critic's loss, a scalar.
        generator: scores of fake to the generator's loss, a scalar.
        boundary: the score above which the critic classifies an image as real; None where scores have no such
            meaning (they are then only compared).
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    boundary: float | None = 0.0


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """Return -E[log D(x)] - E[log(1 - D(g(z)))] of logits (Goodfellow et al. 2014, Eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def minimax_generator(fake: Tensor) -> Tensor:
    """Return E[log(1 - D(g(z)))] of logits: its gradient vanishes where the critic is sure (Eq. 1)."""
    return -F.softplus(fake).mean()


def nonsaturating_generator(fake: Tensor) -> Tensor:
    """Return -E[log D(g(z))] of logits (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Return -(E[f(x)] - E[f(g(z))]), whose minimum over a K-Lipschitz critic is -K W."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """Return -E[f(g(z))]."""
    return -fake.mean()


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[max(0, 1 - f(x))] + E[max(0, 1 + f(g(z)))] (Miyato et al. 2018, Eq. 16)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """Return -E[log sigmoid(f(x) - f(g(z)))] over pairs of a real and a generated example.

    Jolicoeur-Martineau 2019 (arXiv:1807.00734, RpGAN), with the logistic loss. The generator's loss is the
    same with the sides exchanged. Adding a constant to every score changes neither.
    """
    return F.softplus(fake - real).mean()


def least_squares(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> AdversarialLoss:
    """Return the game of Mao et al. 2017 (arXiv:1611.04076, Eq. 2), with their halves.

    The critic's output is linear: targets are not probabilities.

    Args:
        a: the critic's target for fake images.
        b: the critic's target for real images.
        c: target of the critic's score of generated images in the generator's loss.
    """

    def critic(real: Tensor, fake: Tensor) -> Tensor:
        return ((real - b).square().mean() + (fake - a).square().mean()) / 2

    def generator(fake: Tensor) -> Tensor:
        return (fake - c).square().mean() / 2

    return AdversarialLoss(critic, generator, boundary=(a + b) / 2)


MINIMAX = AdversarialLoss(cross_entropy, minimax_generator)
"""Goodfellow et al. 2014, Eq. 1, as it stands."""
NONSATURATING = AdversarialLoss(cross_entropy, nonsaturating_generator)
"""Goodfellow et al. 2014 as they trained it."""
WASSERSTEIN = AdversarialLoss(wasserstein_critic, wasserstein_generator, boundary=None)
"""Arjovsky et al. 2017, Eq. 2."""
HINGE = AdversarialLoss(hinge_critic, wasserstein_generator)
"""Miyato et al. 2018, Eq. 16 and 17."""
