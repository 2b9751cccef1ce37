"""Each method on Gaussian data with the exact denoiser: mean and covariance are those of a linear recursion.

With an affine denoiser the output is an affine function of the noise. Its mean is what zeros in place of the
noise give, and unit vectors give the columns whose products add up to its covariance: no sampling error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.diffusion.analytic import Exact, gaussian
from tests.restore import linear
from zoo_core.diffusion.grids import karras
from zoo_core.registry.spec import load_target
from zoo_core.types import DataInfo
from zoo_restore.problem import Problem
from zoo_restore.registry import method, operator, options_of

INFO = DataInfo("test", linear.SHAPE, 256)
LINEAR = ("inpaint", "uncrop", "lowres", "blur", "gray")
NOISES = (0.0, 0.1)


class Counted:
    """Stands in for Seeds: zeros, and counts what is drawn."""

    def __init__(self) -> None:
        self.drawn = 0

    def randn(self, shape: Sequence[int], **address: Any) -> Tensor:
        self.drawn += 1
        return torch.zeros(1, *shape, dtype=torch.float64)


class Units:
    """Stands in for Seeds: unit vector k of draw j in row j D + k, zeros elsewhere.

    Args:
        draws: that have rows; later ones are zeros.
    """

    def __init__(self, draws: int) -> None:
        self.rows = draws * linear.D
        self.drawn = 0

    def randn(self, shape: Sequence[int], **address: Any) -> Tensor:
        z = torch.zeros(self.rows, linear.D, dtype=torch.float64)
        here = slice(self.drawn * linear.D, (self.drawn + 1) * linear.D)
        if here.start < self.rows:
            z[here] = torch.eye(linear.D, dtype=torch.float64)
        self.drawn += 1
        return z.reshape(self.rows, *shape)


def a_prior(seed: int = 0) -> linear.Normal:
    """Return a Gaussian of images with neighboring pixels correlated."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(linear.D, linear.D)) / 8
    return linear.Normal(rng.normal(size=linear.D) / 4, root @ root.T + 0.02 * np.eye(linear.D))


def exact(prior: linear.Normal) -> Exact:
    """Return the exact denoiser of images."""
    of_vector = gaussian(torch.from_numpy(prior.mean), torch.from_numpy(prior.cov))

    def x0_of(x: Tensor, sigma: Tensor) -> Tensor:
        return of_vector(x.flatten(1), sigma.reshape(-1, 1)).reshape(x.shape)

    return Exact(x0_of)


