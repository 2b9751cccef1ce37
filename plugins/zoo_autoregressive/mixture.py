"""The distribution of a pixel: a mixture of discretized logistics whose colors depend on one another.

Salimans, Karpathy, Chen and Kingma 2017, "PixelCNN++", arXiv:1701.05517, sections 2.1 and 2.2. A pixel has C
values x_1, ..., x_C, level centers in [-1, 1]. Component k of K has weight w_k, and given the component

    p(x_1, ..., x_C | k) = prod_c logistic(x_c; m_kc + sum_{b < c} a_kcb x_b, s_kc)        (Eq. 3)

so the component is shared by the colors of a pixel, and the mean of a color is linear in the earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.data.loading import quantize, to_unit
from zoo_core.nn.bounding import bounded
from zoo_core.nn.logistic import (
    LOCATION_MAX,
    LOG_SCALE_MAX,
    LOG_SCALE_MIN,
    LOGIT_MAX,
    logistic_log_prob,
    parameters_of,
)


@dataclass(frozen=True)
class Parameters:
    """Parameters of the mixtures of some pixels.

    Attributes:
        log_weight: log w, (n, K, ...).
        mean: m, (n, K, C, ...).
        log_scale: log s, (n, K, C, ...).
        coupling: a in [-1, 1], (n, K, C (C - 1) / 2, ...): rows of the strict lower triangle.
    """

    log_weight: Tensor
    mean: Tensor
    log_scale: Tensor
    coupling: Tensor

    def location(self, color: int, earlier: Sequence[Tensor]) -> Tensor:
        """Return the location of a color given the values (n, ...) of the earlier ones, (n, K, ...)."""
        location, first = self.mean[:, :, color], color * (color - 1) // 2
        for b, value in enumerate(earlier):
            location = location + self.coupling[:, :, first + b] * value[:, None]
        return bounded(location, -LOCATION_MAX, LOCATION_MAX)


class ColorMixture:
    """A mixture of logistics over the C values of a pixel.

    Args:
        levels: L, at least 2.
        channels: C.
        components: K.

    Attributes:
        outputs: numbers that a network gives for each pixel.
    """

    def __init__(self, levels: int, channels: int, components: int) -> None:
        self.levels, self.channels, self.components = levels, channels, components
        self.couplings = channels * (channels - 1) // 2
        self.outputs = components * (1 + 2 * channels + self.couplings)

    def parameters(self, out: Tensor) -> Parameters:
        """Return the parameters that a network's output (n, outputs, ...) stands for."""
        k, c = self.components, self.channels
        parts = parameters_of(out).split((k, k * c, k * c, k * self.couplings), 1)
        logits, mean, log_scale, coupling = parts
        return Parameters(
            torch.log_softmax(bounded(logits, -LOGIT_MAX, LOGIT_MAX), 1),
            mean.unflatten(1, (k, c)),
            bounded(log_scale, LOG_SCALE_MIN, LOG_SCALE_MAX).unflatten(1, (k, c)),
            torch.tanh(coupling).unflatten(1, (k, self.couplings)),
        )

    def conditionals(self, x: Tensor, out: Tensor) -> Tensor:
        """Return log p(x_c | x_1, ..., x_{c-1}) of each value of each pixel, nats; their sum is log p(x).

        Args:
            x: (n, C, ...) level centers.
            out: (n, outputs, ...) of a network.
        """
        mixture, values = self.parameters(out), x.unbind(1)
        joint, before, found = mixture.log_weight, torch.zeros_like(values[0]), []
        for c, value in enumerate(values):
            location = mixture.location(c, values[:c])
            joint = joint + logistic_log_prob(
                value[:, None], location, mixture.log_scale[:, :, c], self.levels
            )
            after = torch.logsumexp(joint, 1)
            found.append(after - before)
            before = after
        return torch.stack(found, 1)

    def sample(self, out: Tensor, u: Tensor) -> Tensor:
        """Return pixels drawn from their distribution, (n, C) level centers.

        Args:
            out: (n, outputs) of a network.
            u: (n, 1 + C) uniform in [0, 1): the first chooses the component.
        """
        mixture = self.parameters(out)
        passed = u[:, :1] >= mixture.log_weight.exp().cumsum(1)[:, :-1]
        chosen = passed.sum(1, keepdim=True)
        values: list[Tensor] = []
        for c in range(self.channels):
            location = mixture.location(c, values).gather(1, chosen).squeeze(1)
            scale = mixture.log_scale[:, :, c].gather(1, chosen).squeeze(1).exp()
            # Clamped and rounded to a level, a draw of the logistic is a draw of the masses of its bins.
            drawn = location + scale * torch.logit(u[:, 1 + c].clamp_min(2**-25))
            values.append(to_unit(quantize(drawn, self.levels), self.levels).to(u))
        return torch.stack(values, 1)
