"""From a request to samples: the start, the count of calls, options, and independence of the batch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tests.diffusion.analytic import Exact, gaussian, mixture, vp
from zoo_core.diffusion import grids
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.options import DDIMConfig
from zoo_core.diffusion.sampling import BoundSampler, bind, draw
from zoo_core.diffusion.specs import DDIM, SAMPLERS
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.types import SampleRequest

SPECS = {spec.name: spec for spec in SAMPLERS}
MEAN = torch.tensor([0.5, -0.3], dtype=torch.float64)
EXACT = Exact(gaussian(MEAN, torch.tensor([[0.5, 0.2], [0.2, 0.4]], dtype=torch.float64)), vp())


def two_modes():
    weights, centers = torch.tensor([0.4, 0.6]), torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
    return Exact(mixture(weights, centers, 0.2), vp())


@pytest.mark.parametrize("name", SPECS)
def test_a_sample_depends_on_its_seed_alone(name):
    """Catches noise drawn for the batch: sample k is the same in any batch, to pf-ode's tolerance there."""
    sampler = bind(SPECS[name])
    whole = draw(two_modes(), (2,), SampleRequest(Seeds(7, range(6)), steps=20), sampler).x
    parts = [
        draw(two_modes(), (2,), SampleRequest(Seeds(7, rows), steps=20), sampler).x
        for rows in ([0], [1, 2, 3], [4, 5])
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=5e-3 if name == "pf-ode" else 1e-5)
    assert whole.dtype == torch.float32


def test_start_is_the_denoisers_prior():
    """Catches a chain started from N(0, 1), or from sigma_max where the schedule preserves variance."""
    seen = []

    def stop(denoise, x, sigmas, *, noise, callback=None):
        seen.append(x)
        return x

    sampler = BoundSampler("stop", stop, grids.trailing, 3)
    draw(EXACT, (2,), SampleRequest(Seeds(0, range(5))), sampler)
    torch.testing.assert_close(seen[0], Seeds(0, range(5)).randn((2,), name="start") * EXACT.prior_std)
    assert EXACT.prior_std == pytest.approx((1 + EXACT.sigma_max**2) ** 0.5)


@pytest.mark.parametrize(("name", "calls"), [("ddpm", 9), ("ddim", 9), ("euler", 9), ("heun", 17)])
def test_model_evaluations_are_counted(name, calls):
    """Catches steps reported as calls; a denoiser that counts for itself (guidance) is believed."""
    request = SampleRequest(Seeds(0, range(2)), sampler=bind(SPECS[name]), steps=9)
    assert draw(EXACT, (2,), request, bind(DDIM)).calls == calls
    own = SigmaDenoiser(lambda x, t, cond: torch.zeros_like(x), vp(), "eps")
    assert draw(own, (2,), request, bind(DDIM)).calls == calls

    class Twice(Exact):
        calls = 0

        def __call__(self, x, sigma, cond=None):
            self.calls += 2
            return super().__call__(x, sigma)

    assert draw(Twice(EXACT.x0_of, vp()), (2,), request, bind(DDIM)).calls == 2 * calls


def test_trajectory_only_where_asked():
    """Catches states kept for every batch, and states whose scale no image can show."""
    request = SampleRequest(Seeds(0, range(3)), steps=5)
    assert draw(EXACT, (2,), request, bind(DDIM)).trajectory == ()
    kept = draw(EXACT, (2,), SampleRequest(Seeds(0, range(3)), steps=5, trace=True), bind(DDIM)).trajectory
    assert [state.shape for state in kept] == [(3, 2)] * 5
    torch.testing.assert_close(kept[0], Seeds(0, range(3)).randn((2,), name="start"))


def test_default_steps_fit_the_model():
    """Catches a default of 1,000 steps that fails on a chain of 40; a number asked for still fails."""
    short = Exact(EXACT.x0_of, vp(40))
    ddpm = bind(SPECS["ddpm"])
    assert draw(short, (2,), SampleRequest(Seeds(0, range(2)), sampler=ddpm), bind(DDIM)).calls == 40
    with pytest.raises(UsageError, match="40 noise levels"):
        draw(short, (2,), SampleRequest(Seeds(0, range(2)), sampler=ddpm, steps=41), bind(DDIM))


def test_options_reach_the_function():
    """Catches an eta that is parsed and dropped, and a name that is passed on as an option."""
    request = SampleRequest(Seeds(0, range(4)), steps=10)
    still = draw(two_modes(), (2,), request, bind(DDIM)).x
    request = SampleRequest(
        Seeds(0, range(4)), sampler=bind(DDIM, DDIMConfig(name="ddim", eta=1.0)), steps=10
    )
    noisy = draw(two_modes(), (2,), request, bind(DDIM)).x
    request = SampleRequest(Seeds(0, range(4)), sampler=bind(SPECS["ancestral"]), steps=10)
    torch.testing.assert_close(noisy, draw(two_modes(), (2,), request, bind(DDIM)).x)
    assert not torch.allclose(still, noisy)


def test_eta_has_bounds():
    """Catches an eta above 1, whose direction would be the root of a negative number."""
    with pytest.raises(ValueError, match="less than or equal to 1"):
        DDIMConfig(eta=1.5)


def test_no_gradient_is_kept():
    """Catches a graph over all steps, which fills the memory."""
    weight = torch.ones((), requires_grad=True)
    denoise = Exact(lambda x, sigma: weight * x / (1 + sigma**2), vp())
    assert not draw(denoise, (2,), SampleRequest(Seeds(0, range(2)), steps=3), bind(DDIM)).x.requires_grad


def test_listing_samplers_costs_no_torch():
    """Catches an import that makes `zoo list` slow."""
    code = (
        "import sys, zoo_core.diffusion.specs, zoo_core.diffusion.options; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
