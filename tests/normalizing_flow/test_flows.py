"""Normalizing flows: determinants, inverses, normalization, the coordinates of images, zuko's defaults."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.making import made_of
from zoo_core.config import DataConfig
from zoo_core.data.loading import TrainData, dequantize, to_unit
from zoo_core.data.toy import TOYS
from zoo_core.errors import UsageError
from zoo_core.registry.manager import load_entry, manager
from zoo_core.seeds import Seeds, generator
from zoo_core.types import DataInfo, SampleRequest
from zoo_normalizing_flow.coordinates import Coordinates
from zoo_normalizing_flow.nsf import NSF, NSFConfig
from zoo_normalizing_flow.realnvp import Couplings, MultiScale, RealNVP, RealNVPConfig, RealNVPModel
from zoo_normalizing_flow.recipe import Bijection, Flow

MODELS = {"realnvp": (RealNVP, RealNVPConfig), "nsf": (NSF, NSFConfig)}
SMALL = {
    "realnvp": {"model.width": 8, "model.blocks": 1, "model.layers": 6, "model.hidden": 16},
    "nsf": {"model.hidden": (16,), "model.layers": 4},
}
SHAPES = [(2,), (5,), (1, 4, 4), (3, 2, 6), (1, 1, 3)]


def made(name: str, data: DataInfo, weight: float = 0.5, dtype: torch.dtype = torch.float64) -> Flow:
    """Return a flow whose weights are all random: none of its layers is the identity."""
    recipe: Flow = made_of(*MODELS[name], data, "", **SMALL[name]).to(dtype).eval()
    rng = generator(0, name)
    with torch.no_grad():
        for parameter in recipe.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.add_(weight * fan**-0.5 * torch.randn(parameter.shape, generator=rng).to(dtype))
    return recipe


def of_shape(shape: tuple[int, ...]) -> DataInfo:
    return DataInfo("some", shape, levels=17 if len(shape) == 3 else None)


def digits() -> tuple[TrainData, Tensor]:
    """Return the training data of digits and the test images, as a model sees them."""
    dataset = load_entry("dataset", manager().find("dataset", "digits"))(DataConfig())
    test = to_unit(dataset.test.examples(torch.arange(len(dataset.test))), 17)
    return TrainData(dataset.train, dataset.info, seed=0), test


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_log_determinant_is_that_of_the_jacobian(name: str, shape: tuple[int, ...]) -> None:
    """By autograd, of data to latents; catches a sign, a layer whose determinant is left out, and alpha's."""
    recipe = made(name, of_shape(shape))
    recipe.coordinates.scale.copy_(1 + torch.rand(shape, generator=generator(5)))
    recipe.coordinates.mean.copy_(torch.randn(shape, generator=generator(6)))
    x = (1.8 * torch.rand(2, *shape, generator=generator(1)) - 0.9).double()

    def latents(x: Tensor) -> Tensor:
        return recipe.net(recipe.coordinates(x)[0])[0]

    y, first = recipe.coordinates(x)
    z, second = recipe.net(y)
    for row in range(2):
        jacobian = torch.autograd.functional.jacobian(latents, x[row : row + 1])
        matrix = jacobian.reshape(math.prod(shape), math.prod(shape))
        assert float((first + second).detach()[row]) == pytest.approx(
            float(torch.linalg.slogdet(matrix)[1]), abs=1e-8
        )
    base = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(recipe.log_density(x), base + first + second)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_inverse_is_exact_in_float64(name: str, shape: tuple[int, ...]) -> None:
    recipe = made(name, of_shape(shape))
    x = (1.8 * torch.rand(20, *shape, generator=generator(2)) - 0.9).double()
    with torch.no_grad():
        z = recipe.net(recipe.coordinates(x)[0])[0]
        back = recipe.from_latents(z, SampleRequest(Seeds(0, range(20))))
        again = recipe.net(recipe.coordinates(back)[0])[0]
    assert float((back - x).abs().max()) < 1e-10
    assert float((again - z).abs().max()) < 1e-10


