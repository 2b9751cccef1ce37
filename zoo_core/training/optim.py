"""Optimizers and learning-rate schedules from their config; torch's and timm's, chosen and fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from zoo_core.config import OptimizerConfig


def build_optimizer(
    config: OptimizerConfig, named: Sequence[tuple[str, nn.Parameter]]
) -> torch.optim.Optimizer:
    """Return the optimizer of `config` over named parameters, fused where torch has a fused one.

    Parameters whose name starts with a key of `config.lr_mult` get that factor on their rate.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        factor = next((f for prefix, f in config.lr_mult.items() if name.startswith(prefix)), 1.0)
        groups.setdefault(factor, []).append(parameter)
    params = [{"params": members, "lr": config.lr * factor} for factor, members in groups.items()]
    fused: dict[str, Any] = {"fused": True} if all(p.dtype == torch.float32 for _, p in named) else {}
    adam: dict[str, Any] = {"betas": config.betas, "eps": config.eps, "weight_decay": config.weight_decay}
    match config.kind:
        case "adam":
            return torch.optim.Adam(params, lr=config.lr, **adam, **fused)
        case "adamw":
            return torch.optim.AdamW(params, lr=config.lr, **adam, **fused)
        case "rmsprop":
            return torch.optim.RMSprop(
                params,
                lr=config.lr,
                alpha=config.alpha,
                eps=config.eps,
                weight_decay=config.weight_decay,
                momentum=config.momentum,
            )
        case "sgd":
            return torch.optim.SGD(
                params, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, **fused
            )
        case "muon":
            return _muon(config, params)


def is_matrix(parameter: torch.Tensor) -> bool:
    """Return whether Muon orthogonalizes a parameter: at least 4 rows, and 4 entries in each."""
    return parameter.ndim >= 2 and min(len(parameter), parameter[:1].numel()) >= 4


def _muon(config: OptimizerConfig, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return timm's Muon: the momentum of each matrix is orthogonalized, the rest is given to NAdamW.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. A convolution is the matrix (out, in *
    height * width). An update is scaled to the root mean square of Adam's (Liu et al. 2025,
    arXiv:2502.16982), so that one rate serves both.
    """
    from timm.optim.muon import Muon

    apart: list[dict[str, Any]] = []
    for group in groups:
        for matrices in (True, False):
            members = [p for p in group["params"] if is_matrix(p) is matrices]
            if members:
                apart.append({**group, "params": members, "use_muon": matrices})
    optimizer: torch.optim.Optimizer = Muon(
        apart,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=True,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
        conv_mode="flatten",
    )
    return optimizer


def build_schedule(
    config: OptimizerConfig, optimizer: torch.optim.Optimizer, steps: int
) -> Callable[[int], None] | None:
    """Return a function that sets the rates for a step, or None where the rate is constant throughout.

    The rate is a function of the step alone, so a resume needs no state.
    """
    if config.schedule == "constant" and config.warmup == 0:
        return None
    from timm.scheduler import create_scheduler_v2  # brings torchvision: only where a schedule is asked for

    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched={"cosine": "cosine", "linear": "poly", "constant": "step"}[config.schedule],
        num_epochs=steps,
        decay_epochs=2 * steps + 1,  # read by "step" only: never reached, so the rate stays
        decay_rate=1.0,  # poly's power
        cooldown_epochs=0,
        min_lr=0.0,
        warmup_lr=0.0,
        warmup_epochs=config.warmup,
        warmup_prefix=False,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return scheduler.step_update
