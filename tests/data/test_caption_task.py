"""Captions as data: tokens as examples, their images as sources, and which test captions are left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zoo_core.config import DataConfig
from zoo_core.data import emoji, identity
from zoo_core.data.captions import Tokenizer
from zoo_core.data.conditioning import conditions, read_conditions
from zoo_core.data.digits import load as load_digits
from zoo_core.data.levels import level_dtype, quantize, to_unit
from zoo_core.data.loading import Dataset, Resident, TrainData
from zoo_core.data.preparation import with_validation
from zoo_core.data.splits import resident
from zoo_core.errors import UsageError
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build
from zoo_core.types import DataInfo
from zoo_core.viz.samples import sample_tensor

WORDS = Tokenizer(("apple", "cat", "dog", "green", "red"), 3)


def named(train: list[str], test: list[str]) -> Dataset:
    """Return images of one gray level each, and their captions."""
    x = torch.arange(len(train) + len(test), dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    tokens = torch.tensor([WORDS.encode(caption) for caption in (*train, *test)])
    info = DataInfo("named", (1, 4, 4), 16, vocabulary=WORDS.vocabulary, caption_length=WORDS.length)
    n = len(train)
    splits = (
        Resident(part.contiguous(), tokens=own) for part, own in ((x[:n], tokens[:n]), (x[n:], tokens[n:]))
    )
    return resident(info, *splits, tokenizer=WORDS)


SMALL = named(["red cat", "green apple", "cat"], ["dog", "red apple", "red dog", "apple"])


def test_a_batch_is_tokens_and_their_images() -> None:
    """Catches a caption beside another image, a caption that is also a condition, and images that are scaled
    by the size of the vocabulary.
    """
    data = SMALL.for_task("caption")
    assert (data.info.shape, data.info.levels) == ((3,), 6)
    batch = TrainData(data.training, data.info, 0).batch(torch.arange(3))
    tokens = quantize(batch.x, 6)
    assert WORDS.decode_all(tokens.tolist()) == ["red cat", "green apple", "cat"]
    assert batch.cond.tokens is None
    assert batch.cond.image is not None
    torch.testing.assert_close(batch.cond.image[:, 0, 0, 0], 2 * torch.arange(3.0) / 15 - 1)
    assert data.info.image_channels == 1


def test_test_captions_of_unknown_words_are_left_out() -> None:
    """Catches rows whose captions and images no longer belong together, and a silent loss."""
    data = SMALL.for_task("caption")
    rows = torch.arange(2)
    assert WORDS.decode_all(data.test.examples(rows).tolist()) == ["red apple", "apple"]
    assert data.test.rows(rows)["source"][:, 0, 0, 0].tolist() == [4, 6]
    assert data.described is not None
    assert data.described.test.examples(rows)[:, 0, 0, 0].tolist() == [4, 6]
    assert data.described.info == SMALL.for_task("caption").described.info  # type: ignore[union-attr]
    assert data.report == ("2 of 4 test captions left out: words that no training caption has",)
    assert not named(["red cat"], ["red", "cat"]).for_task("caption").report


def test_no_test_caption_of_known_words_is_refused() -> None:
    with pytest.raises(UsageError, match="every test caption"):
        named(["red cat"], ["dog"]).for_task("caption")


def test_a_validation_part_has_known_words_only() -> None:
    captions = [f"{a} {b}" for a in ("red", "green") for b in ("cat", "apple", "dog")]
    data = with_validation(named(captions, ["red"]), 0.5).for_task("caption")
    assert data.validation is not None
    known = data.train.tokens
    assert known is not None
    assert bool(torch.isin(data.validation.examples(torch.arange(len(data.validation))), known).all())


def test_emoji_hold_out_captions_by_composition() -> None:
    """The split's own rule: no test caption is a training caption, and all its words are known."""
    data = emoji.load(emoji.EmojiConfig(name="emoji")).for_task("caption")
    assert data.tokenizer is not None
    train, test = (data.tokenizer.decode_all(table.tokens.tolist()) for table in (data.train, data.test))
    words = {word for caption in train for word in caption.split()}
    assert {"red apple", "dog face", "black cat"} <= set(test)
    assert all(words.issuperset(caption.split()) for caption in test)
    assert not set(train) & set(test)


def test_larger_vocabularies_survive_the_models_floats() -> None:
    """Tokens to [-1, 1] and back; catches tokens that wrap at 256."""
    for count in (2, 256, 257, 1819, 100_000):
        k = torch.arange(count)
        found = quantize(to_unit(k, count), count)
        assert found.dtype == level_dtype(count)
        assert torch.equal(found.long(), k)
    assert level_dtype(256) == torch.uint8


def test_stored_captions_are_the_captions(tmp_path: Path) -> None:
    """Of a run's record: which rows are left out, and their images, without opening the data."""
    identity.write(tmp_path, SMALL)
    opened: list[int] = []

    def again() -> Dataset:
        opened.append(1)
        return SMALL

    found = identity.stored(tmp_path, again)
    assert found is not None
    one, two = SMALL.for_task("caption"), found.for_task("caption")
    assert two.info == one.info
    assert not opened
    index = torch.arange(2)
    for name in ("tokens", "source"):
        assert torch.equal(one.test.rows(index)[name], two.test.rows(index)[name])


def test_samples_are_alone_or_of_the_images_of_a_folder(tmp_path: Path) -> None:
    """Without a condition nothing is given; a folder's images are read as those that captions describe."""
    from PIL import Image

    data = SMALL.for_task("caption")
    assert conditions(data, 3) is None
    for k in range(2):
        Image.new("L", (4, 4), 17 * k).save(tmp_path / f"{k}.png")
    cond = read_conditions(str(tmp_path), data, None, say=lambda line: None)
    assert cond.image is not None
    assert cond.image.shape == (2, 1, 4, 4)
    torch.testing.assert_close(cond.image[:, 0, 0, 0], torch.tensor([-1.0, 2 / 15 - 1]))


def test_samples_are_printed_and_saved_as_text(tmp_path: Path) -> None:
    info = SMALL.for_task("caption").info
    tokens = torch.tensor([[5, 2, 0], [0, 1, 0]])
    made = sample_tensor(to_unit(tokens, 6), info, WORDS)
    assert made.texts() == ["red cat", "apple"]
    made.save(tmp_path / "some.txt")
    assert (tmp_path / "some.txt").read_text() == "red cat\napple\n"
    with pytest.raises(UsageError, match="no captions"):
        sample_tensor(torch.zeros(1, 1, 4, 4), SMALL.info, WORDS).texts()


@pytest.mark.parametrize("name", ["d3pm", "ddpm", "gaussian"])
def test_other_models_refuse_captions_before_training(name: str) -> None:
    config = resolve([f"plugin={name}", "data=digits", "data.task=caption"])
    with pytest.raises(
        UsageError, match=f"data.task=caption was asked for and plugin '{name}' can't model it"
    ):
        build(config, load_digits(DataConfig()), Path(), manager(), say=print, warn=print)


def test_captions_have_presets_of_their_own() -> None:
    """Catches the preset for images of the dataset's size, which captions have nothing to do with."""
    presets = load_entry("plugin", manager().find("plugin", "mdlm"), "config").PRESETS
    stated = presets["default@caption"].overrides
    for name in ("digits", "emoji"):
        config = resolve(["plugin=mdlm", f"data={name}", "data.task=caption"])
        assert config.train.batch_size == stated["train.batch_size"]
        assert resolve(["plugin=mdlm", f"data={name}"]).train.batch_size != config.train.batch_size
