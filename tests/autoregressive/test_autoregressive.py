"""Autoregressive models: causality, normalization, the mixture of a pixel, cached sampling."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import logistic as scipy_logistic

from tests.autoregressive.models import MODELS, VARIANTS, every_image, made
from zoo_autoregressive.mixture import ColorMixture
from zoo_autoregressive.pixelcnn import dilations
from zoo_autoregressive.recipe import check_images
from zoo_core.data.loading import to_unit
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds, generator
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("shape", "order"),
    [((1, 8, 8), "rows"), ((3, 3, 4), "rows"), ((1, 5, 2), "rows"), ((3, 3, 4), "columns")],
)
def test_a_value_depends_on_every_earlier_one_and_on_no_later_one(
    variant: str, shape: tuple[int, ...], order: str
) -> None:
    """Jacobian of log p(x_d | x_<d), pixels row by row or column by column, each with its colors in order.

    Catches a mask that lets a pixel or a color see itself or a later one, the blind spot up and to the right,
    too few layers to reach the first pixel, and colors that ignore one another.
    """
    name, options = VARIANTS[variant]
    recipe = made(name, shape, **{"model.order": order, **options})
    x = (1.4 * torch.rand(1, *shape, generator=generator(1, name), dtype=torch.float64) - 0.7).contiguous()
    pixels = torch.arange(math.prod(shape)).view(shape)
    places = pixels.permute((1, 2, 0) if order == "rows" else (2, 1, 0)).flatten()

    def conditionals(flat: torch.Tensor) -> torch.Tensor:
        return recipe.conditionals(flat.view(1, *shape)).flatten()[places]

    jacobian = torch.autograd.functional.jacobian(conditionals, x.flatten())[:, places]
    assert bool((jacobian.triu(1) == 0).all())
    seen = jacobian.tril().abs()
    assert bool((seen[torch.ones_like(seen).tril().bool()] > 0).all())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 2, 1)])
def test_all_images_of_three_levels_have_probability_one(name: str, shape: tuple[int, ...]) -> None:
    """81 images of 2x2 pixels, or of two pixels of two colors; catches a mass that is lost or added twice."""
    recipe = made(name, shape, levels=3)
    every = every_image(shape, 3)
    (found,) = recipe.likelihoods(every, noise=Seeds(0, range(len(every))), k=1)
    assert found.kind == "exact"
    assert not found.is_bound
    assert float(found.log_prob.exp().sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_samples_have_the_probabilities_of_the_likelihood(name: str) -> None:
    """Frequencies of the 9 images of 1x2 pixels of 3 levels among 20,000 samples, within 4 standard errors.

    Catches a cache that is not what the forward pass computes, and a component or level drawn wrongly.
    """
    shape, n = (1, 1, 2), 20_000
    recipe = made(name, shape, levels=3)
    every = every_image(shape, 3)
    p = recipe.likelihoods(every, noise=Seeds(0, range(9)), k=1)[0].log_prob.exp()
    with torch.no_grad():
        x = recipe.float().sample(SampleRequest(Seeds(0, range(n)))).x
    frequency = (x[:, None] == every).flatten(2).all(2).double().mean(0)
    assert bool(((frequency - p).abs() < 4 * (p * (1 - p) / n).sqrt() + 1e-9).all()), (frequency, p)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 4, 3)])
def test_cached_sampling_gives_the_parameters_of_the_forward_pass(
    variant: str, shape: tuple[int, ...]
) -> None:
    """Every pixel's parameters as `fill` computes them, against one forward pass over the finished images."""
    name, options = VARIANTS[variant]
    recipe, label = made(name, shape, classes=2, **options), torch.tensor([1, 0, 1])
    target = to_unit(torch.randint(17, (3, *shape), generator=generator(2, name)), 17).double()
    found: list[torch.Tensor] = []

    def pick(place: int, out: torch.Tensor) -> torch.Tensor:
        found.append(out)
        return target[:, :, place // shape[2], place % shape[2]]

    x = torch.zeros_like(target)
    with torch.no_grad():
        recipe.net.fill(x, pick, label)  # type: ignore[operator]
        whole = recipe.net(target, label)
    torch.testing.assert_close(x, target)
    torch.testing.assert_close(torch.stack(found, 2).unflatten(2, shape[1:]), whole, rtol=1e-9, atol=1e-9)


def test_above_are_three_pixels_of_the_row_above() -> None:
    """The network without its blocks: place 5 of a 3x3 image (second row, last column) reads 1, 2 and 4."""
    recipe = made("pixel-transformer", (1, 3, 3), **{"model.above": True})
    recipe.net.blocks = torch.nn.ModuleList()
    x = torch.rand(1, 1, 3, 3, generator=generator(5), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: recipe.net(v)[0, :, 1, 2].sum(), x)
    assert jacobian.flatten().nonzero().flatten().tolist() == [1, 2, 4]


def test_colors_follow_equation_3() -> None:
    """A pixel of two colors and two components, from scipy's logistic distribution function."""
    levels, k = 5, 2
    mixture = ColorMixture(levels, 2, k)
    out = torch.randn(mixture.outputs, generator=generator(3), dtype=torch.float64)
    logits, mean, log_scale = out[:2], out[2:6].view(k, 2), out[6:10].view(k, 2)
    coupling = torch.tanh(out[10:12])
    edges = (2 * torch.arange(1, levels) - 1) / (levels - 1) - 1
    centers = to_unit(torch.arange(levels), levels).double()

    def masses(location: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        cdf = torch.from_numpy(scipy_logistic(float(location), float(scale)).cdf(edges.numpy()))
        return torch.cat((cdf, torch.ones(1).double())) - torch.cat((torch.zeros(1).double(), cdf))

    joint = torch.zeros(levels, levels, dtype=torch.float64)
    for one in range(k):
        weight = logits.softmax(0)[one]
        first = masses(mean[one, 0], log_scale[one, 0].exp())
        for a in range(levels):
            second = masses(mean[one, 1] + coupling[one] * centers[a], log_scale[one, 1].exp())
            joint[a] += weight * first[a] * second
    x = torch.cartesian_prod(centers, centers)
    conditionals = mixture.conditionals(x, out.expand(len(x), -1))
    torch.testing.assert_close(conditionals.sum(1).exp().view(levels, levels), joint)
    torch.testing.assert_close(conditionals[:, 0].exp().view(levels, levels)[:, 0], joint.sum(1))


@pytest.mark.parametrize(("side", "expected"), [(8, [1, 2, 4, 1]), (28, [1, 2, 4, 8, 16, 1]), (1, [1, 1])])
def test_dilations_repeat_once_the_image_is_spanned(side: int, expected: list[int]) -> None:
    assert dilations(len(expected), side, side) == expected


def test_the_loss_is_the_mean_code_length_in_bits() -> None:
    """Catches nats in place of bits and a sum in place of a mean over the values."""
    recipe = made("pixelcnn", (1, 2, 2), levels=3)
    x = to_unit(torch.randint(3, (6, 1, 2, 2), generator=generator(4)), 3)
    log_prob = recipe.likelihoods(x, noise=Seeds(0, range(6)), k=1)[0].log_prob
    batch = Batch(x.double(), Cond(), torch.arange(6))
    loss = recipe.loss(batch, Context(0, 0.0, 0, torch.Generator())).loss.detach()
    assert float(loss) == pytest.approx(float(-log_prob.mean() / (4 * math.log(2))), abs=1e-9)


def test_points_and_large_images_are_refused() -> None:
    with pytest.raises(UsageError, match="plugin=realnvp"):
        check_images("pixelcnn", DataInfo("ring", (2,), levels=None))
    with pytest.raises(UsageError, match="at most 4,096"):
        check_images("pixelcnn", DataInfo("photographs", (3, 65, 64), levels=256))
    with pytest.raises(UsageError, match="multiple of heads"):
        made("pixel-transformer", (1, 2, 2), **{"model.heads": 5})
