"""The hierarchy of latents: products of Gaussians, KL by level, bounds of a linear chain."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from zoo_core.config import DataConfig, TrainConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import TrainData
from zoo_core.interfaces import HasEncoder, HasLikelihood, HasOutput
from zoo_core.seeds import Seeds, generator
from zoo_core.training.harness import Harness
from zoo_core.types import Batch, Cond, Context, DataInfo
from zoo_vae.hvae import HVAE, HVAEConfig, HVAEModel, merged

POINTS = DataInfo("points", (5,), None)
STD = 0.4


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "hvae"), dtype=torch.float64)


def build(**model: Any) -> HVAE:
    torch.manual_seed(0)
    settings = {"latent_dims": (3, 2, 2), "hidden": 16, "std": STD, "free_nats": 0.0, "kl_warmup": 0.0}
    return HVAE(HVAEConfig(model=HVAEModel(**{**settings, **model})), POINTS).double().eval()


class Affine(torch.nn.Module):
    """z to (W z + b, a constant log-variance), as a prior's network gives them."""

    def __init__(self, weight: Tensor, bias: Tensor, log_var: float) -> None:
        super().__init__()
        self.weight, self.bias, self.log_var = weight, bias, log_var

    def forward(self, z: Tensor) -> Tensor:
        mean = z @ self.weight.T + self.bias
        return torch.cat((mean, torch.full_like(mean, self.log_var)), 1)


def linear_chain() -> tuple[HVAE, MultivariateNormal]:
    """Return a hierarchy whose way down is linear, and its p(x): a Gaussian by multiplying the chain out."""
    model = build()
    weights = [randn(3, 2, seed=1) * 0.7, randn(2, 2, seed=2) * 0.7]
    biases = [randn(3, seed=3), randn(2, seed=4)]
    log_vars = [-0.7, 0.4]
    model.prior = torch.nn.ModuleList(
        Affine(w, b, v) for w, b, v in zip(weights, biases, log_vars, strict=True)
    )
    last = torch.nn.Linear(3, 5).double()
    model.decoder = torch.nn.Sequential(last, torch.nn.Unflatten(1, (1, 5)))
    mean, covariance = torch.zeros(2).double(), torch.eye(2).double()
    for weight, bias, log_var in reversed(list(zip(weights, biases, log_vars, strict=True))):
        mean = weight @ mean + bias
        covariance = weight @ covariance @ weight.T + math.exp(log_var) * torch.eye(len(bias)).double()
    mean = last.weight @ mean + last.bias
    covariance = last.weight @ covariance @ last.weight.T + STD**2 * torch.eye(5).double()
    return model, MultivariateNormal(mean.detach(), covariance.detach())


def standard_errors(x: Tensor, expected: Tensor | float) -> float:
    difference = x - expected
    return float(difference.mean() / (difference.std() / math.sqrt(len(x))))


def test_merged_is_the_product_of_two_gaussians() -> None:
    """Catches precisions added as variances, and units of the prior mixed up, on a grid of z."""
    z = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    for mean_up, log_var_up, mean_p, log_var_p in randn(5, 4):
        log_q = Normal(mean_up, torch.exp(log_var_up / 2)).log_prob(z)
        log_q = log_q + Normal(mean_p, torch.exp(log_var_p / 2)).log_prob(z)
        q = log_q.softmax(0)
        e = (z - mean_p) / torch.exp(log_var_p / 2)
        mean, log_var = merged(mean_up, log_var_up, mean_p, log_var_p)
        assert float((q * e).sum()) == pytest.approx(float(mean), abs=1e-9)
        spread = float((q * e**2).sum() - (q * e).sum() ** 2)
        assert spread == pytest.approx(float(log_var.exp()), rel=1e-9)


def test_a_levels_kl_is_that_of_its_two_gaussians() -> None:
    """Catches a KL to N(0, I) where a level's prior is the level above's, by torch's KL in z's own units."""
    model = build()
    x = randn(6, 5)
    proposals = model.proposals(x)
    way = model.descend(proposals, randn(6, 7, seed=1))
    kl = model.level_kl(way)
    e, noise = way.e.split(model.dims, 1), way.eps.split(model.dims, 1)
    z = None
    for level in (2, 1, 0):
        mean_p, log_var_p = model.prior_of(level, z, noise[level])
        mean_up, log_var_up = proposals[level]
        precision = torch.exp(-log_var_up) + torch.exp(-log_var_p)
        mean = (mean_up * torch.exp(-log_var_up) + mean_p * torch.exp(-log_var_p)) / precision
        q, p = Normal(mean, precision**-0.5), Normal(mean_p, torch.exp(log_var_p / 2))
        torch.testing.assert_close(kl[:, level], kl_divergence(q, p).sum(1))
        z = mean + precision**-0.5 * noise[level]
        torch.testing.assert_close(z, mean_p + torch.exp(log_var_p / 2) * e[level])
    torch.testing.assert_close(way.z, z)


