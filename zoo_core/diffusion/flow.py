"""The probability flow solved with steps that adapt to a tolerance (Song et al. 2021, arXiv:2011.13456)."""

from __future__ import annotations

from itertools import count

import torch
from torch import Tensor

from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds


def _worst(error: Tensor) -> Tensor:
    """Return the root mean square of the sample that has the largest: one bad sample is not averaged away."""
    return error.flatten(1).square().mean(1).sqrt().max()


def pf_ode(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-4,
) -> Tensor:
    """Solve dx / d log(sigma) = x - x0 from the grid's first level to its last above 0, then denoise.

    Dormand and Prince's method of order 5, by torchdiffeq; the levels between are the solver's own. The
    steps suit the worst sample of a batch, so samples at another batch size agree to the tolerance only.

    Args:
        rtol, atol: of one step, relative and absolute, on a sample's root mean square.
    """
    from torchdiffeq import odeint

    calls = count()

    def x0_at(u: Tensor, x: Tensor) -> Tensor:
        sigma = u.exp()
        x0 = denoise(x, sigma)
        if callback is not None:
            callback(next(calls), sigma, x, x0)
        return x0

    # In one step the grid has one level, and the way is the whole one all the same.
    least = float(sigmas[-2]) if len(sigmas) > 2 else denoise.sigma_min
    clock = torch.tensor([float(sigmas[0]), least], dtype=sigmas.dtype).log().to(x.device)
    if float(clock[0]) > float(clock[1]):
        x = odeint(
            lambda u, x: x - x0_at(u, x),
            x,
            clock,
            method="dopri5",
            rtol=rtol,
            atol=atol,
            options={"norm": _worst},
        )[-1]
    return x0_at(clock[1], x)
