"""Captions as data: bits per token, copies, retrieval of an image's caption, and the neighbor beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.data.captions import Tokenizer
from zoo_core.data.levels import quantize
from zoo_core.data.loading import Dataset, Resident
from zoo_core.data.splits import resident
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import Seeds
from zoo_core.types import Cond, DataInfo, Likelihood
from zoo_eval.context import Context
from zoo_eval.metrics.captions import captioning, chosen, copies, drawn, excess, given_image, own_ranks
from zoo_eval.metrics.likelihood import columns_of, ratio_and_error
from zoo_eval.metrics.retrieval import overlap

COLORS, THINGS = ("blue", "green", "red", "white"), ("apple", "book", "cat", "dog")
WORDS = Tokenizer((*COLORS, *THINGS), 3)
ALL = [f"{color} {thing}" for color in COLORS for thing in THINGS]
HELD = [caption for k, caption in enumerate(ALL) if k % 4 != (k // 4) % 4]
TRAIN = [caption for caption in ALL if caption not in HELD]


def named() -> Dataset:
    """Return images whose two pixels are the color and the thing of their caption; 12 of 16 held out."""

    def split(captions: list[str]) -> Resident:
        tokens = torch.tensor([WORDS.encode(caption) for caption in captions])
        return Resident(tokens[:, :2].to(torch.uint8).reshape(-1, 1, 1, 2), tokens=tokens)

    info = DataInfo("named", (1, 1, 2), 16, vocabulary=WORDS.vocabulary, caption_length=WORDS.length)
    made = resident(info, split(TRAIN), split(HELD), tokenizer=WORDS)
    return made.for_task("caption")


class Reader:
    """A model that tells a word's image from its pixels, and prefers some captions whatever it is shown.

    Args:
        gain: nats for each word that the image shows.
    """

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def likelihoods(self, x: Tensor, *, noise: Seeds, k: int) -> list[Likelihood]:
        return [Likelihood(-50.0 - 9.0 * quantize(x, WORDS.vocabulary)[:, 0].double(), "elbo")]

    def likelihoods_given(self, x: Tensor, cond: Cond, *, noise: Seeds, k: int) -> list[Likelihood]:
        assert cond.image is not None
        seen = quantize(cond.image, 16).flatten(1)
        same = (quantize(x, WORDS.vocabulary)[:, :2] == seen).double().sum(1)
        (alone,) = self.likelihoods(x, noise=noise, k=k)
        return [Likelihood(alone.log_prob + self.gain * same, "elbo")]


class Blind(Reader):
    """The same, which reads no image."""

    def likelihoods_given(self, x: Tensor, cond: Cond, *, noise: Seeds, k: int) -> list[Likelihood]:
        return []


class Scene:
    """A context of captions, whose images' features are their pixels."""

    def __init__(self, recipe: Any, samples: list[str] | None = None) -> None:
        self.data, self.recipe, self.device = named(), recipe, torch.device("cpu")
        assert self.data.described is not None
        self.train, self.test = (
            SimpleNamespace(values=_one_hot(table.examples(torch.arange(len(table)))))
            for table in (self.data.described.train, self.data.described.test)
        )
        self.rows = torch.tensor([WORDS.encode(caption) for caption in samples or TRAIN])
        self.protocol = SimpleNamespace(likelihood_n=12)
        self.config = SimpleNamespace(eval=SimpleNamespace(batch_size=5))
        self.files: dict[str, Any] = {}
        self.lines: list[str] = []

    def to_model(self, rows: Tensor) -> Tensor:
        return 2 * rows.float() / (WORDS.vocabulary - 1) - 1

    def inference(self) -> Any:
        return nullcontext()

    def column(self, base: str) -> str:
        return f"{base}[pixels]"

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        return compute()

    def attach(self, what: str, content: bytes, suffix: str) -> None:
        self.files[what] = json.loads(content)

    def say(self, line: str) -> None:
        self.lines.append(line)


def _one_hot(images: Tensor) -> Tensor:
    """Return features in which a color counts more than a thing."""
    color, thing = (torch.nn.functional.one_hot(k, 9).double() for k in images.flatten(1).long().unbind(1))
    return torch.cat((2 * color, thing), 1)


def values(columns: Any) -> dict[str, float]:
    return {name: one.value for name, one in columns.items() if isinstance(one, Value)}


def test_an_images_caption_is_found_whatever_captions_are_common() -> None:
    """The model prefers captions by 9 nats a color, and gains 2 by a word that it sees.

    Catches a rank by the conditional likelihood alone, which the preference decides, a sign, and images of
    other rows.
    """
    scene: Any = Scene(Reader(2.0))
    found = captioning(scene)
    assert values(found)["captioning[elbo]"] == 1
    assert values(found)["captioning rank[elbo]"] == 1
    note = found["captioning[elbo]"].note  # type: ignore[union-attr]
    assert note == "12 held-out images among 12 captions"
    assert [row["caption"] for row in scene.files["captioning"]] == HELD
    assert [row["chosen"] for row in scene.files["captioning"]] == HELD


def test_bits_per_token_given_images_are_of_their_own() -> None:
    """2 nats for each of 2 words less than the captions alone; catches images of other rows."""
    scene: Any = Scene(Reader(2.0))
    value = given_image(scene)["bits_per_token[elbo, given image]"]
    assert isinstance(value, Value)
    first = torch.tensor([WORDS.encode(caption)[0] for caption in HELD])
    nats = 50 + 9 * first.double().mean() - 4
    assert value.value == pytest.approx(float(nats) / (2 * math.log(2)))
    assert (value.n, value.bound) == (12, "upper")
    found = given_image(Scene(Blind(1.0)))  # type: ignore[arg-type]
    assert isinstance(found["bits_per_token[given image]"], NotApplicable)


