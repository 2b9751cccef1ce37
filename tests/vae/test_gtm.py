"""The mixture of decoded points: probability by enumeration, gradient by responsibilities, samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import zoo_vae.gtm
from zoo_core.config import DataConfig, TrainConfig
from zoo_core.data.digits import load as load_digits
from zoo_core.data.likelihood import bits_per_dim
from zoo_core.data.loading import Resident, TrainData, to_unit
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasEncoder, HasLikelihood, HasOutput
from zoo_core.seeds import Seeds, generator
from zoo_core.training.harness import Harness
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest, Task
from zoo_vae.gtm import GTM, GTMConfig, GTMModel, GTMSample, normal_points

SMALL = DataInfo("small", (1, 2, 2), 3)
CLASSES = DataInfo("small", (1, 2, 2), 3, classes=3, task="class")
COUNTS = (1, 4, 5)
"""Training examples of each class."""


def build(data: DataInfo = SMALL, sample: str = "sample", **model: Any) -> GTM:
    """Return a model in float64 and evaluation mode, whose latent points decode to unlike distributions."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "latent_points": 5,
        "latent_dim": 2,
        "hidden": (16,),
        "components": 2,
        **model,
    }
    made = GTM(GTMConfig(model=GTMModel(**settings), sample=GTMSample(output=sample)), data).double().eval()
    with torch.no_grad():
        for parameter in made.decoder.parameters():
            parameter.mul_(2)  # means stay within their bounds
    if made.classes:
        made.counts.copy_(torch.tensor(COUNTS))
    return made


def every_image(levels: int = 3, shape: Sequence[int] = (1, 2, 2)) -> Tensor:
    every = torch.tensor(list(itertools.product(range(levels), repeat=math.prod(shape))))
    return to_unit(every.reshape(-1, *shape), levels).double()


def level_masses(out: Tensor, levels: int) -> Tensor:
    """Return P(level) of a mixture of two logistics, (K, D, L), by differences of its CDF."""
    mean, log_scale, logit = out[:, :2], out[:, 2:4], out[:, 4]
    weight = torch.stack((torch.sigmoid(logit), torch.sigmoid(-logit)), 1)
    edges = torch.tensor([-math.inf, *((2 * k - 1) / (levels - 1) - 1 for k in range(1, levels)), math.inf])
    cdf = torch.sigmoid((edges - mean[..., None]) / log_scale[..., None].exp())
    return (weight[..., None] * cdf.diff(dim=-1)).sum(1)


def enumerated(model: GTM, label: int | None) -> Tensor:
    """Return p(x | y) of every 2x2 image of three levels, (81,): the mixture of products, written out."""
    z = model.points
    if label is not None:
        z = torch.cat((z, torch.eye(3, dtype=z.dtype)[label].expand(len(z), 3)), 1)
    masses = level_masses(model.decoder(z).detach().flatten(2), 3)
    total = torch.zeros(81, dtype=torch.float64)
    for row, image in enumerate(itertools.product(range(3), repeat=4)):
        for k in range(len(z)):
            total[row] += math.prod(float(masses[k, d, level]) for d, level in enumerate(image)) / len(z)
    return total


def given(label: int, count: int) -> Tensor:
    return torch.full((count,), label)


def test_the_probability_is_the_mixture_written_out() -> None:
    """Catches a missing 1 / K, a product over the wrong axis, and a look-up in another pixel's table."""
    model, x = build(), every_image()
    p = model.log_prob(x).exp().detach()
    torch.testing.assert_close(p, enumerated(model, None))
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    assert isinstance(model, HasLikelihood)
    assert isinstance(model, HasEncoder)
    assert isinstance(model, HasOutput)
    (found,) = model.likelihoods(x, noise=Seeds(0, range(81)), k=1)
    assert (found.kind, found.dequantization, found.calls) == ("exact", "none", 5)
    assert found.log_prob.dtype == torch.float64
    torch.testing.assert_close(found.log_prob.exp(), p)


