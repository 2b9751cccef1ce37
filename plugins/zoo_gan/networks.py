"""The generator and the critic that a game's options ask for.

A condition enters by additional dimensions of the latent, additional channels of the image, or the critic's
`features` and `head`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field
from torch import nn
from torch.nn.utils import parametrizations

from zoo_core.config import DEFAULTS, Preset
from zoo_core.nn.dcgan import DCGANCritic, DCGANGenerator, init_weights
from zoo_core.nn.perceptron import PerceptronCritic, PerceptronGenerator
from zoo_core.nn.resnet import ResNetCritic, ResNetGenerator
from zoo_core.training.stated import adam, ema
from zoo_core.types import DataInfo
from zoo_gan.game import Game, GameModel
from zoo_gan.losses import AdversarialLoss

N = TypeVar("N", bound=nn.Module)


class NetworksModel(GameModel):
    """The two networks and their game."""

    net: Literal["dcgan", "resnet", "perceptron"] = "dcgan"
    """Networks for images: DCGAN, residual (resnet), or fully connected (perceptron; always used for
    points)."""
    generator_width: int = Field(64, ge=1)
    """Width of the generator. dcgan: channels at the image, doubled with each layer away from it; otherwise
    of every layer."""
    hidden: int = Field(256, ge=0)
    """dcgan: width of a fully connected layer between the latent and the convolutions; 0 disables it."""
    critic_width: int = Field(32, ge=1)
    """Width of the critic, defined like generator_width."""
    init: Literal["torch", "dcgan"] = "torch"
    """Initial weights of convolutional networks: the defaults of torch, or N(0, 0.02) as in DCGAN."""
    generator_norm: Literal["batch", "none"] = "batch"
    """Normalization layers of a convolutional generator."""
    critic_norm: Literal["batch", "layer", "none"] = "batch"
    """Normalization layers of a convolutional critic: over the batch, over each image, or none."""
    spectral_norm: bool = False
    """Spectral normalization of every weight of the critic."""


TINY = Preset(
    {"model.generator_width": 8, "model.critic_width": 8, "model.hidden": 32}
    | {"train.steps": 20, "train.batch_size": 16, "train.log_every": 5},
    "a few seconds, for tests",
)
AS_DCGAN: Mapping[str, Any] = {
    "model.latent_dim": 100,
    "model.hidden": 0,
    "model.init": "dcgan",
    "model.critic_norm": "batch",
    "model.spectral_norm": False,
    "model.n_critic": 1,
    **adam("optim.critic", lr=2e-4, betas=(0.5, 0.999)),
    **adam("optim.generator", lr=2e-4, betas=(0.5, 0.999)),
    **ema(),
}
"""Options of DCGAN's networks and training, which papers before spectral norm used."""
POINTS: Mapping[str, Any] = {
    "model.generator_width": 128,
    "model.critic_width": 128,
    "train.batch_size": 256,
    "train.ema.decay": 0.99,
    "optim.critic.lr": 1e-3,
    "optim.critic.schedule": "linear",
    "optim.generator.lr": 1e-3,
    "optim.generator.schedule": "linear",
}
"""Options for points of the plane: learning rates fall to zero, so that samples settle at the modes."""


PLAIN: Mapping[str, Any] = {"model.hidden": 0, "model.init": "dcgan"}
"""DCGAN's generator and initial weights, for images of 28 or 32 pixels: with a fully connected layer before
the convolutions `gan` collapses on emoji to a few images, from either initial weights."""
WIDER: Mapping[str, Any] = {**PLAIN, "model.generator_width": 48, "model.critic_width": 48}
"""Networks for images of 28 or 32 pixels where a step updates the critic once."""


