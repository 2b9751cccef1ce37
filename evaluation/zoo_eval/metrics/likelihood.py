"""Likelihoods of test examples: every kind a model has, in bits/dim for images, bits per token for captions
and nats for points.

All kinds estimate or bound one quantity, the code length of the test set's levels. Each kind is a column of
its own: a bound is never ranked with exact values, nor a dequantized density with probabilities of levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from zoo_core.config import EvalConfig
from zoo_core.data.likelihood import COLLAPSED, bits_per_dim, dequantized
from zoo_core.data.loading import Dataset, to_unit
from zoo_core.errors import PluginError, UsageError
from zoo_core.interfaces import Denoiser, EvalContext, HasDenoiser, HasLikelihood, spreads_of
from zoo_core.machine.distributed import share, world
from zoo_core.machine.leading import to_first, together
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import Seeds, derive, generator
from zoo_core.types import DataInfo, Likelihood, LikelihoodKind
from zoo_eval.protocol import Probe

Measure = Callable[[Tensor, Seeds], Sequence[Likelihood]]
"""(x, noise) -> likelihoods of a batch."""
KINDS: tuple[str, ...] = get_args(LikelihoodKind)
FAR = 1e12
"""Nats beyond which a log-likelihood by the probability flow has no meaning: the flow ran away."""
ROUNDING = 1e-6
"""Nats per value of an example by which float32 rounding may lift a log-probability above 0."""


def mean_and_error(values: Tensor) -> tuple[float, float | None]:
    """Return the mean and its standard error; None for the error of a single value."""
    values = values.double()
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
    return float(values.mean()), error


def ratio_and_error(bits: Tensor, words: Tensor) -> tuple[float, float | None]:
    """Return sum(bits) / sum(words) over captions, and its standard error by linearization; both (n,)."""
    bits, words = bits.double(), words.double()
    ratio = float(bits.sum() / words.sum())
    if len(bits) < 2:
        return ratio, None
    return ratio, float((bits - ratio * words).std() / (words.mean() * len(bits) ** 0.5))


def in_bits(info: DataInfo) -> bool:
    """Return whether a log-likelihood is reported in bits/dim: of images with more than two levels.

    Points, and images of two levels, as the literature has them, are reported in nats.
    """
    return info.levels is not None and info.levels > 2


def base_of(info: DataInfo) -> str:
    """Return the base name of the column of a likelihood."""
    if info.task == "caption":
        return "bits_per_token"
    return "bits_per_dim" if in_bits(info) else "nats"


def value_of(
    log_prob: Tensor, info: DataInfo, *, bound: bool = False, note: str = "", words: Tensor | None = None
) -> tuple[str, Value]:
    """Return (base name, value) of per-example log-likelihoods, (n,) nats.

    `bits_per_dim` (lower is better) for images, with the nats in its note; `nats` (higher is better) for
    points. A lower bound on the log-likelihood is an upper bound on bits. `bits_per_token` (lower is better)
    is the code length of all captions over the number of their words. Padding is part of a caption: its bits
    tell where the caption ends, and they are counted; its places are not.

    Args:
        words: number of words of each example, (n,), where they are captions.
    """
    nats, error = mean_and_error(log_prob)
    base = base_of(info)
    if base == "nats":
        ends: Any = "lower" if bound else "exact"
        return base, Value(value=nats, standard_error=error, n=len(log_prob), bound=ends, note=note)
    if words is None:
        bits, error = mean_and_error(bits_per_dim(log_prob, info.dims))
    else:
        bits, error = ratio_and_error(bits_per_dim(log_prob, 1), words)
    text = ", ".join(filter(None, (note, f"{nats:.1f} nats")))
    ends = "upper" if bound else "exact"
    return base, Value(value=bits, standard_error=error, n=len(log_prob), bound=ends, note=text)


def chosen_rows(dataset: Dataset, n: int) -> Tensor:
    """Return the n rows of the test split that are used: a fixed permutation's first, in ascending order."""
    order = torch.randperm(len(dataset.test), generator=generator(0, "likelihood rows"))
    return order[:n].sort().values


@dataclass(frozen=True)
class Flow:
    """Settings of the likelihood by the probability flow.

    Attributes:
        probe: exact divergence, or Hutchinson's probes.
        probes: number that Hutchinson's estimate averages over.
        tolerance: of a step of the solver, relative and absolute.
    """

    probe: Probe
    probes: int = 1
    tolerance: float = 1e-3

    @property
    def note(self) -> str:
        """The settings as text."""
        probes = "" if self.probe == "exact" else f", {self.probes} probe{'s' * (self.probes > 1)}"
        return f"{self.probe} divergence{probes}, tolerance {self.tolerance:g}"


