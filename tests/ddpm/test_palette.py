"""Palette: the condition reaches the network, a constant one changes nothing, known pixels are not drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from tests.making import context, made_of, randomized
from zoo_core.data.corruptions import hole
from zoo_core.interfaces import HasLikelihood, Translator
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build, load_data
from zoo_core.seeds import Seeds
from zoo_core.types import Batch, Cond, DataInfo, SampleRequest
from zoo_ddpm.ddpm import DDPM, DDPMConfig
from zoo_ddpm.palette import Palette, PaletteConfig

PAIRED = DataInfo("digits", (1, 8, 8), levels=17, image_channels=1, task="paired")


def recipe(data=PAIRED, **options):
    return made_of(Palette, PaletteConfig, data, **options).eval()


def run(*words):
    config = resolve(["plugin=palette", "preset=tiny", "device=cpu", "train.steps=4", *words])
    made = build(config, load_data(config), Path(), manager(), say=lambda _: None, warn=lambda _: None)
    made.harness.run()
    return made


def test_training_tells_the_network_the_source_of_each_row():
    """Catches a source that is dropped, hidden from a share of rows, or another row's."""

    class Spy(nn.Module):
        def forward(self, x, t, cond=None):
            self.cond = cond
            return torch.zeros_like(x)

    made = recipe()
    made.net = spy = Spy()
    image = torch.rand(500, 1, 8, 8)
    given = Batch(
        torch.zeros(500, 1, 8, 8), Cond(label=torch.zeros(500).long(), image=image), torch.arange(500)
    )
    made.loss(given, context())
    assert torch.equal(spy.cond.image, image)
    assert spy.cond.label is None


def test_a_source_of_zeros_gives_the_unconditional_model():
    """Catches a source that enters by another way than as channels of the input."""
    made = recipe()
    randomized(made.net)
    plain = made_of(DDPM, DDPMConfig, replace(PAIRED, task="unconditional", image_channels=0)).eval()
    weights = dict(made.net.state_dict())
    weights["first.weight"] = weights["first.weight"][:, :1]
    plain.net.load_state_dict(weights)
    x = torch.rand(6, 1, 8, 8)
    given = Batch(x, Cond(image=torch.zeros_like(x)), torch.arange(6))
    losses = [one.loss(given, context()).loss for one in (made, plain)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    request = SampleRequest(Seeds(0, range(6)), Cond(image=torch.zeros(6, 1, 8, 8)), steps=5)
    drawn = made.sample(request).x
    expected = plain.sample(SampleRequest(Seeds(0, range(6)), steps=5)).x
    torch.testing.assert_close(drawn, expected, rtol=1e-4, atol=1e-4)


def test_inpainting_leaves_all_but_the_hole_as_it_was():
    """Catches a sample that is drawn anew outside the hole, and a hole that is copied."""
    made = run("data.source=mask")
    inside = torch.zeros(1, 8, 8, dtype=torch.bool)
    inside[(..., *hole(8, 8))] = True
    assert torch.equal(made.recipe.known, ~inside)
    request = made.request(range(20))
    drawn, source = made.samples(request).x, request.cond.image
    assert torch.equal(drawn[:, ~inside], source[:, ~inside])
    assert not torch.equal(drawn[:, inside], source[:, inside])


def test_what_is_made_is_drawn_where_sources_differ():
    """Catches pixels of an edge image that are taken for the image's own; corners of digits are black."""
    made = run("data.source=edges")
    batch = made.harness.data.batch(torch.arange(len(made.harness.data)))
    differ = (batch.x != batch.cond.image).any(0)
    assert not bool((made.recipe.known & differ).any())
    assert bool(differ.any())


def test_nothing_is_known_of_colors_in_a_gray_image():
    """Catches a gray image that is compared with, or copied into, one of three channels."""
    made = recipe(DataInfo("x", (3, 8, 8), levels=256, image_channels=1, task="paired"))

    class Pairs:
        def __len__(self):
            return 4

        def batch(self, rows):
            return Batch(torch.zeros(len(rows), 3, 8, 8), Cond(image=torch.zeros(len(rows), 1, 8, 8)), rows)

    made.find_known(Pairs())
    assert not bool(made.known.any())
    drawn = made.sample(SampleRequest(Seeds(0, range(2)), Cond(image=torch.zeros(2, 1, 8, 8)), steps=3))
    assert drawn.x.shape == (2, 3, 8, 8)


def test_a_translation_is_a_sample_given_the_image():
    """Catches a translator that samples in other steps, or without its source."""
    made = recipe()
    randomized(made.net)
    image = torch.rand(4, 1, 8, 8)
    asked = SampleRequest(Seeds(3, range(4)), Cond(image=image), steps=made.config.sample.steps)
    translated = made.translate(image, noise=Seeds(3, range(4)))
    assert torch.equal(translated, made.sample(asked).x)
    assert not torch.equal(translated, made.translate(image.flip(0), noise=Seeds(3, range(4))))
    assert isinstance(made, Translator)
    assert not isinstance(made, HasLikelihood)  # of p(y), which it has none of
