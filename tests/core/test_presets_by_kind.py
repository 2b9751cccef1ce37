"""A preset is chosen by the dataset's name, then by its kind of data, then by its own name alone."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from zoo_core.config import Preset, RunConfig
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.presets import preset_overrides
from zoo_core.registry.resolution import resolve


def steps(count: int) -> Preset:
    return Preset({"train.steps": count}, "for tests")


class Presets(RunConfig):
    PRESETS: ClassVar[dict[str, Preset]] = {
        "default": steps(1),
        "default@points": steps(2),
        "default@image<=48": steps(48),
        "default@image<=16": steps(16),
        "default@fashion-mnist": steps(5),
        "other@points": steps(7),
    }


@pytest.mark.parametrize(
    ("data", "side", "expected"),
    [
        ("ring", None, 2),
        ("swiss-roll", None, 2),
        ("digits", None, 16),
        ("mnist", None, 48),
        ("fashion-mnist", None, 5),
        ("folder", 16, 16),
        ("folder", "17", 48),
        ("folder", 64, 1),
        ("folder", "nonsense", 1),
    ],
)
def test_the_closest_kind_is_taken(data: str, side: Any, expected: int) -> None:
    """Catches a larger limit before a smaller one, and a kind before the dataset's own preset."""
    overrides, problem = preset_overrides(Presets, "", data, side)
    assert problem is None
    assert overrides == {"train.steps": expected}


def test_a_preset_of_another_kind_is_refused() -> None:
    overrides, problem = preset_overrides(Presets, "other", "digits")
    assert not overrides
    assert problem is not None
    assert "other" in str(problem)


@pytest.mark.parametrize("name", ["ddpm", "edm", "ncsn", "vae", "beta-vae", "hvae", "vq-vae", "wgan-gp"])
def test_points_of_any_dataset_get_the_presets_for_points(name: str) -> None:
    """Catches a list of names, which leaves out a third party's points."""
    config = load_entry("plugin", manager().find("plugin", name), "config")
    stated = config.PRESETS["default@points"].overrides
    assert resolve({"plugin": name, "data": "ring"}).train.steps == stated.get(
        "train.steps", config.model_fields["train"].default.steps
    )


SIZED = ["ddpm", "edm", "vp-sde", "ve-sde", "vae", "vq-vae", "dvae", "dcgan", "wgan-gp", "sngan", "cgan"]


@pytest.mark.parametrize("name", SIZED)
def test_images_of_one_size_get_one_preset(name: str) -> None:
    """Catches a preset that is chosen by the name mnist, which leaves out other images of 28 pixels."""

    def sections(data: str, **more: Any) -> list[Any]:
        config = resolve({"plugin": name, "data": data, "data.task": "", **more})
        return [getattr(config, part) for part in ("model", "optim", "train")]

    assert sections("fashion-mnist") == sections("mnist")
    assert sections("folder", **{"data.path": "images", "data.size": 28}) == sections("mnist")
    assert sections("cifar10") == sections("mnist")
    assert sections("digits") != sections("mnist")


def test_a_preset_for_larger_images_leaves_small_ones_as_they_are() -> None:
    config = load_entry("plugin", manager().find("plugin", "vae"), "config")
    assert resolve(["plugin=vae", "data=digits"]).model == config.model_fields["model"].default
