"""Likelihoods over the test split: every kind a model has, in bits/dim for pictures and nats for points.

All kinds estimate or bound one quantity, the code length of the test set's levels; they are ranked only
within a kind, and a bound is printed with its <=.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo_core.data.loading import Dataset, to_unit
from zoo_core.distributed import gather, share, world
from zoo_core.errors import PluginError
from zoo_core.interfaces import Denoiser, HasDenoiser, HasLikelihood
from zoo_core.likelihood import bits_per_dim, dequantised
from zoo_core.seeds import Seeds, derive, generator
from zoo_core.types import DataInfo, Likelihood

if TYPE_CHECKING:
    from zoo_eval.protocol import Probe

Measure = Callable[[Tensor, Seeds], Sequence[Likelihood]]
"""(x, noise) -> likelihoods of a batch."""


def mean_and_error(values: Tensor) -> tuple[float, float | None]:
    """Return the mean and its standard error; None for the error of a single value."""
    values = values.double()
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
    return float(values.mean()), error


def figure(log_prob: Tensor, dataset: Dataset) -> dict[str, Any]:
    """Return the figure of per-example log-likelihoods, (n,) nats: its unit and value, and "se" in that unit.

    Pictures have "bits_per_dim", of which fewer are better, and "nats" beside. Points, and pictures of two
    levels, as the literature has them, have "nats" alone: the mean log-probability, of which more are better.
    """
    info = dataset.info
    nats, error = mean_and_error(log_prob)
    if info.levels is None or info.levels == 2:
        return {"nats": nats, "se": error}
    bits, error = mean_and_error(bits_per_dim(log_prob, info.dims))
    return {"bits_per_dim": bits, "se": error, "nats": nats}


def chosen_rows(dataset: Dataset, n: int) -> Tensor:
    """Return which n rows of the test split are measured: a fixed permutation's first, in ascending order."""
    order = torch.randperm(len(dataset.test), generator=generator(0, "likelihood rows"))
    return order[:n].sort().values


@dataclass(frozen=True)
class Flow:
    """How a likelihood by the probability flow is measured.

    Attributes:
        probe: exact divergence, or Hutchinson's probes.
        probes: that Hutchinson's estimate averages over.
        tolerance: of a step of the solver, relative and absolute.
    """

    probe: Probe
    probes: int = 1
    tolerance: float = 1e-3

    @property
    def note(self) -> str:
        """What moves the figure, in words."""
        probes = "" if self.probe == "exact" else f", {self.probes} probe{'s' * (self.probes > 1)}"
        return f"{self.probe} divergence{probes}, tolerance {self.tolerance:g}"


def flow_denoiser(recipe: Any, info: DataInfo) -> Denoiser | None:
    """Return the denoiser whose probability flow has a likelihood of data; None where there is none.

    It takes one of data, at continuous levels, that can do without a source picture.
    """
    if not isinstance(recipe, HasDenoiser) or info.task not in ("unconditional", "class", "text"):
        return None
    denoise = recipe.denoiser()
    return denoise if denoise.space == "data" and denoise.levels is None else None


def flow_likelihood(denoise: Denoiser, info: DataInfo, flow: Flow) -> Measure:
    """Return the likelihood by a denoiser's probability flow.

    Pictures are spread uniformly over their levels' bins, once. Data are taken for what the model has at its
    least level, x0 + sigma_min eps; a conditional model's is its unconditional one. Source: Song et al. 2021,
    arXiv:2011.13456, section 4.3.
    """
    from zoo_core.diffusion.ode import flow_log_prob

    def measure(x: Tensor, noise: Seeds) -> Sequence[Likelihood]:
        calls = 0

        def log_density(at: Tensor) -> Tensor:
            nonlocal calls
            found = flow_log_prob(
                denoise,
                at.float(),
                noise=noise,
                probe=flow.probe,
                probes=flow.probes,
                tolerance=flow.tolerance,
            )
            calls = found.calls
            return found.log_prob

        if info.levels is None:
            return [Likelihood(log_density(x), "ode", calls=calls, note=flow.note)]
        log_prob = dequantised(log_density, x, info.levels, noise=noise)
        return [Likelihood(log_prob, "ode", dequantisation="uniform", calls=calls, note=flow.note)]

    return measure


