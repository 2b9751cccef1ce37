"""VQ-VAE: where each gradient goes, what a code is and costs, and what the second stage leaves alone."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.config import DataConfig, TrainConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import Resident, TrainData, to_unit
from zoo_core.data.toy import load as load_toy
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasCodebook, HasEncoder, HasLikelihood
from zoo_core.seeds import Seeds, generator
from zoo_core.training.harness import Harness, Listener
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest
from zoo_core.viz.codebook import code_counts, draw_use
from zoo_vae.grids import PadTo
from zoo_vae.priors import PriorConfig
from zoo_vae.quantizer import Quantizer, QuantizerModel, nearest_code, perplexity, straight_through
from zoo_vae.vq_vae import VQVAE, VQModel, VQVAEConfig

DIGITS = DataInfo("digits", (1, 8, 8), 17, classes=10)
BITS = DataInfo("bits", (1, 1, 3), 2)
POINTS = DataInfo("points", (2,), None)
SMALL = PriorConfig(width=8, depth=1, heads=2, share=0.5)


def build(data: DataInfo = DIGITS, prior: PriorConfig = SMALL, **model: Any) -> VQVAE:
    """Return a small VQ-VAE in evaluation mode, its codebook of unit scale."""
    torch.manual_seed(0)
    settings = {"codes": 6, "dim": 4, "places": 3, "hidden": (16,), "width": 8, "blocks": 1} | model
    return VQVAE(VQVAEConfig(model=VQModel(**settings), prior=prior), data).eval()


def context(step: int = 0) -> Context:
    return Context(step, 0.0, 0, generator(0, "phase"))


def images(n: int = 5, levels: int = 17) -> Tensor:
    return to_unit(torch.randint(levels, (n, 1, 8, 8), generator=generator(0, "x")), levels)


def norms(made: VQVAE, term: Tensor) -> tuple[float, float, float]:
    """Return the size of a term's gradient in encoder, decoder and codebook."""
    made.zero_grad()
    term.backward(retain_graph=True)
    return tuple(  # type: ignore[return-value]
        sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)
        for part in (made.encoder, made.decoder, made.quantizer)
    )


def test_the_gradients_of_the_three_terms_go_where_the_lecture_says() -> None:
    # catches a stop-gradient on the wrong side, and one that is missing
    made = build(codebook="loss")
    nats, codebook, commitment, *_ = made.terms(images())
    likelihood_to, codebook_to, commitment_to = (norms(made, t) for t in (nats, codebook, commitment))
    assert likelihood_to[0] > 0
    assert likelihood_to[1] > 0
    assert likelihood_to[2] == 0
    assert (codebook_to[0], codebook_to[1]) == (0, 0)
    assert codebook_to[2] > 0
    assert (commitment_to[1], commitment_to[2]) == (0, 0)
    assert commitment_to[0] > 0


def test_the_gradients_of_both_distances_are_twice_the_differences() -> None:
    # catches a mean over places or numbers where the paper has a sum
    made = build(codebook="loss")
    z = torch.randn(2, 3, 4, generator=generator(0, "z"))
    made.encoder = torch.nn.Identity()
    z.requires_grad_(True)
    made.decoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 64 * made.output.outputs))
    made.decoder.append(torch.nn.Unflatten(1, (made.output.outputs, 1, 8, 8)))
    made.log_likelihood = lambda x, vectors: vectors.sum((1, 2))  # type: ignore[method-assign]
    nats, codebook, commitment, _, code = made.terms(z)
    chosen = made.codebook[code]
    assert torch.equal(torch.autograd.grad(nats, z, retain_graph=True)[0], torch.full_like(z, -0.5))
    (to_z,) = torch.autograd.grad(commitment, z, retain_graph=True)
    torch.testing.assert_close(to_z, 2 * (z - chosen).detach() / 2)
    (to_book,) = torch.autograd.grad(codebook, made.quantizer.codebook)
    expected = torch.zeros_like(to_book)
    for k, difference in zip(code.flatten(), (chosen - z).detach().flatten(0, 1), strict=True):
        expected[k] += 2 * difference / 2
    torch.testing.assert_close(to_book, expected)