def test_a_model_that_gains_by_wrong_words_ranks_last() -> None:
    ranks = values(captioning(Scene(Reader(-2.0))))  # type: ignore[arg-type]
    assert ranks["captioning rank[elbo]"] == 12
    assert ranks["captioning[elbo]"] == 0


def test_the_neighbor_captioner_shares_a_word() -> None:
    """The nearest training image has the color: 3 held-out captions share it, 3 its thing.

    Catches a neighbor among the test images, and ties that all count as won.
    """
    scene: Any = Scene(Reader(1.0))
    found = values(captioning(scene))
    assert found["neighbor captioning rank[pixels]"] == 3.5
    assert found["neighbor captioning[pixels]"] == 0
    for row in scene.files["captioning"]:
        assert row["neighbor"] in TRAIN
        assert row["neighbor"].split()[0] == row["caption"].split()[0]


def test_a_model_that_reads_no_image_has_the_neighbor_alone() -> None:
    for recipe in (Blind(1.0), object()):
        found = captioning(Scene(recipe))  # type: ignore[arg-type]
        assert isinstance(found["captioning"], NotApplicable)
        assert "neighbor captioning rank[pixels]" in found


def test_ties_are_shared() -> None:
    scores = torch.tensor([[3.0, 1.0, 3.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert own_ranks(scores, torch.tensor([0, 2])).tolist() == [1.5, 2.5]
    assert own_ranks(scores[:1], torch.tensor([1])).tolist() == [3]


def test_looked_for_are_new_compositions_among_different_captions() -> None:
    """Catches single words, captions that occur twice, and a gallery that lacks an own caption."""
    train = ["red cat", "blue dog", *(f"{k} tree" for k in range(20)), *(f"river {k}" for k in range(20))]
    new = [f"river {k} tree" for k in range(12)]
    test = ["dog", "red dog", *new, "red dog", "cat"]
    found = chosen(test, train)
    assert not isinstance(found, str)
    queries, gallery = found
    assert [test[row] for row in queries] == ["red dog", *new]
    assert set(queries) <= set(gallery)
    assert sorted({test[row] for row in gallery}) == sorted(test[row] for row in gallery)
    assert {test[row] for row in gallery} == {"dog", "red dog", "cat", *new}
    assert isinstance(chosen(["red dog"], train), str)


def test_copies_are_counted_and_short_ones_forgiven() -> None:
    """Memorization is of captions of 3 words or more, beyond what held-out captions have."""
    known = ["cat", "red cat", "a big dog", "one fine day"]
    samples = ["cat", "red cat", "a big dog", "a big cat", "one fine day", "one big day"]
    assert copies(samples, known) == [True, True, True, False, True, False]
    assert excess(samples, ["a fine dog", "one fine day"], known) == pytest.approx(0.5 - 0.5)
    assert excess(samples, ["a fine dog"], known) == pytest.approx(0.5)
    assert excess(["cat"], ["a fine dog"], known) is None
    scene: Any = Scene(Reader(1.0), [*TRAIN[:3], HELD[0]])
    found = drawn(scene)
    assert values(found) == {"copied captions": 0.75}
    assert isinstance(found["memorization[captions]"], NotApplicable)
    assert scene.files["samples"] == [*TRAIN[:3], HELD[0]]
    assert TRAIN[0] in scene.lines[0]


def test_bits_per_token_are_all_bits_over_all_words() -> None:
    """Two captions of 1 and 3 words, 8 and 16 bits: 24 / 4; catches a mean of ratios, (8 + 16 / 3) / 2."""
    info = named().info
    bits, words = torch.tensor([8.0, 16.0]), torch.tensor([1, 3])
    found = Likelihood(-bits.double() * math.log(2), "elbo")
    (column,) = (columns := columns_of(found, info, words))
    assert column == "bits_per_token[elbo]"
    value = columns[column]
    assert isinstance(value, Value)
    assert value.value == pytest.approx(6)
    assert value.bound == "upper"


def test_the_standard_error_of_a_ratio_is_that_of_repeated_draws() -> None:
    """Over 400 sets of 200 captions whose bits depend on their words; catches the error of the mean alone."""
    rng = torch.Generator().manual_seed(0)
    ratios, errors = [], []
    for _ in range(400):
        words = torch.randint(1, 6, (200,), generator=rng)
        bits = 7.0 * words + 2 * torch.randn(200, generator=rng)
        ratio, error = ratio_and_error(bits, words)
        assert error is not None
        ratios.append(ratio)
        errors.append(error)
    spread = torch.tensor(ratios).std()
    assert float(torch.tensor(errors).mean() / spread) == pytest.approx(1, abs=0.15)
    assert ratio_and_error(torch.ones(1), torch.ones(1)) == (1.0, None)


def test_metrics_of_images_do_not_apply_to_captions() -> None:
    """Catches features of tokens, and metrics of captions on images."""
    data = named()
    for made, needs, expected in (
        (data, ("features", "reference"), "the examples are captions"),
        (data, ("samples", "captions"), ""),
        (data, ("model",), "needs the model"),
        (data.described, ("samples", "captions"), "the examples are not captions"),
    ):
        source = SimpleNamespace(data=made, run=None)
        ctx: Any = Context(source, None, None, SimpleNamespace(label=None))  # type: ignore[arg-type]
        assert expected in ctx.missing(needs)
        assert bool(ctx.missing(needs)) == bool(expected)


def test_overlap_is_jaccards_index() -> None:
    assert overlap("red apple", "green apple") == pytest.approx(1 / 3)
    assert overlap("red apple", "apple red") == 1