def test_the_loss_is_minus_the_elbo() -> None:
    """Catches a level's KL left out, and warm-up or free nats that stay when they are off."""
    model, x = build(), randn(7, 5)
    context = Context(0, 0.0, 0, generator(3, "loss"))
    loss = model.loss(Batch(x, Cond(), torch.arange(7)), context)
    eps = torch.randn(7, 7, generator=generator(3, "loss"))
    way = model.descend(model.proposals(x), eps)
    log_prob = Normal(model.decoder(way.z)[:, 0], STD).log_prob(x).sum(1)
    torch.testing.assert_close(loss.loss, (model.level_kl(way).sum(1) - log_prob).mean())
    assert {"kl_1", "kl_2", "kl_3", "collapsed"} <= set(loss.log)
    torch.testing.assert_close(loss.log["kl_2"], model.level_kl(way)[:, 1].mean().detach())


def test_free_nats_are_free_and_no_more() -> None:
    """Catches a free level whose KL still pulls, and a paid one that pays less than all of its KL."""
    x = randn(7, 5)
    batch = Batch(x, Cond(), torch.arange(7))
    losses, kl = [], torch.zeros(3)
    for free in (0.0, 1e9, 0.3):
        found = build(free_nats=free).loss(batch, Context(0, 0.0, 0, generator(3, "loss")))
        losses.append(found.loss.item())
        kl = torch.stack([found.log[f"kl_{level}"] for level in (1, 2, 3)])
    assert losses[1] - losses[0] == pytest.approx(3e9 - float(kl.sum()))
    assert losses[2] - losses[0] == pytest.approx(float((kl.clamp_min(0.3) - kl).sum()))


def test_bounds_of_a_linear_chain_climb_to_its_exact_likelihood() -> None:
    """Catches a sign or a Jacobian lost between levels: a bound that passes log p(x), or falls with K."""
    model, truth = linear_chain()
    n = 3000
    with torch.no_grad():
        x = truth.mean + randn(5, seed=6) * 0.5
        exact, many = float(truth.log_prob(x)), x.expand(n, 5)
        elbo = model.elbo(many, noise=Seeds(0, range(n)))
        bounds = [model.iwae(many, k, noise=Seeds(k, range(n))) for k in (1, 4, 32, 256)]
    gap = elbo.mean() - bounds[0].mean()
    error = math.hypot(float(elbo.std()), float(bounds[0].std())) / math.sqrt(n)
    assert abs(float(gap)) < 4.5 * error
    for lower, higher in itertools.pairwise(bounds):
        assert standard_errors(higher - lower, 0.0) > 0
    assert standard_errors(bounds[-1], exact) < 4.5
    assert exact - float(bounds[-1].mean()) < 0.05 * (exact - float(bounds[0].mean()))


def test_samples_of_a_linear_chain_have_its_moments() -> None:
    """Catches levels drawn in the wrong order, or with a variance for a standard deviation."""
    model, truth = linear_chain()
    n = 20_000
    with torch.no_grad():
        z = model.lowest(torch.randn(n, 7, generator=generator(0, "z"), dtype=torch.float64))
        x = model.decoder(z)[:, 0] + STD * randn(n, 5, seed=9)
    errors = (x.mean(0) - truth.mean) / (truth.variance / n).sqrt()
    assert float(errors.abs().max()) < 4.5
    deviation = torch.cov(x.T) - truth.covariance_matrix
    scale = torch.outer(truth.variance, truth.variance).sqrt() * math.sqrt(2 / n)
    assert float((deviation / scale).abs().max()) < 4.5


def test_codes_are_in_units_of_the_prior_and_decode_to_the_reconstruction() -> None:
    """Catches codes of one level only: the way down from the posterior's means gives the same image."""
    model = build()
    x = randn(4, 5)
    for capability in (HasEncoder, HasLikelihood, HasOutput):
        assert isinstance(model, capability)
    code = model.encode(x)
    assert code.shape == (4, 7)
    way = model.descend(model.proposals(x), torch.zeros(4, 7).double())
    torch.testing.assert_close(model.decode(code), model.output.mean(model.decoder(way.z)))
    moved = code.clone()
    moved[:, -1] += 1  # the top level is received in the image
    assert float((model.decode(moved) - model.decode(code)).abs().min()) > 0


@pytest.mark.slow(depends=("zoo_core/nn", "zoo_core/training", "plugins/zoo_vae"))
def test_a_short_training_uses_all_three_levels() -> None:
    """Catches upper levels that collapse, and a report that does not name the levels."""
    dataset = load_digits(DataConfig(name="digits"))
    torch.manual_seed(0)
    model = HVAE(HVAEConfig(), dataset.info)
    harness = Harness(model, TrainConfig(steps=200), TrainData(dataset.train, dataset.info, 0))
    harness.run()
    x = harness.data.to_model(dataset.test.examples(torch.arange(100)))
    with harness.quiet():
        elbo, iwae = model.likelihoods(x, noise=Seeds(0, range(100)), k=4)
    kl = {name: float(part.mean()) for name, part in elbo.kl.items()}
    assert list(kl) == ["level 1", "level 2", "level 3"]
    assert min(kl.values()) > 0.05
    assert iwae.name == "iwae-4"
