"""Search spaces: what follows from the typed options, and what is stated."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from zoo_core.config import Config, options
from zoo_core.errors import Mistakes, UsageError
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_tune.space import Choices, Range, as_plain, bounds, default_space, space_hash, stated_space


class Bounded(Config):
    closed: float = Field(0.5, ge=0.25, le=0.75)
    """Both ends included."""
    opened: float = Field(0.5, gt=0, lt=1)
    """Neither."""
    counted: int = Field(2, gt=0, lt=5)
    """A whole number."""
    half: float = Field(0.5, ge=0)
    """One bound only."""


def test_bounds_are_those_that_the_type_declares() -> None:
    found = {key: bounds(info) for key, info in options(Bounded)}
    assert found["closed"] == (0.25, 0.75)
    assert found["opened"] == pytest.approx((1e-6, 1 - 1e-6), abs=1e-12)
    assert found["counted"] == (1, 4)
    assert found["half"] == (0, float("inf"))
    for key, ends in found.items():
        for end in ends[: 1 + (key != "half")]:
            Bounded(**{key: end})  # every finite end is a value that the model takes


def test_the_default_space_of_the_vae() -> None:
    assert as_plain(default_space(resolve(["plugin=vae"]))) == {
        "model.activation": "tanh,relu,silu",
        "model.dropout": "0..0.5",
        "optim.net.lr": "0.00025..0.016:log",
        "train.batch_size": "64,128,256",
        "train.ema.decay": "0.96,0.99,0.9975",
    }


def test_ranges_move_with_the_default_and_what_is_given_is_not_searched() -> None:
    words = {"plugin": "vae", "optim.net.lr": "0.01", "train.ema.decay": "0", "train.batch_size": "1"}
    space = default_space(resolve(words), ["plugin", "model.dropout"])
    assert space["optim.net.lr"] == Range(0.00125, 0.08, log=True)
    assert space["train.batch_size"] == Choices((1, 2))
    assert "train.ema.decay" not in space
    assert "model.dropout" not in space


def test_every_model_that_trains_has_a_space_whose_values_it_takes() -> None:
    for entry in manager().entries("plugin"):
        config = resolve({"plugin": entry.spec.name})
        if not config.train.steps:
            continue
        space = default_space(config)
        assert any(key.endswith(".lr") for key in space), entry.spec.name
        assert stated_space(config, [f"{key}={text}" for key, text in as_plain(space).items()], None)


def test_a_stated_space(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("optim.net.lr: 1e-4..1e-2:log\nmodel:\n  net: [mlp, conv]\nmodel.latent_dim: 2..16\n")
    space = stated_space(resolve(["plugin=vae"]), ["model.dropout=0,0.1"], file)
    assert space == {
        "optim.net.lr": Range(1e-4, 1e-2, log=True),
        "model.net": Choices(("mlp", "conv")),
        "model.latent_dim": Range(2, 16, whole=True),
        "model.dropout": Choices(("0", "0.1")),
    }
    assert space_hash(space) == space_hash(dict(reversed(space.items())))
    assert space_hash(space) != space_hash({**space, "model.net": Choices(("mlp",))})


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optim.net.rl=1..2", "did you mean: optim.net.lr"),
        ("optim.net.lr=0..1:log", "low > 0 for :log"),
        ("optim.net.lr=2..1", "low < high"),
        ("optim.net.lr=1..2:root", "low..high"),
        ("model.dropout=0..1.5", "model.dropout"),
        ("model.net=mlp,cnv", "model.net"),
        ("optim.net.lr", "can't read --search"),
    ],
)
def test_a_space_that_the_model_refuses_is_refused(word: str, said: str) -> None:
    with pytest.raises(Mistakes) as caught:
        stated_space(resolve(["plugin=vae"]), [word], None)
    assert said in str(caught.value)


def test_a_file_without_a_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("[1, 2]\n")
    with pytest.raises(UsageError, match="states no search space"):
        stated_space(resolve(["plugin=vae"]), [], tmp_path / "space.yaml")