@pytest.mark.parametrize("name", MODELS)
def test_the_inverse_on_digits_is_within_1e5_in_float32(name: str) -> None:
    """On test images spread over their bins, in their units, with coordinates of the training split."""
    train, test = digits()
    recipe = made(name, train.info, weight=0.2, dtype=torch.float32)
    recipe.coordinates.fit(train)
    u = torch.rand(test.shape, generator=generator(3), dtype=torch.float64)
    x = dequantize(test.double(), 17, u)
    with torch.no_grad():
        y = recipe.coordinates(x)[0].float()
        z, _ = recipe.net(y)
        assert float((z - y.flatten(1)).abs().mean()) > 0.02  # it is not the identity
        back = recipe.from_latents(z, SampleRequest(Seeds(0, range(len(z)))))
        assert float((back - x).abs().max()) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_densities_of_the_plane_integrate_to_one(name: str) -> None:
    """By quadrature; catches a constant that is missing."""
    recipe = made(name, of_shape((2,)), weight=0.2)
    recipe.coordinates.scale.fill_(0.5)
    axis = torch.linspace(-6, 6, 401, dtype=torch.float64)
    with torch.no_grad():
        log_p = recipe.likelihoods(torch.cartesian_prod(axis, axis), noise=Seeds(0, range(401**2)), k=1)[0]
    assert log_p.kind == "exact"
    assert not log_p.is_bound
    assert float(log_p.log_prob.exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=3e-4)


@pytest.mark.parametrize("name", MODELS)
def test_dequantization_bounds_the_probability_of_the_levels(name: str) -> None:
    """Images of 1x2 pixels of 3 levels, whose 9 probabilities are integrals over their bins, by quadrature.

    The mean of the bound over its noise is at most log P, and that of the log-density over the bin.
    """
    recipe = made(name, DataInfo("few", (1, 1, 2), levels=3))
    fine, n = 24, 1000
    offset = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine
    u = torch.cartesian_prod(offset, offset).view(-1, 1, 1, 2)
    total = 0.0
    for first in range(3):
        for second in range(3):
            x = to_unit(torch.tensor([first, second]).view(1, 1, 1, 2), 3).double()
            with torch.no_grad():
                density = recipe.log_density(dequantize(x.expand(len(u), -1, -1, -1), 3, u)).exp()
                many = x.expand(n, -1, -1, -1)
                (found,) = recipe.likelihoods(many, noise=Seeds(first, range(n)), k=1)
            p = float(density.mean()) * (2 / 2) ** 2  # a bin of the model's range is 2 / (L - 1) wide
            total += p
            error = float(found.log_prob.std()) / n**0.5
            assert found.is_bound
            assert float(found.log_prob.mean()) < math.log(p) + 4 * error
            drawn = float(density.log().mean()) + 2 * math.log(2 / 2)
            assert float(found.log_prob.mean()) == pytest.approx(drawn, abs=4 * error + 1e-6)
    assert 0.5 < total < 1


class UniformInBin(Bijection):
    """The flow whose images have level k in every pixel, spread evenly over its bin.

    Args:
        coordinates: which it inverts.
        k: the level.
    """

    def __init__(self, coordinates: Coordinates, k: int) -> None:
        super().__init__()
        self.coordinates, self.k = coordinates, k
        self.unused = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        alpha, levels = self.coordinates.alpha, self.coordinates.levels
        assert levels is not None
        logit = y * self.coordinates.scale + self.coordinates.mean
        p = torch.sigmoid(logit)
        u = levels * (p - alpha) / (1 - 2 * alpha) - self.k
        z = torch.special.ndtri(u)
        slope = levels / (1 - 2 * alpha) * p * (1 - p) * self.coordinates.scale
        log_normal = -0.5 * (z.square() + math.log(2 * math.pi))
        return z.flatten(1), (slope.log() - log_normal).flatten(1).sum(1)


