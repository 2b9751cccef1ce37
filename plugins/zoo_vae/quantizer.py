"""Vector quantization (van den Oord et al. 2017, arXiv:1711.00937).

A codebook has K vectors e_k; an encoder's output z_e is replaced by the nearest one. Gradients pass straight
through to z_e; the codebook learns from ||sg(z_e) - e||^2, or from moving averages of what it replaces
(appendix A.1). Codes that nothing is near to are started again at outputs of the encoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from zoo_vae.grids import GridModel


class QuantizerModel(GridModel):
    """The codebook and the networks."""

    codebook: Literal["ema", "loss"] = "ema"
    """How the codebook learns: by moving averages of the vectors it replaces, or by the second term of the
    loss."""
    decay: float = Field(0.99, gt=0, lt=1)
    """Decay of the codebook's moving averages, and of the usage by which a dead code is found."""
    restart: float = Field(0.1, ge=0, lt=1)
    """A code used less than this fraction of the average code is restarted at an encoder output."""


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest vector, (...,) int64, for z (..., dim) and a codebook (K, dim)."""
    flat = z.reshape(-1, z.shape[-1])
    # |z - e|^2 less |z|^2; in float64, so that a code's own vector is nearest to it.
    flat, codebook = flat.double(), codebook.double()
    return (codebook.square().sum(1) - 2 * flat @ codebook.T).argmin(1).reshape(z.shape[:-1])


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    """Return `quantized`, whose gradient goes to z as it is."""
    return z + (quantized - z).detach()


def perplexity(counts: Tensor) -> Tensor:
    """Return exp of the entropy of codes used `counts` (K,) times, in [1, K]."""
    share = counts / counts.sum().clamp_min(1)
    return torch.exp(-torch.special.xlogy(share, share).sum())


class Quantizer(nn.Module):
    """A codebook with the count of its use."""

    def __init__(self, model: QuantizerModel) -> None:
        super().__init__()
        codes, dim = model.codes, model.dim
        self.averaged, self.decay, self.restart = model.codebook == "ema", model.decay, model.restart
        start = torch.randn(codes, dim) / math.sqrt(dim)
        self.codebook: Tensor
        self.use: Tensor
        self.total: Tensor
        self.epoch: Tensor
        self.last_epoch: Tensor
        self.examples: Tensor
        self.epoch_length: Tensor
        if self.averaged:
            self.register_buffer("codebook", start)
        else:
            self.codebook = nn.Parameter(start)
        self.register_buffer("use", torch.zeros(codes))  # none yet: the first step starts every code at data
        self.register_buffer("total", start.clone())
        self.register_buffer("epoch", torch.zeros(codes, dtype=torch.float64))
        self.register_buffer("last_epoch", torch.zeros(codes, dtype=torch.float64))
        self.register_buffer("examples", torch.zeros((), dtype=torch.int64))
        self.register_buffer("epoch_length", torch.ones((), dtype=torch.int64))

    @property
    def codes(self) -> int:
        return len(self.codebook)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return (codes (n, M) int64, their vectors (n, M, dim)) of z (n, M, dim)."""
        code = nearest_code(z.detach(), self.codebook.detach())
        return code, self.codebook[code].to(z.dtype)

    def statistics(self, z: Tensor, code: Tensor, rng: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """Return what `update` needs of a batch: sums, and at most K random outputs to start codes at.

        Args:
            z: (n, M, dim).
            code: (n, M).
        """
        flat, code = z.detach().flatten(0, 1).to(self.codebook.dtype), code.flatten()
        count = torch.zeros_like(self.use).index_add_(0, code, torch.ones_like(code, dtype=self.use.dtype))
        total = torch.zeros_like(self.total).index_add_(0, code, flat.to(self.total.dtype))
        examples = torch.tensor(len(z), device=z.device)
        chosen = torch.randperm(len(flat), generator=rng, device=flat.device)[: self.codes]
        return {"count": count, "total": total, "examples": examples}, flat[chosen]

    def epoch_perplexity(self, count: Tensor) -> Tensor:
        """Return the perplexity over the last whole epoch; in the first, over what there is of it.

        Args:
            count: (K,) of the present batch.
        """
        counted = self.last_epoch if bool(self.last_epoch.any()) else self.epoch + count
        return perplexity(counted)

    def update(self, sums: Mapping[str, Tensor], candidates: Tensor) -> None:
        """Move the averages (appendix A.1, Eqs. 6 to 8), count, and start dead codes again.

        Args:
            sums: of `statistics`, added up.
            candidates: outputs of the encoder, (r, dim), in random order.
        """
        self.use.lerp_(sums["count"], 1 - self.decay)
        self.total.lerp_(sums["total"], 1 - self.decay)
        if self.averaged:
            alive = self.use > 0
            self.codebook[alive] = self.total[alive] / self.use[alive, None]
        fair = sums["count"].sum() / self.codes
        dead = torch.nonzero(self.use < self.restart * fair).flatten()[: len(candidates)]
        self.codebook.data[dead] = candidates[: len(dead)]
        self.use[dead] = fair
        self.total[dead] = candidates[: len(dead)] * fair
        self._count(sums)

    def _count(self, sums: Mapping[str, Tensor]) -> None:
        self.epoch += sums["count"]
        self.examples += sums["examples"]
        if self.examples >= self.epoch_length:
            self.last_epoch.copy_(self.epoch)
            self.epoch.zero_()
            self.examples.zero_()
