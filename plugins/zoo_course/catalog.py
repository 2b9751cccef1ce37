"""The topics of the course in the order of the lecture. Importing this module imports no topic."""

from __future__ import annotations

from typing import NamedTuple

from zoo_core.errors import not_found
from zoo_core.registry.spec import load_target
from zoo_course.topic import Exercise, Topic


class Entry(NamedTuple):
    """A topic in the list.

    Attributes:
        name: what `zoo course NAME` takes, and the name of its page, docs/course/NAME.md.
        title: of the page.
        target: "module:attribute" of the `Topic`.
    """

    name: str
    title: str
    target: str


def _entry(name: str, title: str) -> Entry:
    return Entry(name, title, f"zoo_course.{name.replace('-', '_')}:TOPIC")


TOPICS = (
    _entry("densities", "Densities and sampling"),
    _entry("kl", "The KL divergence"),
    _entry("importance-sampling", "Importance sampling of the evidence"),
    _entry("vae", "Variational autoencoders"),
    _entry("vq-vae", "Vector quantization"),
    _entry("gan", "The adversarial game"),
    _entry("lsgan", "Least-squares GANs"),
    _entry("wasserstein", "The Wasserstein distance"),
    _entry("architectures", "From DCGAN to StyleGAN"),
    _entry("conditional", "Conditional GANs"),
    _entry("translation", "Image translation"),
    _entry("adain", "Adaptive instance normalization"),
    _entry("diffusion", "Forward and reverse diffusion"),
    _entry("elbo", "From the ELBO to L_simple"),
    _entry("ddim", "DDIM"),
    _entry("latent-diffusion", "Latent diffusion"),
    _entry("langevin", "Langevin dynamics"),
    _entry("score-matching", "Score matching"),
    _entry("ncsn", "Noise conditional score networks"),
    _entry("sdes", "Stochastic differential equations"),
    _entry("probability-flow", "The probability flow"),
    _entry("predictor-corrector", "Predictor-corrector sampling"),
    _entry("guidance", "Guidance"),
    _entry("edm", "EDM"),
)


def entry(name: str) -> Entry:
    """Return the entry of a topic.

    Raises:
        NotFoundError: for an unknown name, with the nearest one.
    """
    for one in TOPICS:
        if one.name == name:
            return one
    raise not_found("topic", name, [one.name for one in TOPICS], say="zoo course {}")


def load(one: Entry) -> Topic:
    """Return the topic of an entry."""
    topic = load_target(one.target)
    assert isinstance(topic, Topic)
    return topic


def exercise(name: str) -> Exercise:
    """Return the exercise TOPIC-NUMBER, such as vae-2.

    Raises:
        NotFoundError: for an unknown topic or number.
    """
    topic, _, number = name.rpartition("-")
    if number.isdigit() and any(one.name == topic for one in TOPICS):
        exercises = load(entry(topic)).exercises
        if 1 <= int(number) <= len(exercises):
            return exercises[int(number) - 1]
        raise not_found(
            "exercise", name, [f"{topic}-{place}" for place in range(1, len(exercises) + 1)], say="{}"
        )
    raise not_found("exercise", name, [f"{one.name}-1" for one in TOPICS], say="{}")
