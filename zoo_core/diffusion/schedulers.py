"""Any scheduler of diffusers as a sampler: `sampler=diffusers:UniPCMultistepScheduler`.

A scheduler is built on a chain of betas. The chain it is given here is the grid itself, one training step a
level: alpha_bar = 1 / (1 + sigma^2), which is any linear process in variance-preserving clothes. So it visits
exactly the levels that every other sampler would, of whatever denoiser, and its own spacing has no say.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zoo_core.errors import MachineError, UsageError, not_found
from zoo_core.interfaces import Denoiser, Trace
from zoo_core.seeds import Seeds

_SETTINGS: dict[str, Any] = {
    "timestep_spacing": "trailing",
    "clip_sample": False,  # the denoiser clips, where it should
    "set_alpha_to_one": True,
    "lower_order_final": True,
    "prediction_type": "epsilon",
}
"""Of every scheduler that has them; all else is at its default."""

_UNFIT = {
    "DDIMInverseScheduler": "it walks from data to noise",
    "DPMSolverMultistepInverseScheduler": "it walks from data to noise",
    "LCMScheduler": "it is for networks that were distilled to jump to the data",
    "TCDScheduler": "it is for networks that were distilled to jump to the data",
    "DPMSolverSDEScheduler": "it draws its noise for a batch as a whole; here a sample has noise of its own",
    "SASolverScheduler": "it draws its noise for a batch as a whole; here a sample has noise of its own",
}


def scheduler_class(name: str) -> Any:
    """Return a class of diffusers.schedulers.

    Raises:
        MachineError: without diffusers.
        NotFoundError: for a name it does not have.
        UsageError: for a scheduler that can't drive a Denoiser.
    """
    try:
        from diffusers import schedulers
    except ImportError as error:
        raise MachineError(
            f"sampler=diffusers:{name} needs diffusers: {error}", "next: pip install diffusers"
        ) from error
    found = getattr(schedulers, name, None) if name.endswith("Scheduler") else None
    if found is None:
        known = [k for k in dir(schedulers) if k.endswith("Scheduler") and not k.startswith("Flax")]
        kinds = {k: getattr(schedulers, k, None) for k in known if k not in _UNFIT}
        fit = [k for k, kind in kinds.items() if _takes_betas(kind) and not _needed(kind)]
        raise not_found("scheduler of diffusers", name, fit, say="sampler=diffusers:{}")
    if name in _UNFIT:
        raise _refusal(name, _UNFIT[name])
    if not _takes_betas(found):
        raise _refusal(name, "it can't be built on a chain of betas")
    if needed := _needed(found):
        raise _refusal(name, f"its steps need {', '.join(needed)}")
    return found


def _needed(kind: Any) -> list[str]:
    """Return what a scheduler's step must be told beside the network's output, the time and the state."""
    return [
        key
        for key, parameter in inspect.signature(kind.step).parameters.items()
        if parameter.default is parameter.empty
        and key not in ("self", "model_output", "timestep", "sample", "args", "kwargs")
    ]


def _takes_betas(kind: Any) -> bool:
    return kind is not None and "trained_betas" in inspect.signature(kind).parameters


def _refusal(name: str, reason: str) -> UsageError:
    return UsageError(
        f"diffusers' {name} can't drive a model of the zoo: {reason}",
        "next: sampler=diffusers:UniPCMultistepScheduler, or one of: zoo samplers",
    )


def _tried(name: str, steps: int, call: Callable[[], Any]) -> Any:
    """Return what a scheduler's method returns; what it raises, it raises for so many steps."""
    try:
        return call()
    except Exception as error:  # few steps are met by a ValueError in one and an IndexError in another
        reason = f"in {steps} steps it ends in {type(error).__name__}: {error}"
        raise _refusal(name, reason) from error


