"""The NCSN recipe: its loss in closed form, its levels, its samplers, its bound."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.making import batch, context, made_of, settings
from zoo_core.diffusion.likelihood import bound, discretized_gaussian
from zoo_core.diffusion.ode import flow_log_prob
from zoo_core.diffusion.sampling import bind
from zoo_core.diffusion.specs import ANNEALED_LANGEVIN, SAMPLERS
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, HasDenoiser
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import Seeds
from zoo_core.types import Context, DataInfo, SampleRequest
from zoo_ncsn import zoo_plugins
from zoo_ncsn.ncsn import NCSN, NCSNConfig, score_matching

DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
MOONS = DataInfo("moons", (2,), levels=None)


def recipe(data=DIGITS, **options):
    return made_of(NCSN, NCSNConfig, data, **options).eval()


class Spy(nn.Module):
    """Keeps what the network is given and says nothing."""

    def forward(self, x, t, cond=None):
        self.x, self.t = x, t
        return torch.zeros_like(x)


# -- the loss

N, S0 = 200_000, 0.6


def loss_of(gain, sigma, scale=1.0):
    """The mean loss, and its standard error, of gain times the true score of data N(0, (scale S0)^2)."""
    rng = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(N, 1, generator=rng, dtype=torch.float64) for _ in range(2))
    level = torch.full((N,), scale * sigma, dtype=torch.float64)
    var = scale**2 * (S0**2 + sigma**2)
    found = score_matching(lambda noisy: -gain * noisy / var, scale * S0 * x, level, eps)
    return float(found.mean()), float(found.std()) / math.sqrt(N)


@pytest.mark.parametrize("sigma", [0.1, 0.6, 3.0])
def test_loss_of_the_true_score_of_noised_data(sigma):
    """Catches E32 and E35: 1/2 E |eps + sigma s*|^2 = 1/2 s0^2 / (s0^2 + sigma^2), and a 1/2 that is lost."""
    found, error = loss_of(1.0, sigma)
    assert found == pytest.approx(S0**2 / (S0**2 + sigma**2) / 2, abs=4.5 * error)


@pytest.mark.parametrize("sigma", [0.1, 0.6, 3.0])
def test_the_optimum_is_the_score_of_the_noised_data(sigma):
    """Catches the clean data's score as target: a gain g costs 1/2 (1 - g)^2 sigma^2 / (s0^2 + sigma^2)."""
    best, _ = loss_of(1.0, sigma)
    for gain in (0.8, 1.2, 1 + (sigma / S0) ** 2):  # the last is the clean data's
        found, error = loss_of(gain, sigma)
        extra = (1 - gain) ** 2 * sigma**2 / (S0**2 + sigma**2) / 2
        assert found - best == pytest.approx(extra, abs=4.5 * error)


def test_loss_does_not_depend_on_the_units():
    """Catches E35, a division by sigma where sigma^2 is meant: data and levels ten times as large."""
    assert loss_of(0.9, 0.5, scale=10.0)[0] == pytest.approx(loss_of(0.9, 0.5)[0], rel=1e-9)


def test_a_level_is_a_standard_deviation():
    """Catches E33, N(0, sigma I) for N(0, sigma^2 I), and a shifted time: what each level adds to 0."""
    made = recipe(MOONS, **{"model.L": 8, "model.sigma_min": 0.1, "model.sigma_max": 4.0})
    made.net = spy = Spy()
    made.loss(batch(torch.zeros(80_000, 2)), context())
    assert set(spy.t.tolist()) == set(range(1, 9))
    for t, sigma in enumerate(made.schedule.levels.tolist(), 1):
        seen = spy.x[spy.t == t]
        assert float(seen.std()) == pytest.approx(sigma, rel=4.5 / math.sqrt(2 * seen.numel()))


def test_loss_is_that_of_the_network_as_a_score():
    """Catches a sign, or a sigma, between the network and the score: at a network of zero it is 1/2."""
    made = recipe(DIGITS)
    made.net = Spy()
    found = made.loss(batch(torch.zeros(500, 1, 8, 8)), context()).loss
    assert float(found) == pytest.approx(0.5, abs=0.5 * 4.5 * math.sqrt(2 / (500 * 64)))

    class Noise(nn.Module):
        def forward(self, x, t, cond=None):
            return x / made.schedule.sigma(t).reshape(-1, 1, 1, 1).to(x)  # eps itself, where the data are 0

    made.net = Noise()
    assert float(made.loss(batch(torch.zeros(50, 1, 8, 8)), context()).loss) < 1e-9
    x = 0.05 * torch.randn(3, 1, 8, 8)
    for sigma in made.schedule.levels:
        assert float(made.denoiser()(sigma.float() * x, sigma).abs().max()) < 1e-5  # and x0 is found there