def test_classes_are_conditioned_on_and_summed_over_with_their_frequencies() -> None:
    """Catches a uniform p(y), a label that is not read, and classes that are added up twice."""
    model, x = build(CLASSES), every_image()
    each = [model.log_prob(x, given(y, 81)).exp().detach() for y in range(3)]
    for y, p in enumerate(each):
        torch.testing.assert_close(p, enumerated(model, y))
        assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    assert float((each[0] - each[2]).abs().sum()) > 0.2
    marginal = sum(count / 10 * p for count, p in zip(COUNTS, each, strict=True))
    torch.testing.assert_close(model.log_prob(x).exp(), marginal)
    (found,) = model.likelihoods(x, noise=Seeds(0, range(81)), k=1)
    torch.testing.assert_close(found.log_prob.exp(), marginal)
    assert found.calls == 15
    mixed = torch.arange(81) % 3  # rows come back in their own order
    rows = torch.stack(each, 1)[torch.arange(81), mixed]
    torch.testing.assert_close(model.log_prob(x, mixed).exp(), rows)


def test_the_frequencies_are_those_of_the_training_data() -> None:
    """Catches a p(y) that stays uniform, on an unbalanced training split."""
    label = torch.tensor([0, 1, 1, 2, 2, 2, 2])
    data = TrainData(Resident(torch.zeros(7, 1, 2, 2, dtype=torch.uint8), label), CLASSES, 0)
    model = build(CLASSES)
    (stage,) = model.stages()
    assert stage.begin is not None
    stage.begin(data)
    assert model.counts.tolist() == [1, 2, 4]
    torch.testing.assert_close(model.frequencies, torch.tensor([1, 2, 4]).double() / 7)
    (unconditional,) = build().stages()
    assert unconditional.begin is None


def test_points_have_the_density_of_a_mixture_of_gaussians() -> None:
    model = build(DataInfo("points", (2,), None), latent_points=7)
    x = torch.randn(20, 2, generator=generator(0, "points"), dtype=torch.float64)
    out = model.decoder(model.points)
    parts = Independent(Normal(out[:, 0], out[:, 1].exp()), 1)
    expected = MixtureSameFamily(Categorical(torch.ones(7, dtype=torch.float64)), parts).log_prob(x)
    torch.testing.assert_close(model.log_prob(x), expected)


def test_one_latent_point_has_independent_pixels() -> None:
    """Catches a mixture that ties pixels by more than k: p(x) is the product of its own marginals."""
    model, levels = build(latent_points=1), torch.tensor(list(itertools.product(range(3), repeat=4)))
    p = model.log_prob(every_image()).exp().detach()
    marginals = [[float(p[levels[:, d] == level].sum()) for level in range(3)] for d in range(4)]
    product = [math.prod(marginals[d][level] for d, level in enumerate(row)) for row in levels.tolist()]
    torch.testing.assert_close(p, torch.tensor(product, dtype=torch.float64))
    several = build().log_prob(every_image()).exp().detach()
    tied = float(several[(levels == levels[:, :1]).all(1)].sum())
    alone = [[float(several[levels[:, d] == level].sum()) for level in range(3)] for d in range(4)]
    assert abs(tied - sum(math.prod(alone[d][level] for d in range(4)) for level in range(3))) > 0.004


def loss_gradient(model: GTM, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    model.decoder.zero_grad()
    loss = model.loss(batch, Context(0, 0.0, 0, generator(0, "loss"))).loss
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.decoder.parameters() if p.grad is not None]


def batch_of(count: int = 12) -> Batch:
    rows = torch.randperm(81, generator=generator(0, "rows"))[:count]
    label = torch.arange(count) % 2  # class 2 is not in the batch
    return Batch(every_image()[rows], Cond(label=label), torch.arange(count))