def flow_denoiser(recipe: Any, info: DataInfo) -> Denoiser | None:
    """Return the denoiser whose probability flow has a likelihood of data; None where there is none.

    It takes one of data, at continuous noise levels, that needs no source image and, if the data are images,
    was trained on dequantized ones.
    """
    if not isinstance(recipe, HasDenoiser) or info.task not in ("unconditional", "class", "text"):
        return None
    if info.levels is not None and not spreads_of(recipe):
        return None
    denoise = recipe.denoiser()
    return denoise if denoise.space == "data" and denoise.levels is None else None


def check_ode(config: EvalConfig, recipe: Any, info: DataInfo, plugin: str) -> None:
    """Refuse `eval.ode=always` for a model without a likelihood by the probability flow.

    Raises:
        UsageError: as said.
    """
    if config.ode == "always" and flow_denoiser(recipe, info) is None:
        raise UsageError(
            f"eval.ode=always and {plugin!r} has no likelihood by a probability flow",
            "expected: a denoiser of data, not of a latent, at continuous noise levels",
            "next: eval.ode=auto",
        )


def flow_likelihood(denoise: Denoiser, info: DataInfo, flow: Flow) -> Measure:
    """Return the likelihood by a denoiser's probability flow.

    Images are dequantized uniformly over their levels' bins, with one draw. Data are taken as x0 + sigma_min
    eps, the model's lowest noise level; a conditional model's likelihood is its unconditional one. Source:
    Song et al. 2021, arXiv:2011.13456, section 4.3.
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
        log_prob = dequantized(log_density, x, info.levels, noise=noise)
        return [Likelihood(log_prob, "ode", dequantization="uniform", calls=calls, note=flow.note)]

    return measure


def measures(recipe: Any, info: DataInfo, *, k: int, flow: Flow | None) -> list[Measure]:
    """Return every likelihood estimator that a recipe has.

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


def check(found: Likelihood, n: int, info: DataInfo, model: str) -> None:
    """Refuse a batch of likelihoods that is not one.

    Raises:
        PluginError: for an unknown kind or dequantization, not one finite number per example, or a
            probability of levels above 1.
    """
    if found.kind not in KINDS or found.dequantization not in ("none", "uniform"):
        raise PluginError(
            f"{model}: a likelihood of kind {found.kind!r}, dequantization {found.dequantization!r}",
            f"expected: kind {', '.join(KINDS)}; dequantization none or uniform",
        )
    flows = found.kind == "ode"  # `diverged` tells of a flow that ran away
    if tuple(found.log_prob.shape) != (n,) or not (flows or bool(torch.isfinite(found.log_prob).all())):
        raise PluginError(
            f"{model}: likelihood {found.name!r} is not one finite number per example",
            f"got: shape {tuple(found.log_prob.shape)} for {n} examples",
        )
    if info.levels is None:
        return  # a density may exceed 1
    # A stochastic estimate of a bound may exceed 0 for one example; its mean may not.
    exact = found.kind == "exact" and found.dequantization == "none"
    largest = float(found.log_prob.max() if exact else found.log_prob.double().mean())
    if largest > ROUNDING * info.dims:
        raise PluginError(
            f"{model}: likelihood {found.name!r} is a probability of levels above 1: log P = {largest:.4g}",
            "expected: log P <= 0 nats for data with levels",
            "next: a density needs zoo_core.data.likelihood.dequantized, and dequantization='uniform'",
        )


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
) -> list[Likelihood]:
    """Return the likelihoods of n test examples, one `Likelihood` per kind with log_prob of shape (n,).

    Several processes each compute their share of the examples, and the first gets them all.

    Args:
        recipe: in evaluation mode, on `device`; [] for one without a likelihood.
        n: test examples; their noise depends on their place among the n, not on the batch.
        k: importance samples, for the kinds that use them.
        flow: settings of the likelihood by the probability flow; None to leave it out.

    Raises:
        PluginError: as `check`.
    """
    rows, own = chosen_rows(dataset, n), share(n, world())

    def of_share() -> dict[str, list[Likelihood]]:
        estimators = measures(recipe, dataset.info, k=k, flow=flow)
        parts: dict[str, list[Likelihood]] = {}
        for first in range(own.start, own.stop, batch_size):
            index = rows[first : min(first + batch_size, own.stop)]
            x = dataset.test.examples(index)
            x = (x if dataset.info.levels is None else to_unit(x, dataset.info.levels)).to(device)
            places = range(first, first + len(index))
            seeds = [Seeds(derive(0, "likelihood"), places, device) for _ in estimators]
            pairs = zip(estimators, seeds, strict=True)
            for found in (one for estimate, noise in pairs for one in estimate(x, noise)):
                check(found, len(index), dataset.info, type(recipe).__name__)
                kl = {name: part.detach().double().cpu() for name, part in found.kl.items()}
                kept = replace(found, log_prob=found.log_prob.detach().double().cpu(), kl=kl)
                parts.setdefault(column_kind(found), []).append(kept)
        return parts

    every: dict[str, list[Likelihood]] = {}
    for theirs in to_first(of_share):
        for name, some in theirs.items():
            every.setdefault(name, []).extend(some)
    return [_joined(found) for found in every.values()]


