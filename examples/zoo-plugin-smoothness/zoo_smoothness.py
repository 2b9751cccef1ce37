"""Smoothness of latent interpolation: length of a path between two samples over the distance of its ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from zoo_core.registry.spec import MetricSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from zoo_core.interfaces import EvalContext, FeatureSet
    from zoo_core.results import NotApplicable, Value

hookimpl = pluggy.HookimplMarker("zoo")

PAIRS = 100
"""Pairs of latents that are interpolated."""
STEPS = 8
"""Steps of each interpolation."""


@hookimpl
def zoo_metrics() -> list[MetricSpec]:
    return [
        MetricSpec(
            name="latent-smoothness",
            target="zoo_smoothness:latent_smoothness",
            needs=("model", "features"),
            columns={"path ratio": "lower"},
            summary="length of latent interpolations in features, relative to a straight line",
        )
    ]


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the spherical interpolation of latents, (n, ...): interpolated points keep the norm of a normal.

    Args:
        a, b: (n, ...) latents.
        t: in [0, 1].
    """
    import torch

    x, y = a.flatten(1), b.flatten(1)
    cosine = (x * y).sum(1, keepdim=True) / (x.norm(dim=1, keepdim=True) * y.norm(dim=1, keepdim=True))
    angle = torch.arccos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
    mixed = (torch.sin((1 - t) * angle) * x + torch.sin(t * angle) * y) / torch.sin(angle)
    return mixed.view_as(a)


def interpolations(ctx: EvalContext) -> list[FeatureSet]:
    """Return the features of PAIRS interpolations at each step; each process makes its share."""
    import torch

    from zoo_core.machine.distributed import share, world
    from zoo_core.seeds import generator

    shape = (2, PAIRS, *ctx.recipe.latent_shape)
    own = share(PAIRS, world())
    start, end = torch.randn(shape, generator=generator(0, "latent smoothness"))[:, list(own)].to(ctx.device)

    def interpolated(t: float) -> Iterator[Tensor]:
        if own:
            yield ctx.from_model(ctx.recipe.from_latents(slerp(start, end, t), ctx.run.request(own)))

    with ctx.inference():
        return [ctx.features(interpolated(k / STEPS), "interpolated") for k in range(STEPS + 1)]


def latent_smoothness(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return `path ratio[extractor]`: 1 where interpolations are straight lines in the features.

    It applies to models whose samples are a function of one normal latent. The interval is that of a normal
    distribution over pairs.
    """
    import torch

    from zoo_core.interfaces import HasLatents
    from zoo_core.machine.leading import together
    from zoo_core.results import Interval, NotApplicable, Value

    column = ctx.column("path ratio")
    if not isinstance(ctx.recipe, HasLatents):
        return {column: NotApplicable(reason="the model has no single latent")}
    sets = together(interpolations, ctx)
    path = torch.stack([one.values for one in sets])
    lengths = path.diff(dim=0).norm(dim=2).sum(0)
    straight = (path[-1] - path[0]).norm(dim=1)
    moved = straight > 0
    if not bool(moved.any()):
        return {column: NotApplicable(reason="the samples do not depend on the latent")}
    ratio = lengths[moved] / straight[moved]
    value, error = float(ratio.mean()), float(ratio.std() / len(ratio) ** 0.5)
    interval = Interval(low=max(1.0, value - 1.96 * error), high=value + 1.96 * error)
    return {column: Value(value=value, interval=interval, n=len(ratio))}
