"""The likelihood by the probability flow, as the evaluator measures it: against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.diffusion.analytic import Exact, gaussian, vp
from tests.eval.fakes import FakeRun
from zoo_core.config import DataConfig, EvalConfig
from zoo_core.data import digits
from zoo_core.data.loading import Dataset, Resident, dequantize
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.sdes import VE, VP
from zoo_core.errors import UsageError
from zoo_core.results import NotApplicable
from zoo_core.seeds import Seeds, derive, generator
from zoo_core.types import DataInfo, Likelihood
from zoo_eval.context import Context
from zoo_eval.extractors.raw import Raw
from zoo_eval.metrics.likelihood import (
    Flow,
    check_ode,
    chosen_rows,
    columns_of,
    diverged,
    flow_denoiser,
    likelihoods,
    measured,
)
from zoo_eval.protocol import Protocol, make_protocol
from zoo_eval.sampling import Sampled

MEAN, ROOT = torch.tensor([0.3, -0.4]), torch.tensor([[0.5, 0.0], [0.3, 0.4]])
COV = ROOT @ ROOT.T
FINE = Flow("exact", tolerance=1e-5)


class Holds:
    """A recipe that holds a denoiser."""

    def __init__(self, denoise: Any) -> None:
        self.held = denoise

    def denoiser(self) -> Any:
        return self.held


class Own(Holds):
    """One that has a likelihood of its own beside."""

    def likelihoods(self, x: torch.Tensor, *, noise: Seeds, k: int) -> list[Likelihood]:
        return [Likelihood(torch.full((len(x),), -1.0).double(), "vlb", k=9)]


@pytest.fixture(scope="module")
def plane() -> Dataset:
    x = MEAN + torch.randn(400, 2, generator=generator(0, "plane")) @ ROOT.T
    return Dataset(DataInfo("plane", (2,), levels=None), Resident(x[:200]), Resident(x[200:]), "x")


@pytest.fixture(scope="module")
def images() -> Dataset:
    return digits.load(DataConfig())


def found_of(
    recipe: Any, data: Dataset, n: int, flow: Flow | None, batch_size: int = 500
) -> list[Likelihood]:
    return likelihoods(recipe, data, n=n, k=1, batch_size=batch_size, device="cpu", flow=flow)


def test_nats_of_points_are_the_densitys(plane):
    """Catches points that are spread or scaled: the mean log-density of the test split, in closed form."""
    (found,) = found_of(Holds(Exact(gaussian(MEAN, COV), VE(0.001, 80.0))), plane, 100, FINE)
    rows = plane.test.examples(chosen_rows(plane, 100))
    expected = torch.distributions.MultivariateNormal(MEAN, COV).log_prob(rows).mean()
    value = columns_of(found, plane.info)["nats[ode]"]
    assert value.value == pytest.approx(float(expected), abs=2e-3)
    assert (found.name, found.kind, found.dequantization) == ("ode", "ode", "none")
    assert value.bound == "exact"
    assert found.calls > 6
    assert value.note == "exact divergence, tolerance 1e-05"


def normal_pixels(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The denoiser of independent pixels of N(-0.2, 0.49)."""
    return -0.2 + 0.49 / (0.49 + sigma**2) * (x + 0.2)


@pytest.mark.parametrize("sde", [VP(), VE(0.001, 80.0)])
def test_bits_of_images_are_those_of_the_spread_density(images, sde):
    """Catches a lost log(2 / (L - 1)), a image spread twice, another u: the same u, in closed form."""
    flow = Flow("rademacher", tolerance=1e-4)  # exact for independent pixels, whatever the probe
    (found,) = found_of(Holds(Exact(normal_pixels, sde)), images, 30, flow)
    levels = images.test.examples(chosen_rows(images, 30))
    u = Seeds(derive(0, "likelihood"), range(30)).rand((1, 8, 8))
    x = dequantize(levels / 8 - 1.0, 17, u).double()
    nats = torch.distributions.Normal(-0.2, 0.7).log_prob(x).flatten(1).sum(1) + 64 * math.log(2 / 16)
    value = columns_of(found, images.info)["bits_per_dim[ode, dequantized]"]
    assert value.value == pytest.approx(float(-nats.mean() / (64 * math.log(2))), abs=2e-3)
    assert found.dequantization == "uniform"
    assert value.bound == "upper"
    assert value.note.startswith("rademacher divergence, 1 probe, tolerance 0.0001, ")


def test_x0_is_not_clipped(images):
    """Catches the density of a denoiser that is clamped for samples: it is that of no flow at all."""
    sde = VP()

    class Net(torch.nn.Module):
        def forward(self, x, t, cond=None):
            alpha, sigma = (c.to(x)[:, None, None, None] for c in (sde.alpha(t), sde.sigma(t)))
            return normal_pixels(x / alpha, sigma / alpha)

    one, other = (
        found_of(Holds(SigmaDenoiser(Net(), sde, "x0", clip_x0=clip)), images, 8, Flow("rademacher"))[0]
        for clip in (True, False)
    )
    assert torch.equal(one.log_prob, other.log_prob)
    clipping = SigmaDenoiser(Net(), sde, "x0", clip_x0=True)
    assert clipping.unclipped().clip_x0 is False
    assert clipping.clip_x0 is True


