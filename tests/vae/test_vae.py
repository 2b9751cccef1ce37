"""The VAE's bounds: exact where the model is linear (probabilistic PCA), by quadrature where it is small."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from tests.vae.linear import POINTS, STD, exact_objective, marginal, maximize
from zoo_core.config import DataConfig, TrainConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.likelihood import bits_per_dim
from zoo_core.data.loading import TrainData, to_unit
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasEncoder, HasLikelihood
from zoo_core.seeds import Seeds, generator
from zoo_core.training.harness import Harness
from zoo_core.types import Batch, Cond, Context, DataInfo, Likelihood, SampleRequest
from zoo_vae.autoencoder import AutoencoderModel, AutoencoderSample
from zoo_vae.bounds import (
    gaussian_kl,
    kl_weight,
    log_mean_exp,
    log_prior_ratio,
    reparameterize,
)
from zoo_vae.vae import VAE, VAEConfig

BITS = DataInfo("bits", (1, 2, 2), 2)
DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "vae"), dtype=torch.float64)


def build(data: DataInfo, sample: str = "auto", **model: Any) -> VAE:
    """Return a VAE in float64 and evaluation mode."""
    torch.manual_seed(0)
    config = VAEConfig(model=AutoencoderModel(**model), sample=AutoencoderSample(output=sample))
    return VAE(config, data).double().eval()


def linear(latent_dim: int = 2) -> VAE:
    """Return p(x | z) = N(W z + b, STD^2 I) with a linear encoder whose log-variance may depend on x."""
    return build(POINTS, hidden=(), latent_dim=latent_dim, std=STD)


def layers(vae: VAE) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    encoder, decoder = (
        [m for m in net.modules() if isinstance(m, torch.nn.Linear)] for net in (vae.encoder, vae.decoder)
    )
    return encoder[0], decoder[0]


def true_posterior(vae: VAE, x: Tensor) -> MultivariateNormal:
    """Return p(z | x) of the linear model: N(M^-1 W^T (x - b), STD^2 M^-1), M = W^T W + STD^2 I (Eq. 7)."""
    weight, bias = layers(vae)[1].weight, layers(vae)[1].bias
    inverse = torch.linalg.inv(weight.T @ weight + STD**2 * torch.eye(weight.shape[1], dtype=torch.float64))
    return MultivariateNormal((x - bias) @ weight @ inverse, STD**2 * inverse)


def standard_errors(x: Tensor, expected: Tensor | float) -> float:
    """Return how many standard errors the mean of x lies above what it should be."""
    difference = x - expected
    return float(difference.mean() / (difference.std() / math.sqrt(len(x))))


# -- the pieces


def test_kl_has_its_known_values() -> None:
    """Catches a std taken for a variance (E14) and the missing 1/2: 0 at (0, 1), 0.818147 at (1, std 0.5)."""
    zero = torch.zeros(1, 3)
    assert float(gaussian_kl(zero, zero)) == 0
    one = gaussian_kl(torch.ones(1, 1), torch.full((1, 1), 2 * math.log(0.5)))
    assert float(one) == pytest.approx(0.818147, abs=1e-6)


def test_kl_is_torchs() -> None:
    """Catches a mean over latents where a sum is due."""
    mean, log_var = randn(2, 6, 4)
    theirs = kl_divergence(Normal(mean, torch.exp(log_var / 2)), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(gaussian_kl(mean, log_var), theirs)


def test_gradients_pass_through_the_draw() -> None:
    """Catches a detached draw and a variance for a std: E[z^2] has gradients 2 mean and exp(log_var)."""
    eps = torch.tensor([[-1.0], [1.0]])  # its mean and variance are exactly 0 and 1
    mean, log_var = torch.tensor(0.7, requires_grad=True), torch.tensor(-1.2, requires_grad=True)
    z = reparameterize(mean.expand(2, 1), log_var.expand(2, 1), eps)
    by_mean, by_log_var = torch.autograd.grad((z**2).mean(), (mean, log_var))
    assert float(by_mean) == pytest.approx(1.4, abs=1e-6)
    assert float(by_log_var) == pytest.approx(math.exp(-1.2), abs=1e-6)


def test_importance_weight_is_the_three_densities() -> None:
    """Catches a sign or a constant lost between prior and posterior, by torch's densities."""
    mean, log_var, eps = randn(3, 6, 4)
    z = reparameterize(mean, log_var, eps)
    prior = Normal(0.0, 1.0).log_prob(z).sum(1)
    q = Normal(mean, torch.exp(log_var / 2)).log_prob(z).sum(1)
    ours = log_prior_ratio(z, log_var, eps)
    torch.testing.assert_close(ours, prior - q)


