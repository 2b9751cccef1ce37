"""Autoregressive models: exact probabilities of images, one pixel after another."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")
TASKS = ("unconditional", "class")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="pixelcnn",
            family="autoregressive",
            target="zoo_autoregressive.pixelcnn:PixelCNN",
            config="zoo_autoregressive.pixelcnn:PixelCNNConfig",
            summary="masked residual network with a mixture of logistics for the colors of a pixel",
            paper="arXiv:1701.05517",
            tasks=TASKS,
        ),
        PluginSpec(
            name="pixel-transformer",
            family="autoregressive",
            target="zoo_autoregressive.pixel_transformer:PixelTransformer",
            config="zoo_autoregressive.pixel_transformer:PixelTransformerConfig",
            summary="causal transformer over pixels with a mixture of logistics for the colors of a pixel",
            paper="arXiv:1802.05751",
            tasks=TASKS,
        ),
    ]
