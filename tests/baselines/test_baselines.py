"""The four baselines: pmfs that sum to one, densities against independent ones, fits that can be restored."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import zoo_baselines
from zoo_baselines.copycat import Copycat
from zoo_baselines.fitted import Fitted, FittedConfig
from zoo_baselines.gaussian import MAX_DIMS, Gaussian
from zoo_baselines.histogram import BINS, PSEUDO, Histogram
from zoo_baselines.noise import Noise
from zoo_core.config import DataConfig
from zoo_core.data import digits, toy
from zoo_core.data.likelihood import bits_per_dim
from zoo_core.data.loading import Dataset, Resident, TrainData, quantize, to_unit
from zoo_core.errors import MachineError, UsageError
from zoo_core.interfaces import HasLikelihood
from zoo_core.registry.spec import NAME, load_target
from zoo_core.seeds import Seeds
from zoo_core.training.checkpoint import check_fit
from zoo_core.training.recipe import data_sized
from zoo_core.types import DataInfo, Likelihood, SampleRequest

MODELS = [Noise, Histogram, Gaussian, Copycat]
TINY = DataInfo("tiny", (1, 1, 3), levels=4)


@pytest.fixture(scope="module")
def data() -> dict[str, Dataset]:
    return {"digits": digits.load(DataConfig()), "moons": toy.load(DataConfig(name="moons"))}


def _fitted(model: type[Fitted], x: Tensor, info: DataInfo) -> Fitted:
    recipe = model(FittedConfig(), info)
    (stage,) = recipe.stages()
    assert stage.begin is not None
    stage.begin(TrainData(Resident(x), info, seed=0))
    return recipe


def _on(model: type[Fitted], data: Dataset) -> Fitted:
    return _fitted(model, data.train.examples(torch.arange(len(data.train))), data.info)


def _draw(recipe: Fitted, n: int, seed: int = 0) -> Tensor:
    return recipe.sample(SampleRequest(Seeds(seed, range(n)))).x


def _score(recipe: Fitted, x: Tensor) -> Likelihood:
    assert isinstance(recipe, HasLikelihood)
    (likelihood,) = recipe.likelihoods(x, noise=Seeds(1, range(len(x))), k=1)
    return likelihood


def _tiny_train() -> Tensor:
    return torch.randint(4, (50, 1, 1, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def _tiny_grid() -> Tensor:
    return to_unit(torch.tensor(list(itertools.product(range(4), repeat=3))).reshape(-1, 1, 1, 3), 4)


@pytest.mark.parametrize("spec", zoo_baselines.zoo_plugins(), ids=lambda spec: spec.name)
def test_specs_name_what_exists(spec) -> None:
    """Catches a target or config that is misspelled, and a baseline that would be trained."""
    assert NAME.fullmatch(spec.name)
    assert load_target(spec.config)().train.steps == 0
    assert issubclass(load_target(spec.target), Fitted)


@pytest.mark.parametrize("model", [Noise, Histogram])
def test_pmf_sums_to_one(model: type[Fitted]) -> None:
    """Catches a pmf that forgets a level or its smoothing: the sum over all 64 images."""
    log_prob = _score(_fitted(model, _tiny_train(), TINY), _tiny_grid()).log_prob
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("levels", "bits"), [(2, 1.0), (17, 4.0875), (256, 8.0)])
def test_noise_costs_log2_of_the_levels(levels: int, bits: float) -> None:
    """Catches any offset or constant: a pmf uniform over L levels is log2 L, exactly."""
    info = DataInfo("levels", (3, 4, 4), levels)
    x = torch.randint(levels, (20, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    likelihood = _score(_fitted(Noise, x, info), to_unit(x, levels))
    assert bits_per_dim(likelihood.log_prob, info.dims).tolist() == pytest.approx([math.log2(levels)] * 20)
    assert math.log2(levels) == pytest.approx(bits, abs=5e-5)
    assert not likelihood.is_bound


def test_histogram_is_the_smoothed_frequency() -> None:
    """Catches pixels that share one histogram, by counting in plain Python."""
    train = _tiny_train()
    recipe = _fitted(Histogram, train, TINY)
    grid = _tiny_grid()
    for x, log_prob in zip(quantize(grid, 4).flatten(1).tolist(), _score(recipe, grid).log_prob, strict=True):
        share = 1.0
        for pixel, level in enumerate(x):
            count = sum(int(row[pixel]) == level for row in train.flatten(1))
            share *= (count + PSEUDO) / (50 + 4 * PSEUDO)
        assert math.log(share) == pytest.approx(log_prob.item(), abs=1e-12)


@pytest.mark.parametrize("model", [Noise, Histogram])
def test_discrete_samples_follow_the_pmf(model: type[Fitted]) -> None:
    """Catches sampling that is off by one level, or mixes pixels: counts of all 64 images."""
    recipe = _fitted(model, _tiny_train(), TINY)
    n = 20_000
    k = quantize(_draw(recipe, n), 4).flatten(1).long()
    observed = (k * torch.tensor([16, 4, 1])).sum(1).bincount(minlength=64)
    expected = _score(recipe, _tiny_grid()).log_prob.exp() * n
    assert ((observed - expected).abs() / expected.sqrt()).max() < 4.5


@pytest.mark.parametrize("model", [Noise, Histogram, Gaussian])
def test_density_of_points_integrates_to_one(model: type[Fitted], data: dict[str, Dataset]) -> None:
    """Catches a density with a wrong volume, width or tail: importance sampling from a wide Gaussian."""
    recipe = _on(model, data["moons"])
    wide = torch.distributions.Normal(torch.zeros(2, dtype=torch.float64), 0.8)
    x = torch.randn(400_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.8
    (likelihood,) = recipe.likelihoods(x, noise=Seeds(0, ()), k=1)
    weight = (likelihood.log_prob - wide.log_prob(x).sum(1)).exp()
    assert abs(weight.mean() - 1) < 4.5 * weight.std() / len(x) ** 0.5
    assert weight.std() / len(x) ** 0.5 < 0.01


@pytest.mark.parametrize("model", [Noise, Histogram, Gaussian])
def test_samples_of_points_have_the_entropy_of_their_density(
    model: type[Fitted], data: dict[str, Dataset]
) -> None:
    """Catches sampling that differs from the density: E[p(x)] over samples against the integral of p^2."""
    recipe = _on(model, data["moons"])
    axis = (torch.arange(600, dtype=torch.float64) + 0.5) / 600 * 6 - 3
    grid = torch.cartesian_prod(axis, axis)
    (likelihood,) = recipe.likelihoods(grid, noise=Seeds(0, ()), k=1)
    square = (likelihood.log_prob.exp().square() * (6 / 600) ** 2).sum().item()
    drawn = _score(recipe, _draw(recipe, 4000)).log_prob.exp()
    assert drawn.mean().item() == pytest.approx(
        square, abs=4.5 * drawn.std().item() / 4000**0.5 + 0.02 * square
    )


def test_histogram_of_points_has_tails_and_includes_its_edges() -> None:
    """Catches a held-out point of density 0, and the largest training point counted as outside."""
    x = torch.linspace(0, 1, 201)[:, None]
    info = DataInfo("line", (1,), None)
    recipe = _fitted(Histogram, x, info)
    assert isinstance(recipe, Histogram)
    assert recipe.counts.sum() == 201
    assert recipe.counts[0, 0] == recipe.counts[0, -1] == 0
    axis = (torch.arange(40_000, dtype=torch.float64)[:, None] + 0.5) / 40_000 * 2 - 0.5
    density = _score_points(recipe, axis).exp()
    assert (density > 0).all()
    assert density.sum().item() * 2 / 40_000 == pytest.approx(1, abs=1e-3)
    outer = density[axis.flatten() > 1].sum().item() * 2 / 40_000
    assert outer == pytest.approx(PSEUDO / (201 + PSEUDO * (BINS + 2)), rel=1e-2)


def _score_points(recipe: Histogram, x: Tensor) -> Tensor:
    return recipe.likelihoods(x, noise=Seeds(0, ()), k=1)[0].log_prob


def test_noise_has_no_density_outside_its_box(data: dict[str, Dataset]) -> None:
    """Catches a box that misses the training data, or none at all."""
    recipe = _on(Noise, data["moons"])
    x = torch.cat((data["moons"].train.examples(torch.arange(100)), torch.tensor([[9.0, 0.0]])))
    log_prob = _score(recipe, x).log_prob
    assert log_prob[:100].isfinite().all()
    assert log_prob[100] == -math.inf


def test_gaussian_is_torchs_own_at_the_sample_moments() -> None:
    """Catches a transposed factor, a lost constant or biased moments, on points of five coordinates."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(5000, 5, generator=rng) @ torch.randn(5, 5, generator=rng) + 3
    recipe = _fitted(Gaussian, x, DataInfo("points", (5,), None))
    moments = x.double().mean(0), torch.cov(x.double().T, correction=0)
    reference = torch.distributions.MultivariateNormal(*moments)
    likelihood = _score(recipe, x[:50])
    assert torch.allclose(likelihood.log_prob, reference.log_prob(x[:50].double()), atol=1e-9)
    assert not likelihood.is_bound
    drawn = _draw(recipe, 20_000).double()
    error = (drawn - moments[0]).mean(0) / moments[1].diagonal().sqrt() * 20_000**0.5
    assert error.abs().max() < 4.5
    scale = (moments[1].diagonal()[:, None] * moments[1].diagonal() + moments[1] ** 2).sqrt()
    assert ((torch.cov(drawn.T) - moments[1]) / scale).abs().max() * 20_000**0.5 < 4.5


