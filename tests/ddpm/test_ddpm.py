"""The DDPM recipe: its loss at every time, its options, its samples and its bound."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.making import batch, context, made_of, settings
from zoo_core.diffusion.sampling import bind
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.diffusion.specs import SAMPLERS
from zoo_core.interfaces import Denoiser, HasDenoiser, HasLikelihood
from zoo_core.nn.backbone import build_backbone
from zoo_core.seeds import Seeds
from zoo_core.types import Context, DataInfo, SampleRequest
from zoo_ddpm import zoo_plugins
from zoo_ddpm.ddpm import DDPM, DDPMConfig, l_simple

DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
MOONS = DataInfo("moons", (2,), levels=None)


def recipe(data=DIGITS, **options):
    return made_of(DDPM, DDPMConfig, data, **options).eval()


class Spy(nn.Module):
    """Keeps what the network is given and predicts nothing."""

    def forward(self, x, t, cond=None):
        self.x, self.t = x, t
        return torch.zeros_like(x)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_loss_noises_by_the_schedule_at_every_time(prediction):
    """Catches a time shifted by one, which no optimum shows: with x0 = 1e8, x_t / x0 is sqrt(alpha_bar_t)."""
    made = recipe(MOONS, **{"model.T": 1000, "model.beta_1": 1e-4, "model.beta_T": 0.02})
    made.config = settings(DDPMConfig, **{"model.T": 1000, "model.prediction": prediction})
    made.net = spy = Spy()
    made.loss(batch(torch.full((20_000, 2), 1e8)), context())
    assert set(spy.t.tolist()) == set(range(1, 1001))
    alpha_bar = torch.cat((torch.ones(1).double(), (1 - linear_betas(1000)).cumprod(0)))
    torch.testing.assert_close(spy.x[:, 0].double() / 1e8, alpha_bar[spy.t].sqrt(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_loss_of_the_exact_network(prediction):
    """Catches a wrong target: on N(0, .25) the exact net's loss is the target's conditional variance."""
    schedule, var, t = DiscreteVP(linear_betas(1000)), 0.25, 400
    alpha, sigma = float(schedule.alpha(torch.tensor(t))), float(schedule.sigma(torch.tensor(t)))
    rng = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(200_000, 1, generator=rng, dtype=torch.float64) for _ in range(2))
    total = alpha**2 * var + sigma**2
    gain = {"eps": sigma, "x0": alpha * var, "v": alpha * sigma * (1 - var)}[prediction] / total
    spread = {"eps": 1.0, "x0": var, "v": alpha**2 + sigma**2 * var}[prediction]

    def net(x, t, cond):
        return gain * x

    found = l_simple(net, 0.5 * x0, torch.full((len(x0),), t), eps, schedule, prediction)
    expected = spread - gain**2 * total
    assert float(found) == pytest.approx(expected, abs=4.5 * expected * math.sqrt(2 / len(x0)))


def test_loss_is_pure_and_seeded():
    """Catches noise from the global generator, and a loss that changes the model."""
    made = recipe()
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


@pytest.mark.parametrize("data", [DIGITS, MOONS], ids=["digits", "moons"])
@pytest.mark.parametrize("name", [spec.name for spec in SAMPLERS])
def test_every_sampler_drives_it(data, name):
    """Catches a network that can't be called at a level that some grid visits."""
    made = recipe(data)
    sampler = bind(next(spec for spec in SAMPLERS if spec.name == name))
    drawn = made.sample(SampleRequest(Seeds(0, range(3)), sampler=sampler, steps=4))
    assert drawn.x.shape == (3, *data.shape)
    if name != "pf-ode":  # which takes what its tolerance asks for
        calls = {"heun": 7, "edm-stochastic": 7, "restart": 7 + 2 * 3 * 2, "predictor-corrector": 7}
        assert drawn.calls == (calls | {"annealed-langevin": 33}).get(name, 4)
    assert bool(torch.isfinite(drawn.x).all())
    if data.is_image:
        assert float(drawn.x.abs().max()) <= 1  # the last state is x0, clipped


