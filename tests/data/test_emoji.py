"""The emoji that come with the library: what they are, and that no variant of a test image is trained on."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections import Counter
from typing import Any

import pytest
import torch

from tests.conftest import CHECKOUT
from zoo_core.config import DataConfig
from zoo_core.data import emoji
from zoo_core.data.loading import TrainData
from zoo_core.data.preparation import with_validation
from zoo_core.errors import UsageError


@pytest.fixture(scope="module")
def noto():
    return emoji.read("emoji")


def test_images_are_colored_icons_on_white(noto):
    """Catches tiles that are cut wrongly: corners are white, and most images have color inside."""
    assert noto.images.shape == (1906, 3, 32, 32)
    corners = noto.images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners > 250).all(1).float().mean() > 0.9
    spread = noto.images.float().amax(1) - noto.images.float().amin(1)
    assert (spread.flatten(1).amax(1) > 60).float().mean() > 0.75


def test_groups_are_whole_and_small(noto):
    """Catches a group on both sides of the split, and a chain that joins much of the data."""
    sides: dict[int, set[bool]] = {}
    for row in noto.rows:
        sides.setdefault(row["group"], set()).add(row["test"])
    assert all(len(found) == 1 for found in sides.values())
    assert max(Counter(row["group"] for row in noto.rows).values()) < 0.08 * len(noto.rows)
    assert sum(row["test"] for row in noto.rows) >= 400
    share = Counter(row["category"] for row in noto.rows if row["test"])
    whole = Counter(row["category"] for row in noto.rows)
    assert all(0.2 < share[name] / whole[name] < 0.35 for name in whole)


def test_no_test_image_is_nearly_one_of_training(noto):
    """Catches a duplicate across the split, by pixels relative to how much is drawn."""
    ink = 1 - noto.images.flatten(1).float() / 255
    test = torch.tensor([row["test"] for row in noto.rows])
    size = ink.square().sum(1)
    distance = torch.cdist(ink[test], ink[~test])
    relative = distance / ((size[test][:, None] + size[~test][None]) / 2).sqrt()
    assert float(relative.min()) >= 0.28 - 1e-4


def test_variants_share_a_group(noto):
    """Catches variants that were told apart by name or by looks: genders, clock faces."""
    group = {row["code"]: row["group"] for row in noto.rows}
    assert group["1F6B6"] == group["1F6B6-200D-2640-FE0F"] == group["1F6B6-200D-2642-FE0F"]
    assert group["1F550"] == group["1F55A"]


@pytest.mark.parametrize("more", [{}, {"tones": True}, {"other_artist": True}])
def test_the_validation_part_has_no_variant_of_a_training_image(noto, more):
    """Catches groups that are not with their rows, or lost where pairs or skin tones are made."""
    whole = emoji.load(emoji.EmojiConfig(name="emoji", **more))
    data = with_validation(whole, 0.1)
    group = {bytes(x.numpy()): row["group"] for x, row in zip(noto.images, noto.rows, strict=True)}
    for table in (whole.test, data.train, data.validation):
        assert [
            group.get(bytes(x.numpy()), own) for x, own in zip(table.x, table.groups, strict=True)
        ] == list(table.groups)
    assert all(bytes(x.numpy()) in group for x in whole.test.x)
    assert set(data.train.groups) & set(data.validation.groups) == set()
    assert 0.05 < len(data.validation) / len(whole.train) < 0.15
    if data.origin is not None:
        assert data.origin.train.groups == data.train.groups


def test_both_artists_drew_the_same_emoji(noto):
    """Catches another split or another order: pairs are by code point."""
    other = emoji.read("emoji-twitter")
    both = {row["code"]: row for row in noto.rows}
    assert len(other.rows) > 1850
    assert all(both[row["code"]] == row for row in other.rows)
    mine = {row["code"]: k for k, row in enumerate(noto.rows)}
    index = [mine[row["code"]] for row in other.rows]
    same = (noto.images[index].float() - other.images.float()).abs().flatten(1).mean(1)
    shifted = (noto.images[index].float() - other.images.roll(7, 0).float()).abs().flatten(1).mean(1)
    assert same.mean() < 0.8 * shifted.mean()
    assert (same > 1).float().mean() > 0.9


def test_skin_tones_are_for_training_only(home):
    """Catches a toned variant of a test image in training, and a test split that depends on the option."""
    plain, toned = (emoji.load(emoji.EmojiConfig(name="emoji", tones=tones)) for tones in (False, True))
    assert torch.equal(plain.test.column("image"), toned.test.column("image"))
    assert len(toned.train) - len(plain.train) > 1000
    index = json.loads(zipfile.ZipFile(emoji.FILES / "emoji-tones.zip").read("index.json"))["rows"]
    test = {row["code"] for row in emoji.read("emoji").rows if row["test"]}
    added = len(toned.train) - len(plain.train)
    assert added == sum(row["of"] not in test for row in index)
    assert toned.report


def test_captions_name_the_image(noto, home):
    """Catches captions out of step with their images."""
    dataset = emoji.load(DataConfig(name="emoji"))
    rows = [row for row in noto.rows if not row["test"]]
    tokens, label = dataset.train.tokens, dataset.train.label
    for k in (0, 500, len(rows) - 1):
        assert dataset.tokenizer.decode(tokens[k].tolist()) == rows[k]["name"]
        assert dataset.class_names[label[k]] == rows[k]["category"]


def test_subcategories_are_what_the_page_says(noto):
    """Catches a page that promises other subcategories, and rows out of step with their images."""
    counts = Counter(row["subcategory"] for row in noto.rows)
    assert len(counts) == 98
    assert len({(row["category"], row["subcategory"]) for row in noto.rows}) == 98
    assert counts["country-flag"] == 259
    assert min(counts.values()) == 1
    assert {row["subcategory"] for row in noto.rows if row["test"]} < set(counts)
    page = (CHECKOUT / "docs" / "datasets.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)
    assert found["images"].shape == (1906, 3, 32, 32)
    assert {found["rows"][k]["category"] for k in found["animals"]} == {"Animals & Nature"}
    assert len(found["animals"]) == counts["animal-mammal"]


@pytest.mark.parametrize("name", ["emoji", "emoji-tones", "emoji-twitter"])
def test_license_and_size(name):
    """Catches a file without its attribution, and one that outgrows its place in the wheel."""
    path = emoji.FILES / f"{name}.zip"
    notice = zipfile.ZipFile(path).read("NOTICE").decode()
    assert ("CC BY 4.0" if name == "emoji-twitter" else "Apache License") in notice
    assert path.stat().st_size <= 1_800_000
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[name]


SHA256 = {
    "emoji": "e03da331f685f64be200671373f5a9bd27eca8ccd2ba84e9a7ba9545c3ec86e7",
    "emoji-tones": "1178f6e611fc0792f0a30e1ab5b129a610abd4a54b1e74eeded129325da1e13c",
    "emoji-twitter": "ddab23733f0133963868e56f743c504420650473258248761f8c378a3fa5311d",
}


@pytest.mark.parametrize("name", ["emoji", "emoji-twitter"])
def test_pairs_are_the_same_emoji_of_two_artists(name: str) -> None:
    """Catches pairs that are shifted, and an emoji that is held out in one design only."""
    config = emoji.DesignConfig if name == "emoji-twitter" else emoji.EmojiConfig
    alone = emoji.load(config(name=name))
    data = emoji.load(config(name=name, other_artist=True))
    assert data.origin is not None
    assert data.origin.name == emoji.OTHER_ARTIST[name]
    assert data.sha256 != alone.sha256
    assert {"paired", "unpaired", "class", "text", "unconditional"} <= set(data.tasks)
    by_code = {row["code"]: k for k, row in enumerate(emoji.read(emoji.OTHER_ARTIST[name]).rows)}
    images = emoji.read(emoji.OTHER_ARTIST[name]).images
    rows = emoji.read(name).rows
    for split, held, table in ((data.train, False, data.origin.train), (data.test, True, data.origin.test)):
        index = torch.arange(len(split))
        expected = torch.stack([images[by_code[row["code"]]] for row in rows if row["test"] is held])
        assert torch.equal(split.rows(index)["source"], expected)
        assert torch.equal(table.examples(index), expected)
        assert torch.equal(table.label, split.label)  # type: ignore[arg-type]
    assert len(data.test) == len(alone.test)
    batch = TrainData(data.for_task("paired").train, data.info, 0).next(4)
    assert batch.cond.image is not None
    unpaired = data.for_task("unpaired")
    assert "source" not in unpaired.training
    assert 2 * len(unpaired.training) >= len(data.train) - 1


def test_skin_tones_have_no_pairs() -> None:
    with pytest.raises(UsageError, match="tones"):
        emoji.load(emoji.EmojiConfig(name="emoji", other_artist=True, tones=True))