def test_gaussian_of_images_is_fitted_to_dequantized_data(data: dict[str, Dataset]) -> None:
    """Catches a fit on bare levels, singular wherever a pixel is constant, as many of the digits' are."""
    recipe = _on(Gaussian, data["digits"])
    assert isinstance(recipe, Gaussian)
    x = to_unit(data["digits"].train.examples(torch.arange(1437)), 17).flatten(1).double()
    noise = torch.rand(200, *x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spread = (x + (noise - 0.5) / 8).flatten(0, 1)  # 2 / (L - 1) = 1 / 8
    covariance = recipe.scale_tril @ recipe.scale_tril.T
    assert torch.allclose(covariance, torch.cov(spread.T, correction=0), atol=2e-3)
    assert covariance.diagonal().min().item() == pytest.approx((1 / 8) ** 2 / 12, rel=1e-9)
    likelihood = _score(recipe, to_unit(data["digits"].test.examples(torch.arange(5)), 17))
    assert (likelihood.name, likelihood.dequantization, likelihood.is_bound) == ("exact", "uniform", True)


def test_gaussian_bounds_the_pmf_from_below() -> None:
    """Catches a dequantized density that codes for free: over all images exp(bound) sums to at most one."""
    recipe = _fitted(Gaussian, _tiny_train(), TINY)
    grid = _tiny_grid()
    draws = [
        recipe.likelihoods(grid, noise=Seeds(seed, range(len(grid))), k=1)[0].log_prob for seed in range(200)
    ]
    assert 0.5 < torch.stack(draws).mean(0).exp().sum().item() < 1


def test_gaussian_stands_constant_and_few_images() -> None:
    """Catches a Cholesky factor that fails: one image, repeated, in 48 dimensions."""
    info = DataInfo("flat", (3, 4, 4), 256)
    x = torch.full((2, 3, 4, 4), 200, dtype=torch.uint8)
    recipe = _fitted(Gaussian, x, info)
    assert _score(recipe, to_unit(x, 256)).log_prob.isfinite().all()
    assert (quantize(_draw(recipe, 50), 256).int() - 200).abs().max() <= 3


def test_gaussian_says_why_it_can_not() -> None:
    """Catches an out-of-memory kill, and linear algebra's error for points on a line."""
    with pytest.raises(UsageError, match="196,608 values"):
        Gaussian(FittedConfig(), DataInfo("folder", (3, 256, 256), 256))
    assert MAX_DIMS >= 3 * 64 * 64
    with pytest.raises(UsageError, match="singular"):
        _fitted(Gaussian, torch.ones(9, 2), DataInfo("line", (2,), None))


def test_bits_per_dim_on_the_digits(data: dict[str, Dataset]) -> None:
    """Catches a lost pixel or a lost factor: histogram about 2.4, gaussian about 2.95, noise 4.0875."""
    x = to_unit(data["digits"].test.examples(torch.arange(360)), 17)
    bits = {
        model: bits_per_dim(_score(_on(model, data["digits"]), x).log_prob, 64).mean().item()
        for model in (Noise, Histogram, Gaussian)
    }
    assert bits[Noise] == pytest.approx(4.0875, abs=1e-4)
    assert bits[Histogram] == pytest.approx(2.4, abs=0.1)
    assert bits[Gaussian] == pytest.approx(2.95, abs=0.1)


def test_copycat_replays_every_row_once(data: dict[str, Dataset]) -> None:
    """Catches rows drawn with replacement, and images that are changed on the way."""
    recipe = _on(Copycat, data["digits"])
    train = data["digits"].train.examples(torch.arange(1437))
    drawn = quantize(_draw(recipe, 1437), 17)
    assert sorted(drawn.flatten(1).tolist()) == sorted(train.flatten(1).tolist())
    assert not torch.equal(drawn, train)  # a prefix must be a fair share of sorted data
    assert torch.equal(_draw(recipe, 1500)[1437:], _draw(recipe, 63))
    assert not torch.equal(_draw(recipe, 50, seed=1), _draw(recipe, 50, seed=0))
    assert not isinstance(recipe, HasLikelihood)


def test_copycat_keeps_a_share_of_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a checkpoint as large as any dataset, and a share that is only the start of it."""
    monkeypatch.setattr("zoo_baselines.copycat.MAX_BYTES", 40 * 3)
    x = torch.arange(100, dtype=torch.uint8)[:, None, None, None].expand(100, 1, 1, 3).contiguous()
    recipe = _fitted(Copycat, x, DataInfo("many", (1, 1, 3), 256))
    kept = recipe.rows.flatten(1)[:, 0]
    assert len(kept) == len(kept.unique()) == 40
    assert kept.max() > 60


def test_copycat_without_a_fit_says_so() -> None:
    """Catches a division by zero."""
    with pytest.raises(UsageError, match="nothing to replay"):
        _draw(Copycat(FittedConfig(), TINY), 1)


@pytest.mark.parametrize("name", ["digits", "moons"])
@pytest.mark.parametrize("model", MODELS)
def test_a_checkpoint_restores_the_fit(model: type[Fitted], name: str, data: dict[str, Dataset]) -> None:
    """Catches fitted state outside the buffers, and a strict load that fails on a fresh recipe."""
    fitted = _on(model, data[name])
    fresh = model(FittedConfig(), data[name].info)
    fresh.load_state_dict(fitted.state_dict(), strict=True)
    assert torch.equal(_draw(fresh, 20), _draw(fitted, 20))
    if isinstance(fitted, HasLikelihood):
        x = _draw(fitted, 20)
        assert torch.equal(_score(fresh, x).log_prob, _score(fitted, x).log_prob)


def test_copycat_refuses_rows_of_another_shape(data: dict[str, Dataset]) -> None:
    """Catches a checkpoint of other data that is loaded without a word."""
    fitted = _on(Copycat, data["digits"])
    with pytest.raises(RuntimeError, match="size mismatch"):
        Copycat(FittedConfig(), TINY).load_state_dict(fitted.state_dict())


def test_only_declared_buffers_may_have_another_length(data: dict[str, Dataset]) -> None:
    """Catches an empty buffer that takes any tensor, and a declared one that takes another shape or type."""
    fresh = Copycat(FittedConfig(), data["digits"].info)
    fresh.register_buffer("spare", torch.zeros(0, dtype=torch.uint8))
    expected, declared = fresh.state_dict(), data_sized(fresh)
    assert declared == {"rows"}
    assert data_sized(nn.ModuleDict({"inner": fresh})) == {"inner.rows"}
    saved = {**expected, "rows": torch.zeros(7, 1, 8, 8, dtype=torch.uint8)}
    check_fit(expected, saved, "copycat", declared)
    wrong = (
        {"spare": torch.zeros(3, dtype=torch.uint8)},
        {"rows": saved["rows"].float()},
        {"rows": saved["rows"][..., :7]},
    )
    for change in wrong:
        with pytest.raises(MachineError, match="do not fit together"):
            check_fit(expected, saved | change, "copycat", declared)
    with pytest.raises(MachineError, match="do not fit together"):
        check_fit(expected, saved, "copycat")


@pytest.mark.parametrize("name", ["digits", "moons"])
@pytest.mark.parametrize("model", MODELS)
def test_samples_do_not_depend_on_the_batch(model: type[Fitted], name: str, data: dict[str, Dataset]) -> None:
    """Catches randomness shared by a batch: sample k is a function of (seed, k)."""
    recipe = _on(model, data[name])
    whole = _draw(recipe, 10)
    part = recipe.sample(SampleRequest(Seeds(0, range(6, 10)))).x
    assert whole.shape == (10, *data[name].info.shape)
    assert whole.dtype == torch.float32
    assert torch.allclose(whole[6:], part, atol=1e-6)
