"""Generative multi-view model, GMV (Chen and Denoyer 2018, arXiv:1711.00305).

An image is made of its content c, what is shown, and its view v, how it is shown: x = g(c, v), both standard
normal. The generator makes pairs of one content and two views, and the critic scores pairs:

    min_g max_D  E[log D(x1, x2)] + E_{c, v1, v2}[log(1 - D(g(c, v1), g(c, v2)))]         (Eq. 2 of the paper)

where x1 and x2 are two views of one thing. Views are not labeled: what the two images share must come from
c, and what differs can come from v. Real pairs have no order, so the critic looks at each
in both, and its score is the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import EmaConfig, Preset, RunConfig, TrainConfig
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest
from zoo_gan.game import Game
from zoo_gan.losses import NONSATURATING
from zoo_gan.networks import AS_DCGAN, TINY, build_critic, build_generator, on_images
from zoo_gan.sngan import RESIDUAL, SNGANModel, SNGANOptim


class MultiViewModel(SNGANModel):
    """The two networks and their game."""

    latent_dim: int = Field(8, ge=1)
    """Dimensions of the content c."""
    view_dim: int = Field(3, ge=1)
    """Dimensions of the view v."""
    n_critic: int = Field(3, ge=1)
    """Critic updates per generator update, each on a fresh batch."""


class MultiViewConfig(RunConfig):
    """Generative multi-view model."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": TINY,
        **on_images(steps=1300, overrides=RESIDUAL),
        "paper": Preset(
            {**AS_DCGAN, "model.view_dim": 100, "model.generator_width": 64, "model.critic_width": 64},
            "Chen and Denoyer 2018, section 4: DCGAN nets at 64 x 64, Adam 2e-4 (0.5)",
        ),
    }

    model: MultiViewModel = MultiViewModel()
    """Networks."""
    optim: SNGANOptim = SNGANOptim()
    """Optimizers."""
    train: TrainConfig = TrainConfig(steps=1200, batch_size=64, ema=EmaConfig(decay=0.98))
    """Training."""


class CoupleCritic(nn.Module):
    """Pairs (n, 2C, H, W), one image's channels over the other's, to scores (n,), whatever their order.

    Args:
        net: called with pairs in one order.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, cond: Cond | None = None) -> Tensor:
        first, second = x.chunk(2, dim=1)
        both = self.net(torch.cat((x, torch.cat((second, first), 1))))
        return both.unflatten(0, (2, len(x))).mean(0)


class MultiView(Game):
    """A generator of views and a critic of pairs."""

    def __init__(self, config: MultiViewConfig, data: DataInfo) -> None:
        model = config.model
        channels, *sides = data.shape
        generator = build_generator(model, data.shape, model.latent_dim + model.view_dim)
        critic = CoupleCritic(build_critic(model, (2 * channels, *sides)))
        super().__init__(config, data, generator, critic, NONSATURATING)

    def real(self, batch: Batch) -> Tensor:
        """Return pairs of views of one thing, (n, 2C, H, W)."""
        assert batch.second is not None
        return torch.cat((batch.x, batch.second), 1)

    def generated(self, n: int, cond: Cond | None, context: Context) -> Tensor:
        """Return pairs of one content and two views, (n, 2C, H, W)."""
        rng, content = context.rng, self.latents(n, context)
        views = torch.randn(2, n, self.config.model.view_dim, generator=rng, device=rng.device)
        images = self.generator(torch.cat((content.repeat(2, 1), views.flatten(0, 1)), 1))
        return torch.cat(images.chunk(2), 1)

    # -- sampling

    def critic_scores(self, x: Tensor, cond: Cond | None) -> Tensor:
        """Return the critic's score of the pair of each image with itself, (n,)."""
        return self.critic(torch.cat((x, x), 1))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.content_dim + self.config.model.view_dim,)

    @property
    def content_dim(self) -> int:
        return self.config.model.latent_dim

    def from_latents(self, z: Tensor, request: SampleRequest) -> Tensor:
        """Return one image for each content and view, side by side in z."""
        return self.generator(z)
