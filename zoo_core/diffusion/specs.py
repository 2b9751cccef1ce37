"""The samplers that ship with the core, as specs."""

from __future__ import annotations

from zoo_core.registry.spec import SamplerSpec

_FUNCTION = "zoo_core.diffusion.samplers:{}".format
_GRID = "zoo_core.diffusion.grids:{}".format
_LANGEVIN = "zoo_core.diffusion.langevin:{}".format
_OPTIONS = "zoo_core.diffusion.options:{}".format

DDIM = SamplerSpec(
    name="ddim",
    target=_FUNCTION("ddim"),
    grid=_GRID("trailing"),
    steps=50,
    config=_OPTIONS("DDIMConfig"),
    summary="DDIM: deterministic, or with a fraction sampler.eta of the posterior's noise",
    paper="arXiv:2010.02502",
    score="eta",
)

ANCESTRAL = SamplerSpec(
    name="ancestral",
    target=_FUNCTION("ancestral"),
    grid=_GRID("trailing"),
    steps=250,
    summary="reverse chain with variance beta-tilde, or a learned variance",
    paper="arXiv:2006.11239",
    score="always",
)

HEUN = SamplerSpec(
    name="heun",
    target=_FUNCTION("heun"),
    grid=_GRID("karras"),
    steps=18,
    summary="probability flow by Heun's method, 2 steps - 1 NFE",
    paper="arXiv:2206.00364",
)

ANNEALED_LANGEVIN = SamplerSpec(
    name="annealed-langevin",
    target=_LANGEVIN("annealed_langevin"),
    grid=_GRID("geometric"),
    steps=60,
    config=_OPTIONS("AnnealedLangevinConfig"),
    summary="Langevin dynamics over a decreasing noise schedule, sampler.repeats NFE per level",
    paper="arXiv:1907.05600",
    score="always",
)

DPMPP_SDE = SamplerSpec(
    name="dpmpp-sde",
    target="zoo_core.diffusion.multistep:dpmpp_sde",
    grid=_GRID("karras"),
    steps=50,
    summary="reverse SDE by SDE-DPM-Solver++(2M), 1 NFE per step",
    paper="arXiv:2211.01095",
    score="always",
)

SAMPLERS: list[SamplerSpec] = [
    SamplerSpec(
        name="ddpm",
        target=_FUNCTION("ddpm"),
        grid=_GRID("trailing"),
        steps=1000,
        summary="reverse chain with variance beta, as in Ho et al.",
        paper="arXiv:2006.11239",
        score="always",
    ),
    ANCESTRAL,
    DDIM,
    SamplerSpec(
        name="euler",
        target=_FUNCTION("euler"),
        grid=_GRID("karras"),
        steps=50,
        summary="probability flow by Euler's method",
        paper="arXiv:2206.00364",
    ),
    HEUN,
    SamplerSpec(
        name="dpmpp-2m",
        target="zoo_core.diffusion.multistep:dpmpp_2m",
        grid=_GRID("karras"),
        steps=20,
        summary="probability flow by DPM-Solver++(2M), second order at 1 NFE per step",
        paper="arXiv:2211.01095",
    ),
    SamplerSpec(
        name="dpmpp-3m",
        target="zoo_core.diffusion.exponential:dpmpp_3m",
        grid=_GRID("karras"),
        steps=20,
        summary="probability flow by DPM-Solver++(3M), third order at 1 NFE per step",
        paper="arXiv:2211.01095",
    ),
    SamplerSpec(
        name="unipc",
        target="zoo_core.diffusion.exponential:unipc",
        grid=_GRID("karras"),
        steps=15,
        config=_OPTIONS("UniPCConfig"),
        summary="probability flow by UniPC, order sampler.order + 1 at 1 NFE per step",
        paper="arXiv:2302.04867",
    ),
    DPMPP_SDE,
    SamplerSpec(
        name="edm-stochastic",
        target="zoo_core.diffusion.renoising:edm_stochastic",
        grid=_GRID("karras"),
        steps=40,
        config=_OPTIONS("ChurnConfig"),
        summary="Heun's method with noise added before each step, 2 steps - 1 NFE",
        paper="arXiv:2206.00364",
        score="S_churn",
    ),
    SamplerSpec(
        name="restart",
        target="zoo_core.diffusion.renoising:restart",
        grid=_GRID("karras"),
        steps=18,
        config=_OPTIONS("RestartConfig"),
        summary="Heun's method, which repeats an interval of noise levels from added noise",
        paper="arXiv:2306.14878",
        score="repeats",
    ),
    SamplerSpec(
        name="euler-maruyama",
        target=_FUNCTION("euler_maruyama"),
        grid=_GRID("karras"),
        steps=250,
        summary="reverse SDE by the Euler-Maruyama method",
        paper="arXiv:2011.13456",
        score="always",
    ),
    SamplerSpec(
        name="predictor-corrector",
        target=_LANGEVIN("predictor_corrector"),
        grid=_GRID("karras"),
        steps=125,
        config=_OPTIONS("PredictorCorrectorConfig"),
        summary="reverse SDE with a Langevin correction after each step, 2 steps - 1 NFE",
        paper="arXiv:2011.13456",
        score="always",
    ),
    SamplerSpec(
        name="langevin",
        target=_LANGEVIN("langevin"),
        grid=_GRID("geometric"),
        steps=1000,
        config=_OPTIONS("LangevinConfig"),
        summary="Langevin dynamics at one noise level; does not mix between distant modes",
        paper="arXiv:1907.05600",
        score="always",
    ),
    ANNEALED_LANGEVIN,
    SamplerSpec(
        name="pf-ode",
        target="zoo_core.diffusion.flow:pf_ode",
        grid=_GRID("karras"),
        steps=50,
        config=_OPTIONS("FlowConfig"),
        summary="probability flow with adaptive steps",
        paper="arXiv:2011.13456",
    ),
    SamplerSpec(
        name="diffusers",
        target="zoo_core.diffusion.schedulers:scheduled",
        grid=_GRID("karras"),
        steps=20,
        config=_OPTIONS("SchedulerConfig"),
        summary="any scheduler of diffusers: sampler=diffusers:UniPCMultistepScheduler",
        parts=True,
        score="always",
    ),
]
