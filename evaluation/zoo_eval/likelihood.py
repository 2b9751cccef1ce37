"""Likelihoods over the test split: every kind a model has, in bits/dim for pictures and nats for points.

All kinds estimate or bound one quantity, the code length of the test set's levels; they are ranked only
within a kind, and a bound is printed with its <=.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.loading import Dataset, to_unit
from zoo_core.distributed import gather, share, world
from zoo_core.errors import PluginError
from zoo_core.interfaces import HasLikelihood
from zoo_core.likelihood import bits_per_dim
from zoo_core.seeds import Seeds, derive, generator
from zoo_core.types import Likelihood


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


@torch.no_grad()
def likelihoods(
    recipe: HasLikelihood, dataset: Dataset, *, n: int, k: int, batch_size: int, device: torch.device | str
) -> list[dict[str, Any]]:
    """Return one record a kind: name, kind, figure, standard error, whether a bound, and what moves it.

    Several processes each measure their share of the examples.

    Args:
        recipe: in evaluation mode, on `device`.
        n: test examples; their noise depends on their place among the n, not on the batch.
        k: importance samples, for the kinds that use them.

    Raises:
        PluginError: where a model returns a likelihood that is not one finite number an example.
    """
    parts: dict[str, list[Likelihood]] = {}
    rows, own = chosen_rows(dataset, n), share(n, world())
    for first in range(own.start, own.stop, batch_size):
        index = rows[first : min(first + batch_size, own.stop)]
        x = dataset.test.rows(index)
        x = (x if dataset.info.levels is None else to_unit(x, dataset.info.levels)).to(device)
        noise = Seeds(derive(0, "likelihood"), range(first, first + len(index)), device)
        for found in recipe.likelihoods(x, noise=noise, k=k):
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
        "calls": first.calls,
        "note": first.note,
        "kl": {name: float(torch.cat([part.kl[name] for part in parts]).mean()) for name in first.kl},
    }


def truth(dataset: Dataset, n: int) -> dict[str, Any] | None:
    """Return the test split's figure under its own density, the best there is; None where none is known."""
    if dataset.density is None:
        return None
    x = dataset.test.rows(chosen_rows(dataset, n))
    return {"name": "true density", **figure(dataset.density.log_prob(x.double()), dataset), "n": n}
