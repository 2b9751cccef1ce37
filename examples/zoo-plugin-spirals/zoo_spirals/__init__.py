"""A sampler with churn, and a dataset of two spiral arms."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import DatasetSpec, SamplerSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            name="churn",
            target="zoo_spirals.sampler:churned_heun",
            grid="zoo_core.diffusion.grids:karras",
            steps=32,
            config="zoo_spirals.sampler:ChurnConfig",
            summary="Heun's method with fresh noise before each step, 2 steps - 1 calls",
            paper="arXiv:2206.00364",
        )
    ]


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="spirals",
            target="zoo_spirals.dataset:load",
            summary="two arms of a spiral, blurred; exact density",
            shape=(2,),
            classes=2,
            extractor="raw",
            source="drawn from a fixed seed",
            tasks=("unconditional", "class"),
        )
    ]
