"""Ranks of captions among another artist's drawings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from zoo_core.data import emoji
from zoo_core.data.conditioning import conditions
from zoo_core.results import NotApplicable, Value
from zoo_core.types import Cond
from zoo_eval.metrics.retrieval import (
    GALLERY,
    closest,
    compositions,
    new_captions,
    ranks,
    retrieval,
    rows_of,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_perfect_samples_are_first_and_others_are_anywhere() -> None:
    """Catches the own caption among the others, a rank from 0, and a mean of two styles that decides."""
    gallery = normal(300, 40)
    own = torch.arange(300)
    style = 100 * normal(40, seed=1)
    assert bool((ranks(gallery + style, gallery, own) == 1).all())
    chance = ranks(normal(3000, 40, seed=2), gallery, own.repeat(10))
    assert float(chance.min()) >= 1
    assert float(chance.max()) <= GALLERY
    assert float(chance.mean()) == pytest.approx((1 + GALLERY) / 2, abs=1.6)
    assert float((chance == 1).double().mean()) == pytest.approx(1 / GALLERY, abs=0.006)


def test_the_farthest_of_all_is_last_and_equals_share_a_rank() -> None:
    gallery = normal(GALLERY, 8)
    own = torch.arange(GALLERY)
    assert float(ranks(-gallery, gallery, own).min()) > 1
    same = torch.zeros(GALLERY, 8, dtype=torch.float64)
    assert bool((ranks(gallery, same, own) == 1 + (GALLERY - 1) / 2).all())


def test_every_asked_caption_is_in_the_other_artists_gallery() -> None:
    """Catches captions that are looked up by another vocabulary's tokens."""
    data = emoji.load(emoji.EmojiConfig(name="emoji")).for_task("text")
    rows = emoji.read("emoji-twitter").rows
    names = [row["name"] for row in rows]
    asked = conditions(data, 50)
    assert asked is not None
    assert asked.tokens is not None
    assert data.tokenizer is not None
    found = rows_of(asked.tokens, data.tokenizer, names)
    assert [names[k] for k in found.tolist()] == [data.tokenizer.decode(t) for t in asked.tokens.tolist()]
    other = rows_of(asked.tokens[:1], data.tokenizer, names[:0])
    assert other.tolist() == [-1]


def test_compositions_are_new_and_made_of_known_words() -> None:
    """Catches captions of the training split, and words that no training caption has."""
    known = ["green apple", "red heart", "cat face", "dog"]
    held = ["red apple", "green apple", "dog face", "dog", "blue apple", "apple red heart"]
    assert compositions(held, known) == [0, 2, 5]
    assert closest("red apple", known) == 0
    assert closest("dog face", known) == 3
    assert closest("red heart on fire", known) == 1


def test_emoji_hold_out_compositions() -> None:
    data = emoji.load(emoji.EmojiConfig(name="emoji"))
    assert data.tokenizer is not None
    known, held = ([data.tokenizer.decode(t) for t in s.tokens.tolist()] for s in (data.train, data.test))
    found = [held[row] for row in compositions(held, known)]
    assert {"red apple", "dog face", "black cat"} <= set(found)
    assert len(found) >= 60


class FakeContext:
    """Pixels as features of `data=emoji data.task=text`, and samples that are the other artist's drawings."""

    def __init__(self) -> None:
        self.data = emoji.load(emoji.EmojiConfig(name="emoji")).for_task("text")
        self.config = SimpleNamespace(eval=SimpleNamespace(batch_size=500))
        self.device = torch.device("cpu")
        other = emoji.read("emoji-twitter")
        self.drawn = {row["name"]: image for row, image in zip(other.rows, other.images, strict=True)}
        self.train = self.features([self.data.train.examples(torch.arange(len(self.data.train)))], "train")
        asked = conditions(self.data, 300)
        assert asked is not None
        self.rows = self.drawings_of(asked)
        self.generated = self.features([self.rows], "generated")
        self.run = SimpleNamespace(draw=self.draw)
        self.asked = 0

    def drawings_of(self, cond: Cond) -> torch.Tensor:
        assert cond.tokens is not None
        assert self.data.tokenizer is not None
        return torch.stack([self.drawn[self.data.tokenizer.decode(t)] for t in cond.tokens.tolist()])

    def draw(self, n: int, *, start: int, cond: Cond) -> list[SimpleNamespace]:
        self.asked = n
        return [SimpleNamespace(rows=self.drawings_of(cond))]

    def features(self, batches: Iterable[torch.Tensor], what: str) -> SimpleNamespace:
        return SimpleNamespace(values=torch.cat([part.flatten(1).double() for part in batches]))

    def column(self, base: str) -> str:
        return f"{base}[pixels]"

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        return compute()


def test_drawings_of_the_captions_themselves_are_found() -> None:
    """Catches samples that are compared with other captions than they were asked for."""
    ctx: Any = FakeContext()
    found = retrieval(ctx)
    best = found["retrieval[pixels]"]
    assert isinstance(best, Value)
    assert best.value > 0.97
    assert "training images 0." in best.note
    new = new_captions(ctx)["new caption rank[pixels]"]
    assert isinstance(new, Value)
    assert new.value < 1.5
    assert ctx.asked == new.n
    assert float(new.note.rpartition(" ")[2]) > new.value
    ctx.data = emoji.load(emoji.EmojiConfig(name="emoji"))
    assert isinstance(retrieval(ctx)["retrieval[pixels]"], NotApplicable)
