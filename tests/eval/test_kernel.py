"""FD, KD and IS against closed forms and independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.eval.fakes import context, protocol, reasons
from zoo_core.errors import UsageError
from zoo_eval.features import Features
from zoo_eval.metrics.frechet import frechet, frechet_distance
from zoo_eval.metrics.inception_score import inception, inception_score
from zoo_eval.metrics.kernel import kernel, kernel_distance


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
    """Samples whose own mean and covariance (n - 1) are exactly the given ones."""
    x = torch.randn(n, len(mean), generator=rng, dtype=torch.float64)
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (n - 1))).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_frechet_is_the_closed_form_of_gaussians_in_one_dimension(rng):
    # catches n for n - 1, a missing square, a covariance mistaken for a standard deviation
    one = torch.ones(1, 1, dtype=torch.float64)
    real = with_moments(torch.tensor([1.0], dtype=torch.float64), 4 * one, 50, rng)
    fake = with_moments(torch.tensor([3.5], dtype=torch.float64), 9 * one, 80, rng)
    assert frechet_distance(real, fake) == pytest.approx(2.5**2 + (2 - 3) ** 2, rel=1e-9)


def test_frechet_of_commuting_covariances(rng):
    # catches a trace of the product where the trace of its root is meant
    turn = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=torch.float64)).Q
    a, b = torch.rand(2, 6, generator=rng, dtype=torch.float64) + 0.1
    zero = torch.zeros(6, dtype=torch.float64)
    real = with_moments(zero, turn @ a.diag() @ turn.T, 100, rng)
    fake = with_moments(zero + 1, turn @ b.diag() @ turn.T, 70, rng)
    expected = 6 + float((a.sqrt() - b.sqrt()).square().sum())
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [20, 8, 9, 200])  # fewer than, as many as, and more than the dimensions
def test_frechet_agrees_with_scipy_and_torch_fidelity(rng, n):
    # catches an error in the root of a singular product
    from scipy.linalg import sqrtm
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    real = torch.randn(150, 8, generator=rng).exp()
    fake = torch.randn(n, 8, generator=rng) * 0.7 + 0.3
    stats = [(x.double().mean(0).numpy(), np.cov(x.double().numpy(), rowvar=False)) for x in (real, fake)]
    (m1, s1), (m2, s2) = stats
    by_scipy = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    theirs = fid_statistics_to_metric({"mu": m1, "sigma": s1}, {"mu": m2, "sigma": s2}, verbose=False)[
        "frechet_inception_distance"
    ]
    ours = frechet_distance(real, fake)
    assert ours == pytest.approx(by_scipy, rel=1e-6)
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_frechet_does_not_cancel_far_from_the_origin(rng):
    # catches float32 moments, and E[x^2] - m^2 without centring: mean 1e6, spread 0.1
    real = with_moments(torch.full((3,), 1e6, dtype=torch.float64), 0.01 * torch.eye(3).double(), 500, rng)
    fake = with_moments(torch.full((3,), 1e6, dtype=torch.float64), 0.04 * torch.eye(3).double(), 500, rng)
    assert frechet_distance(real, fake) == pytest.approx(3 * 0.1**2, rel=1e-5)


def test_frechet_of_a_set_with_itself_and_of_a_collapsed_one(rng):
    # catches a NaN from the root of a zero covariance
    real = torch.randn(60, 4, generator=rng)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-7)
    constant = torch.zeros(60, 4)
    expected = float(real.double().mean(0).square().sum() + real.double().var(0).sum())
    assert frechet_distance(real, constant) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("unfit", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_refused_before_any_eigenvalue(unfit):
    # catches what ends the whole process: eigvals of a NaN is a segmentation fault in some LAPACKs
    real, fake = torch.randn(2, 50, 8)
    fake[7:9, 3] = unfit
    for figure in (frechet_distance, lambda a, b: kernel_distance(a, b, subset_size=10)):
        with pytest.raises(UsageError, match="2 of 50 rows") as error:
            figure(real, fake)
        assert "number 7" in str(error.value)
    with pytest.raises(UsageError, match="2 of 50"):
        inception_score(fake)


def test_features_too_large_for_a_covariance_are_refused():
    # catches finite features whose covariance overflows to the NaN that ends the process
    with pytest.raises(UsageError, match="as large as"):
        frechet_distance(torch.randn(50, 3).double(), torch.full((50, 3), 1e200, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_half_precision_features_are_refused(dtype):
    # catches a silent infinity: torchmetrics returns the distance in the features' dtype
    features = torch.ones(50, 3).to(dtype)
    for figure in (frechet_distance, lambda a, b: kernel_distance(a, b, subset_size=10)):
        with pytest.raises(UsageError, match="float32"):
            figure(features, features)


def test_too_few_samples_are_refused():
    # catches three images where a thousand are needed, and torchmetrics' IS of 7 samples in 10 splits
    three, many = torch.randn(3, 4), torch.randn(2000, 4)
    with pytest.raises(UsageError, match="3 rows of generated features"):
        kernel_distance(many, three)
    with pytest.raises(UsageError, match="3 rows of real features"):
        kernel_distance(three, many)
    with pytest.raises(UsageError, match="1 rows"):
        frechet_distance(many, three[:1])
    with pytest.raises(UsageError, match="expected: at least 10"):
        inception_score(torch.randn(7, 4))
    with pytest.raises(UsageError, match="4 dimensions and generated ones 5"):
        frechet_distance(many, torch.randn(100, 5))


def test_kernel_distance_is_its_definition_on_whole_sets(rng):
    # catches another kernel: degree, coefficient, or 1/d left out; a diagonal that was not
    real, fake = torch.randn(2, 60, 16, generator=rng).double().numpy()
    n = len(real)

    def mean_kernel(a, b, skip_diagonal):
        pairs = [(i, j) for i in range(n) for j in range(n) if not (skip_diagonal and i == j)]
        return np.mean([(a[i] @ b[j] / 16 + 1) ** 3 for i, j in pairs])

    expected = (
        mean_kernel(real, real, True) + mean_kernel(fake, fake, True) - 2 * mean_kernel(real, fake, False)
    )
    ours, _ = kernel_distance(torch.tensor(real), torch.tensor(fake), subsets=1, subset_size=n)
    assert ours == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("subsets", [2, 40])
def test_kernel_distance_is_torchmetrics_own(rng, subsets):
    # catches other subsets than a library draws at the same seed, with one table of pairs or one a subset
    from torchmetrics.image.kid import KernelInceptionDistance

    from zoo_eval.metrics.identity import Identity, repeatable

    real, fake = (
        torch.randn(300, 6, generator=rng).double(),
        0.5 + torch.randn(280, 6, generator=rng).double(),
    )
    with repeatable():
        metric = KernelInceptionDistance(Identity(6), subsets=subsets, subset_size=50)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        expected = [float(value) for value in metric.compute()]
    assert kernel_distance(real, fake, subsets=subsets, subset_size=50) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased(rng):
    # catches diagonals left in the sums: between equal laws the mean over many draws is 0, some below
    draws = torch.tensor(
        [
            kernel_distance(*torch.randn(2, 40, 5, generator=rng), subsets=1, subset_size=40)[0]
            for _ in range(60)
        ],
        dtype=torch.float64,
    )
    assert abs(float(draws.mean())) < 4.5 * float(draws.std()) / 60**0.5
    assert float(draws.min()) < 0


def test_random_subsets_and_splits_are_repeatable_and_leave_the_generator_alone(rng):
    # catches torchmetrics' unseeded permutations: another figure at every compute()
    real, fake = torch.randn(2, 200, 4, generator=rng)
    torch.manual_seed(1)
    first = kernel_distance(real, fake, subsets=5, subset_size=50), inception_score(fake)
    after = torch.rand(3)
    torch.manual_seed(2)
    assert (kernel_distance(real, fake, subsets=5, subset_size=50), inception_score(fake)) == first
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after)


@pytest.mark.parametrize("scale", [50.0, 1000.0, 1e5])
def test_inception_score_reaches_both_of_its_ends(scale):
    # catches 0 log 0 from probabilities that underflow, and a softmax over the wrong axis
    constant = torch.zeros(100, 10)
    constant[:, 3] = scale
    assert inception_score(constant)[0] == pytest.approx(1, abs=1e-9)
    uniform = scale * torch.eye(10).repeat(10, 1)
    value, spread = inception_score(uniform, splits=1)
    assert value == pytest.approx(10, rel=1e-9)
    assert spread is None  # of one split there is none: NaN has no place in JSON


def test_inception_score_of_one_class_is_refused():
    # catches a score of 1 that means nothing
    with pytest.raises(UsageError, match="one class"):
        inception_score(torch.randn(100, 1))


def test_inception_score_agrees_with_its_definition(rng):
    # catches a KL with its arguments exchanged
    logits = torch.randn(90, 5, generator=rng).double() * 2
    p = logits.softmax(1).numpy()
    expected = np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean())
    assert inception_score(logits, splits=1)[0] == pytest.approx(expected, rel=1e-9)


def test_columns_are_named_by_their_extractor(rng):
    # catches `FID` printed for anything but Inception's features
    real, fake = torch.randn(2, 600, 4, generator=rng).double()
    for name, columns in (
        ("digits", {"FD[digits]", "FD-inf[digits]", "KD[digits]", "IS[digits]"}),
        ("inception", {"FID", "FID-inf", "KID", "IS"}),
        (
            "inception-1a2b3c4d",
            {
                "FD[inception-1a2b3c4d]",
                "FD-inf[inception-1a2b3c4d]",
                "KD[inception-1a2b3c4d]",
                "IS[inception-1a2b3c4d]",
            },
        ),
    ):
        ctx = context(*(Features(x, x) for x in (real, fake)), protocol(extractor=name))
        assert set(frechet(ctx) | kernel(ctx) | inception(ctx)) == columns


def test_fewer_samples_than_features_are_shown_and_never_ranked(rng):
    # catches a ranking by a singular covariance
    real, fake = torch.randn(2, 30, 40, generator=rng).double()
    settings = protocol()
    cell = frechet(context(Features(real), Features(fake), settings))["FD[digits]"]
    assert "30 examples for 40 features" in cell.unranked
    assert cell.interval is None
    found = inception(context(Features(real), Features(fake), settings))
    assert reasons(found) == ["digits is not a classifier"]


def test_the_choice_of_subsets_is_in_the_interval(rng):
    # catches an interval without what few subsets add, 1.96 spread / sqrt(subsets), or with another factor
    real = torch.randn(400, 4, generator=rng).double()
    fake = 1.3 * torch.randn(400, 4, generator=rng).double() + 0.3
    widths, chances = [], []
    for subsets in (4, 64):
        settings = protocol(kid_subsets=subsets, kid_subset_size=40)
        cell = kernel(context(Features(real), Features(fake), settings))["KD[digits]"]
        _, spread = kernel_distance(real, fake, subsets=subsets, subset_size=40)
        widths.append((cell.interval.high - cell.value, cell.value - cell.interval.low))
        chances.append(1.96 * spread / subsets**0.5)
    for few, many in zip(*widths, strict=True):
        assert few**2 - many**2 == pytest.approx(chances[0] ** 2 - chances[1] ** 2, rel=1e-6)
        assert many > chances[1]