def test_log_mean_exp_takes_exactly_k() -> None:
    """Catches log k left out, one draw too many or too few, and overflow far from zero."""
    for offset in (0.0, -5000.0):
        draws = randn(9, 3) + offset
        stream = iter(draws)
        ours = log_mean_exp(lambda stream=stream: next(stream), 9)
        torch.testing.assert_close(ours, torch.logsumexp(draws, 0) - math.log(9))
        assert next(stream, None) is None


def test_kl_weight_rises_to_one_and_stays() -> None:
    """Catches a warm-up that is on by default, never ends, or starts at 1."""
    assert [kl_weight(p, 0.0) for p in (0.0, 0.9)] == [1, 1]
    assert [kl_weight(p, 0.5) for p in (0.0, 0.25, 0.5, 0.9)] == [0, 0.5, 1, 1]


def test_the_training_loss_is_minus_the_elbo() -> None:
    """Catches beta = 1.2, a mean over values and a flipped sign, from the same noise by torch's densities."""
    vae = linear()
    x = randn(7, 5)
    batch = Batch(x, Cond(), torch.arange(7))
    loss = vae.loss(batch, Context(0, 0.0, 0, generator(3, "loss"))).loss
    eps = torch.randn(7, 2, generator=generator(3, "loss"))
    mean, log_var = vae.posterior(x)
    std = torch.exp(log_var / 2)
    z = mean + std * eps
    log_prob = Normal(vae.decoder(z)[:, 0], STD).log_prob(x).sum(1)
    kl = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(loss, (kl - log_prob).mean())


# -- a linear decoder is probabilistic PCA


def test_with_the_true_posterior_every_bound_is_exact() -> None:
    """Catches any constant in ELBO or IWAE: with orthogonal columns the true posterior is within reach."""
    vae = linear()
    encoder, decoder = layers(vae)
    with torch.no_grad():
        decoder.weight.copy_(torch.linalg.qr(randn(5, 2)).Q * torch.tensor([1.5, 0.6]))
        m = decoder.weight.T @ decoder.weight + STD**2 * torch.eye(2, dtype=torch.float64)
        gain = torch.linalg.solve(m, decoder.weight.T)
        encoder.weight.copy_(torch.cat((gain, torch.zeros(2, 5))))
        encoder.bias.copy_(torch.cat((-gain @ decoder.bias, (STD**2 / m.diagonal()).log())))
        x = randn(6, 5, seed=1)
        truth = marginal(vae).log_prob(x)
        torch.testing.assert_close(exact_objective(vae, x), truth, rtol=0, atol=1e-9)
        for k in (1, 5):
            bound = vae.iwae(x, k, noise=Seeds(0, range(6)))
            torch.testing.assert_close(bound, truth, rtol=0, atol=1e-9)


def test_the_best_linear_vae_is_ppca() -> None:
    """Catches a wrong weight on the KL: the maximum of the ELBO is PPCA's likelihood (Lucas et al. 2019)."""
    x = randn(200, 5) @ torch.diag(torch.tensor([2.0, 1.3, 0.3, 0.2, 0.1]).double()) @ randn(5, 5, seed=2)
    centered = x - x.mean(0)
    eigenvalues, vectors = torch.linalg.eigh(centered.T @ centered / len(x))
    kept = vectors[:, -2:] * (eigenvalues[-2:] - STD**2).sqrt()
    covariance = kept @ kept.T + STD**2 * torch.eye(5, dtype=torch.float64)
    best = MultivariateNormal(x.mean(0), covariance).log_prob(x).mean()

    vae = linear()
    found = maximize(vae, lambda: exact_objective(vae, x))
    assert abs(found - best.item()) < 1e-9 * abs(float(best))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_elbo_falls_short_by_the_posterior_gap(seed: int) -> None:
    """Catches beta = 1.2: E[single-draw ELBO] = log p(x) - KL(q(z|x) || p(z|x)), whatever the encoder."""
    vae = linear()
    encoder, _ = layers(vae)
    n = 10_000
    with torch.no_grad():
        encoder.weight.copy_(randn(4, 5, seed=seed) * 0.3)
        encoder.bias.copy_(randn(4, seed=seed + 10) + torch.tensor([0, 0, -3, -3]))  # little noise, much KL
        x = randn(1, 5, seed=seed + 20)
        mean, log_var = vae.posterior(x)
        q = MultivariateNormal(mean, torch.diag_embed(log_var.exp()))
        expected = marginal(vae).log_prob(x) - kl_divergence(q, true_posterior(vae, x))
        drawn = vae.elbo(x.expand(n, 5), noise=Seeds(seed, range(n)))
    assert abs(standard_errors(drawn, expected)) < 4.5