def measurement(prior: linear.Normal, name: str, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix of an operator, and y of one image."""
    rng = np.random.default_rng(1)
    a = linear.matrix_of(name)
    x0 = rng.multivariate_normal(prior.mean, prior.cov)
    return a, a @ x0 + noise * rng.normal(size=len(a))


def law(
    prior: linear.Normal,
    name: str,
    y: np.ndarray,
    noise: float,
    sigmas: Tensor,
    by: str,
    decomposed: bool = True,
    draws: int | None = None,
    **options: Any,
) -> linear.Normal:
    """Return mean and covariance of a method's output, by the code that is tested.

    Args:
        draws: of noise that have an effect; None for all.
    """
    spec = operator(name)
    made = load_target(spec.target)(options_of(spec, {}), INFO)
    measured = torch.from_numpy(y)
    measured = measured.reshape(1, *made(torch.zeros(1, *linear.SHAPE, dtype=torch.float64)).shape[1:])
    problem = Problem(measured, made.inverse(measured), made, made.spectrum if decomposed else None, noise)
    function = load_target(method(by).target)
    denoise = exact(prior)
    zeros = Counted()
    center = function(denoise, problem, sigmas, noise=zeros, **options)
    units = Units(draws or zeros.drawn)
    wide = Problem(
        measured.expand(units.rows, *measured.shape[1:]),
        problem.guide.expand(units.rows, *linear.SHAPE),
        made,
        problem.spectrum,
        noise,
    )
    columns = (function(denoise, wide, sigmas, noise=units, **options) - center).flatten(1).numpy()
    return linear.Normal(center.flatten().numpy(), columns.T @ columns)


def assert_equal(found: linear.Normal, expected: linear.Normal, most: float = 1e-7) -> None:
    scale = max(1.0, float(np.abs(expected.mean).max()), float(np.abs(expected.cov).max()))
    assert np.abs(found.mean - expected.mean).max() < most * scale
    assert np.abs(found.cov - expected.cov).max() < most * scale


SIGMAS = karras(Exact(lambda x, sigma: x), 4)
NUMBERS = SIGMAS.numpy()
START = 80.0


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("kind", ["scalar", "published", "jacobian"])
def test_pigdm_equals_its_recursion(kind: str, name: str, noise: float) -> None:
    prior = a_prior()
    a, y = measurement(prior, name, noise)
    a = truncated(a) if name == "blur" else a
    options: dict[str, Any] = {"prior_var": 0.7, "eta": 0.6}
    if kind == "published":
        options["step"] = "published"
    if kind == "jacobian":
        options |= {"covariance": "jacobian", "iterations": 60}
    found = law(prior, name, y, noise, SIGMAS, "pigdm", **options)
    assert_equal(found, linear.guided(prior, a, y, noise, NUMBERS, START, kind, c=0.7, eta=0.6), 1e-6)


def truncated(a: np.ndarray) -> np.ndarray:
    """Return a matrix without the singular values that `blur` leaves out."""
    u, s, vh = np.linalg.svd(a)
    return (u * np.where(s < 0.01 * s.max(), 0, s)) @ vh


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", LINEAR)
def test_dps_with_constant_steps_equals_its_recursion(name: str, noise: float) -> None:
    prior = a_prior()
    a, y = measurement(prior, name, noise)
    a = truncated(a) if name == "blur" else a
    found = law(prior, name, y, noise, SIGMAS, "dps", scale=0.1, normalize=False)
    assert_equal(found, linear.guided(prior, a, y, noise, NUMBERS, START, "dps", scale=0.1))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", ["inpaint", "uncrop"])
def test_repaint_equals_its_recursion(name: str, noise: float) -> None:
    prior = a_prior()
    a, y = measurement(prior, name, noise)
    found = law(prior, name, y, noise, SIGMAS, "repaint", repeats=3)
    assert_equal(found, linear.repaint(prior, a, y, noise, NUMBERS, START, 3))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", LINEAR)
def test_ddrm_equals_its_recursion(name: str, noise: float) -> None:
    prior = a_prior()
    a, y = measurement(prior, name, noise)
    found = law(prior, name, y, noise, SIGMAS, "ddrm", eta=0.7, eta_b=0.8)
    threshold = 0.01 if name == "blur" else 1e-9
    expected = linear.ddrm(prior, a, y, noise, NUMBERS, START, 0.7, 0.8, threshold)
    assert_equal(found, expected)


@pytest.mark.parametrize("name", ["inpaint", "lowres", "gray"])
def test_the_forms_without_a_decomposition_equal_their_recursions(name: str) -> None:
    prior = a_prior()
    a, y = measurement(prior, name, 0.0)
    found = law(prior, name, y, 0.0, SIGMAS, "ddrm", decomposed=False, eta=0.7, eta_b=0.8)
    assert_equal(found, linear.ddrm_by_inverse(prior, a, y, NUMBERS, START, 0.7, 0.8))
    # without noise, A^T (r^2 A A^T)^-1 is the pseudo-inverse over r^2: both forms of PiGDM are one
    for step in ("score", "published"):
        found = law(prior, name, y, 0.0, SIGMAS, "pigdm", decomposed=False, step=step)
        kind = "scalar" if step == "score" else "published"
        assert_equal(found, linear.guided(prior, a, y, 0.0, NUMBERS, START, kind))


@pytest.mark.parametrize("name", LINEAR)
def test_sdedit_equals_its_recursion(name: str) -> None:
    prior = a_prior()
    a, y = measurement(prior, name, 0.0)
    a = truncated(a) if name == "blur" else a
    guide = np.linalg.pinv(a, rcond=1e-6) @ y
    found = law(prior, name, y, 0.0, SIGMAS, "sdedit", strength=2.0)
    assert_equal(found, linear.sdedit(prior, guide, NUMBERS, 2.0))


# -- the posterior


CASES = [
    *((kind, name, 0.1) for kind in ("scalar", "jacobian") for name in LINEAR),
    ("scalar", "inpaint", 0.0),
    ("jacobian", "inpaint", 0.0),
]


def posterior_case(kind: str, name: str, noise: float) -> tuple[linear.Normal, np.ndarray, np.ndarray]:
    """Return prior, matrix and y of a case in which theory gives PiGDM the posterior."""
    prior = a_prior()
    if kind == "scalar":
        prior = linear.Normal(prior.mean, 0.3 * np.eye(linear.D))
    a, y = measurement(prior, name, noise)
    return prior, truncated(a) if name == "blur" else a, y


def distance(found: linear.Normal, target: linear.Normal) -> float:
    """Return the greatest difference of means and covariances."""
    return float(max(np.abs(found.mean - target.mean).max(), np.abs(found.cov - target.cov).max()))


@pytest.mark.parametrize(("kind", "name", "noise"), CASES)
def test_the_recursion_of_pigdm_converges_to_the_posterior(kind: str, name: str, noise: float) -> None:
    """The scalar covariance on N(mu, c I), sigma^2 dD/dx on any Gaussian; errors fall with the step length.

    The tests above show that the code equals the recursion.
    """
    prior, a, y = posterior_case(kind, name, noise)
    target = linear.posterior(prior, a, y, noise)
    for eta in (0.0, 1.0):
        errors = []
        for steps in (25, 100):
            sigmas = karras(exact(prior), steps).numpy()
            found = linear.guided(prior, a, y, noise, sigmas, START, kind, c=0.3, eta=eta)
            errors.append(distance(found, target))
        assert errors[1] < 0.2 * prior.cov.max()  # the step length; a wrong method does not get nearer
        assert errors[1] < errors[0] / 2.5


@pytest.mark.parametrize(("kind", "name"), [("scalar", "lowres"), ("jacobian", "inpaint")])
def test_pigdm_samples_from_the_posterior(kind: str, name: str) -> None:
    """By the code itself, without noise in the steps: the start is then the only source of spread."""
    prior, a, y = posterior_case(kind, name, 0.1)
    target = linear.posterior(prior, a, y, 0.1)
    sigmas = karras(exact(prior), 40)
    options: dict[str, Any] = {"covariance": kind, "prior_var": 0.3, "iterations": 30, "eta": 0.0}
    found = law(prior, name, y, 0.1, sigmas, "pigdm", draws=1, **options)
    assert distance(found, target) < 0.1
    assert distance(found, prior) > 0.2  # what ignoring y would give
