"""The paper's network: its size, its norm by hand, its levels and its sides."""

from __future__ import annotations

import pytest
import torch

from tests.making import settings
from zoo_core.errors import UsageError
from zoo_core.types import DataInfo
from zoo_ncsn.ncsn import NCSN, NCSNConfig
from zoo_ncsn.refinenet import LevelNorm, RefineNet, Residual

DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)


def size(f, levels, channels):
    """Parameters of the network as appendix A of the paper and the authors' code lay it out."""
    two = 2 * f

    def norm(c):
        return 3 * c * levels

    def conv(given, out, side=3, bias=True):
        return given * out * side**2 + bias * out

    def block(given, out, shortcut=0):
        return norm(given) + conv(given, given) + norm(given) + conv(given, out) + shortcut

    def units(c, count):
        return count * 2 * (norm(c) + conv(c, c, bias=False))

    def refine(given, out, last=1):
        fused = sum(norm(c) + conv(c, out) for c in given) if len(given) > 1 else 0
        pooled = 2 * (norm(out) + conv(out, out, bias=False))
        return sum(units(c, 2) for c in given) + fused + pooled + units(out, last)

    down = 2 * block(f, f) + block(f, two, conv(f, two, 1)) + block(two, two)
    down += 2 * (block(two, two, conv(two, two)) + block(two, two))
    up = refine([two], two) + refine([two, two], two) + refine([two, two], f) + refine([f, f], f, last=3)
    return conv(channels, f) + down + up + norm(f) + conv(f, channels)


@pytest.mark.parametrize(("features", "levels", "channels"), [(128, 10, 3), (8, 5, 1)])
def test_it_has_the_papers_layers(features, levels, channels):
    """Catches a missing layer, a bias where there is none, and weights that levels share."""
    with torch.device("meta"):
        net = RefineNet(channels, features, levels)
    assert sum(p.numel() for p in net.parameters()) == size(features, levels, channels)


def test_the_norm_is_the_papers():
    """Catches a mean that is lost: gamma ((x - mu) / s + alpha (mu - m) / v) + beta, by hand."""
    norm = LevelNorm(3, 4).double()
    torch.nn.init.normal_(norm.table.weight)
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 1
    found = norm(x, torch.tensor([2, 0]))
    for row, level in enumerate((2, 0)):
        gamma, alpha, beta = norm.table.weight[level].reshape(3, 3)
        mu = [float(x[row, c].mean()) for c in range(3)]
        m = sum(mu) / 3
        v = (sum((each - m) ** 2 for each in mu) / 2) ** 0.5
        for c in range(3):
            s = float(x[row, c].var(correction=0)) ** 0.5
            want = gamma[c] * ((x[row, c] - mu[c]) / s + alpha[c] * (mu[c] - m) / v) + beta[c]
            torch.testing.assert_close(found[row, c], want, rtol=1e-4, atol=1e-4)


def test_each_level_has_weights_of_its_own():
    """Catches a level that is off by one: levels are 1..L, and only the level asked for is trained."""
    net = RefineNet(1, 8, 3)
    for level in (1, 2, 3):
        net.zero_grad()
        net(torch.randn(2, 1, 8, 8), torch.full((2,), level)).sum().backward()
        for module in net.modules():
            if isinstance(module, LevelNorm):
                used = module.table.weight.grad.abs().sum(1) > 0
                assert used.tolist() == [level == each for each in (1, 2, 3)]


def test_every_parameter_is_alive():
    """Catches a layer that is built and left out."""
    net = RefineNet(1, 8, 2)
    net(torch.randn(4, 1, 8, 8), torch.tensor([1, 2, 1, 2])).square().sum().backward()
    dead = [name for name, p in net.named_parameters() if not float(p.grad.abs().sum())]
    assert not dead


@pytest.mark.parametrize("side", [8, 7, 28])
def test_sides_are_halved_once_and_come_back(side):
    """Catches stages that halve where they should look further by dilation, and an odd side that is lost."""
    net = RefineNet(1, 4, 2)
    sides = []
    for module in net.modules():
        if isinstance(module, Residual):
            module.register_forward_hook(lambda module, given, out: sides.append(out.shape[-1]))
    x = torch.randn(1, 1, side, side)
    assert net(x, torch.tensor([1])).shape == x.shape
    half = (side + 1) // 2
    assert sides == [side, side, *[half] * 6]


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (DataInfo("moons", (2,), levels=None), {}),
        (DataInfo("digits", (1, 8, 8), levels=17, classes=10, task="class"), {}),
        (DIGITS, {"model.levels": "continuous"}),
    ],
    ids=["points", "class", "continuous"],
)
def test_what_it_can_not_take_is_refused(data, options):
    """Catches an index error deep in a table, and a condition that is silently not heeded."""
    config = settings(NCSNConfig, **{"model.net": "refinenet"}, **options)
    with pytest.raises(UsageError, match="refinenet"):
        NCSN(config, data)