def test_straight_through_is_the_code_forwards_and_the_encoder_backwards() -> None:
    z, code = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    out = straight_through(z, code)
    torch.testing.assert_close(out, code)
    weight = torch.randn(4, 3)
    assert torch.equal(torch.autograd.grad((out * weight).sum(), z)[0], weight)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_nearest_code_of_a_code_is_that_code(scale: float) -> None:
    # catches distances that cancel in float32
    codebook = scale * torch.randn(512, 16, generator=generator(0, "book")) + 10 * scale
    assert torch.equal(nearest_code(codebook, codebook), torch.arange(512))
    z = scale * torch.randn(40, 16, generator=generator(1, "book")) + 10 * scale
    brute = [min(range(512), key=lambda k: float((row - codebook[k]).double().square().sum())) for row in z]
    assert nearest_code(z, codebook).tolist() == brute


def test_encoding_gives_vectors_of_the_codebook_and_is_idempotent() -> None:
    made = build()
    z = made.encode(images())
    assert isinstance(made, HasEncoder)
    assert z.shape == (5, 3, 4)
    assert torch.equal(made.quantizer(z)[1], z)
    assert made.decode(z).shape == (5, 1, 8, 8)


def test_averages_find_the_mean_of_what_a_code_replaces() -> None:
    # catches sums and counts that decay apart; appendix A.1 at its fixed point is k-means
    quantizer = Quantizer(QuantizerModel(codes=2, dim=1, decay=0.9, restart=0.0))
    quantizer.codebook.copy_(torch.tensor([[-1.0], [1.0]]))
    quantizer.use.fill_(1.0)
    quantizer.total.copy_(quantizer.codebook)
    z = torch.tensor([-3.0, -1.0, 2.0, 2.5, 3.0, 3.5]).view(3, 2, 1)
    for _ in range(300):
        code, _ = quantizer(z)
        quantizer.update(*quantizer.statistics(z, code, generator(0, "r")))
    torch.testing.assert_close(quantizer.codebook.flatten(), torch.tensor([-2.0, 2.75]))
    torch.testing.assert_close(quantizer.use, torch.tensor([2.0, 4.0]))


@pytest.mark.parametrize("codebook", ["ema", "loss"])
def test_dead_codes_start_again_at_outputs_of_the_encoder(codebook: Any) -> None:
    # catches a code that nothing is near to staying so for good, and live codes thrown away
    quantizer = Quantizer(QuantizerModel(codes=4, dim=2, codebook=codebook, decay=0.9))
    quantizer.codebook.data[:] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [50.0, 50.0], [-50.0, 50.0]])
    quantizer.use.copy_(torch.tensor([10.0, 10.0, 1e-3, 1e-3]))
    quantizer.total.copy_(quantizer.codebook.detach() * quantizer.use[:, None])
    z = torch.tensor([[0.0, 0.1], [0.1, 0.0], [1.0, 1.1], [0.9, 1.0]]).view(2, 2, 2)
    live = quantizer.codebook[:2].clone()
    code, _ = quantizer(z)
    with torch.no_grad():
        quantizer.update(*quantizer.statistics(z, code, generator(0, "r")))
    rows = [row.tolist() for row in z.flatten(0, 1)]
    assert all(row in rows for row in quantizer.codebook[2:].tolist())
    assert quantizer.codebook[2].tolist() != quantizer.codebook[3].tolist()
    assert float((quantizer.codebook[:2] - live).abs().max()) < 0.2
    assert float(quantizer.use[2:].min()) > 0


def test_perplexity_is_of_the_whole_epoch() -> None:
    # catches a mean of the batches' perplexities: here each batch uses one code, the epoch all four
    assert float(perplexity(torch.tensor([5.0, 0, 0, 0]))) == pytest.approx(1)
    assert float(perplexity(torch.tensor([7.0] * 9))) == pytest.approx(9)
    quantizer = Quantizer(QuantizerModel(codes=4, dim=1, restart=0.0))
    quantizer.codebook.copy_(torch.arange(4.0)[:, None])
    quantizer.use.fill_(1.0)
    quantizer.total.copy_(quantizer.codebook)
    quantizer.epoch_length.fill_(8)
    told = []
    for k in (0, 1, 2, 3, 0, 0):
        z = torch.full((2, 3, 1), float(k))
        code, _ = quantizer(z)
        sums, candidates = quantizer.statistics(z, code, generator(0, "r"))
        told.append(float(quantizer.epoch_perplexity(sums["count"])))
        quantizer.update(sums, candidates)
    assert told == pytest.approx([1, 2, 3, 4, 4, 4])


def all_images() -> Tensor:
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3))).view(8, 1, 1, 3)


