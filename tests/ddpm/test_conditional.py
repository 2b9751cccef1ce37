"""Conditions learned from data: what is asked for is what is drawn, by label, caption and classifier."""

from __future__ import annotations

import pytest
import torch

from tests.making import made_of
from zoo_core.seeds import Seeds
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest
from zoo_ddpm.ddpm import DDPM, DDPMConfig

N = 400


def examples(rng):
    """Return points around (-0.6, 0) and (0.6, 0), each labeled and named by its side."""
    label = torch.randint(0, 2, (128,), generator=rng)
    x = 0.15 * torch.randn(128, 2, generator=rng)
    x[:, 0] += 1.2 * label - 0.6
    tokens = torch.stack((label + 1, torch.zeros_like(label)), 1)
    return Batch(x, Cond(label=label, tokens=tokens), torch.arange(128))


def learned(task, classifier=False):
    """Return a model of these points given their task's condition, trained for seconds."""
    data = DataInfo("x", (2,), levels=None, classes=2, vocabulary=3, caption_length=2, task=task)
    options = {"model.width": 64, "model.classifier": classifier}
    model = made_of(DDPM, DDPMConfig, data, **options)
    rng = torch.Generator().manual_seed(0)
    losses = [(model.loss, model.net)]
    if classifier:
        losses.append((model.classifier_loss, model.classifier))
    for loss, module in losses:
        optimizer = torch.optim.Adam(module.parameters(), 3e-3)
        for _ in range(500):
            optimizer.zero_grad()
            loss(examples(rng), Context(0, 0.0, 0, rng)).loss.backward()
            optimizer.step()
    return model.eval()


def asked(model, **sample):
    """Return the share of samples on the side that was asked for."""
    model.config = model.config.model_copy(update={"sample": model.config.sample.model_copy(update=sample)})
    label = torch.arange(N) % 2
    cond = Cond(label=label, tokens=torch.stack((label + 1, torch.zeros_like(label)), 1))
    x = model.sample(SampleRequest(Seeds(1, range(N)), cond, steps=15)).x
    return float(((x[:, 0] > 0) == (label == 1)).double().mean())


@pytest.mark.slow(depends=("zoo_core", "plugins/zoo_ddpm"))
@pytest.mark.parametrize("task", ["class", "text"])
def test_samples_are_what_was_asked_for(task):
    """Catches a condition that is not heeded by points' networks, and a null that is not unconditional."""
    model = learned(task)
    assert asked(model) > 0.95
    assert asked(model, guidance_scale=2.0) > 0.97
    assert asked(model, guidance_scale=0.0) == pytest.approx(0.5, abs=4.5 * (0.25 / N) ** 0.5)


@pytest.mark.slow(depends=("zoo_core/diffusion", "zoo_core/nn", "plugins/zoo_ddpm"))
def test_a_classifier_adds_to_what_a_model_heeds():
    """Catches a gradient of the wrong sign, which would lead away from the class."""
    model = learned("class", classifier=True)
    assert asked(model, guidance_scale=3.0, guide="classifier") > 0.95
    assert asked(model, guidance_scale=0.0, guide="classifier") < asked(
        model, guidance_scale=3.0, guide="classifier"
    )
