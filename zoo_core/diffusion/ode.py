"""Log-likelihood by the probability flow: the change of variables along dx / d log(sigma) = x - x0.

Song et al. 2021, arXiv:2011.13456, section 4.3 and appendix D.2: with u = log(sigma),

    log p(x) at sigma_min = log N(x_max; 0, prior_std^2 I) + integral over u of div(x - x0),

where x_max is where the flow carries x. The divergence is exact, one backward pass a dimension, or
Hutchinson's unbiased estimate v . d(x - x0)/dx v, averaged over probes v that stay the same along the path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoo_core.diffusion.denoiser import Clips
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser
from zoo_core.seeds import Seeds

FIRST_STEP = 0.01
"""Of the solver, in log(sigma): its own guess, by how slowly x moves at the least level, is past the last."""

Probe = Literal["rademacher", "gaussian", "exact"]
LogProb = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FlowLikelihood:
    """What the probability flow says of a batch.

    Attributes:
        log_prob: (n,) float64 nats, of x under the density at the denoiser's least level; -inf for all
            where the flow of one runs away so that no step of the solver is short enough.
        end: where x was carried, (n, *shape), in units of x0 + sigma eps at sigma_max.
        calls: of the network.
    """

    log_prob: Tensor
    end: Tensor
    calls: int


def _probes(kind: Probe, x: Tensor, count: int, noise: Seeds) -> Tensor:
    """Return probe vectors, (count, n, *shape): the unit vectors where the divergence is exact."""
    if kind == "exact":
        dims = x[0].numel()
        basis = torch.eye(dims, dtype=x.dtype, device=x.device).reshape(dims, 1, *x.shape[1:])
        return basis.expand(dims, *x.shape)
    drawn = torch.stack([noise.randn(tuple(x.shape[1:]), name="probe") for _ in range(count)]).to(x)
    return drawn.sign() if kind == "rademacher" else drawn


def standard_prior(denoise: Denoiser) -> LogProb:
    """Return the log-density of the model's own start, N(0, prior_std^2 I)."""

    def log_prob(x: Tensor) -> Tensor:
        dims = x[0].numel()
        square = (x.double() / denoise.prior_std).square().flatten(1).sum(1)
        return -0.5 * square - dims * (math.log(denoise.prior_std) + 0.5 * math.log(2 * math.pi))

    return log_prob


def flow_log_prob(
    denoise: Denoiser,
    x: Tensor,
    *,
    noise: Seeds,
    probe: Probe = "rademacher",
    probes: int = 1,
    tolerance: float = 1e-5,
    prior: LogProb | None = None,
) -> FlowLikelihood:
    """Return the log-likelihood of data by the probability flow, solved to a tolerance.

    Args:
        denoise: of data, continuous in sigma; x0 is not clipped, whatever it does for samples.
        x: (n, *shape), the data, taken for alpha (x0 + sigma eps) at the least level.
        noise: of the probes.
        probe: Hutchinson's probes, or exact: a backward pass for each dimension.
        probes: how many are averaged.
        tolerance: of a solver's step, relative and absolute, on the worst example.
        prior: log-density at sigma_max; None for the model's own.

    Raises:
        UsageError: where the denoiser is of a latent space or knows only discrete levels: there is no
            probability flow of data to follow.
    """
    if denoise.space != "data":
        raise UsageError("a denoiser of a latent space has no likelihood of data by the probability flow")
    if denoise.levels is not None:
        raise UsageError(
            f"the network knows {len(denoise.levels)} levels and none between them: no flow to follow",
            "expected: a model of continuous levels",
        )
    from torchdiffeq import odeint

    denoise = denoise.unclipped() if isinstance(denoise, Clips) else denoise
    vectors = _probes(probe, x, probes, noise)
    exact = probe == "exact"
    calls = 0

    def slope(u: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        with torch.enable_grad():
            at = state[0].detach().requires_grad_(True)
            drift = at - denoise(at, u.exp())
            total = torch.zeros_like(state[1])
            for place, v in enumerate(vectors):
                (row,) = torch.autograd.grad(drift, at, v, retain_graph=place < len(vectors) - 1)
                total = total + (row * v).flatten(1).sum(1).to(total)
        return drift.detach(), (total if exact else total / len(vectors)).detach()

    def worst(error: tuple[Tensor, Tensor]) -> Tensor:
        rows, integral = error
        return torch.maximum(rows.flatten(1).square().mean(1).sqrt().max(), integral.abs().max())

    ends = torch.tensor([denoise.sigma_min, denoise.sigma_max], dtype=torch.float64, device=x.device)
    alpha = denoise.alpha(ends[:1]).to(x)
    try:
        with torch.no_grad():
            states, integrals = odeint(
                slope,
                (x / alpha, torch.zeros(len(x), dtype=x.dtype, device=x.device)),
                ends.log(),
                method="dopri5",
                rtol=tolerance,
                atol=tolerance,
                # The last step ends at sigma_max: one that is interpolated asks for untrained levels.
                options={"norm": worst, "first_step": FIRST_STEP, "step_t": ends[-1:].log()},
            )
    except AssertionError as error:
        if "underflow in dt" not in str(error):
            raise
        lost = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        return FlowLikelihood(lost, torch.full_like(x, torch.nan), calls)
    scale = x[0].numel() * float(alpha.double().log())
    log_prob = (prior or standard_prior(denoise))(states[-1]) + integrals[-1].double() - scale
    return FlowLikelihood(log_prob, states[-1], calls)