def test_loss_is_pure_and_seeded():
    """Catches noise from the global generator, and a loss that changes the model."""
    made = recipe(**{"model.net": "energy"})
    before = {name: value.clone() for name, value in made.state_dict().items()}
    x = torch.rand(4, 1, 8, 8) * 2 - 1
    first = made.loss(batch(x), context(3)).loss
    torch.manual_seed(99)
    assert torch.equal(first, made.loss(batch(x), context(3)).loss)
    assert not torch.equal(first, made.loss(batch(x), context(4)).loss)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_stages_declare_one_network():
    """Catches an average that is configured and not declared, and a schedule that would be trained."""
    made = recipe()
    (stage,) = made.stages()
    (phase,) = stage.phases
    assert stage.optimizers[phase.optimizer] == made.config.optim.net
    assert stage.ema == {"net": made.config.train.ema}
    assert {id(p) for p in made.parameters()} == {id(p) for m in phase.updates for p in m.parameters()}


# -- sampling

CALLS = {"heun": 5, "edm-stochastic": 5, "restart": 5 + 2 * 3 * 2, "predictor-corrector": 5}
CALLS |= {"annealed-langevin": 25}
"""In 3 steps, where it is not 3."""


@pytest.mark.parametrize("data", [DIGITS, MOONS], ids=["digits", "moons"])
@pytest.mark.parametrize("name", [spec.name for spec in SAMPLERS if spec.name != "diffusers"])
def test_every_sampler_drives_it(data, name):
    """Catches a network that can't be called at a level that some grid visits."""
    sampler = bind(next(spec for spec in SAMPLERS if spec.name == name))
    drawn = recipe(data).sample(SampleRequest(Seeds(0, range(3)), sampler=sampler, steps=3))
    assert drawn.x.shape == (3, *data.shape)
    assert bool(torch.isfinite(drawn.x).all())
    if name != "pf-ode":  # which takes what its tolerance asks for
        assert drawn.calls == CALLS.get(name, 3)


@pytest.mark.parametrize(
    "options",
    [{"model.net": "energy"}, {"model.net": "refinenet"}, {"model.levels": "continuous"}],
    ids=str,
)
@pytest.mark.parametrize("name", ["annealed-langevin", "heun"])
def test_its_variants_are_sampled_too(name, options):
    """Catches a sampler without gradients under an energy, and a schedule that is taken for granted."""
    sampler = bind(next(spec for spec in SAMPLERS if spec.name == name))
    drawn = recipe(**options).sample(SampleRequest(Seeds(0, range(2)), sampler=sampler, steps=2))
    assert bool(torch.isfinite(drawn.x).all())


def test_its_own_sampler_makes_a_call_for_each_level_and_repeat():
    """Catches E36, an inner loop that is one short: L T calls, from noise of sigma_max, at trained levels."""
    made = settings(NCSNConfig, **{"sampler.repeats": 4, "sampler.clean": False, "model.sigma_max": 5.0})
    model = NCSN(made, MOONS).eval()
    model.net = spy = Spy()
    times = []
    spy.register_forward_hook(lambda module, given, out: times.append(int(given[1][0])))
    first = []
    spy.register_forward_hook(lambda module, given, out: first.append(given[0]))
    sampler = bind(ANNEALED_LANGEVIN, made.sampler)
    drawn = model.sample(SampleRequest(Seeds(0, range(2000)), sampler=sampler))
    assert drawn.calls == made.model.L * 4
    assert times == [t for t in range(made.model.L, 0, -1) for _ in range(4)]
    assert float(first[0].std()) == pytest.approx(5.0, rel=4.5 / math.sqrt(2 * first[0].numel()))


def test_another_sampler_may_be_asked_for():
    """Catches a default sampler whose options are passed on to one that has none of them."""
    own = resolve(["plugin=ncsn"]).sampler
    assert own.name == "annealed-langevin"
    assert resolve(["plugin=ncsn", "sampler.convention=paper"]).sampler.step == own.step
    assert resolve(["plugin=ncsn", "sampler=heun"]).sampler.model_dump() == {
        "name": "heun",
        "grid": "default",
    }
    assert resolve(["plugin=ncsn", "sampler=langevin"]).sampler.level == 0.2


