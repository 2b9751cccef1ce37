"""Priors over codes: normalized, causal, drawn from by the book, and fitted to what can be counted."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.seeds import generator
from zoo_core.types import Cond, DataInfo
from zoo_vae.priors import (
    TEXTS,
    MaskedConv2d,
    PriorConfig,
    TextFrequencies,
    build_prior,
    draw,
    log_prob,
    pick,
    text_of,
    text_size,
)

K, GRID = 3, (2, 2)


def build(kind: Any, vocabulary: int = 0, length: int = 0, grid: tuple[int, int] = GRID) -> Any:
    """Return a prior in float64 whose every weight is far from zero."""
    torch.manual_seed(0)
    config = PriorConfig(net=kind, width=8, depth=2, heads=2, dropout=0.0)
    made: Any = build_prior(config, K, grid, (vocabulary, length))
    for parameter in made.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return made.double().eval()


def every(places: int = 4) -> Tensor:
    """Return all K^M codes."""
    return torch.tensor(list(itertools.product(range(K), repeat=places)))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["transformer", "pixelcnn"])
@pytest.mark.parametrize("text", [None, [2, 1]])
def test_probabilities_of_all_codes_add_up_to_one(kind: str, text: list[int] | None) -> None:
    # catches a place that sees itself or what comes later: then they add up to anything
    prior = build(kind, *((4, 2) if text else (0, 0)))
    codes = every()
    given = torch.tensor([text]).expand(len(codes), -1) if text else None
    assert float(log_prob(prior, codes, given).exp().sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", ["transformer", "pixelcnn"])
def test_a_place_sees_those_before_it_and_no_other(kind: str) -> None:
    # catches a mask off by one, either way
    prior = build(kind, grid=(3, 4), vocabulary=4, length=2)
    codes = torch.randint(K, (1, 12), generator=generator(0, "codes"))
    text = torch.tensor([[1, 2]])
    logits = prior(codes, text)[0]
    seen = torch.zeros(12, 12, dtype=torch.bool)
    for k in range(12):
        other = codes.clone()
        other[0, k] = (other[0, k] + 1) % K
        seen[:, k] = (prior(other, text)[0] - logits).abs().amax((0, 2)) > 1e-9
    place = torch.arange(12)
    assert not bool(seen[place[:, None] <= place].any())
    in_row = place[1:][place[1:] % 4 > 0]
    assert bool(seen[in_row, in_row - 1].all())  # its neighbors it does see
    assert bool(seen[place[4:], place[4:] - 4].all())
    if kind == "transformer":
        assert bool(seen[place[:, None] > place].all())
    assert not torch.allclose(prior(codes, torch.tensor([[2, 1 if kind == "transformer" else 3]]))[0], logits)


@torch.no_grad()
def test_the_text_is_modeled_before_the_codes_and_in_order() -> None:
    # catches words that see themselves, or the codes
    prior = build("transformer", 4, 2)
    codes, total = every(), 0.0
    for text in itertools.product(range(4), repeat=2):
        given = torch.tensor([text]).expand(len(codes), -1)
        _, words = prior(codes, given)
        own = words.log_softmax(-1).gather(2, given[..., None]).sum((1, 2))
        assert float(own.std()) < 1e-12
        total += float((own + log_prob(prior, codes, given)).exp().sum())
    assert total == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", ["transformer", "pixelcnn"])
def test_the_next_code_is_that_of_the_whole(kind: str) -> None:
    # catches a sampler that walks another net than the loss, a wrong offset of positions
    prior = build(kind, 4, 2, grid=(2, 3))
    codes = torch.randint(K, (5, 6), generator=generator(0, "codes"))
    text = torch.randint(4, (5, 2), generator=generator(0, "text"))
    whole = prior(codes, text)[0]
    for k in range(6):
        torch.testing.assert_close(prior.next(codes[:, :k], text), whole[:, k])


@pytest.mark.parametrize("kind", ["transformer", "pixelcnn"])
def test_codes_are_drawn_as_often_as_they_are_probable(kind: str) -> None:
    # catches a draw from another place's logits: 20,000 draws against the enumerated distribution
    prior = build(kind, grid=(1, 3))
    n = 20_000
    u = torch.rand(n, 3, generator=generator(0, "draw"), dtype=torch.float64)
    with torch.no_grad():
        drawn = draw(prior, u)
        exact = log_prob(prior, every(3)).exp()
    assert torch.equal(drawn[:50], draw(prior, u[:50]))
    counts = torch.bincount((drawn * torch.tensor([K * K, K, 1])).sum(1), minlength=K**3)
    error = (counts / n - exact) / (exact * (1 - exact) / n).sqrt()
    assert float(error.abs().max()) < 4.5


def test_pick_inverts_the_distribution_function() -> None:
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(7, 3)
    u = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71, 0.999, 1 - 2**-24])
    assert pick(logits, u).tolist() == [0, 0, 1, 1, 2, 2, 2]
    never = torch.tensor([[-1e30, 0.0, -1e30]])
    assert pick(never, torch.zeros(1)).tolist() == [1]  # a code of probability 0 is not drawn even at u = 0


def test_masks_show_what_comes_before() -> None:
    x = torch.zeros(1, 1, 3, 3)
    for own in (False, True):
        conv = MaskedConv2d(1, 1, 3, own=own)
        torch.nn.init.ones_(conv.weight)
        torch.nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        seen = torch.zeros(3, 3)
        for k in range(9):
            x.zero_()
            x.view(-1)[k] = 1
            seen.view(-1)[k] = conv(x)[0, 0, 1, 1].detach()
        assert seen.view(-1).tolist() == [1, 1, 1, 1, float(own), 0, 0, 0, 0]


def test_texts_of_a_task() -> None:
    # catches the padding's token taken by class 0
    tokens, label = torch.tensor([[3, 0]]), torch.tensor([0])
    cond = Cond(label=label, tokens=tokens)
    info = {task: DataInfo("d", (2,), None, 5, 9, 2, task) for task in ("unconditional", "class", "text")}
    assert [text_size(i) for i in info.values()] == [(0, 0), (6, 1), (9, 2)]
    assert text_of(cond, info["unconditional"]) is None
    assert text_of(cond, info["class"]).tolist() == [[1]]  # type: ignore[union-attr]
    assert text_of(cond, info["text"]).tolist() == [[3, 0]]  # type: ignore[union-attr]


def test_the_marginal_over_texts_is_their_mixture() -> None:
    # catches a mean of logarithms, and texts weighted alike
    prior = build("transformer", 4, 2)
    texts = torch.tensor([[1, 2]] * 5 + [[3, 0]] * 3 + [[2, 2]] * 2)
    frequencies = TextFrequencies(2)
    frequencies.fit(texts)
    codes = every()
    with torch.no_grad():
        found = frequencies.log_marginal(lambda text: log_prob(prior, codes, text), len(codes))
        each = [log_prob(prior, codes, t.expand(len(codes), -1)).exp() for t in texts]
    torch.testing.assert_close(found, torch.stack(each).mean(0).log())
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-12)


def test_texts_beyond_the_table_lower_the_bound() -> None:
    # catches shares that are stretched to 1 where texts were left out: no bound any more
    frequencies = TextFrequencies(1)
    frequencies.fit(torch.cat((torch.arange(TEXTS), torch.arange(TEXTS + 72)))[:, None])
    assert float(frequencies.share.sum()) == pytest.approx(2 * TEXTS / (2 * TEXTS + 72))
    assert int((frequencies.share > 0).sum()) == TEXTS
