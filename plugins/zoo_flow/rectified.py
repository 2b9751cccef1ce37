"""Rectified flow: flow matching, and then once more on the pairs that its own flow makes.

Liu, Gong and Liu 2023, "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow",
arXiv:2209.03003. The second stage (reflow, section 2.2) trains on x_t between noise and the sample that the
first flow makes of it. These pairs do not cross where the flow is exact, so the paths become straighter and
few steps of Euler's method suffice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from zoo_core.config import Preset
from zoo_core.data.loading import TrainData
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.recipe import DiffusionModel
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Stage
from zoo_core.types import Batch, Cond, Context, DataInfo, Loss
from zoo_flow.matching import PRESETS, FlowMatching, FlowMatchingConfig, velocity_loss
from zoo_flow.path import even_in_t, heun_in_t


class RectifiedFlowModel(DiffusionModel):
    """The network, and the second stage."""

    reflow: float = Field(0.25, ge=0, lt=1)
    """Fraction of the training steps that are reflow; 0 for flow matching alone."""
    reflow_steps: int = Field(8, ge=1)
    """Steps of Heun's method by which the first flow makes a sample, 2 steps - 1 NFE each."""


class RectifiedFlowConfig(FlowMatchingConfig):
    """One run of rectified flow."""

    PRESETS: ClassVar[Mapping[str, Preset]] = PRESETS

    model: RectifiedFlowModel = RectifiedFlowModel()
    """The network, and the second stage."""


class RectifiedFlow(FlowMatching):
    """Flow matching with a reflow stage."""

    config: RectifiedFlowConfig

    def __init__(self, config: RectifiedFlowConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.teacher = None
        if config.model.reflow:
            self.coupling = "dependent"
            self.teacher = deepcopy(self.net).requires_grad_(False)

    def train(self, mode: bool = True) -> RectifiedFlow:
        """Set the mode of the network; the first flow stays in evaluation mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def stages(self) -> Sequence[Stage]:
        """Return flow matching, and reflow from the weights that it ended with."""
        stages = super().stages()
        share = self.config.model.reflow
        if self.teacher is None:
            return stages
        first, *others = stages  # others: a classifier of noisy data
        (phase,) = first.phases
        again = replace(
            first,
            name="reflow",
            phases=[replace(phase, loss=self.reflow_loss)],
            fraction=share * first.fraction,
            begin=self.begin_reflow,
        )
        return [replace(first, fraction=(1 - share) * first.fraction), again, *others]

    def begin_reflow(self, data: TrainData) -> None:
        """Keep the first flow's weights: those that the network has."""
        assert self.teacher is not None
        self.teacher.load_state_dict(self.net.state_dict())

    @torch.no_grad()
    def samples_of(self, eps: Tensor, cond: Cond | None) -> Tensor:
        """Return what the first flow makes of noise, like eps.

        Args:
            eps: (n, *shape) standard normal.
            cond: of the network.
        """
        assert self.teacher is not None
        denoise = SigmaDenoiser(self.teacher, self.schedule, "velocity", clip_x0=self._clips)
        sigmas = even_in_t(denoise, self.config.model.reflow_steps)

        def told(x: Tensor, sigma: Tensor, _: Cond | None = None) -> Tensor:
            return denoise(x, sigma, cond)

        unused = Seeds(0, range(len(eps)), eps.device)
        made: Tensor = heun_in_t(told, eps * denoise.prior_std, sigmas, noise=unused)  # type: ignore[arg-type]
        return made

    def reflow_loss(self, batch: Batch, context: Context) -> Loss:
        """Return the squared error of the velocity on pairs of noise and the first flow's samples.

        The batch gives the conditions only.
        """
        rng, device = context.rng, batch.x.device
        eps = torch.randn(batch.x.shape, generator=rng, device=device)
        cond = self.condition(batch, rng)
        x0 = self.samples_of(eps, cond)
        t = self.levels(len(x0), rng, device)
        loss = velocity_loss(self.net, x0, t.to(x0.dtype), eps, cond)
        return Loss(loss, log={"loss": loss.detach()})
