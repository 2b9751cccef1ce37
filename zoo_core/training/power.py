"""Power-function averages of weights, and averages of any length from snapshots of two of them.

The average after t steps is the sum of w(i) theta(i) with w(i) = (i^(g+1) - (i-1)^(g+1)) / t^(g+1). Its
length is the standard deviation of its profile as a fraction of t, sigma_rel, which determines g. Snapshots
of averages of two lengths span, by least squares over profiles, those of other lengths (Karras et al. 2024,
Analyzing and Improving the Training Dynamics of Diffusion Models, arXiv 2312.02696, section 3, appendix C).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from zoo_core.errors import UsageError

LENGTHS = (0.03, 0.20)
"""sigma_rel of the averages that snapshots are taken of."""
TIMES = 16
"""Times at which snapshots of both averages are taken, evenly over a stage; the last is its end."""
MOST_RESIDUAL = 0.05
"""Distance of the nearest profile from the one that is asked for, relative to its norm, that is refused."""


@functools.cache
def exponent(sigma_rel: float) -> float:
    """Return g of an average of a length in (0, 0.288): the root of sigma_rel^2 (g+2)^2 (g+3) = g+1."""
    roots = np.roots([1.0, 7.0, 16.0 - sigma_rel**-2, 12.0 - sigma_rel**-2])
    return float(roots.real.max())


def decay(sigma_rel: float, step: int) -> float:
    """Return the fraction of the average that is kept at a step, counted from 1."""
    return float((1.0 - 1.0 / step) ** (exponent(sigma_rel) + 1))


def snapshot_steps(steps: int) -> frozenset[int]:
    """Return the steps of a stage after which snapshots are taken."""
    return frozenset(round(steps * k / TIMES) for k in range(1, TIMES + 1)) - {0}


def _product(time: np.ndarray, g: np.ndarray, other_time: np.ndarray, other_g: np.ndarray) -> np.ndarray:
    """Return inner products of the profiles (g + 1) s^g / time^(g + 1) for s in (0, time)."""
    first, last = np.minimum(time, other_time), np.maximum(time, other_time)
    longer = np.where(time < other_time, other_g, g)
    scale = (g + 1) * (other_g + 1) / ((g + other_g + 1) * last)
    product: np.ndarray = scale * (first / last) ** longer
    return product


def combination(
    times: Sequence[float], lengths: Sequence[float], time: float, length: float
) -> tuple[np.ndarray, float]:
    """Return the factors of snapshots whose sum is nearest to an average, and the relative residual.

    Args:
        times: steps done at each snapshot.
        lengths: sigma_rel of each.
        time: steps done of the average that is asked for.
        length: its sigma_rel.

    Returns:
        ((snapshots,) float64, the norm of the difference of the profiles over that of the one asked for).
    """
    at, g = np.asarray(times, float), np.array([exponent(one) for one in lengths])
    wanted = np.array([float(time)]), np.array([exponent(length)])
    gram = _product(at[:, None], g[:, None], at[None], g[None])
    right = _product(at, g, *wanted)
    factors: np.ndarray = np.linalg.lstsq(gram, right, rcond=None)[0]
    whole = float(_product(*wanted, *wanted)[0])
    off = whole - 2 * float(factors @ right) + float(factors @ gram @ factors)
    return factors, float(np.sqrt(max(0.0, off) / whole))


def checked(
    times: Sequence[float], lengths: Sequence[float], time: float, length: float
) -> tuple[np.ndarray, float]:
    """Return what `combination` does, where it is near enough.

    Raises:
        UsageError: where the residual is above `MOST_RESIDUAL`, or no average has that length.
    """
    if not 0 < length < 0.28:
        raise UsageError(f"no EMA weights have the length {length}", "expected: 0.03 to 0.20")
    factors, residual = combination(times, lengths, time, length)
    if residual > MOST_RESIDUAL:
        raise UsageError(
            f"{len(times)} snapshots do not span EMA weights of length {length}: residual {residual:.1%}",
            f"expected: a residual of at most {MOST_RESIDUAL:.0%}; whole runs have it from 0.03 to 0.20",
        )
    return factors, residual