@pytest.mark.parametrize("k", [0, 7, 16])
def test_a_constant_pixel_can_reach_zero_bits(k: int) -> None:
    """Catches a constant of the logit, of its margin or of the bins, and a range that ends within a bin."""
    data = DataInfo("digits", (1, 8, 8), levels=17)
    recipe = RealNVP(RealNVPConfig(), data).double()
    recipe.coordinates.mean.fill_(0.3)
    recipe.coordinates.scale.fill_(1.7)
    recipe.net = UniformInBin(recipe.coordinates, k)
    x = to_unit(torch.full((5, 1, 8, 8), k), 17)
    (found,) = recipe.likelihoods(x, noise=Seeds(0, range(5)), k=1)
    assert found.is_bound
    torch.testing.assert_close(found.log_prob, torch.zeros(5, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["digits", *TOYS])
def test_nearly_all_coordinates_are_inside_the_splines(name: str) -> None:
    """Fewer than 1e-4 of the test split's coordinates lie outside [-5, 5].

    For digits, the standard deviation alone leaves out more than that: pixels that are nearly always black.
    """
    entry = manager().find("dataset", name)
    dataset = load_entry("dataset", entry)(load_entry("dataset", entry, "config")(name=name))
    train = TrainData(dataset.train, dataset.info, seed=0)
    coordinates = Coordinates(dataset.info, 0.05)
    coordinates.fit(train)
    x = dataset.test.examples(torch.arange(len(dataset.test)))
    if dataset.info.levels is not None:
        u = torch.rand(x.shape, generator=generator(4), dtype=torch.float64)
        x = dequantize(to_unit(x, dataset.info.levels).double(), dataset.info.levels, u)
    y, _ = coordinates(x.double())
    assert float((y.abs() > 5).double().mean()) < 1e-4
    assert float(y.std(0).max()) == pytest.approx(1, abs=0.25)
    if name == "digits":
        alone = y * coordinates.scale / (y * coordinates.scale).std(0)
        assert float((alone.abs() > 5).double().mean()) > 1e-4


def test_a_sample_of_nsf_takes_two_evaluations_of_each_network() -> None:
    """Catches zuko's default, whose inverse evaluates each network D times, and equal halves in a row."""
    recipe = made("nsf", of_shape((6,)))
    calls: list[int] = []
    layers = list(recipe.net.flow.transform.transforms)  # type: ignore[union-attr]
    for number, layer in enumerate(layers):
        layer.hyper.register_forward_hook(lambda *_, number=number: calls.append(number))
    with torch.no_grad():
        samples = recipe.sample(SampleRequest(Seeds(0, range(3))))
    assert samples.calls == 2
    assert all(calls.count(number) == 2 for number in range(len(layers)))
    changed = [set(torch.nonzero(layer.order).flatten().tolist()) for layer in layers]
    assert all(len(one) == 3 for one in changed)
    assert changed[0] != changed[1]


@pytest.mark.parametrize("net", [MultiScale(RealNVPModel(), (1, 8, 8)), Couplings(RealNVPModel(), 2)])
def test_a_new_realnvp_is_the_identity_and_can_change_every_value(net: Bijection) -> None:
    """Catches masks that never free a value."""
    shape = (1, 8, 8) if isinstance(net, MultiScale) else (2,)
    y = torch.randn(3, *shape, generator=generator(7))
    z, log_det = net(y)
    assert sorted(z.flatten().tolist()) == sorted(y.flatten().tolist())
    assert not bool(log_det.any())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1)
    assert bool((net(y)[0] != z).all())


def test_examples_that_cannot_be_halved_are_refused() -> None:
    one = DataInfo("one", (1,), levels=None)
    with pytest.raises(UsageError, match="at least 2"):
        RealNVP(RealNVPConfig(), one)
    with pytest.raises(UsageError, match="2 to 4,096"):
        NSF(NSFConfig(), one)