def build_scheduler(name: str, levels: Tensor, device: torch.device | str = "cpu") -> Any:
    """Return a scheduler whose training steps are these levels, set to visit each of them.

    Args:
        name: of a class of diffusers.
        levels: sigma / alpha, (T,) float64 ascending, the least above 0.
        device: of the samples.

    Raises:
        MachineError: without diffusers.
        NotFoundError: for a name it does not have.
        UsageError: for a scheduler that can't drive a Denoiser, or not at these levels.
    """
    kind = scheduler_class(name)
    kept = 1 / (1 + levels**2)
    before = torch.cat((kept.new_ones(1), kept[:-1]))
    takes = inspect.signature(kind).parameters
    settings = {key: value for key, value in _SETTINGS.items() if key in takes}
    scheduler = kind(num_train_timesteps=len(levels), trained_betas=(1 - kept / before).tolist(), **settings)
    if not hasattr(scheduler, "alphas_cumprod"):
        raise _refusal(name, "it keeps no alpha_bar of the chain")
    # It made them of betas in float32, which has few digits left of 1 - beta where steps are few.
    scheduler.alphas_cumprod = kept
    visits = torch.arange(len(levels) - 1, -1, -1)
    by_hand = (
        "timestep_spacing" not in takes and "timesteps" in inspect.signature(kind.set_timesteps).parameters
    )
    asked = {"timesteps": visits.tolist()} if by_hand else {"num_inference_steps": len(levels)}
    _tried(name, len(levels), lambda: scheduler.set_timesteps(**asked, device=device))
    times = scheduler.timesteps.double().cpu()
    if not bool(torch.isin(visits.double(), times).all()) or float(times.max()) != len(levels) - 1:
        raise _refusal(name, f"of {len(levels)} levels it visits {len(times.unique())}")
    return scheduler


def _streams(noise: Seeds) -> list[torch.Generator]:
    """Return a generator for each sample, as diffusers takes them."""
    halves = noise.randint(1 << 16, (2,), name="scheduler").tolist()
    return [torch.Generator().manual_seed((high << 16) + low) for high, low in halves]


def scheduled(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Seeds,
    callback: Trace | None = None,
    part: str = "",
) -> Tensor:
    """Walk down the levels by a scheduler of diffusers; some call more than once a level.

    Args:
        part: name of a class of diffusers; UniPCMultistepScheduler where it is empty.

    Raises:
        MachineError: without diffusers.
        NotFoundError: for a name it does not have.
        UsageError: for a scheduler that can't drive a Denoiser, or not at these levels.
    """
    name = part or "UniPCMultistepScheduler"
    levels = sigmas[:-1].flip(0).double().cpu()
    theirs = build_scheduler(name, levels, x.device)
    own = {"generator": _streams(noise)} if "generator" in inspect.signature(theirs.step).parameters else {}
    logs = levels.log()

    def level_at(time: Tensor) -> Tensor:
        low = time.double().cpu().clamp(0, len(levels) - 1)
        floor = low.floor().long()
        ceiling = low.ceil().long()
        return torch.lerp(logs[floor], logs[ceiling], low - floor).exp()

    def step(eps: Tensor, time: Tensor, state: Tensor) -> Tensor:
        return theirs.step(eps, time, state, return_dict=False, **own)[0].to(x)

    state, x0 = None, x
    for call, time in enumerate(theirs.timesteps):
        sigma = level_at(time)
        spread = float((1 + sigma**2).sqrt())
        if state is None:  # some keep x at the scale of x / alpha, and tell so by scaling the net's input
            first = x / spread
            scaled = theirs.scale_model_input(x, time)
            state = x if torch.allclose(scaled, first, rtol=1e-3) else first
        at = theirs.scale_model_input(state, time) * spread
        x0 = denoise(at, sigma.to(x.device))
        if callback is not None:
            callback(call, sigma, at, x0)
        eps = (at - x0) / float(sigma)
        state = _tried(name, len(levels), partial(step, eps, time, state))
    return x0.to(x)  # the step to 0, as all samplers take it; some of theirs stop at the least level
