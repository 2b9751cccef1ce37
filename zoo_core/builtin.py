"""The core's own samplers, datasets and plots, registered through the hooks that third-party plugins use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from zoo_core.data.specs import DATASETS
from zoo_core.diffusion.specs import SAMPLERS
from zoo_core.registry.spec import DatasetSpec, SamplerSpec

if TYPE_CHECKING:
    from zoo_core.config import RunConfig

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return SAMPLERS


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    return DATASETS


@hookimpl
def zoo_listeners(config: RunConfig) -> list[object]:
    if not config.track.plots:
        return []
    from zoo_core.viz.plots import Plots

    return [Plots()]
