"""A folder of captioned images: whose captions they are, which words are kept, and refusals by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo_core.data.captioned_folder import MAX_BYTES, MAX_CAPTIONS, load
from zoo_core.data.conditioning import conditions, read_conditions
from zoo_core.data.configs import CaptionedFolderConfig
from zoo_core.data.loading import Dataset, TrainData, conds
from zoo_core.errors import UsageError
from zoo_core.machine.distributed import World

BIRDS = ("crow", "finch")


def _folder(root: Path, count: int = 20, lines: int = 3) -> Path:
    """Write CUB's layout: images/<class>/<name>.png of one level, whose captions say that level."""
    for k in range(count):
        place = Path(BIRDS[k % 2]) / f"{k:03}"
        image, text = (root / kind / place for kind in ("images", "text"))
        for path in (image, text):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6, 3), 10 * k, dtype=np.uint8)).save(image.with_suffix(".png"))
        told = [f"This is a {BIRDS[k % 2]}, level w{k:02} (line l{line})." for line in range(lines)]
        text.with_suffix(".txt").write_text("\n".join(told) + "\n\n")
    return root


def _load(root: Path, **options: object) -> Dataset:
    given = {"path": str(root / "images"), "size": 6, "min_count": 1, **options}
    return load(CaptionedFolderConfig.model_validate(given))


def test_each_image_has_its_own_captions(tmp_path: Path) -> None:
    """Catches captions in another order than the images, and those of one split on the other."""
    data = _load(_folder(tmp_path))
    assert data.tokenizer is not None
    assert (len(data.train), len(data.test)) == (18, 2)
    known = 0
    for split in (data.train, data.test):
        rows = torch.arange(len(split))
        tokens = conds(split, rows).tokens
        for x, label, one in zip(split.examples(rows), split.label, tokens, strict=True):
            words = data.tokenizer.decode(one.tolist()).split()
            assert BIRDS[int(label)] in words
            said = [int(word[1:]) for word in words if word.startswith("w")]
            known += len(said)
            assert all(int(x.max()) == 10 * k for k in said)
    assert known >= 18  # a held-out image's own word is not in the training captions


def test_punctuation_and_case_are_no_words(tmp_path: Path) -> None:
    data = _load(_folder(tmp_path, lines=1))
    words = data.tokenizer.words
    assert {"this", "is", "a", "crow", "finch", "level", "line", "l0"} <= set(words)
    assert not any(character in word for word in words for character in ".,()T ")


def test_all_captions_are_drawn_in_training_and_the_first_for_samples(tmp_path: Path) -> None:
    """Catches nine captions of ten that are never read, and samples asked for at random."""
    data = _load(_folder(tmp_path))
    train = TrainData(data.train, data.info, 0)
    lines: dict[int, set[int]] = {}
    line = [data.tokenizer.words.index(f"l{k}") + 1 for k in range(3)]
    for _ in range(30):
        batch = train.next(18)
        for row, tokens in zip(batch.index.tolist(), batch.cond.tokens, strict=True):
            lines.setdefault(row, set()).update(k for k in range(3) if line[k] in tokens)
            own = conds(data.train, torch.tensor([row])).tokens[0]
            assert torch.equal(own[own != line[0]], tokens[~torch.isin(tokens, torch.tensor(line))])
    assert all(found == {0, 1, 2} for found in lines.values())
    asked = conditions(data.for_task("text"), 50).tokens
    assert bool((asked == line[0]).any(1).all())


