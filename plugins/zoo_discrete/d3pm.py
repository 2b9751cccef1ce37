"""Discrete denoising diffusion (Austin, Johnson, Ho, Tarlow and van den Berg 2021, arXiv:2107.03006).

A Markov chain of T steps (`zoo_discrete.transitions`) noises each value on its own. The network gives a law
p~(x_0 | x_t) of each value, and a reverse step is

    p(x_{t-1} | x_t) ~ sum_{x_0} q(x_{t-1}, x_t | x_0) p~(x_0 | x_t)        (Eq. 4)

so p~ is multiplied by what x_t itself says of x_0: the network's posterior is r(x_0) ~ q(x_t | x_0) p~(x_0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from zoo_core.config import Preset
from zoo_core.errors import UsageError
from zoo_core.seeds import Seeds
from zoo_core.types import Batch, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples
from zoo_discrete.network import LevelModel, LevelNetwork
from zoo_discrete.recipe import LARGER, TINY, LevelConfig, LevelDiffusion, mean_bits, strata
from zoo_discrete.transitions import CHAINS, Chain, Transition, between, categorical
from zoo_discrete.values import values_of

TINIEST = 1e-37
"""Least probability in a logarithm, above the subnormal numbers of float32."""


class D3PMModel(LevelModel):
    """The chain, the network and the loss."""

    transition: Transition = "gaussian"
    """Steps of the chain: to any level (uniform), to a mask (absorbing), or to near levels (gaussian)."""
    T: int = Field(64, ge=2, le=1000)
    """Number of steps of the chain."""
    auxiliary: float = Field(0.01, ge=0)
    """Weight of the cross-entropy of x_0 beside the bound: lambda of the paper's Eq. 5."""
    grid: int = Field(64, ge=4, le=256)
    """Points: levels of each axis of the grid that they are put on."""
    vlb_terms: int = Field(64, ge=1)
    """Number of step terms of the bound that are evaluated per example; T or more for all."""


