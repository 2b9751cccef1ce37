"""The discrete VAE of DALL-E: its relaxation, its KL, its bound, and captions that draw what they say."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from zoo_core.config import DataConfig, TrainConfig
from zoo_core.data.conditioning import conditions
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import TrainData, to_unit
from zoo_core.seeds import Seeds, generator
from zoo_core.training.harness import Harness
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest
from zoo_vae.dvae import DVAE, DVAEConfig, DVAEModel, entropy, gumbel_softmax, temperature
from zoo_vae.priors import PriorConfig, log_prob

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)
BITS = DataInfo("bits", (1, 1, 3), 2)
SMALL = PriorConfig(width=8, depth=1, heads=2)


def build(data: DataInfo = DIGITS, **model: Any) -> DVAE:
    torch.manual_seed(0)
    settings = {"codes": 5, "dim": 4, "places": 3, "hidden": (16,)} | model
    return DVAE(DVAEConfig(model=DVAEModel(**settings), prior=SMALL), data).eval()


def uniforms(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=generator(seed, "u"), dtype=torch.float64).clamp(1e-12, 1 - 1e-12)


def batch(n: int = 8) -> Batch:
    x = to_unit(torch.randint(17, (n, 1, 8, 8), generator=generator(0, "x")), 17)
    return Batch(x, Cond(), torch.arange(n))


def context(progress: float) -> Context:
    return Context(int(100 * progress), progress, 0, generator(0, "phase"))


@pytest.mark.parametrize("tau", [2.0, 1.0, 0.1])
def test_a_relaxed_draw_is_a_distribution(tau: float) -> None:
    y = gumbel_softmax(torch.randn(50, 7), tau, uniforms(50, 7).float())
    torch.testing.assert_close(y.sum(-1), torch.ones(50))
    assert float(y.min()) >= 0


def test_the_relaxation_is_one_hot_as_the_temperature_falls() -> None:
    # catches a temperature that multiplies
    logits, u = torch.randn(200, 6, generator=generator(0, "l")), uniforms(200, 6).float()
    largest = [float(gumbel_softmax(logits, tau, u).amax(-1).mean()) for tau in (10.0, 1.0, 0.1, 0.01, 1e-4)]
    assert largest == sorted(largest)
    assert largest[0] < 0.35
    assert largest[-1] > 1 - 1e-3


def test_the_limit_is_a_draw_of_the_distribution() -> None:
    # catches Gumbel noise of the wrong sign: the maximum is then of another distribution (Gumbel-max)
    logits = torch.tensor([0.1, 0.6, 0.05, 0.25], dtype=torch.float64).log()
    n = 40_000
    y = gumbel_softmax(logits.expand(n, 4), 1e-3, uniforms(n, 4))
    share = torch.bincount(y.argmax(-1), minlength=4) / n
    error = (share - logits.exp()) / (logits.exp() * (1 - logits.exp()) / n).sqrt()
    assert float(error.abs().max()) < 4.5


def test_the_temperature_falls_along_a_cosine_and_stays() -> None:
    model = DVAEModel(tau_start=1.0, tau_end=0.1, anneal=0.5)
    assert temperature(0.0, model) == pytest.approx(1.0)
    assert temperature(0.25, model) == pytest.approx(0.55)
    assert temperature(0.5, model) == temperature(0.9, model) == pytest.approx(0.1)
    falling = [temperature(k / 50, model) for k in range(51)]
    assert falling == sorted(falling, reverse=True)


def test_the_kl_to_the_uniform_prior_is_log_k_where_the_code_is_certain() -> None:
    # catches an entropy in bits, and nats of one place for all
    assert float(entropy(torch.tensor([1e4, 0.0, 0.0, 0.0]))) == 0
    assert float(entropy(torch.zeros(9))) == pytest.approx(math.log(9))
    made = build()
    x = batch().x
    made.encoder.register_forward_hook(lambda module, given, out: out * 1e4)
    kl = made.loss(Batch(x, Cond(), torch.arange(8)), context(0.99)).log["kl"]
    assert float(kl) == pytest.approx(3 * math.log(5), rel=1e-4)


def test_the_kl_is_that_of_torch() -> None:
    made = build()
    logits = made.encoder(batch().x).detach()
    expected = kl_divergence(Categorical(logits=logits), Categorical(logits=torch.zeros_like(logits)))
    found = made.loss(batch(), context(0.99))
    assert float(found.log["kl"]) == pytest.approx(float(expected.sum(1).mean()), rel=1e-4)
    nats = found.log["nats"]
    torch.testing.assert_close(found.loss.detach(), nats + made.config.model.beta * found.log["kl"])


def test_the_kl_is_free_at_the_start_of_its_warm_up() -> None:
    found = build(kl_warmup=0.5).loss(batch(), context(0.0))
    assert torch.equal(found.loss.detach(), found.log["nats"])
    assert float(found.log["tau"]) == pytest.approx(1.0)


def test_the_bound_is_below_the_exact_likelihood_and_equals_it_on_average_by_hand() -> None:
    """With 3 codes at 2 places all 9 can be counted.

    Catches an entropy of the wrong sign, codes that are not drawn from q, and a prior that is not p.
    """
    made = build(BITS, places=2, codes=3).double()
    x = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3))).view(8, 1, 1, 3).double()
    codes = torch.tensor(list(itertools.product(range(3), repeat=2)))
    with torch.no_grad():
        made.encoder[0][1][-1].weight.mul_(5)  # a posterior that is far from uniform
        log_q = made.encoder(x).log_softmax(-1)
        q = (log_q[:, 0, codes[:, 0]] + log_q[:, 1, codes[:, 1]]).exp()
        given = torch.stack([made.log_likelihood(x, made.vectors(c.expand(8, -1))) for c in codes], 1)
        uniform = torch.full((9,), -2 * math.log(3), dtype=torch.float64)
        runs = 3000
        many = x.repeat_interleave(runs, 0)
        found = made.likelihoods(many, noise=Seeds(0, range(8 * runs)), k=1)
        for likelihood, prior in zip(found, (log_prob(made.prior, codes), uniform), strict=True):
            exact = torch.logsumexp(given + prior, 1)
            elbo = (q * (given + prior - q.log())).sum(1)
            assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-9)
            assert bool((elbo < exact).all())
            drawn = likelihood.log_prob.view(8, runs)
            error = (drawn.mean(1) - elbo) / (drawn.std(1) / runs**0.5)
            assert float(error.abs().max()) < 4.5


def test_gradients_reach_encoder_codebook_and_decoder() -> None:
    # catches an argmax in the training path
    made = build().train()
    made.loss(batch(), context(0.5)).loss.backward()
    for part in (made.encoder, made.embedding, made.decoder):
        assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in part.parameters())


def test_encoding_takes_the_likeliest_code() -> None:
    made = build()
    codes = made.encoder(batch().x).argmax(-1)
    assert torch.equal(made.encode(batch().x), made.embedding.weight[codes])


@pytest.fixture(scope="module")
def captioned() -> tuple[Any, Harness]:
    """A dVAE trained on captioned digits for a few seconds."""
    digits = load_digits(DataConfig()).for_task("text")
    torch.manual_seed(0)
    model = DVAEModel(codes=16, dim=16, places=6, hidden=(128,), beta=0.3)
    made = DVAE(DVAEConfig(model=model, prior=PriorConfig(width=32, depth=2)), digits.info)
    train = TrainConfig(steps=900, batch_size=64)
    runner = Harness(made, train, TrainData(digits.train, digits.info, 0))
    runner.run()
    return digits, runner


@pytest.mark.slow(depends=("zoo_core/nn", "zoo_core/training", "plugins/zoo_vae"))
def test_a_caption_draws_what_it_says(captioned: tuple[Any, Harness]) -> None:
    # catches captions that reach the loss and not the sampler; chance is a tenth
    from zoo_eval.extractors.classifiers import Classifier

    digits, runner = captioned
    classifier = Classifier("digits-classifier", "cpu")
    cond = conditions(digits, 500)
    assert cond is not None

    def right(asked: Cond) -> float:
        with runner.quiet():
            x = runner.recipe.sample(SampleRequest(Seeds(0, range(500)), asked)).x
        seen = classifier(((x.clamp(-1, 1) + 1) * 8).round().to(torch.uint8), digits.info)
        return float((seen == cond.label).float().mean())

    assert right(cond) > 0.5
    mixed = Cond(tokens=cond.tokens[torch.randperm(500, generator=generator(0, "mix"))])  # type: ignore[index]
    assert right(mixed) < 0.2


@pytest.mark.slow(depends=("zoo_core/nn", "zoo_core/training", "plugins/zoo_vae"))
def test_a_captioned_model_bounds_the_images_alone(captioned: tuple[Any, Harness]) -> None:
    """Captions as frequent as in training are summed over, so no caption is needed to score a image.

    Catches a bound given the caption, which is no bound of the image, and one that conditions lower.
    """
    digits, runner = captioned
    made = runner.recipe
    assert isinstance(made, DVAE)
    x = to_unit(digits.test.x[:100], 17)
    with runner.quiet():
        fitted, uniform = made.likelihoods(x, noise=Seeds(0, range(100)), k=1)
        codes = made.likeliest_codes(x)
        alone = made.log_prior(codes)
        best = log_prob(made.prior, codes, digits.test.tokens[:100])
    assert float(fitted.log_prob.mean()) > float(uniform.log_prob.mean())
    assert float(best.mean()) > float(alone.mean())  # a caption tells something of its image
    assert float(alone.mean()) > float(best.mean()) - math.log(len(digits.train))
    assert float(made.texts.share.sum()) == pytest.approx(1)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kept", "note"), [(1.0, "fitted prior"), (0.75, "fitted prior; 75.0% of the training texts")]
)
def test_the_bound_of_a_captioned_model_says_which_texts_it_covers(kept: float, note: str) -> None:
    """Catches a bound over the most frequent texts that reads as one over all."""
    info = DataInfo("digits", (1, 8, 8), 17, vocabulary=4, caption_length=2, task="text")
    made = build(info)
    assert made.texts is not None
    made.texts.fit(torch.tensor([[1, 2], [1, 2], [1, 2], [3, 0]]))
    made.texts.share[1] *= kept == 1  # the rarest is left out, as beyond the table's end
    fitted, uniform = made.likelihoods(batch().x, noise=Seeds(0, range(8)), k=1)
    assert (fitted.note, uniform.note) == (note, "")