def test_iwae_climbs_from_the_elbo_to_the_likelihood() -> None:
    """Catches a bound that falls with K or passes log p(x); IWAE_1 is the ELBO in expectation."""
    vae = linear()
    n = 4000
    with torch.no_grad():
        x = randn(1, 5, seed=5)
        many = x.expand(n, 5)
        truth = float(marginal(vae).log_prob(x))
        single = vae.iwae(many, 1, noise=Seeds(0, range(n)))
        assert abs(standard_errors(single, exact_objective(vae, x))) < 4.5
        bounds = [vae.iwae(many, k, noise=Seeds(k, range(n))) for k in (1, 2, 8, 64)]
    for lower, higher in itertools.pairwise(bounds):
        assert standard_errors(higher - lower, 0.0) > 4.5
    assert standard_errors(bounds[-1], truth) < 4.5
    assert truth - float(bounds[-1].mean()) < 0.1 * (truth - float(bounds[0].mean()))


def test_k_is_exact_and_the_batch_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches K taken from the batch size (pythae #123), dropped remainders, streams shared by a batch."""
    vae = linear()
    x = randn(6, 5)
    calls: list[int] = []
    log_prob = vae.log_prob
    monkeypatch.setattr(vae, "log_prob", lambda x, z: calls.append(len(z)) or log_prob(x, z))
    whole = vae.likelihoods(x, noise=Seeds(0, range(6)), k=10)
    assert calls == [6] * 11
    assert [(entry.name, entry.calls) for entry in whole] == [("elbo", 2), ("iwae-10", 11)]
    parts = [
        vae.likelihoods(x[rows], noise=Seeds(0, range(6))[rows], k=10) for rows in (slice(0, 1), slice(1, 6))
    ]
    for kind, first, rest in zip(whole, *parts, strict=True):
        torch.testing.assert_close(kind.log_prob, torch.cat((first.log_prob, rest.log_prob)))


# -- levels


def test_binary_images_have_probabilities_that_add_up_to_one() -> None:
    """Catches a Bernoulli VAE whose bounds pass log p(x): p(x) by quadrature over its one latent."""
    vae = build(BITS, hidden=(8,), latent_dim=1)
    x = to_unit(torch.tensor(list(itertools.product((0, 1), repeat=4))), 2).double().view(16, 1, 2, 2)
    z = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    with torch.no_grad():
        log_prior = Normal(0.0, 1.0).log_prob(z) + math.log(18 / 2000)
        conditional = torch.stack([vae.log_prob(x, z[i].expand(16, 1)) for i in range(len(z))], 1)
        truth = torch.logsumexp(log_prior + conditional, 1)
        image = x[5:6]
        logits = vae.decoder(z[:1, None])[0, 0]
        theirs = Bernoulli(logits=logits).log_prob((image[0] + 1) / 2).sum()
        torch.testing.assert_close(vae.log_prob(image, z[:1, None])[0], theirs)
        n = 2000
        elbo, iwae = vae.likelihoods(image.expand(n, 1, 2, 2), noise=Seeds(0, range(n)), k=200)
    assert float(truth.exp().sum()) == pytest.approx(1, abs=1e-9)
    assert standard_errors(elbo.log_prob, truth[5]) < 4.5
    assert float(iwae.log_prob.mean()) == pytest.approx(float(truth[5]), abs=2e-3)


def test_a_density_of_images_pays_for_its_bins() -> None:
    """Catches the forgotten log(2 / (L - 1)) a value: a wide Gaussian gives a level its mass."""
    vae = build(DIGITS, hidden=(), latent_dim=1, decoder="gaussian", std=3.0)
    for layer in layers(vae):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = to_unit(torch.randint(17, (500, 1, 8, 8), generator=generator(0, "x")), 17)
    elbo, iwae = vae.likelihoods(x, noise=Seeds(0, range(500)), k=2)
    half = 1 / 16
    normal = Normal(torch.tensor(0.0, dtype=torch.float64), 3.0)
    exact = (normal.cdf(x.double() + half) - normal.cdf(x.double() - half)).log().flatten(1).sum(1)
    for entry in (elbo, iwae):
        assert entry.dequantization == "uniform"
        assert abs(standard_errors(entry.log_prob, exact)) < 4.5
        assert float((entry.log_prob - exact).abs().max()) < 0.2


def test_a_density_is_trained_on_what_it_is_scored_on() -> None:
    """Catches a Gaussian decoder trained on bare levels, which costs bits where levels are few."""
    vae = build(DIGITS, decoder="gaussian")
    seen: list[Tensor] = []
    vae.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = to_unit(torch.full((64, 1, 8, 8), 3), 17).double()
    vae.loss(Batch(x, Cond(), torch.arange(64)), Context(0, 0.0, 0, generator(0, "x")))
    offset = seen[0] - x
    assert float(offset.abs().max()) <= 1 / 16 + 1e-6
    assert float(offset.std()) == pytest.approx((2 / 16) / math.sqrt(12), rel=0.05)


def test_decoders_that_are_no_likelihood_of_the_data_are_refused() -> None:
    """Catches BCE on gray levels, which is not a likelihood; the message names the decoder that is one."""
    with pytest.raises(UsageError, match=r"model\.decoder=logistic"):
        build(DIGITS, decoder="bernoulli")
    with pytest.raises(UsageError, match=r"model\.decoder=gaussian"):
        build(POINTS, decoder="logistic")
    with pytest.raises(UsageError, match=r"model\.net=mlp"):
        build(POINTS, net="conv")
    with pytest.raises(UsageError, match="lie between"):
        build(BITS).likelihoods(torch.full((1, 1, 2, 2), 0.3), noise=Seeds(0, [0]), k=1)


# -- as a recipe


@pytest.mark.parametrize("net", ["mlp", "conv"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (1, 6, 10)])
def test_shapes(net: str, shape: tuple[int, ...]) -> None:
    """Catches a network that only fits square images of one channel."""
    vae = build(DataInfo("images", shape, 4), net=net, hidden=(16,), width=4, latent_dim=3, sample="sample")
    assert isinstance(vae, HasLikelihood)
    assert isinstance(vae, HasEncoder)
    x = vae.float().sample(SampleRequest(Seeds(0, range(2)))).x
    assert x.shape == (2, *shape)
    assert vae.encode(x).shape == (2, 3)
    assert vae.decode(vae.encode(x)).shape == x.shape


def test_samples_are_means_of_images_and_draws_of_points() -> None:
    """Catches points that lie on the decoder's mean, and a `sample.output` that is not received."""
    noise = Seeds(0, range(3))
    z = noise.randn((16,))
    for data, output, is_mean in (
        (DIGITS, "auto", True),
        (DIGITS, "sample", False),
        (BITS, "auto", False),
        (POINTS, "auto", False),
    ):
        vae = build(data, sample=output).float()
        x = vae.sample(SampleRequest(Seeds(0, range(3)))).x
        assert torch.equal(x, vae.decode(z)) is is_mean


def test_a_short_training_beats_the_uniform_code_and_uses_its_latent() -> None:
    """Catches a model that does not learn, or whose posterior collapses onto the prior."""
    dataset = load_digits(DataConfig(name="digits"))
    torch.manual_seed(0)
    vae = VAE(VAEConfig(), dataset.info)
    harness = Harness(vae, TrainConfig(steps=300), TrainData(dataset.train, dataset.info, 0))
    harness.run()
    x = to_unit(dataset.test.examples(torch.arange(200)), 17)
    with harness.quiet():
        elbo: Likelihood = vae.likelihoods(x, noise=Seeds(0, range(200)), k=1)[0]
        mean, log_var = vae.posterior(x)
    assert float(bits_per_dim(elbo.log_prob, 64).mean()) < 2.4  # what independent pixels cost
    latent_kl = 0.5 * (mean**2 + log_var.exp() - log_var - 1).mean(0)
    assert int((latent_kl > 0.05).sum()) >= 1
