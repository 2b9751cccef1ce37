"""The weighted and the importance-weighted bound as objectives, against the linear model's closed forms."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from tests.making import batch
from tests.vae.linear import POINTS, STD, exact_objective, marginal, maximize
from zoo_core.config import DataConfig, TrainConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import TrainData
from zoo_core.seeds import Seeds, generator
from zoo_core.training.harness import Harness
from zoo_core.types import Context
from zoo_vae.autoencoder import GaussianAutoencoder
from zoo_vae.beta_vae import BetaVAE, BetaVAEConfig, BetaVAEModel
from zoo_vae.iwae import IWAE, IWAEConfig, IWAEModel
from zoo_vae.vae import VAE, VAEConfig

LINEAR: dict[str, Any] = {"hidden": (), "latent_dim": 2, "std": STD, "dropout": 0.0}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "objectives"), dtype=torch.float64)


def seeded(build: Any) -> Any:
    """Return what build makes, in float64: the same weights for every model with the same networks."""
    torch.manual_seed(0)
    return build().double().eval()


def beta_vae(**model: Any) -> BetaVAE:
    return seeded(lambda: BetaVAE(BetaVAEConfig(model=BetaVAEModel(**LINEAR, **model)), POINTS))


def iwae(**model: Any) -> IWAE:
    return seeded(lambda: IWAE(IWAEConfig(model=IWAEModel(**LINEAR, **model)), POINTS))


def loss_of(model: GaussianAutoencoder, x: Tensor, seed: int = 3, progress: float = 0.0) -> Tensor:
    return model.loss(batch(x), Context(0, progress, 0, generator(seed, "loss"))).loss


# -- beta-VAE


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_beta_weighs_the_kl_and_nothing_else(beta: float) -> None:
    """Catches beta on the reconstruction, beta on both terms, and beta in the reported bound."""
    model, x = beta_vae(beta=beta), randn(7, 5)
    mean, log_var = model.posterior(x)
    std = torch.exp(log_var / 2)
    eps = torch.randn(7, 2, generator=generator(3, "loss"))
    log_prob = Normal(model.decoder(mean + std * eps)[:, 0], STD).log_prob(x).sum(1)
    kl = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(loss_of(model, x), (beta * kl - log_prob).mean())
    torch.testing.assert_close(loss_of(model, x).item(), loss_of(model, x, progress=0.9).item())
    plain = seeded(lambda: VAE(VAEConfig(model=BetaVAEModel(**LINEAR)), POINTS))
    reported = [m.elbo(x, noise=Seeds(0, range(7))) for m in (model, plain)]
    torch.testing.assert_close(*reported)


@pytest.mark.slow(depends=("plugins/zoo_vae",))
def test_the_best_linear_beta_vae_knows_its_beta() -> None:
    """Catches beta = 1.2 for 1.3, which training with Adam can't: the optimum is known.

    (For beta = 1: Lucas et al. 2019, arXiv:1911.02469.)
    """
    beta = 1.3
    x = randn(300, 5) @ torch.diag(torch.tensor([2.0, 1.3, 0.3, 0.2, 0.1]).double())
    model = beta_vae(beta=beta)
    found = maximize(model, lambda: exact_objective(model, x, beta))
    assert found == pytest.approx(best_beta_objective(x, beta), abs=1e-9)
    assert abs(found - best_beta_objective(x, 1.2)) > 1e-3


def best_beta_objective(x: Tensor, beta: float) -> float:
    """Return the maximum over all linear models with two latents and noise STD of the weighted bound.

    In a kept direction with variance lam, q(z | x) = N(m x, v): the objective in (w, m, v) is
    -1/2 [log 2 pi STD^2 + ((1 - w m)^2 lam + w^2 v) / STD^2 + beta (m^2 lam + v - log v - 1)]; it is
    maximized here over w in one dimension, with m and v by their normal equations.
    """
    centered = x - x.mean(0)
    eigenvalues = torch.linalg.eigvalsh(centered.T @ centered / len(x))
    noise = STD**2
    dropped = -0.5 * (math.log(2 * math.pi * noise) + eigenvalues / noise)
    best = float(dropped[:-2].sum())
    for lam in eigenvalues[-2:].tolist():

        def value(w: float, lam: float = lam) -> float:
            m = w / (w * w + beta * noise)
            v = beta * noise / (w * w + beta * noise)
            miss = ((1 - w * m) ** 2 * lam + w * w * v) / noise
            return -0.5 * (math.log(2 * math.pi * noise) + miss + beta * (m * m * lam + v - math.log(v) - 1))

        low, high = 0.0, 3 * math.sqrt(lam)
        for _ in range(200):
            a, b = low + (high - low) / 3, high - (high - low) / 3
            low, high = (a, high) if value(a) < value(b) else (low, b)
        best += value((low + high) / 2)
    return best


# -- IWAE


def test_with_one_draw_the_bound_is_the_elbo() -> None:
    """Catches a wrong log K, and p or q left out of the weights: L_1 is the ELBO in expectation."""
    model = iwae(k=1)
    x = randn(1, 5, seed=1)
    losses = torch.stack([loss_of(model, x.expand(500, 5), seed=s).detach() for s in range(40)])
    difference = losses + exact_objective(model, x).detach()
    assert abs(float(difference.mean() / (difference.std() / math.sqrt(40)))) < 4.5


def test_the_loss_is_minus_log_mean_weight() -> None:
    """Catches K ignored, K averaged outside the logarithm, draws shared by examples, by torch's densities."""
    model, x, k = iwae(k=5), randn(7, 5), 5
    mean, log_var = model.posterior(x)
    std = torch.exp(log_var / 2)
    eps = torch.randn(k, 7, 2, generator=generator(3, "loss"))
    weights = []
    for e in eps:
        z = mean + std * e
        joint = Normal(model.decoder(z)[:, 0], STD).log_prob(x).sum(1) + Normal(0.0, 1.0).log_prob(z).sum(1)
        weights.append(joint - Normal(mean, std).log_prob(z).sum(1))
    bound = torch.logsumexp(torch.stack(weights), 0) - math.log(k)
    torch.testing.assert_close(loss_of(model, x), -bound.mean())