def test_the_bound_is_one() -> None:
    """On all 8 images of 3 bits: the sum over x of the bound's exp is at most 1, and below log p(x).

    Catches codes that are not paid for, or paid by another prior than is sampled.
    """
    made = build(BITS, places=2, codes=3).double()
    codes = torch.tensor(list(itertools.product(range(3), repeat=2)))
    x = all_images().double()
    with torch.no_grad():
        given = torch.stack(
            [made.log_likelihood(x, made.vectors(c.expand(8, -1)).double()) for c in codes], 1
        )
        uniform = torch.full((9,), -2 * math.log(3), dtype=torch.float64)
        priors = {"elbo": made.log_prior(codes), "elbo, uniform prior": uniform}
        found = {found.name: found for found in made.likelihoods(x, noise=Seeds(0, range(8)), k=1)}
    assert isinstance(made, HasLikelihood)
    assert list(found) == list(priors)
    assert found["elbo"].note == "fitted prior"
    for name, prior in priors.items():
        exact = torch.logsumexp(given + prior, 1)
        assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-9)
        assert bool((found[name].log_prob <= exact + 1e-9).all())
        assert found[name].is_bound
        own = nearest_code(made.encoder(x), made.codebook)
        place = (own * torch.tensor([3, 1])).sum(1)
        torch.testing.assert_close(found[name].log_prob, (given + prior)[torch.arange(8), place])


def test_the_uniform_prior_costs_log_k_a_place() -> None:
    made, x = build(), images()
    found = made.likelihoods(x, noise=Seeds(0, range(5)), k=1)[1]
    with torch.no_grad():
        given = made.log_likelihood(x, made.encode(x)).double()
    torch.testing.assert_close(given - found.log_prob, torch.full((5,), 3 * math.log(6), dtype=torch.float64))


def test_values_between_the_levels_have_no_probability() -> None:
    with pytest.raises(UsageError, match="between the data's 17 levels"):
        build().likelihoods(images() + 0.01, noise=Seeds(0, range(5)), k=1)


def harness(made: VQVAE, steps: int, **more: Any) -> Harness:
    digits = load_digits(DataConfig())
    config = TrainConfig(steps=steps, batch_size=32, log_every=10)
    return Harness(made, config, TrainData(digits.train, digits.info, 0), **more)


@pytest.mark.parametrize("codebook", ["ema", "loss"])
def test_the_second_stage_moves_nothing_of_the_first_and_says_so(codebook: str) -> None:
    # catches a codebook that goes on learning, and dropout that makes the codes of a image waver
    made = build(codebook=codebook, dropout=0.3)
    said: list[str] = []
    runner = harness(made, 30, listener=Listener(say=said.append))
    after_first: dict[str, Tensor] = {}

    def remember(line: str) -> None:
        said.append(line)
        if "prior" in line.split(":")[0]:
            after_first.update({name: value.clone() for name, value in made.state_dict().items()})

    runner.listener = Listener(say=remember)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    runner.run()
    first = [name for name in before if name.split(".")[0] in ("encoder", "decoder", "quantizer")]
    assert len(first) > 8
    after = made.state_dict()
    assert all(torch.equal(after_first[name], after[name]) for name in first)
    assert any(not torch.equal(before[name], after_first[name]) for name in first)
    assert any(not torch.equal(after_first[name], after[name]) for name in after if name.startswith("prior."))
    assert said == [
        "stage 1 of 2, codes: 15 steps; trains: encoder, decoder, quantizer; frozen: prior",
        "stage 2 of 2, prior: 15 steps; trains: prior; frozen: encoder, decoder, quantizer",
    ]
    assert not any(p.requires_grad for p in made.encoder.parameters())


def test_training_uses_the_codes_and_the_fitted_prior_tightens_the_bound() -> None:
    # catches a collapsed codebook, and a second stage that learns nothing
    made = build(codes=16, dim=8, hidden=(64,))
    runner = harness(made, 400)
    records: list[dict[str, float]] = []
    runner.listener = Listener(log=lambda step, values: records.append(dict(values)))
    runner.run()
    assert max(r["vq/perplexity"] for r in records if "vq/perplexity" in r) > 8
    digits = load_digits(DataConfig())
    x = to_unit(digits.test.x[:200], 17)
    with runner.quiet():
        fitted, uniform = made.likelihoods(x, noise=Seeds(0, range(200)), k=1)
    assert float(fitted.log_prob.mean()) > float(uniform.log_prob.mean()) + 1
    assert -float(uniform.log_prob.mean()) / (64 * math.log(2)) < math.log2(17)


def test_the_start_of_the_codebook_is_data() -> None:
    # catches codes that start far from every output and die there
    made = build(codes=16)
    runner = harness(made, 2)
    runner.run()
    assert float(made.quantizer.use.min()) > 0


