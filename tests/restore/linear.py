"""Restoration of Gaussian data written as linear recursions with numpy: mean and covariance of each method.

Nothing of zoo_restore is used. Images are vectors, operators are matrices, x_t = x0 + t eps, and the denoiser
is D(x) = mean + G (x - mean), G = S (S + t^2 I)^-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SHAPE = (3, 4, 4)
D = 48


def matrix_of(name: str) -> Array:
    """Return the operator on images of `SHAPE`, each entry by its definition."""
    channels, height, width = SHAPE

    def place(c: int, i: int, j: int) -> int:
        return (c * height + i) * width + j

    pixels = [(c, i, j) for c in range(channels) for i in range(height) for j in range(width)]
    rows = []
    if name in ("inpaint", "uncrop"):
        for c, i, j in pixels:
            row = np.zeros(D)
            inside = i in (1, 2) and j in (1, 2)
            row[place(c, i, j)] = float(inside if name == "uncrop" else not inside)
            rows.append(row)
    elif name == "lowres":
        for c in range(channels):
            for i in (0, 2):
                for j in (0, 2):
                    row = np.zeros(D)
                    for a in (0, 1):
                        for b in (0, 1):
                            row[place(c, i + a, j + b)] = 1 / 4
                    rows.append(row)
    elif name == "blur":
        weights = {(a, b): np.exp(-(a * a + b * b) / 2) for a in range(-4, 5) for b in range(-4, 5)}
        total = sum(weights.values())
        for c, i, j in pixels:
            row = np.zeros(D)
            for (a, b), weight in weights.items():
                row[place(c, min(max(i + a, 0), 3), min(max(j + b, 0), 3))] += weight / total
            rows.append(row)
    elif name == "gray":
        for i in range(height):
            for j in range(width):
                row = np.zeros(D)
                for c, weight in enumerate((0.299, 0.587, 0.114)):
                    row[place(c, i, j)] = weight
                rows.append(row)
    return np.stack(rows)


@dataclass(frozen=True)
class Normal:
    """N(mean, cov)."""

    mean: Array
    cov: Array

    def moved(self, f: Array, shift: Array, added: Array | float = 0.0) -> Normal:
        """Return the law of f x + shift + noise of covariance `added`."""
        more = added * np.eye(len(shift)) if np.isscalar(added) else added
        return Normal(f @ self.mean + shift, f @ self.cov @ f.T + more)


def posterior(prior: Normal, a: Array, y: Array, noise: float) -> Normal:
    """Return the law of x0 given y = a x0 + noise n."""
    gain = prior.cov @ a.T @ np.linalg.pinv(a @ prior.cov @ a.T + noise**2 * np.eye(len(a)), rcond=1e-10)
    return Normal(prior.mean + gain @ (y - a @ prior.mean), prior.cov - gain @ a @ prior.cov)


def denoiser(prior: Normal, t: float) -> tuple[Array, Array]:
    """Return (G, g) of D(x) = G x + g."""
    gain = prior.cov @ np.linalg.inv(prior.cov + t**2 * np.eye(D))
    return gain, prior.mean - gain @ prior.mean


def _reverse(t: float, s: float, eta: float) -> tuple[float, float]:
    """Return (fraction of the residual that a step keeps, variance that it adds)."""
    variance = eta**2 * s**2 * (t**2 - s**2) / t**2
    return np.sqrt(s**2 - variance) / t, variance


def guided(
    prior: Normal, a: Array, y: Array, noise: float, sigmas: Array, start: float, kind: str, **options: float
) -> Normal:
    """Return the output of PiGDM (kind "scalar", "published", "jacobian") or of DPS with constant steps."""
    state = Normal(np.zeros(D), start**2 * np.eye(D))
    c, eta = options.get("c", 1.0), options.get("eta", 1.0)
    for t, s in pairwise(sigmas):
        gain, shift = denoiser(prior, t)
        r2 = c * t**2 / (c + t**2)
        keep, added = _reverse(t, s, eta)
        middle = t**2 * gain if kind == "jacobian" else r2 * np.eye(D)
        inner = a @ middle @ a.T + noise**2 * np.eye(len(a))
        pull = gain.T @ a.T @ np.linalg.pinv(inner, rcond=1e-11)
        if kind == "dps":
            factor = options["scale"] * np.sqrt((1 + s**2) * (1 + t**2)) * 2 * gain.T @ a.T
        elif kind == "published":
            # sqrt(a_s a_t) r^2 in the coordinates sqrt(a) x with a = 1 / (1 + sigma^2): by the chain rule the
            # gradient there is 1 / sqrt(a_t) of the one here, and a shift there is sqrt(a_s) of the one here
            a_s, a_t = 1 / (1 + s**2), 1 / (1 + t**2)
            factor = np.sqrt(a_s * a_t) * r2 / np.sqrt(a_t) / np.sqrt(a_s) * pull
        else:
            factor = (1 - keep) * t**2 * pull
        f = (1 - keep) * gain + keep * np.eye(D) - factor @ a @ gain
        state = state.moved(f, (1 - keep) * shift + factor @ (y - a @ shift), added)
    return state


def repaint(
    prior: Normal, a: Array, y: Array, noise: float, sigmas: Array, start: float, repeats: int
) -> Normal:
    """Return the output of RePaint for a mask."""
    known = np.diag(np.diag(a))
    hidden = np.eye(D) - known
    state = Normal(np.zeros(D), start**2 * np.eye(D))
    for t, s in pairwise(sigmas):
        for turn in range(repeats if s > 0 else 1):
            gain, shift = denoiser(prior, t)
            keep, added = _reverse(t, s, 1.0)
            f = hidden @ ((1 - keep) * gain + keep * np.eye(D))
            fresh = max(s**2 - noise**2, 0.0)
            state = state.moved(f, hidden @ ((1 - keep) * shift) + known @ y, added * hidden + fresh * known)
            if s > 0 and turn < repeats - 1:
                state = state.moved(np.eye(D), np.zeros(D), t**2 - s**2)
    return state


def ddrm(
    prior: Normal,
    a: Array,
    y: Array,
    noise: float,
    sigmas: Array,
    start: float,
    eta: float,
    eta_b: float,
    threshold: float,
) -> Normal:
    """Return the output of DDRM of Kawar et al. 2022, component by component."""
    left, values, right = np.linalg.svd(a, full_matrices=True)
    singular = np.zeros(D)
    singular[: len(values)] = np.where(values < threshold * values.max(), 0, values)
    measured = np.zeros(D)
    measured[: len(values)] = (left.T @ y)[: len(values)]
    ybar = np.array([measured[i] / singular[i] if singular[i] > 0 else 0.0 for i in range(D)])
    std = np.array([noise / singular[i] if singular[i] > 0 else 0.0 for i in range(D)])
    first = sigmas[0]
    mean, var = np.zeros(D), np.full(D, start**2)
    for i in range(D):
        if singular[i] > 0 and std[i] <= first:
            mean[i], var[i] = ybar[i], first**2 - std[i] ** 2
    state = Normal(mean, np.diag(var))  # of V^T x
    for t, s in pairwise(sigmas):
        gain, shift = denoiser(prior, t)
        gain, shift = right @ gain @ right.T, right @ shift
        f, constant, added = np.zeros((D, D)), np.zeros(D), np.zeros(D)
        for i in range(D):
            along = np.sqrt(1 - eta**2) * s
            unit = np.eye(D)[i]
            if singular[i] == 0:
                f[i] = (1 - along / t) * gain[i] + along / t * unit
                constant[i] = (1 - along / t) * shift[i]
                added[i] = eta**2 * s**2
            elif s < std[i]:
                f[i] = (1 - along / std[i]) * gain[i]
                constant[i] = (1 - along / std[i]) * shift[i] + along / std[i] * ybar[i]
                added[i] = eta**2 * s**2
            else:
                f[i] = (1 - eta_b) * gain[i]
                constant[i] = (1 - eta_b) * shift[i] + eta_b * ybar[i]
                added[i] = s**2 - eta_b**2 * std[i] ** 2
        state = state.moved(f, constant, np.diag(added) if s > 0 else 0.0)
    return state.moved(right.T, np.zeros(D))


def ddrm_by_inverse(
    prior: Normal, a: Array, y: Array, sigmas: Array, start: float, eta: float, eta_b: float
) -> Normal:
    """Return the output of the form of DDRM that corrects x0 by the pseudo-inverse."""
    inverse = np.linalg.pinv(a, rcond=1e-10)
    state = Normal(np.zeros(D), start**2 * np.eye(D))
    for t, s in pairwise(sigmas):
        gain, shift = denoiser(prior, t)
        along = np.sqrt(1 - eta**2) * s / t
        correct = np.eye(D) - eta_b * inverse @ a
        f = correct @ gain + along * (np.eye(D) - gain)
        state = state.moved(f, correct @ shift + eta_b * inverse @ y - along * shift, (eta * s) ** 2)
    return state


def sdedit(prior: Normal, guide: Array, sigmas: Array, strength: float) -> Normal:
    """Return the output of SDEdit."""
    levels = sigmas[:-1]
    sigmas = sigmas[int(np.argmin(np.abs(np.log(levels / strength)))) :]
    state = Normal(guide, sigmas[0] ** 2 * np.eye(D))
    for t, s in pairwise(sigmas):
        gain, shift = denoiser(prior, t)
        keep, added = _reverse(t, s, 1.0)
        state = state.moved((1 - keep) * gain + keep * np.eye(D), (1 - keep) * shift, added)
    return state
