"""The distribution of a pixel at outputs that only a diverging network gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo_autoregressive.mixture import ColorMixture

EXTREME = (0.0, 1.0, -1.0, -7.0, 7.1, -90.0, 89.0, 104.0, 1e4, -1e4, 1e20, -1e20, 3e38, -3e38)
"""Outputs: exp overflows float32 at 89 and vanishes at -104."""
PIXELS = 300
TOLERANCE = {1: 3e-4, 3: 5e-3}
"""Of a sum of masses, by channels: a log-mass of three colors may be -1e4, where float32 steps by 1e-3."""


def centers(levels: int) -> Tensor:
    return (2 * torch.arange(levels, dtype=torch.float64) / (levels - 1) - 1).float()


def outputs(count: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Return outputs of pixels (n, count): each extreme alone, then random combinations of them."""
    values = torch.tensor(EXTREME)
    chosen = torch.randint(len(values), (PIXELS, count), generator=torch.Generator().manual_seed(seed))
    return torch.cat((values[:, None].expand(-1, count), values[chosen])).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("components", [1, 2, 5])
def test_conditionals_are_finite_and_sum_to_one(
    components: int, channels: int, levels: int, dtype: torch.dtype
) -> None:
    """Catches log(0) of a vanishing mass, inf - inf of two colors, and masses added to before rounding."""
    mixture = ColorMixture(levels, channels, components)
    out = outputs(mixture.outputs, dtype, components).requires_grad_()
    known = torch.randint(levels, (len(out), channels, 1), generator=torch.Generator().manual_seed(1))
    for color in range(channels):
        x = centers(levels)[known].expand(-1, -1, levels).clone()
        x[:, color] = centers(levels)  # every level of one color, given the earlier ones
        found = mixture.conditionals(x, out[:, :, None].expand(-1, -1, levels))
        assert found.dtype == torch.float32
        assert bool(torch.isfinite(found).all())
        (gradient,) = torch.autograd.grad(found.sum(), out)
        assert bool(torch.isfinite(gradient).all())
        total = found[:, color].detach().double().exp().sum(1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=TOLERANCE[channels])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_are_levels(channels: int, dtype: torch.dtype) -> None:
    """Catches NaN, and values between two levels, drawn at infinite locations or scales."""
    mixture = ColorMixture(17, channels, 2)
    out = outputs(mixture.outputs, dtype, 0)
    u = torch.rand(len(out), 1 + channels, generator=torch.Generator().manual_seed(2))
    u[::7], u[1::7] = 0, 1 - 2**-24
    assert bool(torch.isin(mixture.sample(out, u), centers(17)).all())
