"""Conditional GAN (Mirza and Osindero 2014, arXiv:1411.1784).

    min_g max_D  E_{x, y ~ p}[log D(x, y)] + E_{z, y}[log(1 - D(g(z, y), y))]           (Eq. 2 of the paper)

Both networks are conditioned on y, D in both of its terms: it must reject a realistic image of another
class. The generator reads an embedding of y beside its latent. The critic reads one beside its features,
before a joint layer (`model.critic=concat`, section 3.2 of the paper), or as an inner product with them
(`projection`, Miyato and Koyama 2018, arXiv:1802.05637, Eq. 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from zoo_core.config import EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.types import Batch, Cond, DataInfo
from zoo_gan.conditional import ClassEmbedding, ConditionedCritic, ConditionedGenerator, Joint
from zoo_gan.game import Game
from zoo_gan.losses import HINGE, NONSATURATING
from zoo_gan.networks import TINY, on_images, on_points
from zoo_gan.sngan import RESIDUAL, SNGANModel, SNGANOptim

LOSSES = {"nonsaturating": NONSATURATING, "hinge": HINGE}
PROJECTED: Mapping[str, Any] = {"model.critic": "projection", "model.loss": "hinge"}
"""Beside thousands of features a class's few values are lost where spectral norm bounds the layer that joins
them, and the generator ignores the class; an inner product scales with the number of features."""


class CGANModel(SNGANModel):
    """The two networks and their game."""

    loss: Literal["nonsaturating", "hinge"] = "nonsaturating"
    """Loss: cross-entropy with -log D(g(z, y), y) for the generator, or hinge."""
    critic: Joint = "concat"
    """How the critic reads the class y: concatenated to its features before a joint layer, or by a
    projection."""
    embedding: int = Field(16, ge=1)
    """Dimensions of the class embedding in each network."""
    joint: int = Field(128, ge=1)
    """critic=concat: width of the joint layer of features and class."""


class CGANConfig(RunConfig):
    """Conditional GAN."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        **on_images(steps=1300, overrides={**RESIDUAL, **PROJECTED}),
        **on_points(),
    }

    model: CGANModel = CGANModel()
    """Networks."""
    optim: SNGANOptim = SNGANOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=1000, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class CGAN(Game):
    """A generator and a critic that are both conditioned on the class."""

    def __init__(self, config: CGANConfig, data: DataInfo) -> None:
        model = config.model
        width = model.embedding
        embeddings = [ClassEmbedding(data.classes, width) for _ in range(2)]
        generator = ConditionedGenerator(model, data, embeddings[0], width)
        critic = ConditionedCritic(model, data, embeddings[1], width, model.critic, model.joint)
        super().__init__(config, data, generator, critic, LOSSES[model.loss])

    def condition(self, batch: Batch) -> Cond:
        return Cond(label=batch.cond.label)
