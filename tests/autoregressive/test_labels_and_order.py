"""Autoregressive models conditioned on labels, and pixels predicted row by row or column by column."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chisquare

from tests.autoregressive.models import MODELS, every_image, made
from zoo_autoregressive.recipe import Autoregressive
from zoo_core.data.loading import Resident, TrainData, to_unit
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import config_hash, resolve
from zoo_core.seeds import Seeds, generator
from zoo_core.types import Batch, Cond, Context, DataInfo, Likelihood, SampleRequest

ORDERS = ("rows", "columns")
HASHES = {"pixelcnn": "fc05d4564059", "pixel-transformer": "dd4e2a398f2a"}
"""Config hashes of the default runs on digits, recorded before there were labels and orders."""
SUMS = {"pixelcnn": (67, 5052.776124), "pixel-transformer": (44, 5579.557846)}
"""Tensors of a default model of digits from seed 0, and the sum of their absolute values, likewise."""


def marginal(recipe: Autoregressive, x: torch.Tensor) -> Likelihood:
    """Return the likelihood of images without labels."""
    (found,) = recipe.likelihoods(x, noise=Seeds(0, range(len(x))), k=1)
    return found


def counted(recipe: Autoregressive, label: list[int]) -> None:
    """Let a model count the labels of training data, as its training begins."""
    images = torch.zeros(len(label), *recipe.data.shape, dtype=torch.uint8)
    (stage,) = recipe.stages()
    assert stage.begin is not None
    stage.begin(TrainData(Resident(images, torch.tensor(label)), recipe.data, seed=0))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("order", ORDERS)
def test_images_of_each_label_and_of_all_have_probability_one(name: str, order: str) -> None:
    """81 images of 2x2 pixels and 3 levels, given each of 3 labels, and summed over labels."""
    recipe, every = made(name, (1, 2, 2), 3, classes=3, **{"model.order": order}), every_image((1, 2, 2), 3)
    counted(recipe, [0, 0, 0, 1, 2, 2])
    for y in range(3):
        given = recipe.log_prob(every, torch.full((81,), y)).detach()
        assert float(given.exp().sum()) == pytest.approx(1, abs=1e-9)
    assert float(marginal(recipe, every).log_prob.exp().sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_the_marginal_is_the_sum_over_classes_as_frequent_as_in_training(name: str) -> None:
    """log (p(0) p(x | 0) + ...) by hand; class 3 does not occur, and none is preferred untrained."""
    recipe, every = made(name, (1, 1, 2), 3, classes=4), every_image((1, 1, 2), 3)
    given = torch.stack([recipe.log_prob(every, torch.full((9,), y)).exp() for y in range(4)])
    torch.testing.assert_close(marginal(recipe, every).log_prob, given.mean(0).log())
    counted(recipe, [1, 0, 1, 2, 1, 0, 1, 1])
    found = marginal(recipe, every)
    by_hand = (2 * given[0] + 5 * given[1] + 1 * given[2]) / 8
    torch.testing.assert_close(found.log_prob, by_hand.log())
    assert (found.name, found.calls, found.log_prob.dtype) == ("exact", 4, torch.float64)


@pytest.mark.parametrize("name", MODELS)
def test_the_label_changes_every_conditional(name: str) -> None:
    """Of every pixel and color, the first pixel too, which sees nothing else."""
    recipe, x = made(name, (2, 3, 4), classes=2), torch.zeros(1, 2, 3, 4, dtype=torch.float64)
    given = [recipe.conditionals(x, torch.tensor([y])) for y in range(2)]
    assert bool((given[0] != given[1]).all())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_label_adds_its_vector_where_the_position_is_added(name: str, order: str) -> None:
    """A model given a label is the one without labels whose position at every pixel is moved by a vector."""
    shape = (1, 3, 4)
    recipe = made(name, shape, classes=3, **{"model.order": order})
    plain = made(name, shape, **{"model.order": order})
    x = to_unit(torch.randint(17, (2, *shape), generator=generator(5)), 17).double()
    weights = recipe.net.state_dict()
    vector = weights.pop("label.weight")[2]
    moved = vector if name == "pixel-transformer" else vector[:, None, None]
    weights["position"] = weights["position"] + moved
    plain.net.load_state_dict(weights)
    torch.testing.assert_close(recipe.log_prob(x, torch.tensor([2, 2])), plain.log_prob(x))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("order", ORDERS)
def test_samples_given_labels_have_the_probabilities_of_their_images(name: str, order: str) -> None:
    """Chi-square of the 16 images of 2x2 pixels of 2 levels among 3,000 samples of each of 2 labels, mixed.

    The weights are such that another label, or the transposed images, are rejected.
    """
    recipe, n = made(name, (1, 2, 2), 2, classes=2, **{"model.order": order, "model.components": 1}), 6_000
    every, label = every_image((1, 2, 2), 2), torch.arange(n) % 2
    with torch.no_grad():
        recipe.net.label.weight.mul_(4)  # type: ignore[union-attr, operator]
        p = [recipe.log_prob(every, torch.full((16,), y)).exp() for y in range(2)]
        x = recipe.float().sample(SampleRequest(Seeds(0, range(n)), Cond(label=label))).x
    bits = torch.arange(4).flip(0)
    for y in range(2):
        count, transposed = (
            torch.bincount(((some > 0).flatten(1) << bits).sum(1), minlength=16)
            for some in (x[label == y], x[label == y].transpose(2, 3))
        )
        assert chisquare(count, n / 2 * p[y]).pvalue > 1e-3
        assert chisquare(count, n / 2 * p[1 - y]).pvalue < 1e-6
        assert chisquare(transposed, n / 2 * p[y]).pvalue < 1e-6


def test_the_loss_is_the_mean_code_length_given_the_labels() -> None:
    recipe, label = made("pixelcnn", (1, 2, 2), 3, classes=3), torch.tensor([2, 0, 1, 1, 2, 0])
    x = to_unit(torch.randint(3, (6, 1, 2, 2), generator=generator(4)), 3)
    loss = recipe.loss(
        Batch(x.double(), Cond(label=label), torch.arange(6)), Context(0, 0, 0, torch.Generator())
    )
    bits = -recipe.log_prob(x, label).mean() / (4 * math.log(2))
    assert float(loss.loss.detach()) == pytest.approx(float(bits.detach()), abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_without_labels_nothing_has_changed(name: str) -> None:
    """Names, shapes and random draws of the weights, and the config hash, of a model without labels."""
    kind, config = MODELS[name]
    states = {}
    for task in ("unconditional", "class"):
        torch.manual_seed(0)
        states[task] = kind(config(), DataInfo("digits", (1, 8, 8), 17, 10, task=task)).state_dict()
    plain, labeled = states["unconditional"], states["class"]
    assert set(labeled) - set(plain) == {"net.label.weight", "frequencies"}
    assert all(torch.equal(value, labeled[key]) for key, value in plain.items())
    total = float(sum(value.double().abs().sum() for value in plain.values()))
    assert (len(plain), total) == (SUMS[name][0], pytest.approx(SUMS[name][1], rel=1e-6))
    assert config_hash(resolve([f"plugin={name}", "data=digits"])) == HASHES[name]
    assert config_hash(resolve([f"plugin={name}", "data=digits", "model.order=columns"])) != HASHES[name]


@pytest.mark.parametrize("name", MODELS)
def test_columns_are_the_rows_of_the_transposed_image(name: str) -> None:
    """Probabilities, conditionals and samples, of images that are not square, with the same weights."""
    rows, columns = made(name, (2, 4, 3)), made(name, (2, 3, 4), **{"model.order": "columns"})
    x = to_unit(torch.randint(17, (3, 2, 3, 4), generator=generator(6)), 17).double()
    by_rows = rows.conditionals(x.transpose(2, 3)).transpose(2, 3)
    torch.testing.assert_close(columns.conditionals(x), by_rows)
    torch.testing.assert_close(columns.log_prob(x), by_rows.flatten(1).sum(1))
    drawn = [one.float().sample(SampleRequest(Seeds(0, range(5)))).x for one in (rows, columns)]
    assert torch.equal(drawn[0].transpose(2, 3), drawn[1])
    assert drawn[1].shape == (5, 2, 3, 4)


@pytest.mark.parametrize("name", MODELS)
def test_the_order_changes_the_probability_of_an_image(name: str) -> None:
    rows, columns = (made(name, (1, 3, 3), **{"model.order": order}) for order in ORDERS)
    x = to_unit(torch.randint(17, (4, 1, 3, 3), generator=generator(7)), 17).double()
    assert bool((rows.log_prob(x) != columns.log_prob(x)).all())


@pytest.mark.parametrize("order", ORDERS)
def test_the_entropies_of_the_next_value_add_up_to_the_entropy(order: str) -> None:
    """Over all images with two colors, weighted by their probability; for one label and for another."""
    recipe = made("pixelcnn", (2, 1, 2), 3, classes=2, **{"model.order": order})
    every = every_image((2, 1, 2), 3).double()
    for y in range(2):
        label = torch.full((81,), y)
        log_p = recipe.log_prob(every, label).detach()
        found = recipe.conditional_entropies(every, label)
        torch.testing.assert_close((log_p.exp() * found).sum(), -(log_p.exp() * log_p).sum())
        assert float(found.std()) < float(log_p.std())


def test_labels_that_are_missing_or_unknown_are_refused() -> None:
    labeled, plain = (made("pixelcnn", (1, 1, 2), 3, classes=classes) for classes in (2, 0))
    x = torch.zeros(2, 1, 1, 2)
    with pytest.raises(UsageError, match="was given no labels"):
        labeled.log_prob(x)
    with pytest.raises(UsageError, match="was given no labels"):
        labeled.sample(SampleRequest(Seeds(0, range(2)), Cond()))
    with pytest.raises(UsageError, match=r"labels \[2\] of a model with 2 classes"):
        labeled.log_prob(x, torch.tensor([2, 1]))
    with pytest.raises(UsageError, match=r"data\.task=class"):
        plain.log_prob(x, torch.tensor([0, 0]))