def _joined(parts: list[Likelihood]) -> Likelihood:
    first = parts[0]
    return replace(
        first,
        log_prob=torch.cat([part.log_prob for part in parts]),
        calls=max(part.calls for part in parts),
        kl={name: torch.cat([part.kl[name] for part in parts]) for name in first.kl},
    )


def column_kind(found: Likelihood) -> str:
    """Return what stands in the brackets of its column: "iwae-64", "exact", "ode, dequantized"."""
    return f"{found.name}, dequantized" if found.dequantization == "uniform" else found.name


def diverged(found: Likelihood) -> str:
    """Return why log-likelihoods have no mean: the flow of some examples ran away; "" where they have one."""
    far = int((~(found.log_prob.abs() < FAR)).sum())
    return f"the probability flow of {far} of {len(found.log_prob)} test examples diverges" if far else ""


def columns_of(
    found: Likelihood, info: DataInfo, words: Tensor | None = None
) -> dict[str, Value | NotApplicable]:
    """Return the columns of one kind: its value (`value_of`), and the use of its latent where it has one."""
    kind = column_kind(found)
    if reason := diverged(found):
        return {f"{base_of(info)}[{kind}]": NotApplicable(reason=reason)}
    base, value = value_of(found.log_prob, info, bound=found.is_bound, note=found.note, words=words)
    return {f"{base}[{kind}]": value, **latent_use(found.kl, kind)}


def latent_use(kl: Mapping[str, Tensor], kind: str) -> dict[str, Value]:
    """Return `KL[kind]`, nats over all parts of the latent, and `active[kind]`, parts with at least COLLAPSED
    nats.

    Args:
        kl: by part of the latent, (n,) nats; {} for a model without a latent gives no columns.
    """
    if not kl:
        return {}
    means = {name: float(part.mean()) for name, part in kl.items()}
    collapsed = [name for name, nats in means.items() if nats < COLLAPSED]
    note = f"of {len(means)} parts of the latent"
    if 0 < len(collapsed) <= 4:
        note += f"; collapsed: {', '.join(collapsed)}"
    n = len(next(iter(kl.values())))
    return {
        f"KL[{kind}]": Value(value=sum(means.values()), n=n),
        f"active[{kind}]": Value(value=len(means) - len(collapsed), n=n, note=note[:400]),
    }


def words_of(ctx: EvalContext) -> Tensor:
    """Return the number of words of each test caption whose likelihood is computed, (n,)."""
    rows = chosen_rows(ctx.data, ctx.protocol.likelihood_n)
    return (ctx.data.test.examples(rows) > 0).sum(1)


# -- as registered metrics


def measured(ctx: EvalContext) -> list[Likelihood]:
    """Return every kind of likelihood of the model, computed once in an evaluation."""

    def compute() -> list[Likelihood]:
        info = ctx.data.info
        check_ode(ctx.config.eval, ctx.recipe, info, ctx.config.plugin)
        if not isinstance(ctx.recipe, HasLikelihood) and flow_denoiser(ctx.recipe, info) is None:
            return []
        ctx.say(f"likelihood of {ctx.protocol.likelihood_n:,} test examples")
        return together(of_test_examples, ctx)

    return ctx.once("likelihoods", compute)


def of_test_examples(ctx: EvalContext) -> list[Likelihood]:
    """Return every kind of likelihood of the model; each process computes its share."""
    settings, config, flow = ctx.protocol, ctx.config.eval, None
    if config.ode != "never":
        flow = Flow(settings.ode_probe, settings.ode_probes, settings.ode_tolerance)
    with ctx.inference():
        return likelihoods(
            ctx.recipe,
            ctx.data,
            n=settings.likelihood_n,
            k=settings.iwae_k,
            batch_size=config.batch_size,
            device=ctx.device,
            flow=flow,
        )


def likelihood(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the columns of every kind of likelihood the model has."""
    found = measured(ctx)
    info = ctx.data.info
    if not found:
        return {base_of(info): NotApplicable(reason="the model has no likelihood")}
    words = words_of(ctx) if info.task == "caption" else None
    return {column: value for one in found for column, value in columns_of(one, info, words).items()}
