"""Four baselines, each fitted in one pass over the data."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


def _baseline(
    name: str, model: str, summary: str, tasks: tuple[str, ...] = ("unconditional", "caption")
) -> PluginSpec:
    return PluginSpec(
        name=name,
        family="baseline",
        target=f"zoo_baselines.{name}:{model}",
        config="zoo_baselines.fitted:FittedConfig",
        summary=summary,
        tasks=tasks,
    )


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        _baseline("noise", "Noise", "uniform noise: every pixel level equally likely"),
        _baseline("histogram", "Histogram", "independent pixels with the histogram of each"),
        _baseline(
            "gaussian", "Gaussian", "Gaussian with the full covariance of the data", ("unconditional",)
        ),
        _baseline("copycat", "Copycat", "copies of training examples: the scores of memorization"),
    ]
