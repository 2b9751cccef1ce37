"""Bits per dimension: the two fixtures every likelihood is held to."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_core.data.likelihood import bits_per_dim, dequantized
from zoo_core.data.loading import to_unit
from zoo_core.seeds import Seeds


@pytest.mark.parametrize(("levels", "bits"), [(2, 1.0), (17, 4.0875), (256, 8.0)])
def test_uniform_over_the_levels_costs_log2_of_their_number(levels: int, bits: float) -> None:
    """Catches a wrong offset: the density uniform over all bins gives log2 L exactly, whatever the draw."""
    edge = 1 + 1 / (levels - 1)  # the outer bins reach half a level past [-1, 1]

    def log_density(x: torch.Tensor) -> torch.Tensor:
        assert x.abs().max() <= edge
        return torch.full((len(x),), -math.prod(x.shape[1:]) * math.log(2 * edge), dtype=torch.float64)

    x = to_unit(torch.randint(levels, (5, 2, 3, 3), generator=torch.Generator().manual_seed(0)), levels)
    log_prob = dequantized(log_density, x, levels, noise=Seeds(0, range(5)))
    assert log_prob.dtype == torch.float64
    assert bits_per_dim(log_prob, 18).tolist() == pytest.approx([math.log2(levels)] * 5)
    assert math.log2(levels) == pytest.approx(bits, abs=5e-5)


def test_the_bound_is_below_the_truth_and_close_where_the_density_is_flat() -> None:
    """Catches a bound that exceeds log P: sum over k of exp(bound) nears 1 from below as L grows."""
    normal = torch.distributions.Normal(torch.tensor(0.1, dtype=torch.float64), 0.3)
    x = to_unit(torch.arange(256)[:, None], 256)
    draws = torch.stack(
        [
            dequantized(lambda y: normal.log_prob(y).sum(1), x, 256, noise=Seeds(seed, range(256)))
            for seed in range(20)
        ]
    )
    assert draws.mean(0).exp().sum().item() == pytest.approx(1, abs=0.01)


def test_draws_depend_on_the_example_not_the_batch() -> None:
    """Catches a likelihood that changes with the size of the batch."""
    x = to_unit(torch.randint(17, (6, 1, 2, 2), generator=torch.Generator().manual_seed(0)), 17)
    noise = Seeds(3, range(6))
    whole = dequantized(lambda y: -y.square().flatten(1).sum(1), x, 17, noise=noise)
    parts = [
        dequantized(lambda y: -y.square().flatten(1).sum(1), x[part], 17, noise=Seeds(3, range(6))[part])
        for part in (slice(0, 2), slice(2, 6))
    ]
    assert torch.equal(whole, torch.cat(parts))