def measures(recipe: Any, info: DataInfo, *, k: int, flow: Flow | None) -> list[Measure]:
    """Return every way to a likelihood that a recipe has.

    Args:
        k: importance samples, for the kinds that use them.
        flow: of the probability flow's; None to leave it out.
    """
    found: list[Measure] = []
    if isinstance(recipe, HasLikelihood):
        found.append(lambda x, noise: recipe.likelihoods(x, noise=noise, k=k))
    denoise = flow_denoiser(recipe, info) if flow is not None else None
    if flow is not None and denoise is not None:
        found.append(flow_likelihood(denoise, info, flow))
    return found


@torch.no_grad()
def likelihoods(
    recipe: Any,
    dataset: Dataset,
    *,
    n: int,
    k: int,
    batch_size: int,
    device: torch.device | str,
    flow: Flow | None = None,
) -> list[dict[str, Any]]:
    """Return one record a kind: name, kind, figure, standard error, whether a bound, and what moves it.

    Several processes each measure their share of the examples.

    Args:
        recipe: in evaluation mode, on `device`; one without a likelihood has no records.
        n: test examples; their noise depends on their place among the n, not on the batch.
        k: importance samples, for the kinds that use them.
        flow: how a likelihood by the probability flow is measured; None to leave it out.

    Raises:
        PluginError: where a model returns a likelihood that is not one finite number an example.
    """
    ways = measures(recipe, dataset.info, k=k, flow=flow)
    parts: dict[str, list[Likelihood]] = {}
    rows, own = chosen_rows(dataset, n), share(n, world())
    for first in range(own.start, own.stop, batch_size):
        index = rows[first : min(first + batch_size, own.stop)]
        x = dataset.test.examples(index)
        x = (x if dataset.info.levels is None else to_unit(x, dataset.info.levels)).to(device)
        seeds = [Seeds(derive(0, "likelihood"), range(first, first + len(index)), device) for _ in ways]
        for found in (one for way, noise in zip(ways, seeds, strict=True) for one in way(x, noise)):
            if tuple(found.log_prob.shape) != (len(index),) or not bool(torch.isfinite(found.log_prob).all()):
                raise PluginError(
                    f"{type(recipe).__name__}: likelihood {found.name!r} is not one finite number an example",
                    f"got: shape {tuple(found.log_prob.shape)} for {len(index)} examples",
                )
            kl = {name: part.detach().double().cpu() for name, part in found.kl.items()}
            kept = replace(found, log_prob=found.log_prob.detach().double().cpu(), kl=kl)
            parts.setdefault(found.name, []).append(kept)
    every: dict[str, list[Likelihood]] = {}
    for theirs in gather(parts):
        for name, some in theirs.items():
            every.setdefault(name, []).extend(some)
    return [_record(found, dataset) for found in every.values()]


def _record(parts: list[Likelihood], dataset: Dataset) -> dict[str, Any]:
    first = parts[0]
    log_prob = torch.cat([part.log_prob for part in parts])
    return {
        "name": first.name,
        "kind": first.kind,
        **figure(log_prob, dataset),
        "n": len(log_prob),
        "bound": first.is_bound,
        "k": first.k,
        "dequantisation": first.dequantisation,
        "calls": max(part.calls for part in parts),
        "note": first.note,
        "kl": {name: float(torch.cat([part.kl[name] for part in parts]).mean()) for name in first.kl},
    }


def truth(dataset: Dataset, n: int) -> dict[str, Any] | None:
    """Return the test split's figure under its own density, the best there is; None where none is known."""
    if dataset.density is None:
        return None
    x = dataset.test.examples(chosen_rows(dataset, n))
    return {"name": "true density", **figure(dataset.density.log_prob(x.double()), dataset), "n": n}
