"""The samplers that ship with the core, as specs."""

from __future__ import annotations

from zoo_core.registry.spec import SamplerSpec

_FUNCTION = "zoo_core.diffusion.samplers:{}".format
_GRID = "zoo_core.diffusion.grids:{}".format

DDIM = SamplerSpec(
    name="ddim",
    target=_FUNCTION("ddim"),
    grid=_GRID("trailing"),
    steps=50,
    config="zoo_core.diffusion.options:DDIMConfig",
    summary="Deterministic, or with sampler.eta of the posterior's noise",
    paper="arXiv:2010.02502",
)

SAMPLERS: list[SamplerSpec] = [
    SamplerSpec(
        name="ddpm",
        target=_FUNCTION("ddpm"),
        grid=_GRID("trailing"),
        steps=1000,
        summary="The reverse chain with variance beta, as in Ho et al.",
        paper="arXiv:2006.11239",
    ),
    SamplerSpec(
        name="ancestral",
        target=_FUNCTION("ancestral"),
        grid=_GRID("trailing"),
        steps=250,
        summary="The reverse chain with variance beta-tilde, or a learned one",
        paper="arXiv:2006.11239",
    ),
    DDIM,
    SamplerSpec(
        name="euler",
        target=_FUNCTION("euler"),
        grid=_GRID("karras"),
        steps=50,
        summary="Probability flow by Euler's method",
        paper="arXiv:2206.00364",
    ),
    SamplerSpec(
        name="heun",
        target=_FUNCTION("heun"),
        grid=_GRID("karras"),
        steps=18,
        summary="Probability flow by Heun's method, 2 steps - 1 calls",
        paper="arXiv:2206.00364",
    ),
]
