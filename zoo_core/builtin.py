"""The core's own samplers and datasets, registered through the hooks that third-party plugins use."""

from __future__ import annotations

import pluggy

from zoo_core.data.specs import DATASETS
from zoo_core.diffusion.specs import SAMPLERS
from zoo_core.registry.spec import DatasetSpec, SamplerSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return SAMPLERS


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    return DATASETS