@pytest.mark.parametrize("data", [SMALL, CLASSES])
def test_the_gradient_is_that_of_the_responsibilities(data: DataInfo) -> None:
    """The gradient of log p(x | y) is that of sum_k r_k log p(x | z_k, y) with the responsibilities fixed."""
    model, batch = build(data), batch_of()
    loss, gradient = loss_gradient(model, batch)
    x, label = batch.x, batch.cond.label
    assert label is not None
    expected = bits_per_dim(model.log_prob(x, label if model.classes else None), 4).mean()
    torch.testing.assert_close(loss, expected.detach())

    total = torch.zeros((), dtype=torch.float64)
    for row, y in zip(x, label, strict=True):
        z = model.points
        if model.classes:
            z = torch.cat((z, torch.eye(3, dtype=z.dtype)[y].expand(len(z), 3)), 1)
        log_prob = model.output.log_prob(row.expand(len(z), 1, 2, 2), model.decoder(z)).flatten(1).sum(1)
        total = total + (log_prob.detach().softmax(0) * log_prob).sum()
    by_em = torch.autograd.grad(-total / (len(x) * 4 * math.log(2)), list(model.decoder.parameters()))
    for one, other in zip(gradient, by_em, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_table_and_chunks_change_neither_the_loss_nor_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of few levels, values one by one, and a point at a time: the same numbers."""
    model, batch = build(CLASSES), batch_of()
    loss, gradient = loss_gradient(model, batch)
    log_prob = model.log_prob(batch.x).detach()
    for name, value in (("TABLE_LEVELS", 2), ("CHUNK", 1)):
        monkeypatch.setattr(zoo_vae.gtm, name, value)
        again, other = loss_gradient(model, batch)
        torch.testing.assert_close(again, loss)
        for one, two in zip(gradient, other, strict=True):
            torch.testing.assert_close(one, two)
        torch.testing.assert_close(model.log_prob(batch.x).detach(), log_prob)


def test_chunks_bound_what_is_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = build(), []
    model.decoder.register_forward_hook(lambda _module, given, _out: sizes.append(len(given[0])))
    model.log_prob(every_image())
    assert sizes == [5]
    monkeypatch.setattr(zoo_vae.gtm, "CHUNK", 2 * 4 * 5 * 3)  # of two points: D, outputs, levels
    sizes.clear()
    model.log_prob(every_image())
    assert sizes == [2, 2, 1]


def test_only_the_classes_of_a_batch_are_decoded() -> None:
    model, sizes = build(CLASSES), []
    model.decoder.register_forward_hook(lambda _module, given, _out: sizes.append(given[0][0, 2:].tolist()))
    model.loss(batch_of(), Context(0, 0.0, 0, generator(0, "loss")))
    assert sizes == [[1, 0, 0], [0, 1, 0]]


def drawn(model: GTM, count: int, label: int | None) -> Tensor:
    cond = None if label is None else Cond(label=given(label, count))
    return model.sample(SampleRequest(Seeds(3, range(count)), cond)).x.detach()


@pytest.mark.parametrize(("data", "label"), [(SMALL, None), (CLASSES, 0), (CLASSES, 2)])
def test_samples_have_the_probabilities_that_are_scored(data: DataInfo, label: int | None) -> None:
    """Catches one k for a whole batch, pixels that are means, and the noise of k used again for pixels."""
    model, count = build(data), 12_000
    x = drawn(model, count, label)
    assert float(x.abs().max()) <= 1
    levels = (x + 1).round().long().flatten(1)
    cell = (levels * torch.tensor([27, 9, 3, 1])).sum(1)
    seen = cell.bincount(minlength=81).double()
    expected = count * enumerated(model, label)
    chi2 = float(((seen - expected) ** 2 / expected).sum())
    assert float(expected.min()) > 2
    assert chi2 < 80 + 4 * math.sqrt(2 * 80)


def test_samples_of_points_are_exact_and_the_choice_of_k_is_apart_from_their_noise() -> None:
    model = build(DataInfo("points", (2,), None), latent_points=2)
    count = 4000
    x = drawn(model, count, None)
    out = model.decoder(model.points)
    k = Seeds(3, range(count)).randint(2, name="point")
    eps = ((x - out[k, 0]) / out[k, 1].exp()).detach()  # scales stay within their bounds
    assert abs(float(k.double().mean()) - 0.5) < 4 * 0.5 / count**0.5
    for part in (eps[k == 0], eps[k == 1]):
        assert float(part.mean(0).abs().max()) < 4 / len(part) ** 0.5
        assert float((part.var(0) - 1).abs().max()) < 4 * (2 / len(part)) ** 0.5


def test_output_chooses_between_a_sample_and_the_mean() -> None:
    request = SampleRequest(Seeds(0, range(9)))
    mean, sample = build(sample="mean"), build()
    expected, draw = sample.mean_and_draw(SampleRequest(Seeds(0, range(9))))
    torch.testing.assert_close(mean.sample(request).x, expected)
    torch.testing.assert_close(sample.sample(SampleRequest(Seeds(0, range(9)))).x, draw)
    assert float((expected - draw).detach().abs().max()) > 0.1
    auto = build(sample="auto").sample(SampleRequest(Seeds(0, range(9)))).x
    torch.testing.assert_close(auto, expected)


def test_it_samples_what_is_scored_unless_the_mean_is_asked_for() -> None:
    """Catches a default that takes the mean of images, as `vae` does."""
    model = GTM(GTMConfig(model=GTMModel(latent_points=2)), SMALL).eval()
    x = model.sample(SampleRequest(Seeds(0, range(9)))).x
    torch.testing.assert_close(x, model.mean_and_draw(SampleRequest(Seeds(0, range(9))))[1])


def test_points_are_fixed_and_cover_a_standard_normal_distribution() -> None:
    """Catches points that depend on the seed of a run, or draw from its random numbers."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    points = normal_points(1024, 4)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(points, normal_points(1024, 4))
    assert torch.isfinite(points).all()
    assert float(points.mean(0).abs().max()) < 5e-3  # 1,024 independent ones: 3e-2
    assert float((points.T @ points / 1024 - torch.eye(4)).abs().max()) < 2e-2
    quarters = torch.quantile(points, torch.tensor([0.25, 0.75]), dim=0)
    assert float((quarters.abs() - 0.6745).abs().max()) < 1e-2
    model = build(latent_points=16, latent_dim=3)
    assert torch.equal(model.points, normal_points(16, 3).double())
    assert "points" in model.state_dict()


def test_codes_are_means_of_the_posterior_and_decode_to_means_of_the_output() -> None:
    model, x = build(CLASSES), every_image()[:6]
    total, weight = torch.zeros(6, 2, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    for y, k in itertools.product(range(3), range(5)):
        z = torch.cat((model.points[k], torch.eye(3, dtype=torch.float64)[y]))[None]
        joint = model.output.log_prob(x, model.decoder(z)).flatten(1).sum(1).exp() * COUNTS[y]
        total, weight = total + joint[:, None] * model.points[k], weight + joint
    torch.testing.assert_close(model.encode(x), total / weight[:, None])

    z = torch.tensor([[0.3, -1.0]], dtype=torch.float64)
    masses = torch.zeros(4, 3, dtype=torch.float64)
    for y in range(3):
        out = model.decoder(torch.cat((z, torch.eye(3, dtype=z.dtype)[y][None]), 1)).flatten(2)
        masses += COUNTS[y] / 10 * level_masses(out, 3)[0]
    expected = masses @ torch.tensor([-1.0, 0, 1], dtype=torch.float64)
    torch.testing.assert_close(model.decode(z).flatten(), expected)


def test_options_shape_the_decoder() -> None:
    def sizes(data: DataInfo = SMALL, **model: Any) -> list[tuple[int, ...]]:
        return [tuple(p.shape) for p in build(data, **model).decoder.parameters() if p.ndim == 2]

    assert sizes(hidden=(8, 16)) == [(8, 2), (16, 8), (5 * 4, 16)]
    assert sizes(hidden=(), latent_dim=3) == [(5 * 4, 3)]
    assert sizes(hidden=(), components=3) == [(8 * 4, 2)]
    assert sizes(hidden=(), data=CLASSES) == [(5 * 4, 2 + 3)]
    kinds = {kind: build(activation=kind).log_prob(every_image()) for kind in ("tanh", "relu", "silu")}
    assert not torch.allclose(kinds["tanh"], kinds["relu"])
    assert not torch.allclose(kinds["silu"], kinds["relu"])
    assert not torch.allclose(build(latent_points=6).log_prob(every_image()), kinds["silu"])


def test_the_default_number_of_points_is_divided_among_the_classes() -> None:
    assert len(build(latent_points=None).points) == 1024
    assert len(build(CLASSES, latent_points=None).points) == 341
    many = replace(CLASSES, classes=100)
    assert len(GTM(GTMConfig(), many).points) == 32
    assert len(GTM(GTMConfig(model=GTMModel(latent_points=7)), many).points) == 7


def test_dropout_is_of_training_alone() -> None:
    model, batch = build(dropout=0.5), batch_of()
    context = Context(0, 0.0, 0, generator(0, "loss"))
    quiet = model.loss(batch, context).loss
    torch.testing.assert_close(quiet, bits_per_dim(model.log_prob(batch.x), 4).mean())
    assert not torch.allclose(model.train().loss(batch, context).loss, quiet)


def test_used_counts_the_latent_points_of_an_example() -> None:
    model, context = build(), Context(0, 0.0, 0, generator(0, "loss"))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    assert float(model.loss(batch_of(), context).log["used"]) == pytest.approx(5)
    assert float(build(latent_points=1).loss(batch_of(), context).log["used"]) == pytest.approx(1)


def test_images_under_a_density_are_dequantized() -> None:
    model, x = build(decoder="gaussian"), every_image()[:7]
    (found,) = model.likelihoods(x, noise=Seeds(0, range(7)), k=1)
    assert (found.kind, found.dequantization, found.is_bound) == ("exact", "uniform", True)
    u = Seeds(0, range(7)).rand((1, 2, 2)).double()
    expected = model.log_prob(x + (u - 0.5) * 2 / 2) + 4 * math.log(2 / 2)
    torch.testing.assert_close(found.log_prob, expected.detach())


def test_what_can_not_be_answered_is_refused() -> None:
    with pytest.raises(UsageError, match="no labels"):
        build(CLASSES).sample(SampleRequest(Seeds(0, range(2))))
    with pytest.raises(UsageError, match="lie between"):
        build().log_prob(every_image() * 0.9)


@pytest.mark.slow(depends=("plugins/zoo_vae", "zoo_core/training", "zoo_core/data", "zoo_core/nn"))
@pytest.mark.parametrize("task", ["unconditional", "class"])
def test_it_learns_digits(task: Task) -> None:
    """Seconds of training beat independent pixels (2.43 bits/dim) by far, on the test split."""
    data = load_digits(DataConfig(name="digits"))
    info = replace(data.info, task=task)
    config = GTMConfig(
        model=GTMModel(latent_points=64, components=1),
        train=TrainConfig(steps=150, batch_size=128),
    )
    torch.manual_seed(0)
    model, stream = GTM(config, info), TrainData(data.train, info, 0)
    harness = Harness(model, config.train, stream)
    harness.run()
    x = stream.to_model(data.test.examples(torch.arange(len(data.test))))
    with harness.quiet():
        (found,) = model.likelihoods(x, noise=Seeds(0, range(len(x))), k=1)
    assert float(bits_per_dim(found.log_prob, 64).mean()) < 2.25
