"""Penalties on slopes: of a critic by its input, and of a generator by its styles; each a pure function.

A penalty speaks of the slope at one example. Batch norm makes every score a function of the whole batch, so
that a slope of one example does not exist: `refuse_batch_norm` says so by name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.config import OptimizerConfig
from zoo_core.errors import UsageError

Scores = Callable[[Tensor], Tensor]
"""Examples (n, *shape) to scores of any shape with the n in front."""


def input_gradient(critic: Scores, x: Tensor) -> Tensor:
    """Return the gradient of each example's scores, added up, by that example, like x; differentiable."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient


def between(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Return a point of each line from a generated to a real example, uniform and drawn for each line."""
    eps = torch.rand(len(real), *(1,) * (real.ndim - 1), generator=rng, device=rng.device)
    return torch.lerp(fake.to(real), real, eps.to(real))


def gradient_penalty(
    critic: Scores, real: Tensor, fake: Tensor, rng: torch.Generator, *, one_sided: bool = False
) -> Tensor:
    """Return E[(|grad f(x)| - 1)^2] at points between real and generated examples, a scalar.

    Gulrajani et al. 2017 (arXiv:1704.00028), Eq. 3 and Algorithm 1, without its weight.

    Args:
        critic: f, the condition bound.
        real, fake: (n, *shape).
        rng: of the points.
        one_sided: only slopes above 1 cost, max(0, |grad f(x)| - 1)^2.
    """
    norm = input_gradient(critic, between(real, fake, rng)).flatten(1).norm(dim=1)
    excess = F.relu(norm - 1) if one_sided else norm - 1
    return excess.square().mean()


def r1(critic: Scores, real: Tensor) -> Tensor:
    """Return E[|grad f(x)|^2] at real examples, a scalar (Mescheder et al. 2018, arXiv:1801.04406, Eq. 9).

    Its weight there is gamma / 2.
    """
    return input_gradient(critic, real).flatten(1).square().sum(1).mean()


def refuse_batch_norm(critic: nn.Module, asked_by: str) -> None:
    """Raise UsageError where a critic has batch norm.

    Args:
        critic: the network.
        asked_by: what penalizes its slope, e.g. "model.r1".
    """
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in critic.modules()):
        raise UsageError(
            f"{asked_by} penalizes the critic's slope at each example, but with batch norm "
            "each score depends on the whole batch",
            "expected: model.critic_norm=none, or model.critic_norm=layer",
        )


def path_lengths(images: Tensor, styles: Tensor, y: Tensor) -> Tensor:
    """Return |J^T y| of each image, (n,), J by its styles; the mean square over layers; differentiable.

    Karras et al. 2020 (arXiv:1912.04958), Eq. 4, is the variance of these about their running mean.

    Args:
        images: painted from `styles`, (n, C, H, W).
        styles: (n, L, latent_dim), with a gradient.
        y: like `images`.
    """
    (gradient,) = torch.autograd.grad((images * y).sum(), styles, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def lazily(config: OptimizerConfig, every: int) -> OptimizerConfig:
    """Return an optimizer that makes `every` + 1 steps where the config's would have made `every`.

    Lazy penalties share their network's optimizer; with c = k / (k + 1) its rate becomes c lr and its
    moments' decays beta^c (Karras et al. 2020, arXiv:1912.04958, appendix B).
    """
    c = every / (every + 1)
    first, second = config.betas
    return config.model_copy(update={"lr": c * config.lr, "betas": (first**c, second**c)})
