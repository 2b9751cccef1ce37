"""Flow matching with minibatch optimal transport between noise and data.

Tong et al. 2024, "Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport",
arXiv:2302.00482, section 3.2. In each batch the noise is permuted so that the sum of squared distances to
the data is least. Paths cross less, so the flow is straighter. Noise and data are then dependent: the
probability flow is exact, but (x_t - x0) / t is no longer noise of unit variance given x0, so there is no
score, and stochastic samplers are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from zoo_core.config import Preset
from zoo_core.types import Cond, DataInfo
from zoo_flow.matching import PRESETS, FlowMatching, FlowMatchingConfig


def pairing(x0: Tensor, eps: Tensor, group: Tensor | None = None) -> Tensor:
    """Return the permutation of noise that minimizes the sum of |x0 - eps[index]|^2, (n,) int64.

    Args:
        x0, eps: (n, *shape).
        group: (n,) int64; noise is permuted within each group only, so that it stays independent of the
            group. None for one group.

    Returns:
        The index, on the CPU.
    """
    # |x0 - eps|^2 without |x0|^2 and |eps|^2, whose sums are those of every permutation.
    gain = (x0.flatten(1).double() @ eps.flatten(1).double().T).cpu()
    index = torch.arange(len(x0))
    groups = torch.zeros(len(x0), dtype=torch.int64) if group is None else group.cpu()
    for one in groups.unique():
        rows = (groups == one).nonzero()[:, 0]
        _, columns = linear_sum_assignment(gain[rows][:, rows].numpy(), maximize=True)
        index[rows] = rows[torch.from_numpy(columns)]
    return index


def groups_of(cond: Cond, task: str) -> Tensor | None:
    """Return a number for each example's condition, (n,) int64; None where the task has none.

    Transport over a whole batch would tie noise to the condition, and sampling draws them independently.
    """
    if task == "class":
        return cond.label
    if task == "text" and cond.tokens is not None:
        return cond.tokens.unique(dim=0, return_inverse=True)[1]
    return None


class OTFlowMatchingConfig(FlowMatchingConfig):
    """One run of flow matching on pairs by optimal transport."""

    PRESETS: ClassVar[Mapping[str, Preset]] = PRESETS


class OTFlowMatching(FlowMatching):
    """Flow matching on pairs of noise and data by optimal transport."""

    def __init__(self, config: FlowMatchingConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.coupling = "dependent"

    def noise_for(self, x0: Tensor, cond: Cond, rng: torch.Generator) -> Tensor:
        """Return noise in the order of the transport plan, within each condition."""
        eps = super().noise_for(x0, cond, rng)
        return eps[pairing(x0, eps, groups_of(cond, self.data.task)).to(eps.device)]
