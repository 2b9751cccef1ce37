"""Masked diffusion (Sahoo et al. 2024, "Simple and Effective Masked Diffusion Language Models",
arXiv:2406.07524).

At time t in [0, 1] each value is hidden by a mask with probability t. A hidden value is drawn from the
network's law, a visible one stays (section 3.2.3), and the continuous-time bound (Eq. 10) is

    -log p(x) <= integral_0^1 E[ sum_{i hidden} -log p(x_i | visible values) ] / t dt.

The network does not depend on t, so the integral over t of a given number m of hidden values is in closed
form: m is uniform in 1..D, and the sum is divided by m / D. It is the mean, over all orders of the values, of
the code length of the network as an autoregressive model of that order (Ou et al. 2024, arXiv:2406.03736).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from zoo_core.config import UNTUNED, Preset, later
from zoo_core.diffusion.recipe import task_condition
from zoo_core.seeds import Seeds
from zoo_core.types import Batch, Cond, Context, DataInfo, Likelihood, Loss, SampleRequest, Samples
from zoo_discrete.network import LevelModel, LevelNetwork
from zoo_discrete.recipe import LARGER, TINY, LevelConfig, LevelDiffusion, mean_bits, strata
from zoo_discrete.tokens import TokenNetwork
from zoo_discrete.transitions import categorical
from zoo_discrete.values import values_of


class MDLMModel(LevelModel):
    """The network and the bound."""

    bound_terms: int = Field(64, ge=1)
    """Number of terms of the bound that are evaluated per example, stratified over the number of hidden
    values; with as many as an example has values, each number once."""
    cond_dropout: float = later(0.5, since="0.2.0", gt=0, le=1)
    """Captions: probability that a caption's image is left out in training, so that one network models
    captions alone and given their image; 1 for captions alone."""


class MDLMConfig(LevelConfig):
    """One run of MDLM."""

    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset({**TINY, "model.bound_terms": 16}, "for tests: seconds on one core"),
        "default@image<=16": UNTUNED,
        "default@image<=48": Preset(
            {**LARGER, "model.bound_terms": 16, "sample.steps": 64}, "for 28x28 and 32x32; not tuned"
        ),
        "default@caption": Preset(
            {
                "model.width": 96,
                "model.layers": 2,
                "optim.net.lr": 1e-3,
                "train.steps": 1000,
                "train.batch_size": 64,
            },
            "for captions: a small network, since there are few of them",
        ),
    }

    model: MDLMModel = MDLMModel()
    """The network and the bound."""


def hidden_by_order(order: Tensor, m: Tensor) -> Tensor:
    """Return which values are hidden, (n, D) bool: the last m of a random order, for each row.

    Args:
        order: (n, D) random numbers; their order is that of the values.
        m: (n,) in 1..D.
    """
    rank = order.argsort(1).argsort(1)
    return rank >= order.shape[1] - m[:, None]


def reveal_steps(u: Tensor, steps: int | None) -> Tensor:
    """Return the step in which each value is drawn, (n, D) int64, from uniform numbers (n, D).

    Args:
        u: in [0, 1); 1 - u is the time at which a value is drawn in the continuous-time process.
        steps: number of equal steps of that time; None for one value at a time, in the order of u: the law of
            the values is the same as with ever more steps, as the network does not depend on the time.
    """
    if steps is None:
        return u.argsort(1).argsort(1)
    return (u.double() * steps).floor().long().clamp_max(steps - 1)


class MDLM(LevelDiffusion):
    """A network of hidden values given the visible ones."""

    config: MDLMConfig

    def __init__(self, config: MDLMConfig, data: DataInfo) -> None:
        values = values_of("mdlm", data, 0)
        reads = data if config.model.cond_dropout < 1 else replace(data, image_channels=0)
        kind = TokenNetwork if data.task == "caption" else LevelNetwork
        net = kind(config.model, reads, values.count, values.count + 1)
        super().__init__(config, data, values, net)
        self.image_channels = reads.image_channels

    def given(self, cond: Cond | None) -> Cond | None:
        """Return what the network reads of conditions; None for nothing."""
        if cond is None or not self.image_channels:
            return None
        return task_condition(cond, self.data.task)

    def log_probs(self, k: Tensor, cond: Cond | None = None) -> Tensor:
        """Return log p of every level of every value, (n, D, K), given the visible ones of states (n, D)."""
        return self.logits(k, torch.zeros(len(k), device=k.device), cond).log_softmax(-1)

    def nats(self, x0: Tensor, hidden: Tensor, cond: Cond | None = None) -> Tensor:
        """Return D / m times the code length of the m hidden values given the visible ones, (n,) nats.

        Args:
            x0: levels, (n, D).
            hidden: (n, D) bool, m >= 1 in each row.
            cond: what the network reads.
        """
        log_prob = self.log_probs(x0.masked_fill(hidden, self.values.count), cond)
        own = log_prob.gather(2, x0[..., None])[..., 0]
        weight = hidden * (x0.shape[1] / hidden.sum(1, keepdim=True))
        return -(own.to(torch.promote_types(own.dtype, torch.float32)) * weight).sum(1)

    def loss(self, batch: Batch, context: Context) -> Loss:
        """Return the continuous-time bound, bits per value; m is stratified over the batch."""
        rng, x0 = context.rng, self.encode_flat(batch.x)
        n, dims = x0.shape
        u = torch.rand(n, generator=rng, device=x0.device)
        m = strata(u, torch.arange(n, device=x0.device), n, dims)
        order = torch.rand(x0.shape, generator=rng, device=x0.device)
        cond = self.given(batch.cond)
        if cond is not None and cond.image is not None:
            kept = torch.rand(n, generator=rng, device=x0.device) >= self.config.model.cond_dropout
            cond = replace(cond, image=cond.image * kept[:, None, None, None])
        loss = mean_bits(self.nats(x0, hidden_by_order(order, m), cond), dims)
        return Loss(loss, log={"loss": loss.detach()})

    def sample(self, request: SampleRequest) -> Samples:
        """Draw hidden values step by step.

        The network is evaluated only for samples of which a step draws a value: between such steps nothing
        changes and its output is known.
        """
        cond = self.given(request.cond)
        parts = [
            self._draw(noise, request.steps, None if cond is None else cond[rows])
            for rows, noise in self.chunks(request.noise)
        ]
        return Samples(torch.cat([x for x, _ in parts]), calls=max(calls for _, calls in parts))

    def _draw(self, noise: Seeds, steps: int | None, cond: Cond | None) -> tuple[Tensor, int]:
        """Return images, and the largest number of evaluations that one of them took."""
        dims = self.data.dims
        when = reveal_steps(noise.rand((dims,), name="order"), steps)
        u = noise.rand((dims,), name="value")
        x = torch.full_like(when, self.values.count)
        calls = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        for step in when.unique().tolist():  # sorted; the other steps draw nothing
            now = when == step
            rows = now.any(1).nonzero()[:, 0]
            probability = self.log_probs(x[rows], None if cond is None else cond[rows]).exp()
            x[rows] = torch.where(now[rows], categorical(probability, u[rows]), x[rows])
            calls[rows] += 1
        return self.values.decode(x.unflatten(1, self.data.shape), noise), int(calls.max())

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the continuous-time bound, estimated without bias; of captions alone."""
        return [self._bound(x, noise, None)]

    def likelihoods_given(self, x: Tensor, cond: Cond, *, noise: Seeds, k: int) -> Sequence[Likelihood]:
        """Return the bound given conditions; with equal noise of the same masks. Empty if it reads none."""
        read = self.given(cond)
        return [] if read is None else [self._bound(x, noise, read)]

    @torch.no_grad()
    def _bound(self, x: Tensor, noise: Seeds, cond: Cond | None) -> Likelihood:
        dims = self.data.dims
        terms = min(dims, self.config.model.bound_terms)
        found = []
        for rows, own in self.chunks(noise):
            x0 = self.encode_flat(x[rows])
            nats = torch.zeros(len(x0), dtype=torch.float64, device=x.device)
            for j in range(terms):
                u = own.rand((1 + dims,), name="term", step=j)
                m = strata(u[:, 0], torch.full_like(u[:, 0], j), terms, dims)
                hidden = hidden_by_order(u[:, 1:], m)
                nats = nats + self.nats(x0, hidden, None if cond is None else cond[rows]).double() / terms
            found.append(-nats)
        note = f"{terms} of {dims} numbers of hidden values an example, one order each, unbiased"
        return Likelihood(torch.cat(found), "elbo", calls=terms, note=note)