def test_capabilities():
    """Catches a capability that is there and not found by its protocol."""
    made = recipe()
    assert isinstance(made, HasDenoiser)
    assert isinstance(made, HasLikelihood)
    denoise = made.denoiser()
    assert isinstance(denoise, Denoiser)
    assert len(denoise.levels) == made.config.model.T
    assert recipe(MOONS).denoiser().clip_x0 is False


@pytest.mark.slow(depends=("zoo_core/diffusion", "zoo_core/nn", "plugins/zoo_ddpm"))
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_a_trained_network_learns_its_data(prediction):
    """Catches a model whose samples do not follow its training: points on a ring of radius 0.7."""
    made = recipe(MOONS, **{"model.prediction": prediction, "model.width": 64})
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(made.parameters(), 2e-3)
    for _ in range(1500):
        angle = 2 * math.pi * torch.rand(256, generator=rng)
        x = 0.7 * torch.stack((angle.cos(), angle.sin()), 1)
        optimizer.zero_grad()
        made.loss(batch(x), Context(0, 0.0, 0, rng)).loss.backward()
        optimizer.step()
    radius = made.sample(SampleRequest(Seeds(1, range(500)), steps=25)).x.norm(dim=1)
    assert float(radius.mean()) == pytest.approx(0.7, abs=0.08)
    assert float(radius.std()) < 0.2


@pytest.mark.parametrize("variance", ["beta", "beta-tilde"])
def test_bound_names_its_settings(variance):
    """Catches a bound without T and variance, or a kind that would be ranked with others."""
    x = torch.randint(0, 17, (5, 1, 8, 8)) / 8 - 1.0
    (found,) = recipe(**{"model.variance": variance}).likelihoods(x, noise=Seeds(0, range(5)), k=3)
    assert (found.name, found.dequantization, found.is_bound) == ("vlb-100", "none", True)
    assert f"variance {variance}" in found.note
    assert "of 99 step terms" in found.note
    assert found.log_prob.shape == (5,)
    assert found.log_prob.dtype == torch.float64
    assert found.calls == 1 + int(found.note.split("; ")[1].split()[0])
    (points,) = recipe(MOONS).likelihoods(torch.zeros(5, 2), noise=Seeds(0, range(5)), k=1)
    assert bool(torch.isfinite(points.log_prob).all())


def test_few_terms_agree_with_all_of_them():
    """Catches a biased estimate of the bound: 8 terms an example against all 99."""
    n = 400
    x = torch.linspace(-0.9, 0.9, n)[:, None].repeat(1, 2)
    some, every = (
        recipe(MOONS, **{"model.vlb_terms": terms}).likelihoods(x, noise=Seeds(0, range(n)), k=1)[0]
        for terms in (8, 99)
    )
    assert every.calls == 100
    assert "step terms" not in every.note
    difference = some.log_prob - every.log_prob
    assert abs(float(difference.mean())) < 4.5 * float(difference.std()) / math.sqrt(n)


def test_paper_preset_is_hos():
    """Catches a preset that claims the paper and trains another network."""
    made = settings(DDPMConfig, "paper@cifar10")
    with torch.device("meta"):
        net = build_backbone(made.model, DataInfo("cifar10", (3, 32, 32), levels=256))
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == 35.7
    assert (made.model.T, made.model.beta_1, made.model.beta_T) == (1000, 1e-4, 0.02)
    assert (made.optim.net.lr, made.optim.net.warmup, made.train.ema.decay) == (2e-4, 5000, 0.9999)
    assert (made.sampler.name, made.sample.steps) == ("ddpm", 1000)


def test_registered_lazily():
    """Catches a listing that imports torch, and a target that is not there."""
    spec = zoo_plugins()[0]
    assert spec.name == "ddpm"
    code = "import sys, zoo_ddpm; zoo_ddpm.zoo_plugins(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    heavy = "{'torchvision', 'timm', 'torchmetrics', 'sklearn', 'scipy', 'matplotlib', 'PIL'}"
    code = f"import sys, zoo_ddpm.ddpm; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