def test_figures_do_not_depend_on_the_batch(images):
    """Catches noise of the batch's place: another batch size moves figures by the solver's tolerance only."""
    recipe = Holds(Exact(normal_pixels, VP()))
    bits = [
        columns_of(found_of(recipe, images, 12, Flow("rademacher"), size)[0], images.info) for size in (12, 5)
    ]
    whole, split = (one["bits_per_dim[ode, dequantized]"].value for one in bits)
    assert whole == pytest.approx(split, abs=1e-3)


def test_more_probes_have_a_smaller_error():
    """Catches an option that is not handed on: probes are averaged, and the note says how many."""
    cov = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    x = torch.zeros(160, 2)
    data = Dataset(DataInfo("origin", (2,), levels=None), Resident(x), Resident(x), "x")
    recipe = Holds(Exact(gaussian(torch.zeros(2), cov), VE(0.01, 20.0)))
    one, many = (
        columns_of(found_of(recipe, data, 160, Flow("gaussian", k, 1e-3))[0], data.info)["nats[ode]"]
        for k in (1, 16)
    )
    assert one.standard_error is not None
    assert many.standard_error is not None
    assert many.standard_error < one.standard_error / 2
    assert many.note == "gaussian divergence, 16 probes, tolerance 0.001"


def test_a_model_may_have_both_kinds(plane):
    """Catches a flow that stands in for a model's own bound, or takes its noise."""
    recipe = Own(Exact(gaussian(MEAN, COV), VE(0.001, 80.0)))
    assert [one.name for one in found_of(recipe, plane, 20, FINE)] == ["vlb-9", "ode"]
    assert [one.name for one in found_of(recipe, plane, 20, None)] == ["vlb-9"]


def latent() -> Exact:
    made = Exact(normal_pixels, VP())
    made.space = "latent"
    return made


def asked(run: FakeRun, settings: Protocol) -> Any:
    """Return the context of a run, as the likelihood reads it."""
    sampled = Sampled(run.rows, None, 1, 0.0, 0.0)
    return Context(run.source, settings, Raw(), sampled)


@pytest.mark.parametrize("denoise", [latent(), Exact(normal_pixels, vp(100))], ids=["latent", "levels"])
def test_no_flow_no_cell_and_a_demand_is_refused_before_training(images, denoise):
    """Catches a figure of a latent's density or between levels that no net has seen, sold as the data's."""
    recipe = Holds(denoise)
    assert flow_denoiser(recipe, images.info) is None
    run = FakeRun(images, images.train.x, recipe, extractor="raw")
    assert measured(asked(run, make_protocol(run.config.eval, images, Raw()))) == []
    demanding = FakeRun(images, images.train.x, recipe, extractor="raw", ode="always")
    with pytest.raises(UsageError, match="no likelihood by a probability flow"):
        check_ode(demanding.config.eval, recipe, images.info, "fake")
    with pytest.raises(UsageError, match="no likelihood by a probability flow"):
        measured(asked(demanding, make_protocol(demanding.config.eval, images, Raw())))


def test_a_model_of_pairs_has_no_density_without_its_source(images):
    """Catches a network that needs a image and is asked without one."""
    recipe = Holds(Exact(normal_pixels, VP()))
    assert flow_denoiser(recipe, images.info) is not None
    assert flow_denoiser(recipe, replace(images.info, task="paired")) is None


def test_it_can_be_left_out(images):
    """Catches an option that is not read: eval.ode=never spares the calls."""
    recipe = Holds(Exact(normal_pixels, VP()))
    for ode, names in (("auto", ["ode"]), ("always", ["ode"]), ("never", [])):
        run = FakeRun(images, images.train.x, recipe, extractor="raw", ode=ode)
        protocol = replace(make_protocol(run.config.eval, images, Raw()), likelihood_n=4)
        assert [one.name for one in measured(asked(run, protocol))] == names


def test_what_moves_the_figure_is_in_the_protocol(images, plane):
    """Catches two tolerances in one column; whether it is measured at all changes no figure."""

    def made(data: Dataset, **options: Any) -> Any:
        return make_protocol(EvalConfig(**options), data, Raw())

    options: list[dict[str, Any]] = [
        {},
        {"ode_tolerance": 1e-5},
        {"ode_probes": 2},
        {"ode_probe": "gaussian"},
    ]
    assert len({made(images, **one).hash for one in options}) == 4
    assert made(images, ode="never").hash == made(images).hash
    assert made(images).ode_probe == "rademacher"
    assert made(plane).ode_probe == "exact"
    assert made(plane, ode_probe="gaussian").ode_probe == "gaussian"


class RunsAway:
    """A denoiser whose flow of some examples leaves every bound: x0 falls as x grows."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        big = x.flatten(1).abs().amax(1) > self.limit
        return torch.where(big.reshape(-1, *[1] * (x.ndim - 1)), -20 * x, 0 * x)


def test_a_flow_that_runs_away_has_no_likelihood_and_says_so(plane):
    """Catches a score that is lost to one diverging example, and one that is printed as if it were one."""
    away = Holds(Exact(RunsAway(2.5), VE(0.001, 80.0)))
    (found,) = found_of(away, plane, 40, Flow("exact", tolerance=1e-2))
    columns = columns_of(found, plane.info)
    assert list(columns) == ["nats[ode]"]
    reason = columns["nats[ode]"]
    assert isinstance(reason, NotApplicable)
    assert "of 40 test examples diverges" in reason.reason
    assert diverged(replace(found, log_prob=torch.tensor([-1.0, -math.inf, math.nan, 2e12]))).startswith(
        "the probability flow of 3 of 4"
    )
    assert diverged(replace(found, log_prob=torch.tensor([-1.0, 1e9]))) == ""
