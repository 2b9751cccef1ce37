"""Latent diffusion: the pixel model where codes are pixels, a frozen autoencoder, a measured scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.making import made_of
from zoo_core.config import TrainConfig
from zoo_core.data.loading import Resident, TrainData
from zoo_core.diffusion.sampling import bind
from zoo_core.diffusion.specs import ANCESTRAL
from zoo_core.errors import Mistakes, UsageError
from zoo_core.interfaces import HasEncoder, HasLikelihood
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import config_hash, resolve
from zoo_core.runs import build, load_data
from zoo_core.seeds import Seeds
from zoo_core.training.harness import Harness
from zoo_core.training.recipe import Recipe
from zoo_core.types import DataInfo, SampleRequest
from zoo_core.viz import fields, paths
from zoo_ddpm import ldm
from zoo_ddpm.ddpm import DDPM, DDPMConfig
from zoo_ddpm.ldm import LDM, LDMConfig
from zoo_eval.context import Context
from zoo_eval.metrics.likelihood import flow_denoiser
from zoo_eval.metrics.reconstruction import reconstruction
from zoo_eval.pipeline import prepare
from zoo_eval.sampling import sample, source_of

TWO_LEVELS = DataInfo("two-levels", (1, 8, 8), levels=2)


class Identity(Recipe):
    """An autoencoder whose codes are the examples, with nothing to train; a blank one decodes to black."""

    def __init__(self, blank=False):
        super().__init__()
        self.blank = blank

    def stages(self):
        return []

    def encode(self, x):
        return x

    def decode(self, z):
        return torch.full_like(z, -1.0) if self.blank else z


@pytest.fixture
def identity(monkeypatch):
    monkeypatch.setattr(ldm, "build_autoencoder", lambda *_: Identity())


def built(*words):
    config = resolve(["plugin=ldm", "preset=tiny", "device=cpu", *words])
    return build(config, load_data(config), Path(), manager(), say=lambda _: None, warn=lambda _: None)


def trained(kind, config_class, **options):
    """Train a recipe for some steps on images of exactly unit variance, and return it."""
    recipe = made_of(kind, config_class, TWO_LEVELS, **options)
    half = torch.randint(0, 2, (32, 1, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    data = TrainData(Resident(torch.cat((half, 1 - half))), TWO_LEVELS, seed=3)
    Harness(recipe, TrainConfig(steps=12, batch_size=16, ema=recipe.config.train.ema), data, seed=5).run()
    return recipe.eval()


def test_codes_that_are_pixels_give_the_pixel_model_to_the_bit(identity):
    """Catches a code that is moved or scaled on its way in or out, and a stage that draws other noise."""
    same = {"train.ema.decay": 0.9, "optim.net.lr": 1e-3}
    ours = trained(LDM, LDMConfig, **same)
    pixels = trained(DDPM, DDPMConfig, **same, **{"model.prediction": "v", "model.clip_x0": False})
    assert float(ours.codec.scale) == 1.0
    for name, value in pixels.net.state_dict().items():
        assert torch.equal(ours.net.state_dict()[name], value), name
    request = SampleRequest(Seeds(0, range(4)), sampler=bind(ANCESTRAL), steps=6)
    drawn, expected = ours.sample(request), pixels.sample(replace(request, noise=Seeds(0, range(4))))
    assert torch.equal(drawn.x, expected.x)
    assert drawn.calls == expected.calls + 1  # the decoder's


@pytest.fixture(scope="module")
def run():
    made = built("autoencoder.model.dropout=0.5", "train.steps=40")
    made.harness.run()
    return made


def test_codes_have_unit_variance_and_decode_to_what_they_were(run):
    """Catches a scale that is used the wrong way round, or on one way only; it is kept in a checkpoint."""
    recipe = run.recipe
    with run.harness.quiet():
        x = run.harness.data.batch(torch.arange(1437)).x
        z = recipe.encode(x)
        back = recipe.codec.recipe.decode(recipe.codec.recipe.encode(x))
    assert float(z.double().std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert float(recipe.codec.scale) != pytest.approx(1, abs=0.05)
    torch.testing.assert_close(recipe.decode(z), back)
    assert "codec.scale" in recipe.state_dict()


def test_a_frozen_autoencoder_is_in_evaluation_while_the_diffusion_trains(run):
    """Catches dropout in codes: a diffusion would learn the noise of the encoder's training."""
    recipe = run.recipe.train()
    x = torch.rand(8, 1, 8, 8)
    assert torch.equal(recipe.encode(x), recipe.encode(x))
    assert recipe.net.training
    recipe.eval()
    fresh = built("autoencoder.model.dropout=0.5").recipe.train()  # not frozen yet
    assert not torch.equal(fresh.codec.recipe.encode(x), fresh.codec.recipe.encode(x))


