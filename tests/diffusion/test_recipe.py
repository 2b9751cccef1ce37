"""What diffusion models share: the condition's way into training and sampling, and the classifier's stage."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo_core
from tests.making import context, made_of
from zoo_core.diffusion.guidance import ClassifierFree, ClassifierGuided, Conditioned
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest
from zoo_ddpm.ddpm import DDPM, DDPMConfig

RING = DataInfo("ring", (2,), levels=None, classes=8, task="class")
DIGITS = DataInfo("digits", (1, 8, 8), levels=17, classes=10, vocabulary=12, task="class")


def recipe(data=RING, **options):
    return made_of(DDPM, DDPMConfig, data, **options).eval()


class Spy(nn.Module):
    """Keeps what the network is told."""

    def forward(self, x, t, cond=None):
        self.cond = cond
        return torch.zeros_like(x)


def batch(n, data=RING):
    label = torch.arange(n) % data.classes
    tokens = 1 + torch.stack((label, label), 1) % 5
    return Batch(torch.zeros(n, *data.shape), Cond(label=label, tokens=tokens), torch.arange(n))


@pytest.mark.parametrize("task", ["class", "text", "unconditional"])
def test_training_tells_the_network_the_task_and_hides_a_share(task):
    """Catches a label that a text model is told, and a condition that is never hidden."""
    made = recipe(DataInfo("digits", (1, 8, 8), levels=17, classes=10, vocabulary=12, task=task))
    made.net = spy = Spy()
    given = batch(4000, made.data)
    made.loss(given, context())
    if task == "unconditional":
        assert spy.cond is None
        return
    told, hidden = (
        (spy.cond.label, spy.cond.label == 10)
        if task == "class"
        else (spy.cond.tokens, (spy.cond.tokens == 0).all(1))
    )
    assert (spy.cond.label is None) == (task == "text")
    assert (spy.cond.tokens is None) == (task == "class")
    assert float(hidden.double().mean()) == pytest.approx(0.1, abs=4.5 * (0.09 / 4000) ** 0.5)
    source = given.cond.label if task == "class" else given.cond.tokens
    assert torch.equal(told[~hidden], source[~hidden])


def test_sampling_binds_the_condition_and_the_guide():
    """Catches guidance that is configured and not used, and one that is paid for at scale 0."""
    cond = Cond(label=torch.tensor([1, 2]))
    assert isinstance(recipe().conditioned(cond), Conditioned)
    free = recipe(**{"sample.guidance_scale": 2.0}).conditioned(cond)
    assert isinstance(free, ClassifierFree)
    assert free.scale == 2.0
    guided = recipe(
        **{"sample.guidance_scale": 2.0, "sample.guide": "classifier", "model.classifier": True}
    ).conditioned(cond)
    assert isinstance(guided, ClassifierGuided)
    drawn = recipe(**{"sample.guidance_scale": 2.0}).sample(SampleRequest(Seeds(0, range(2)), cond, steps=4))
    assert drawn.calls == 8


def test_the_classifier_is_trained_in_a_stage_of_its_own():
    """Catches a classifier trained with the network, or a network that moves in the classifier's stage."""
    made = recipe(**{"model.classifier": True})
    train, classifier = made.stages()
    assert train.fraction + classifier.fraction == 1
    assert [phase.updates for phase in train.phases] == [[made.net]]
    assert [phase.updates for phase in classifier.phases] == [[made.classifier]]
    assert len(recipe().stages()) == 1


@pytest.mark.parametrize("data", [RING, DIGITS], ids=["ring", "digits"])
def test_the_noisy_classifier_learns_at_low_noise(data):
    """Catches labels of other rows and a time that is not told: two classes far apart are told apart."""
    made = recipe(data, **{"model.classifier": True})
    rng = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (512,), generator=rng)
    x = (2.0 * label - 1).reshape(-1, *[1] * len(data.shape)).expand(512, *data.shape).clone()
    optimizer = torch.optim.Adam(made.classifier.parameters(), 3e-3)
    for _ in range(80):
        rows = torch.randint(0, 512, (64,), generator=rng)
        optimizer.zero_grad()
        given = Batch(x[rows], Cond(label=label[rows]), rows)
        made.classifier_loss(given, Context(0, 0.0, 0, rng)).loss.backward()
        optimizer.step()
    logits = made.noisy_logits()(x[:100], made.denoiser().levels[5])
    assert float((logits.argmax(1) == label[:100]).double().mean()) > 0.95


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (
            DataInfo("ring", (2,), levels=None, classes=8),
            {"sample.guidance_scale": 2.0},
            "nothing to guide by",
        ),
        (RING, {"sample.guidance_scale": 2.0, "sample.guide": "classifier"}, "model.classifier=true"),
        (DataInfo("moons", (2,), levels=None), {"model.classifier": True}, "no classes"),
        (RING, {"sample.guidance_scale": 2.0, "model.cond_dropout": 0.0}, "would not be trained"),
    ],
)
def test_guidance_by_nothing_is_refused(data, options, words):
    """Catches guidance that is asked for and silently left out."""
    with pytest.raises(UsageError, match=words):
        recipe(data, **options)


@pytest.mark.parametrize("words", [["sample.steps=101"], ["sampler=ancestral", "sample.steps=101"]], ids=str)
def test_steps_that_no_grid_has_are_refused_before_the_training(words, tmp_path):
    """Catches an hour of training for a sampler that can't be asked for so many steps."""
    given = dict(word.split("=") for word in words)
    folder = tmp_path / "run"
    with pytest.raises(UsageError, match="101 sampling steps asked of a model with 100"):
        zoo_core.run(plugin="ddpm", preset="tiny", run_dir=str(folder), **given)
    assert not list(folder.glob("checkpoints/*"))