def test_the_training_bound_climbs_with_k_to_the_likelihood() -> None:
    """Catches a bound that falls with K or passes log p(x): probabilistic PCA's is exact."""
    x = randn(1, 5, seed=5)
    truth = marginal(iwae()).log_prob(x).item()
    bounds = []
    for k in (1, 4, 16, 64, 256):
        model = iwae(k=k)
        losses = torch.stack([loss_of(model, x.expand(100, 5), seed=s).detach() for s in range(30)])
        bounds.append((-float(losses.mean()), float(losses.std() / math.sqrt(30))))
    for (lower, e), (higher, f) in itertools.pairwise(bounds):
        assert higher - lower > -4.5 * math.hypot(e, f)
    assert bounds[-1][0] < truth + 4.5 * bounds[-1][1]
    assert truth - bounds[-1][0] < 0.1 * (truth - bounds[0][0])


def test_gradients_weigh_the_draws_by_their_share() -> None:
    """Catches weights that are detached or uniform: dL = sum_k w~_k d log w_k (Eq. 13)."""
    model, x, k = iwae(k=4), randn(3, 5), 4
    (found,) = torch.autograd.grad(loss_of(model, x), model.decoder[0][0].bias)
    eps = torch.randn(k, 3, 2, generator=generator(3, "loss"))
    with torch.no_grad():
        mean, log_var = model.posterior(x)
        z = mean + torch.exp(log_var / 2) * eps
        out = torch.stack([model.decoder(one)[:, 0] for one in z])
        log_w = Normal(out, STD).log_prob(x).sum(2) + (Normal(0.0, 1.0).log_prob(z)).sum(2)
        log_w -= Normal(mean, torch.exp(log_var / 2)).log_prob(z).sum(2)
        share = log_w.softmax(0)[..., None]
        expected = -(share * (x - out) / STD**2).sum(0).mean(0)
    torch.testing.assert_close(found, expected)


def test_a_large_k_needs_no_more_memory() -> None:
    """Catches an IWAE-K that decodes all K draws at once; q is the prior here, so that it reaches log p."""
    model = iwae()
    for parameter in model.encoder.parameters():
        torch.nn.init.zeros_(parameter)
    alive = 0

    def spy(x: Tensor, z: Tensor, plain: Any = model.log_prob) -> Tensor:
        nonlocal alive
        alive = max(alive, z.numel())
        return plain(x, z)

    model.log_prob = spy  # type: ignore[method-assign]
    with torch.no_grad():
        x = randn(2, 5) * 0.3
        bound, truth = model.iwae(x, 5000, noise=Seeds(0, range(2))), marginal(model).log_prob(x)
    assert alive == 4
    torch.testing.assert_close(bound, truth, rtol=0, atol=0.1)


# -- both as recipes


@pytest.mark.parametrize("kind", ["beta-vae", "iwae"])
def test_a_short_training_uses_its_latent(kind: str) -> None:
    """Catches a posterior that collapses onto the prior, and the latents' KL that is not told."""
    dataset = load_digits(DataConfig(name="digits"))
    torch.manual_seed(0)
    model: GaussianAutoencoder = (
        BetaVAE(BetaVAEConfig(), dataset.info) if kind == "beta-vae" else IWAE(IWAEConfig(), dataset.info)
    )
    harness = Harness(model, TrainConfig(steps=150), TrainData(dataset.train, dataset.info, 0))
    harness.run()
    x = harness.data.to_model(dataset.test.examples(torch.arange(100)))
    with harness.quiet():
        elbo = model.likelihoods(x, noise=Seeds(0, range(100)), k=1)[0]
    kl = {name: float(part.mean()) for name, part in elbo.kl.items()}
    assert list(kl) == [f"z{k}" for k in range(1, 17)]
    assert max(kl.values()) > 0.05