def on_images(steps: int, overrides: Mapping[str, Any] | None = None) -> dict[str, Preset]:
    """Return the presets for images: the defaults up to 16 pixels a side; networks for a CPU up to 48.

    Args:
        steps: of training, for the larger images.
        overrides: more of them, for the larger images.
    """
    narrow = {"model.latent_dim": 64, "model.generator_width": 32, "model.critic_width": 32}
    larger = Preset(
        {**narrow, "train.steps": steps, "train.batch_size": 32, **(overrides or {})},
        "for 28x28 and 32x32: sized for eight minutes of one core",
    )
    return {"default@image<=16": DEFAULTS, "default@image<=48": larger}


def on_points(overrides: Mapping[str, Any] | None = None) -> dict[str, Preset]:
    """Return the preset for points: POINTS, and these overrides."""
    preset = Preset({**POINTS, **(overrides or {})}, "for points of the plane")
    return {"default@points": preset}


class NetworkGame(Game):
    """A game between the two networks that its options ask for.

    Args:
        config: its `model` is a NetworksModel.
        data: description of the data.
        loss: of both networks.
    """

    def __init__(self, config: Any, data: DataInfo, loss: AdversarialLoss) -> None:
        model = config.model
        generator = build_generator(model, data.shape, model.latent_dim)
        super().__init__(config, data, generator, build_critic(model, data.shape), loss)


def build_generator(model: NetworksModel, shape: tuple[int, ...], latent_dim: int) -> nn.Module:
    """Return a network called as generator(z, cond), (n, latent_dim) to (n, *shape); it reads no condition.

    Args:
        model: options; its own latent_dim is not read, so that a condition can lengthen the latent.
        shape: (C, H, W), or (D,) for points.
        latent_dim: dimensions of the input.

    Raises:
        UsageError: for images of an odd side.
    """
    net: nn.Module
    is_image = len(shape) == 3
    if not is_image or model.net == "perceptron":
        net = PerceptronGenerator(latent_dim, shape, model.generator_width, bounded=is_image)
    elif model.net == "resnet":
        net = ResNetGenerator(latent_dim, shape, model.generator_width, model.generator_norm)
    else:
        width, norm = model.generator_width, model.generator_norm
        net = DCGANGenerator(latent_dim, shape, width, norm, model.hidden)
    return _initialized(net, model)


def build_critic(
    model: NetworksModel, shape: tuple[int, ...]
) -> DCGANCritic | ResNetCritic | PerceptronCritic:
    """Return a network called as critic(x, cond), (n, *shape) to scores (n,); it reads no condition.

    `critic.head(critic.features(x))` is the score, with features of `critic.feature_dim`.

    Args:
        model: options.
        shape: (C, H, W), with the channels of all concatenated images, or (D,) for points.

    Raises:
        UsageError: for images of an odd side.
    """
    net: DCGANCritic | ResNetCritic | PerceptronCritic
    if len(shape) != 3 or model.net == "perceptron":
        net = PerceptronCritic(shape, model.critic_width)
    elif model.net == "resnet":
        pool: Literal["mean", "sum"] = "sum" if model.spectral_norm else "mean"
        net = ResNetCritic(shape, model.critic_width, model.critic_norm, pool)
    else:
        net = DCGANCritic(shape, model.critic_width, model.critic_norm)
    net = _initialized(net, model)
    return spectrally_normalized(net) if model.spectral_norm else net


def _initialized(net: N, model: NetworksModel) -> N:
    # Through layers without normalization weights that small pass next to nothing on.
    plain = isinstance(net, PerceptronGenerator | PerceptronCritic)
    return net.apply(init_weights) if model.init == "dcgan" and not plain else net


def spectrally_normalized(net: N) -> N:
    """Divide the weight of every layer by its largest singular value, by torch's power iteration.

    Miyato et al. 2018 (arXiv:1802.05957), section 2.1: a convolution's weight counts as the matrix of
    (outputs, inputs x height x width), whose singular value bounds the layer's up to a factor of its stride.
    One iteration is made at each forward pass in training mode.
    """
    for module in list(net.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
            parametrizations.spectral_norm(module)
    return net