def test_drawn_captions_depend_on_the_seed_alone(tmp_path: Path) -> None:
    """Catches captions that depend on how many processes share a batch, or that a resume draws otherwise."""
    data = _load(_folder(tmp_path))
    whole = TrainData(data.train, data.info, 3).next(10)
    parts = [TrainData(data.train, data.info, 3).next(10, World(rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([part.cond.tokens for part in parts]), whole.cond.tokens)


def test_images_may_have_different_numbers_of_captions(tmp_path: Path) -> None:
    """Catches a caption drawn of another image, and one that is drawn more often than its image's others."""
    _folder(tmp_path, lines=1)
    for k, lines in ((0, 3), (1, 2)):
        text = tmp_path / "text" / BIRDS[k] / f"{k:03}.txt"
        text.write_text("\n".join(f"w{k:02} l{line}" for line in range(lines)))
    data = _load(tmp_path, holdout=0.05)
    counts = data.train.column("caption_count")
    assert sorted(counts.tolist()) == [1] * (len(data.train) - 2) + [2, 3]
    train, drawn = TrainData(data.train, data.info, 0), {}
    for _ in range(300):
        batch = train.next(len(train))
        for row, tokens in zip(batch.index.tolist(), batch.cond.tokens.tolist(), strict=True):
            drawn.setdefault(row, []).append(tuple(tokens))
    for row, count in enumerate(counts.tolist()):
        assert len(set(drawn[row])) == count
        assert all(drawn[row].count(one) > 300 / count * 0.7 for one in set(drawn[row]))


def test_the_vocabulary_is_of_the_training_captions_and_its_limits_are_told(tmp_path: Path) -> None:
    """Catches words of the test split that a model has never seen, and a cut that nobody hears of."""
    data = _load(_folder(tmp_path), min_count=4, length=3)
    assert not any(word.startswith("w") for word in data.tokenizer.words)
    assert data.info.vocabulary == len(data.tokenizer.words) + 1
    assert data.info.caption_length == 3
    assert tuple(conds(data.train, torch.arange(18)).tokens.shape) == (18, 3)
    assert "60 words left out of captions: 20 rare ones" in data.report
    assert "60 captions of more than 3 words were cut" in data.report
    few = _load(tmp_path, max_words=4)
    assert few.tokenizer.words == ("a", "is", "level", "line")


def test_its_tasks_name_and_hash(tmp_path: Path) -> None:
    """Catches a hash that stays when a caption changes."""
    data = _load(_folder(tmp_path))
    assert data.info.name == "captioned-folder"
    assert {"unconditional", "class", "text"} <= set(data.tasks)
    assert data.class_names == BIRDS
    assert _load(tmp_path).sha256 == data.sha256
    path = tmp_path / "text" / "crow" / "000.txt"
    path.write_text(path.read_text().replace("level", "a"))
    assert _load(tmp_path).sha256 != data.sha256


def test_text_folder_may_be_elsewhere_and_strays_are_counted(tmp_path: Path) -> None:
    _folder(tmp_path)
    (tmp_path / "text").rename(tmp_path / "told")
    (tmp_path / "told" / "crow" / "999.txt").write_text("nobody")
    data = _load(tmp_path, text=str(tmp_path / "told"))
    assert "1 files of captions have no image" in data.report
    with pytest.raises(UsageError, match=r"no folder of captions data\.text="):
        _load(tmp_path)
    with pytest.raises(UsageError, match="data=captioned-folder needs to know which folder"):
        load(CaptionedFolderConfig())


def test_images_without_captions_are_refused_by_name(tmp_path: Path) -> None:
    """All of them at once, each with its reason."""
    _folder(tmp_path)
    text = tmp_path / "text"
    (text / "crow" / "000.txt").unlink()
    (text / "finch" / "001.txt").write_text(" \n ... \n")
    (text / "crow" / "002.txt").write_bytes(b"\xff\xfe\x00bird")
    with pytest.raises(UsageError) as error:
        _load(tmp_path, holdout=0.01)
    told = str(error.value)
    assert "3 of 19 images have no usable captions" in told
    assert "crow/000.png: there is no crow/000.txt" in told
    assert "finch/001.txt: no caption in it" in told
    assert "crow/002.txt: not text in UTF-8" in told


def test_captions_that_are_no_plain_bounded_files_are_refused_by_name(tmp_path: Path) -> None:
    """Catches a pipe that is waited for, and captions that fill the memory."""
    root = _folder(tmp_path)
    texts = [root / "text" / f"{name}.txt" for name in ("crow/000", "finch/001", "crow/002", "crow/004")]
    for path in texts:
        path.unlink()
    os.mkfifo(texts[0])
    texts[1].mkdir()
    texts[2].write_text("bird\n" * (MAX_CAPTIONS + 1))
    texts[3].write_text("a bird " * (MAX_BYTES // 7 + 1))
    with pytest.raises(UsageError, match="4 of 19 images have no usable captions") as caught:
        _load(root, holdout=0.01)
    told = str(caught.value)
    assert "regular file" in told
    assert f"1,001 captions; at most {MAX_CAPTIONS:,}" in told
    assert f"at most {MAX_BYTES:,} bytes" in told


def test_captions_without_a_known_word_are_refused_by_name(tmp_path: Path) -> None:
    _folder(tmp_path)
    (tmp_path / "text" / "crow" / "004.txt").write_text("Zyzzyva\n")
    with pytest.raises(UsageError, match=r"crow/004.txt: rare words only"):
        _load(tmp_path, min_count=2)
    with pytest.raises(UsageError, match="no word occurs 1000 times"):
        _load(tmp_path, min_count=1000)


def test_unknown_words_of_a_prompt_get_their_nearest(tmp_path: Path) -> None:
    data = _load(_folder(tmp_path)).for_task("text")
    with pytest.raises(UsageError) as error:
        read_conditions("a crw", data, 2)
    assert "did you mean: crow for crw" in str(error.value)


def test_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.pairs=side-by-side"):
        _load(_folder(tmp_path), pairs="side-by-side")
