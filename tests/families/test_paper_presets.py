"""A preset that follows a paper states every optimizer and EMA option, and inherits none from a default."""

from __future__ import annotations

from typing import Any

import pytest

from zoo_core.config import OptimizerConfig, RunConfig, flatten
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import resolve

OPTIONS = {
    "adam": ("lr", "betas", "eps", "weight_decay", "schedule", "warmup", "lr_mult"),
    "adamw": ("lr", "betas", "eps", "weight_decay", "schedule", "warmup", "lr_mult"),
    "rmsprop": ("lr", "alpha", "eps", "momentum", "weight_decay", "schedule", "warmup", "lr_mult"),
    "sgd": ("lr", "momentum", "weight_decay", "schedule", "warmup", "lr_mult"),
}
"""What decides an optimizer, by its kind."""
UNUSED = {"classifier"}
"""Optimizers of parts that no paper preset trains."""
CASES = [
    (entry.spec.name, preset)
    for entry in manager().entries("plugin")
    for preset in load_entry("plugin", entry, "config").PRESETS
    if preset.startswith("paper")
]
DIFFUSION = {
    "ddpm": {"optim.grad_clip": 1.0, "data.hflip": True, "optim.net.warmup": 5000},
    "iddpm": {"optim.grad_clip": None, "data.hflip": False, "optim.net.kind": "adamw"},
    "ncsn": {"optim.grad_clip": None, "data.hflip": True, "train.ema.decay": 0.0},
    "vp-sde": {"optim.grad_clip": 1.0, "data.hflip": True, "train.ema.decay": 0.9999},
    "subvp-sde": {"optim.grad_clip": 1.0, "data.hflip": True, "train.ema.decay": 0.9999},
    "ve-sde": {"optim.grad_clip": 1.0, "data.hflip": True, "train.ema.decay": 0.999},
    "edm": {"optim.grad_clip": None, "data.hflip": False, "model.augment_prob": 0.12},
}
"""What each paper's CIFAR-10 training has: Ho et al. 2020, appendix B; the code of Nichol and Dhariwal 2021
and of Song and Ermon 2019; Song et al. 2021, appendix H; Karras et al. 2022, table 7."""


def overrides(name: str, preset: str) -> tuple[type[RunConfig], dict[str, Any]]:
    config = load_entry("plugin", manager().find("plugin", name), "config")
    return config, dict(config.PRESETS[preset].overrides)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_it_states_its_optimizers_and_ema(name: str, preset: str) -> None:
    """Catches an option that changes with a default, as a gradient clip that the paper does not have."""
    config, stated = overrides(name, preset)
    optim = config.model_fields["optim"].get_default()
    for section, value in optim:
        if isinstance(value, OptimizerConfig) and section not in UNUSED:
            kind = stated[f"optim.{section}.kind"]
            missing = [o for o in OPTIONS[kind] if f"optim.{section}.{o}" not in stated]
            assert not missing, f"optim.{section}: {missing}"
    assert {"train.ema.decay", "train.ema.half_life", "train.ema.warmup"} <= stated.keys()
    assert not hasattr(optim, "grad_clip") or "optim.grad_clip" in stated


@pytest.mark.parametrize("name", DIFFUSION)
def test_it_trains_as_its_paper_does(name: str) -> None:
    """The resolved options, so that a key that resolution drops is seen."""
    config = resolve({"plugin": name, "data": "cifar10", "preset": "paper"})
    found = flatten(config.model_dump())
    assert {key: found[key] for key in DIFFUSION[name]} == DIFFUSION[name]


@pytest.mark.parametrize("preset", ["paper", "paper-v1"])
def test_stylegans_mapping_network_learns_at_a_hundredth_of_the_rate(preset: str) -> None:
    """Catches a factor that only the default states, and one that resolution drops."""
    stated = overrides("stylegan", preset)[1]
    assert stated["optim.generator.lr_mult"] == {"generator.mapping": 0.01}
    assert stated["optim.critic.lr_mult"] == {}
    config: Any = resolve({"plugin": "stylegan", "data": "cifar10", "preset": preset})
    assert config.optim.generator.lr_mult == {"generator.mapping": 0.01}
    assert config.optim.critic.lr_mult == {}


def test_gradient_clipping_can_be_switched_off_on_the_command_line() -> None:
    """Catches an option that none is not a value of."""
    config: Any = resolve(["plugin=ddpm", "data=digits", "optim.grad_clip=none"])
    assert config.optim.grad_clip is None
