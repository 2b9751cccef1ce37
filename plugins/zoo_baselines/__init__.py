"""Four baselines, fitted in one look at the data: without them no figure means anything."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


def _baseline(name: str, model: str, summary: str) -> PluginSpec:
    return PluginSpec(
        name=name,
        family="baseline",
        target=f"zoo_baselines.{name}:{model}",
        config="zoo_baselines.fitted:FittedConfig",
        summary=summary,
    )


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        _baseline("noise", "Noise", "every level equally likely: the worst that honest sampling does"),
        _baseline("histogram", "Histogram", "independent pixels, each with its own frequencies"),
        _baseline("gaussian", "Gaussian", "one Gaussian with a full covariance"),
        _baseline("copycat", "Copycat", "replays the training set: what memorizing scores"),
    ]