def test_the_autoencoder_does_not_move_in_the_second_stage():
    """Catches a decoder that drifts away from the codes that the diffusion learns."""
    made = built("train.steps=40")
    after_first = {}
    freeze = made.harness.stages[1].begin

    def begin(data):
        freeze(data)
        after_first.update({k: v.clone() for k, v in made.recipe.codec.recipe.state_dict().items()})

    made.harness.stages[1] = replace(made.harness.stages[1], begin=begin)
    made.harness.run()
    assert after_first
    for name, value in made.recipe.codec.recipe.state_dict().items():
        assert torch.equal(value, after_first[name]), name


@pytest.mark.parametrize("name", ["beta-vae", "vae", "vq-vae", "dvae", "hvae", "gtm"])
def test_every_autoencoder_of_the_registry_serves(name):
    """Catches a codebook's prior that is trained and never used, and an average under a name that is none."""
    made = built(f"model.autoencoder={name}", "train.steps=20")
    stages = made.harness.stages
    assert len(stages) == 2
    assert sum(stage.fraction for stage in stages) == pytest.approx(1)
    assert stages[0].fraction == pytest.approx(made.config.model.autoencoder_share)
    for stage in stages:
        for part in stage.ema:
            made.recipe.get_submodule(part)
    made.harness.run()
    assert made.samples(made.request(range(3))).x.shape == (3, 1, 8, 8)


def test_a_codebooks_decoder_sees_codes_of_the_codebook_only():
    """Catches a decoder that is handed vectors between codes, which it was never trained on."""
    recipe = built("model.autoencoder=vq-vae").recipe.eval()
    codes = recipe.encode(torch.rand(5, 1, 8, 8))
    near = codes + 1e-3 * torch.randn(codes.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(recipe.decode(near), recipe.decode(codes), rtol=0, atol=0)


def test_no_likelihood_of_data_follows_from_codes(run):
    """Catches a density of codes that is sold as one of images, and fields drawn in another space."""
    assert run.recipe.denoiser().space == "latent"
    assert not isinstance(run.recipe, HasLikelihood)
    assert isinstance(run.recipe, HasEncoder)
    assert flow_denoiser(run.recipe, run.data.info) is None
    points = built("data=ring")
    assert fields.jobs(points) == {}
    assert paths.jobs(points) == {}


def test_what_can_not_encode_is_refused_with_those_that_can():
    """Catches a traceback for a model without codes, and a list that forgets a registered autoencoder."""
    with pytest.raises(UsageError, match=r"model\.autoencoder=wgan.*(?s:.*)beta-vae, dvae, .*vq-vae"):
        built("model.autoencoder=wgan")
    with pytest.raises(UsageError, match=r"model\.autoencoder=ldm"):
        built("model.autoencoder=ldm")
    with pytest.raises(UsageError, match="train is the run's own"):
        built("autoencoder.train.steps=5")
    with pytest.raises(Mistakes, match=r"did you mean: model\.latent_dim"):
        built("autoencoder.model.latnt_dim=3")


def test_the_autoencoders_options_reach_it_in_their_own_types():
    """Catches a text that stays one: the same run under another hash, or a width of '3'."""
    assert built("autoencoder.model.latent_dim=3").recipe.data.shape == (3,)
    said = resolve(["plugin=ldm", "autoencoder.model.latent_dim=3", "autoencoder.model.beta=5e-2"])
    given = resolve({"plugin": "ldm", "autoencoder": {"model": {"latent_dim": 3, "beta": 0.05}}})
    assert config_hash(said) == config_hash(given)


def test_the_latent_preset_is_taken_unless_another_is_asked_for():
    """Catches an autoencoder whose defaults are made for samples of its own, not for codes."""
    config = resolve(["plugin=ldm", "device=cpu"])
    info = DataInfo("digits", (1, 8, 8), levels=17)
    codes = ldm.build_autoencoder("beta-vae", {}, "digits", info)
    own = ldm.build_autoencoder("beta-vae", {"preset": "tiny"}, "digits", info)
    assert config.autoencoder == {}
    assert codes.config.model.beta == 0.1
    assert own.config.model.beta == 2.0


@pytest.mark.parametrize("blank", [False, True])
def test_what_the_decoder_loses_is_measured(monkeypatch, blank):
    """Catches a floor that is of samples, or of images before they are quantized."""
    monkeypatch.setattr(ldm, "build_autoencoder", lambda *_: Identity(blank))
    made = built()
    source = source_of(made)
    protocol, extractor = prepare(source)
    (lost,) = reconstruction(Context(source, protocol, extractor, sample(source, 1))).values()
    assert (lost.value > 10) if blank else lost.value == pytest.approx(0, abs=1e-6)


def test_a_trajectory_is_of_images(run):
    """Catches states of codes that are handed out as images."""
    drawn = run.samples(replace(run.request(range(2)), trace=True))
    assert {tuple(state.shape) for state in drawn.trajectory} == {(2, 1, 8, 8)}