class D3PMConfig(LevelConfig):
    """One run of D3PM."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset({**TINY, "model.T": 8}, "for tests: seconds on one core"),
        "default@image<=16": Preset(
            {"model.transition": "absorbing"}, "for digits: absorbing steps, whose samples are better there"
        ),
        "default@image<=48": Preset(
            {**LARGER, "model.transition": "uniform", "model.T": 32, "model.vlb_terms": 8},
            "for 28x28 and 32x32: uniform steps need no products of matrices; not tuned",
        ),
        "default@points": Preset(
            {"train.steps": 3000, "train.batch_size": 256, "model.features": 32}, "for points; not tuned"
        ),
    }

    model: D3PMModel = D3PMModel()
    """The chain, the network and the loss."""


def _normalized(weight: Tensor) -> Tensor:
    return weight / weight.sum(-1, keepdim=True)


def posterior(towards: Tensor, before: Tensor) -> Tensor:
    """Return q(x_s | x_t, x_0) by Bayes' rule, (n, D, S).

    Args:
        towards: q(x_t | x_s = .), (n, D, S).
        before: q(x_s = . | x_0), (n, D, S); of a mixture over x_0 the result is Eq. 4.
    """
    return _normalized(towards * before)


def divergence(q: Tensor, p: Tensor) -> Tensor:
    """Return KL(q || p) of laws (n, D, S), summed over the values, (n,) nats."""
    return (torch.xlogy(q, q) - q * p.clamp_min(TINIEST).log()).flatten(1).sum(1)


class D3PM(LevelDiffusion):
    """A chain over levels and the network that reverses it."""

    config: D3PMConfig
    single: Tensor
    cumulative: Tensor
    prior: Tensor
    survival: Tensor | None

    def __init__(self, config: D3PMConfig, data: DataInfo) -> None:
        model = config.model
        if config.sample.steps and config.sample.steps > model.T:
            raise UsageError(
                f"sample.steps={config.sample.steps} and the chain has {model.T} steps",
                f"expected: 1 to {model.T}",
                f"next: sample.steps={model.T}, or a longer chain (model.T)",
            )
        values = values_of("d3pm", data, model.grid)
        chain: Chain = CHAINS[model.transition](values.count, model.T)
        net = LevelNetwork(model, data, values.count, chain.states, time_scale=1000 / model.T)
        super().__init__(config, data, values, net)
        for name in (
            "single",
            "cumulative",
            "prior",
            "survival",
        ):  # made again from the options, so not stored
            self.register_buffer(name, getattr(chain, name), persistent=False)

    # -- the chain, at one time per row

    def marginal(self, x0: Tensor, t: Tensor) -> Tensor:
        """Return q(x_t | x_0), (n, D, S), of levels (n, D) at times (n,) in 0..T."""
        return self.cumulative[t[:, None], x0]

    def towards(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return q(x_t | x_{t-1} = .), (n, D, S), of states (n, D) at times (n,) in 1..T."""
        return self.single.transpose(1, 2)[t[:, None] - 1, x_t]

    def evidence(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return q(x_t | x_0 = .), (n, D, K), of states (n, D) at times (n,) in 1..T."""
        return self.cumulative.transpose(1, 2)[t[:, None], x_t][..., : self.values.count]

    def spread(self, law: Tensor, s: Tensor | int) -> Tensor:
        """Return sum_{x_0} q(x_s = . | x_0) law(x_0), (n, D, S).

        Args:
            law: (n, D, K).
            s: one time, or one for each row (n,); in 0..T.
        """
        levels, states = self.values.count, len(self.prior)
        if self.survival is None:
            return law @ self.cumulative[s, :levels].to(law)
        survival = self.survival[s][..., None, None].to(law)
        return survival * F.pad(law, (0, states - levels)) + (1 - survival) * self.prior.to(law)

    def term(self, x0: Tensor, x_t: Tensor, t: Tensor, logits: Tensor) -> Tensor:
        """Return KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), (n,) nats; at t = 1 it is -log p(x_0 | x_1).

        Args:
            x0, x_t: (n, D).
            t: (n,) in 1..T.
            logits: of p~, (n, D, K); the result has their dtype.
        """
        towards = self.towards(x_t, t).to(logits)
        q = posterior(towards, self.marginal(x0, t - 1).to(logits))
        return divergence(q, posterior(towards, self.spread(logits.softmax(-1), t - 1)))

    def prior_term(self, x0: Tensor) -> Tensor:
        """Return KL(q(x_T | x_0) || prior), (n,) nats, of levels (n, D)."""
        return divergence(self.cumulative[-1][x0], self.prior)

    # -- training

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the bound at a random time, and the cross-entropy of x_0 (Eq. 5), bits per value."""
        model, dims, rng = self.config.model, self.data.dims, context.rng
        x0 = self.encode_flat(batch.x)
        t = torch.randint(1, model.T + 1, (len(x0),), generator=rng, device=x0.device)
        u = torch.rand(x0.shape, generator=rng, device=x0.device)
        x_t = categorical(self.marginal(x0, t), u)
        logits = self.logits(x_t, t)
        bound = mean_bits(model.T * self.term(x0, x_t, t, logits), dims)
        log_r = (logits + self.evidence(x_t, t).clamp_min(TINIEST).log().to(logits)).log_softmax(-1)
        entropy = mean_bits(-log_r.gather(2, x0[..., None]).flatten(1).sum(1), dims)
        loss = bound + model.auxiliary * entropy
        found = {"loss": loss, "bound": bound, "cross_entropy": entropy}
        return Loss(loss, log={name: value.detach() for name, value in found.items()})

    # -- sampling

    def times(self, steps: int | None) -> list[int]:
        """Return the times that are visited, from T to 0.

        Raises:
            UsageError: for more steps than the chain has.
        """
        end = self.config.model.T
        steps = end if steps is None else steps
        if steps > end:
            raise UsageError(f"{steps} steps of a chain of {end}", f"expected: 1 to {end}")
        return [end - end * i // steps for i in range(steps + 1)]

    def sample(self, request: SampleRequest) -> Samples:
        """Draw x_T from the prior and then each state given the one after it (ancestral sampling)."""
        times = self.times(request.steps)
        steps = [between(self.single, s, t).T for t, s in pairwise(times)]
        drawn = [self._draw(noise, times, steps) for _, noise in self.chunks(request.noise)]
        return Samples(torch.cat(drawn), calls=len(steps))

    def _draw(self, noise: Seeds, times: Sequence[int], steps: Sequence[Tensor]) -> Tensor:
        dims = self.data.dims
        x = categorical(self.prior.expand(len(noise), dims, -1), noise.rand((dims,), name="prior"))
        for i, towards in enumerate(steps):
            t = torch.full((len(noise),), times[i], device=x.device)
            law = self.spread(self.logits(x, t).double().softmax(-1), times[i + 1])
            x = categorical(towards[x] * law, noise.rand((dims,), name="step", step=i))
        return self.values.decode(x.unflatten(1, self.data.shape), noise)

    # -- likelihood

    @torch.no_grad()
    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the variational bound of the chain of T steps, one draw of x_t for each term."""
        model = self.config.model
        terms = min(model.T, model.vlb_terms)
        found = []
        for rows, own in self.chunks(noise):
            x0 = self.encode_flat(x[rows])
            nats = self.prior_term(x0) - self.values.log_density(x[rows])
            for j in range(terms):
                u = own.rand((1 + self.data.dims,), name="term", step=j)
                t = strata(u[:, 0], torch.full_like(u[:, 0], j), terms, model.T)
                x_t = categorical(self.marginal(x0, t), u[:, 1:])
                nats = nats + model.T / terms * self.term(x0, x_t, t, self.logits(x_t, t).double())
            found.append(-nats)
        note = ", ".join(filter(None, (f"{model.transition} transitions", self.values.note)))
        if terms < model.T:
            note += f"; {terms} of {model.T} terms an example, stratified over t, unbiased"
        return [Likelihood(torch.cat(found), "vlb", k=model.T, calls=terms, note=note)]