@pytest.mark.parametrize("net", ["mlp", "conv"])
@pytest.mark.parametrize("prior", ["transformer", "pixelcnn"])
def test_shapes(net: str, prior: str) -> None:
    made = build(net=net, prior=PriorConfig(net=prior, width=8, depth=1, heads=2))  # type: ignore[arg-type]
    assert made.places == (3 if net == "mlp" else 16)
    drawn = made.sample(SampleRequest(Seeds(0, range(4))))
    assert drawn.x.shape == (4, 1, 8, 8)
    assert made.encode(drawn.x).shape == (4, made.places, 4)
    mean, one = made.mean_and_draw(SampleRequest(Seeds(0, range(4))))
    assert torch.equal(mean, drawn.x)
    assert not torch.equal(mean, one)


@pytest.mark.slow(depends=("zoo_core/nn", "zoo_core/training", "plugins/zoo_vae"))
def test_a_class_conditional_prior_draws_by_class() -> None:
    # catches labels that reach the loss and not the sampler
    data = load_toy(DataConfig(name="ring")).for_task("class")
    torch.manual_seed(0)
    prior = PriorConfig(width=32, depth=1, heads=2, dropout=0.0)
    made = VQVAE(VQVAEConfig(model=VQModel(codes=16, dim=4, places=2, hidden=(32,)), prior=prior), data.info)
    runner = Harness(made, TrainConfig(steps=1000, batch_size=128), TrainData(data.train, data.info, 0))
    runner.run()
    label = torch.arange(8).repeat(50)
    with runner.quiet():
        x = made.sample(SampleRequest(Seeds(0, range(400)), Cond(label=label))).x
    angle = torch.arange(8) * math.pi / 4
    center = 0.8 * torch.stack((angle.cos(), angle.sin()), 1)
    seen = torch.cdist(x, center).argmin(1)
    assert float((seen == label).float().mean()) > 0.8


@pytest.mark.parametrize(
    ("data", "model", "told"),
    [
        (POINTS, {"net": "conv"}, "model.net=mlp"),
        (DIGITS, {"net": "conv", "halvings": 3}, "at least two places"),
        (POINTS, {"decoder": "logistic"}, "is not a likelihood for"),
    ],
)
def test_what_can_not_be_built_is_told(data: DataInfo, model: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        build(data, **model)


@pytest.mark.parametrize(("side", "halvings", "grid"), [(9, 1, (5, 5)), (28, 3, (4, 4)), (30, 2, (8, 8))])
def test_sides_that_can_not_be_halved_are_padded(side: int, halvings: int, grid: tuple[int, int]) -> None:
    """Catches a decoder of another size than the images, and codes that see a border of zeros."""
    data = DataInfo("odd", (3, side, side), 4)
    made = build(data, net="conv", halvings=halvings).eval()
    assert made.grid == grid
    x = torch.rand(2, 3, side, side).mul(2).sub(1)
    z = made.encode(x)
    assert z.shape[1] == math.prod(grid)
    assert made.decode(z).shape == x.shape
    whole = [side_ * 2**halvings for side_ in grid]
    below, right = whole[0] - side, whole[1] - side
    continued = torch.nn.functional.pad(x, (0, right, 0, below), mode="replicate")
    first = next(place for place, layer in enumerate(made.encoder) if isinstance(layer, PadTo))
    assert torch.equal(made.encoder[first + 1 :](continued), made.encoder(x))


def test_the_loss_is_pure_and_follows_its_generator() -> None:
    made = build(codebook="ema").train()
    split = Resident(torch.randint(17, (8, 1, 8, 8), dtype=torch.uint8))
    batch: Batch = TrainData(split, DIGITS, 0).next(8)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.eval()
    first, again = made.loss(batch, context()), made.loss(batch, context())
    assert torch.equal(first.loss, again.loss)
    assert torch.equal(first.keep["candidates"], again.keep["candidates"])
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_the_use_of_codes_is_counted_place_by_place(tmp_path: Path) -> None:
    # catches places and codes changed about, and a code that nobody uses left out
    assert isinstance(build(), HasCodebook)
    codes = torch.tensor([[0, 2], [0, 1], [3, 2]])
    counts = code_counts(codes, 5)
    assert counts.tolist() == [[2, 0, 0, 1, 0], [0, 1, 2, 0, 0]]
    draw_use(counts, "title").save(tmp_path / "use.png")
    assert (tmp_path / "use.png").read_bytes().startswith(b"\x89PNG")
