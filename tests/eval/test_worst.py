"""The worst samples: their order by distance in features, and by the model's own critic or likelihood."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.eval.fakes import context, protocol
from zoo_core.config import RunConfig
from zoo_core.types import Cond, Likelihood
from zoo_eval.features import Features
from zoo_eval.worst import Ranking, attach_worst, own_ranking, worst_samples


class Critic:
    """Scores an image by its mean, so that the darkest is the worst."""

    def critic_scores(self, x: Tensor, cond: Cond | None) -> Tensor:
        return x.flatten(1).mean(1)


class Decoder:
    """A likelihood that is lowest for the brightest image."""

    def likelihoods(self, x: Tensor, *, noise: Any, k: int) -> list[Likelihood]:
        return [Likelihood(-x.double().flatten(1).mean(1), "elbo")]


def scene(digits: Any, recipe: Any = None) -> Any:
    """Return a context of 20 samples; sample k lies at k^2 from the only training feature, on a line."""
    at = torch.tensor([float((7 * k) % 20) ** 2 for k in range(20)], dtype=torch.float64)
    run = SimpleNamespace(request=lambda indices: SimpleNamespace(cond=None))
    return context(
        Features(torch.zeros(1, 1, dtype=torch.float64)),
        Features(at[:, None]),
        protocol(memorization_n=20),
        data=digits,
        rows=digits.test.x[:20],
        config=RunConfig(plugin="fake"),
        device=torch.device("cpu"),
        run=None if recipe is None else run,
        recipe=recipe,
    )


def test_the_farthest_samples_come_first(digits: Any) -> None:
    """Catches the nearest instead, and distances of other samples: sample k is at ((7 k) mod 20)^2."""
    numbers = worst_samples(scene(digits), 3).numbers
    by_place = {(7 * k) % 20: k for k in range(20)}
    assert numbers["distance_index"].tolist() == [by_place[19], by_place[18], by_place[17]]
    assert numbers["distance_value"].tolist() == pytest.approx([361, 324, 289])


@pytest.mark.parametrize(("recipe", "sign"), [(Critic(), 1), (Decoder(), -1)])
def test_the_model_ranks_its_own_samples(digits: Any, recipe: Any, sign: int) -> None:
    found = own_ranking(scene(digits, recipe))
    assert found is not None
    means = digits.test.x[:20].double().flatten(1).mean(1) * sign
    assert found.worst(5).tolist() == means.argsort(stable=True)[:5].tolist()
    figure = worst_samples(scene(digits, recipe), 5).figure
    assert len(figure.axes) == 2


def test_a_model_without_either_has_distances_only(digits: Any) -> None:
    assert own_ranking(scene(digits)) is None
    assert own_ranking(scene(digits, object())) is None
    assert len(worst_samples(scene(digits, object()), 5).figure.axes) == 1


def test_of_equals_the_first_is_worse() -> None:
    assert Ranking("", torch.tensor([1.0, 3.0, 3.0, 0.0]), highest=True).worst(2).tolist() == [1, 2]
    assert Ranking("", torch.tensor([1.0, 0.0, 3.0, 0.0]), highest=False).worst(2).tolist() == [1, 3]


def test_the_sheet_is_attached_where_plots_are_wanted(digits: Any) -> None:
    ctx = scene(digits)
    assert attach_worst(ctx) is not None
    assert ctx.attached["worst"].startswith(b"\x89PNG")
    for words in ({"track": {"plots": False}}, {"plots": {"worst": 0}}):
        without = scene(digits)
        without.config = RunConfig(plugin="fake", **words)  # type: ignore[arg-type]
        assert attach_worst(without) is None
        assert without.attached == {}