@pytest.mark.slow(depends=("zoo_core/diffusion", "zoo_core/nn", "plugins/zoo_ncsn"))
@pytest.mark.parametrize("options", [{}, {"model.net": "energy"}, {"model.levels": "continuous"}], ids=str)
def test_a_trained_network_learns_its_data(options):
    """Catches a model whose samples do not follow its training: points on a ring of radius 0.7."""
    made = recipe(MOONS, **{"model.width": 48, "model.L": 20, "model.sigma_max": 3.0} | options)
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(made.parameters(), 3e-3)
    for _ in range(700):
        angle = 2 * math.pi * torch.rand(192, generator=rng)
        x = 0.7 * torch.stack((angle.cos(), angle.sin()), 1)
        optimizer.zero_grad()
        made.loss(batch(x), Context(0, 0.0, 0, rng)).loss.backward()
        optimizer.step()
    made.requires_grad_(False)
    radius = made.sample(SampleRequest(Seeds(1, range(500)), steps=20)).x.norm(dim=1)
    assert float(radius.mean()) == pytest.approx(0.7, abs=0.08)
    assert float(radius.std()) < 0.2


# -- what it can do


def test_capabilities():
    """Catches a capability that its protocol does not find, and a schedule that hides its levels."""
    made = recipe()
    assert isinstance(made, HasDenoiser)
    denoise = made.denoiser()
    assert isinstance(denoise, Denoiser)
    assert len(denoise.levels) == made.config.model.L
    assert denoise.prior_std == made.config.model.sigma_max
    assert recipe(**{"model.levels": "continuous"}).denoiser().levels is None


def test_only_without_levels_is_there_a_probability_flow():
    """Catches a likelihood of a field that nobody trained: between the levels of a schedule there is none."""
    x, noise = torch.zeros(2, 2), Seeds(0, range(2))
    with pytest.raises(UsageError, match="knows 6 levels"):
        flow_log_prob(recipe(MOONS).denoiser(), x, noise=noise)
    free = recipe(MOONS, **{"model.levels": "continuous"})
    assert free.likelihoods(x, noise=noise, k=1) == []
    found = flow_log_prob(free.denoiser(), x, noise=noise, tolerance=1e-2)
    assert bool(torch.isfinite(found.log_prob).all())


@pytest.mark.parametrize(
    ("options", "spread"),
    [({}, False), ({"model.levels": "continuous"}, True), ({"model.dequantize": True}, True)],
    ids=str,
)
def test_images_are_dequantized_without_levels_or_where_asked(options, spread):
    """Catches a density that is trained on bare levels, where it has no bound, and an option not read."""
    made = recipe(**options)
    centers = torch.randint(0, 17, (50, 1, 8, 8)) / 8 - 1.0
    seen = made.training_x(batch(centers), torch.Generator().manual_seed(0))
    assert torch.equal(seen, centers) is not spread
    assert float((seen - centers).abs().max()) <= 1 / 16


def test_bound_names_its_chain():
    """Catches a bound of another variance than it says, or one that would be taken for Langevin's."""
    x = torch.randint(0, 17, (5, 1, 8, 8)) / 8 - 1.0
    (found,) = recipe().likelihoods(x, noise=Seeds(0, range(5)), k=3)
    assert (found.name, found.dequantization, found.is_bound, found.calls) == ("vlb-6", "none", True, 6)
    assert found.note == "of sampler=ancestral, variance beta-tilde; 5 of 5 step terms an example"
    expected = bound(
        recipe().denoiser(),
        x,
        noise=Seeds(0, range(5)),
        variance="beta-tilde",
        decoder=discretized_gaussian(17),
    )
    torch.testing.assert_close(found.log_prob, -expected.sum(1))
    (long,) = recipe(MOONS, **{"model.L": 300}).likelihoods(torch.zeros(5, 2), noise=Seeds(0, range(5)), k=1)
    assert long.name == "vlb-300"
    assert long.calls < 70
    assert "of 299 step terms" in long.note


def test_registered_lazily():
    """Catches a listing that imports torch, and a model that imports more than torch."""
    (spec,) = zoo_plugins()
    assert spec.name == "ncsn"
    code = "import sys, zoo_ncsn; zoo_ncsn.zoo_plugins(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    heavy = "{'torchvision', 'timm', 'torchmetrics', 'sklearn', 'scipy', 'matplotlib', 'PIL'}"
    code = f"import sys, zoo_ncsn.ncsn; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
