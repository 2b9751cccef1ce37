"""A score network defined as the gradient of a scalar energy: p(x) = exp(-E(x)) / Z, grad log p = -grad E."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo_core.diffusion.denoiser import Net
from zoo_core.types import Cond


class Energy(nn.Module):
    """The gradient of a scalar, grad_x f(x, t) with f = |x - h(x, t)|^2 / 2, in place of h itself.

    Where a network that predicts the noise is trained (x of unit variance, noise eps = -sigma score), its
    gradient is sigma grad E, of E = sqrt(1 + sigma^2) / sigma f: a field without curl, which a free network's
    is not. A constant added to f changes neither the gradient nor the samples. At the start h is 0,
    and the field is x, which at high levels is the noise. After Salimans and Ho 2021, "Should EBMs model the
    energy or the score?".

    Args:
        net: h, called as net(x, t, cond).
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def energy(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return f, (n,), for x of (n, *shape)."""
        return (x - self.net(x, t, cond)).square().flatten(1).sum(1) / 2

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the gradient of f at x, like x; differentiable where gradients are enabled."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        onwards = torch.is_grad_enabled()
        # Fused attention has no second derivative; and samplers run without gradients, which are needed here.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            x = x if x.requires_grad else x.detach().requires_grad_()
            total = self.energy(x, t, cond).sum()
            (gradient,) = torch.autograd.grad(total, x, create_graph=onwards)
        return gradient
