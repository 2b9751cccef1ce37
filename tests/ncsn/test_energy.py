"""A score that is minus the gradient of a scalar."""

from __future__ import annotations

import pytest
import torch

from tests.making import randomized
from zoo_core.nn.mlp import MLP, MLPConfig
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.types import DataInfo
from zoo_ncsn.energy import Energy

POINTS = DataInfo("points", (2,), levels=None)
X = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
T = torch.full((6,), 3.0, dtype=torch.float64)


def network(seed=0):
    """An MLP with a last layer that is not zero, in float64."""
    torch.manual_seed(seed)
    net = MLP(MLPConfig(width=16, layers=1), POINTS).double()
    torch.nn.init.normal_(net.last.weight, std=0.3)
    # Sinusoids of time are float32; finite differences in x do not see it.
    net.time.layers = net.time.layers.float()
    net.time.register_forward_hook(lambda module, given, out: out.double())
    return net


def curl(field, x):
    """Return d f_y / dx - d f_x / dy of a field of the plane, (n,)."""
    jacobian = torch.autograd.functional.jacobian(lambda x: field(x).sum(0), x)  # (2, n, 2)
    return jacobian[1, :, 0] - jacobian[0, :, 1]


def test_the_field_is_the_gradient_of_the_energy():
    """Catches a sign, a missing half, or a gradient that stops at h: against central differences."""
    energy, step = Energy(network()), 1e-5
    found = energy(X, T)
    for axis in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[axis] = step
        slope = (energy.energy(X + shift, T) - energy.energy(X - shift, T)) / (2 * step)
        torch.testing.assert_close(found[:, axis], slope, rtol=1e-6, atol=1e-7)


def test_the_field_has_no_curl_and_a_networks_own_has():
    """Catches an output of the network that is passed off as a gradient."""
    net = network()
    assert float(curl(lambda x: Energy(net)(x, T), X).abs().max()) < 1e-9
    assert float(curl(lambda x: net(x, T), X).abs().min()) > 1e-3


def test_a_constant_added_to_the_energy_changes_nothing():
    """The lecture's note: p = exp(-f) / Z, and Z is never needed."""

    class Raised(Energy):
        def energy(self, x, t, cond=None):
            return super().energy(x, t, cond) + 1000.0

    net = network()
    assert torch.equal(Energy(net)(X, T), Raised(net)(X, T))


def test_a_new_energy_is_that_of_pure_noise():
    """Catches a start far from the answer: the network says x, which at high levels is the noise."""
    energy = Energy(MLP(MLPConfig(width=16), POINTS))
    x = torch.randn(5, 2)
    assert torch.equal(energy(x, torch.ones(5)), x)


def test_samplers_have_no_gradients_and_get_a_field_without_them():
    """Catches a wrapper that fails under no_grad, or that keeps a sampler's whole way in memory."""
    energy = Energy(network()).requires_grad_(False)
    with torch.no_grad():
        found = energy(X, T)
        assert not torch.is_grad_enabled()
    assert not found.requires_grad
    assert not X.requires_grad


@pytest.mark.parametrize("kind", ["mlp", "unet"])
def test_a_loss_of_the_gradient_reaches_every_weight(kind):
    """Catches a gradient without a graph, and attention that can't be differentiated twice."""
    if kind == "mlp":
        net = MLP(MLPConfig(width=16, layers=1), POINTS)
    else:
        net = UNet(UNetConfig(channels=8), DataInfo("digits", (1, 8, 8), levels=17))
    randomized(net)
    x = torch.randn(3, 2) if kind == "mlp" else torch.randn(3, 1, 8, 8)
    Energy(net)(x, torch.tensor([1.0, 5.0, 9.0])).square().mean().backward()
    # What is added to a constant that a later norm or softmax takes away gets none: biases of keys.
    missed = [name for name, p in net.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert missed == []


def test_attention_is_one_that_can_be_differentiated_twice():
    """Catches fused attention under an energy: on a GPU it has no second derivative."""

    class Asks(torch.nn.Module):
        def forward(self, x, t, cond=None):
            self.fused = torch.backends.cuda.flash_sdp_enabled()
            return x / 2

    before, net = torch.backends.cuda.flash_sdp_enabled(), Asks()
    Energy(net)(X, T)
    assert net.fused is False
    assert torch.backends.cuda.flash_sdp_enabled() is before
