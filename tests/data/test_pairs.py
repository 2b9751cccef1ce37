"""Pairs and two domains: what each image is made from, who may see what, and folders of the user's own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data import decoding
from zoo_core.data.conditioning import conditions, dealt, given_images, read_conditions
from zoo_core.data.configs import FolderConfig
from zoo_core.data.corruptions import (
    SOURCES,
    blur,
    crop,
    edges,
    freeform,
    gray,
    hole,
    jpeg,
    labels,
    lowres,
    mask,
    strokes,
)
from zoo_core.data.digits import load as load_digits
from zoo_core.data.folder import load
from zoo_core.data.levels import quantize
from zoo_core.data.loading import Dataset, Resident, TrainData, to_unit
from zoo_core.data.preparation import configured
from zoo_core.data.splits import resident
from zoo_core.data.toy import load as load_toy
from zoo_core.errors import UsageError
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

DIGITS = load_digits(DataConfig())


def random_levels(n: int, channels: int, side: int, count: int) -> Tensor:
    rng = generator(0, "images")
    return torch.randint(count, (n, channels, side, side), generator=rng, dtype=torch.uint8)


@pytest.mark.parametrize("count", [2, 17, 256])
def test_edges_are_sobels_magnitude(count: int) -> None:
    """Against scipy's; catches a border that is taken for black, and a scale that is off."""
    x = random_levels(6, 1, 9, count)
    found = edges(x, count)
    for one, made in zip(x[:, 0].double().numpy(), found[:, 0].numpy(), strict=True):
        gx, gy = (ndimage.sobel(one, axis, mode="nearest") for axis in (0, 1))
        expected = np.minimum(np.rint(np.hypot(gx, gy) / 4), count - 1)
        np.testing.assert_array_equal(made, expected)
    step = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    step[..., 4:] = count - 1
    assert int(edges(step, count).max()) == count - 1
    assert int(edges(torch.full_like(step, count - 1), count).max()) == 0


@pytest.mark.parametrize(("side", "block"), [(8, 2), (12, 2), (16, 4), (32, 4)])
def test_lowres_is_the_means_of_blocks(side: int, block: int) -> None:
    """Catches means that are cut off instead of rounded, which darkens, and blocks that are moved."""
    x = random_levels(3, 3, side, 256)
    wide = x.numpy().reshape(3, 3, side // block, block, side // block, block)
    means = np.floor(wide.mean((3, 5)) + 0.5)
    expected = means.repeat(block, 2).repeat(block, 3)
    np.testing.assert_array_equal(lowres(x, 256).numpy(), expected)


@pytest.mark.parametrize(("side", "variance"), [(8, 1), (15, 1), (16, 4), (32, 4)])
def test_a_blur_is_a_binomial_filter_of_known_variance(side: int, variance: int) -> None:
    """Against scipy's convolution with weights of Pascal's triangle; catches a border taken for black."""
    x = random_levels(2, 3, side, 256)
    weights = np.array([1.0])
    for _ in range(4 * variance):
        weights = np.convolve(weights, [0.5, 0.5])
    offsets = np.arange(len(weights)) - len(weights) // 2
    assert float(weights @ offsets**2) == variance
    wide = ndimage.convolve1d(x.double().numpy(), weights, axis=2, mode="nearest")
    wide = ndimage.convolve1d(wide, weights, axis=3, mode="nearest")
    np.testing.assert_array_equal(blur(x, 256).numpy(), np.floor(wide + 0.5))
    even = torch.full((1, 3, side, side), 255, dtype=torch.uint8)
    assert torch.equal(blur(even, 256), even)


@pytest.mark.parametrize(
    ("count", "expected"), [(2, {0, 1}), (3, {0, 1, 2}), (17, {0, 8, 16}), (256, {0, 128, 255})]
)
def test_labels_are_the_nearest_of_three_levels(count: int, expected: set[int]) -> None:
    """Catches levels that are cut off instead of rounded, and channels that are mixed."""
    x = torch.arange(count, dtype=torch.uint8).reshape(1, 1, 1, -1)
    made = labels(x, count).flatten().int()
    assert set(made.tolist()) == expected
    assert torch.equal(labels(made.to(torch.uint8).reshape(x.shape), count).flatten().int(), made)
    assert bool((made.diff() >= 0).all())
    if count > 2:
        assert int((made - x.flatten().int()).abs().max()) <= (count + 2) // 4
    color = random_levels(2, 3, 4, 256)
    assert torch.equal(labels(color, 256)[:, 1], labels(color[:, 1:2], 256)[:, 0])


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32)])
def test_strokes_depend_on_the_image_alone(channels: int, side: int) -> None:
    """Catches one mask for all, a mask that moves with the batch, and pixels changed beside it."""
    x = random_levels(12, channels, side, 256)
    hidden = freeform(x, 256)
    covered = strokes(x)
    assert torch.equal(hidden, x.masked_fill(covered, 128))
    assert torch.equal(freeform(x[5:6].clone(), 256), hidden[5:6])
    assert len(covered.flatten(1).unique(dim=0)) == 12
    area = covered.float().mean((1, 2, 3))
    assert 0.05 < float(area.min()) <= float(area.max()) < 0.6


def test_a_mask_hides_the_middle_and_nothing_else() -> None:
    x = random_levels(4, 3, 8, 17)
    hidden = mask(x, 17)
    rows, columns = hole(8, 8)
    assert bool((hidden[..., rows, columns] == 8).all())
    changed = hidden != x
    changed[..., rows, columns] = False
    assert not bool(changed.any())
    assert hidden[..., rows, columns].numel() * 4 == hidden.numel()


def test_gray_is_the_luminance_of_others() -> None:
    """Within the rounding of Pillow's own conversion; catches red and blue changed about."""
    x = random_levels(2, 3, 8, 256)
    for one, made in zip(x, gray(x, 256), strict=True):
        theirs = np.array(Image.fromarray(one.permute(1, 2, 0).numpy()).convert("L"), dtype=np.int64)
        assert np.abs(theirs - made[0].numpy()).max() <= 1


def test_a_crop_is_what_a_mask_hides() -> None:
    """Catches a crop that keeps the border, and one that is resized."""
    x = random_levels(4, 3, 8, 17)
    rows, columns = hole(8, 8)
    kept = crop(x, 17)
    assert torch.equal(kept[..., rows, columns], x[..., rows, columns])
    kept[..., rows, columns] = 8
    assert bool((kept == 8).all())


@pytest.mark.parametrize(("channels", "count"), [(1, 17), (3, 256)])
def test_jpeg_is_pillows(channels: int, count: int) -> None:
    """Catches channels changed about, and values that are not brought back to their number of levels."""
    x = random_levels(3, channels, 16, count)
    made = jpeg(x, count)
    assert made.shape == x.shape
    assert int(made.max()) < count
    for one, found in zip(x, made, strict=True):
        eight = (one.double() * 255 / (count - 1)).round().permute(1, 2, 0).numpy().astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(eight.squeeze()).save(file, "JPEG", quality=10)
        expected = np.asarray(Image.open(file), dtype=float).reshape(16, 16, channels) * (count - 1) / 255
        assert np.array_equal(found.permute(1, 2, 0).numpy(), np.rint(expected))
    smooth = torch.full((1, channels, 16, 16), count // 2, dtype=torch.uint8)
    assert int((jpeg(smooth, count).int() - smooth).abs().max()) <= 1 + count // 64


@pytest.mark.parametrize("source", ["edges", "lowres", "mask", "crop", "jpeg", "freeform", "blur", "labels"])
def test_a_batch_has_each_image_with_its_own_source(source: str) -> None:
    """Catches sources in another order than the images they are of."""
    data = DIGITS.for_task("paired", source)
    assert "source" in data.train
    assert data.info.image_channels == 1
    batch = TrainData(data.train, data.info, 3).next(50)
    assert batch.cond.image is not None
    own = SOURCES[source](DIGITS.train.examples(batch.index), 17)
    torch.testing.assert_close(batch.cond.image, to_unit(own, 17))
    torch.testing.assert_close(batch.x, to_unit(DIGITS.train.examples(batch.index), 17))
    assert torch.equal(batch.cond.label, DIGITS.train.label[batch.index])  # type: ignore[index, arg-type]
    assert data.sha256 == DIGITS.sha256


def numbered(n: int) -> Dataset:
    """Return images whose first pixel, which no mask hides, is their number; the last four are held out."""
    x = torch.zeros(n + 4, 1, 4, 4, dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.arange(n + 4, dtype=torch.uint8)
    x[:, 0, 2:, 2:] = 200
    return resident(DataInfo("numbered", (1, 4, 4), 256), Resident(x[:n]), Resident(x[n:]))


def test_nobody_can_pair_two_domains() -> None:
    """Catches sources of the very images that are modeled, and test images in either domain."""
    data = numbered(20).for_task("unpaired", "mask")
    stream = TrainData(data.training, data.info, 0)
    assert stream.next(10).cond.image is None
    stream = TrainData(data.training, data.info, 0)
    batches = [stream.next(10) for _ in range(40)]
    second = [batch.second for batch in batches if batch.second is not None]
    targets, sources = (
        ((torch.cat(parts)[:, 0, 0, 0] + 1) * 127.5).round().long()
        for parts in ([b.x for b in batches], second)
    )
    assert len(targets.unique()) == len(sources.unique()) == 10
    assert set(targets.tolist()) | set(sources.tolist()) == set(range(20))
    # one domain comes in the order of its epochs, and what stands beside a image is another each time
    beside = {int(a) for a, b in zip(sources, targets, strict=True) if b == targets[0]}
    assert len(beside) > 3


def test_domains_are_those_of_the_data_alone() -> None:
    """Catches halves that move with a seed: two seeds of a run would not be of one task."""
    first, second = (numbered(21).for_task("unpaired", "mask").training for _ in range(2))
    assert len(first) == 11
    index = torch.arange(len(first))
    assert torch.equal(first.examples(index), second.examples(index))


def test_what_stands_beside_a_image_survives_a_resume() -> None:
    data = DIGITS.for_task("unpaired", "lowres")
    whole, resumed = (TrainData(data.training, data.info, 5) for _ in range(2))
    whole.next(64)
    resumed.drawn = 64
    a, b = whole.next(32), resumed.next(32)
    assert torch.equal(a.x, b.x)
    assert a.second is not None
    assert b.second is not None
    assert torch.equal(a.second, b.second)
    assert data.training.label is not None
    assert torch.equal(a.cond.label, data.training.label[a.index])  # type: ignore[arg-type]


def test_scores_still_compare_with_the_whole_training_split() -> None:
    """Catches a reference of half the images, which other models' figures are not to."""
    for task in ("paired", "unpaired"):
        data = DIGITS.for_task(task, "edges")
        assert torch.equal(data.train.examples(torch.arange(1437)), DIGITS.train.examples(torch.arange(1437)))
        assert "source" in data.test


@pytest.mark.parametrize("task", ["paired", "unpaired"])
def test_samples_are_made_of_held_out_images(task: Any) -> None:
    """Catches sources of the training split, and images that are used more often than others."""
    data = DIGITS.for_task(task, "edges")
    cond = conditions(data, 720)
    assert cond is not None
    assert cond.image is not None
    rows = dealt(data, 720)
    assert torch.equal(rows.bincount(minlength=360), torch.full((360,), 2))
    own = edges(DIGITS.test.examples(rows), 17)
    torch.testing.assert_close(cond.image, to_unit(own, 17))
    assert torch.equal(cond.label, DIGITS.test.label[rows])  # type: ignore[index, arg-type]
    assert not torch.equal(rows[:360], rows[:360].sort().values)
    for n in (1, 7, 361):
        part = conditions(data, n)
        assert part is not None
        assert torch.equal(part.image, cond.image[:n])  # type: ignore[arg-type]


def test_what_a_source_can_not_be_made_of_is_told() -> None:
    with pytest.raises(UsageError, match="needs color") as error:
        DIGITS.for_task("paired", "gray")
    assert "data.source=edges or lowres or mask" in str(error.value)
    odd = resident(
        DataInfo("odd", (1, 7, 8), 17),
        *(Resident(torch.zeros(4, 1, 7, 8, dtype=torch.uint8)) for _ in range(2)),
    )
    with pytest.raises(UsageError, match="images are 7x8"):
        odd.for_task("paired", "lowres")
    assert "paired" not in load_toy(DataConfig(name="ring")).tasks


def test_a_folder_is_read_as_the_runs_sources(tmp_path: Path) -> None:
    """Catches 8 bits that are not brought to 17 levels, and another order than the names'."""
    data = DIGITS.for_task("paired", "edges")
    assert data.origin is not None
    own = data.origin.test.examples(torch.arange(5))
    for k, image in enumerate(own):
        levels = (image[0].double() * 255 / 16).round().to(torch.uint8).numpy()
        Image.fromarray(levels).save(tmp_path / f"{9 - k}.png")
    names, found, report = given_images(str(tmp_path), data)
    assert report == []
    assert list(names) == ["5.png", "6.png", "7.png", "8.png", "9.png"]
    torch.testing.assert_close(found, to_unit(own, 17).flip(0))
    image = read_conditions(str(tmp_path), data, 7).image
    assert image is not None
    assert torch.equal(image[5:], found[:2])
    with pytest.raises(UsageError, match="there is no folder cond="):
        read_conditions(str(tmp_path / "no"), data, None)
    (tmp_path / "6.png").write_bytes(b"text")
    with pytest.raises(UsageError, match="not an image"):
        read_conditions(str(tmp_path), data, None)


def test_a_folder_is_converted_as_the_training_images_and_says_so(tmp_path: Path) -> None:
    """Catches images to translate that are cropped or laid over white where training did otherwise."""
    train = tmp_path / "train"
    for k in range(4):
        paint(train / f"{k}.png", 60 * k)
    config = FolderConfig(path=str(train), size=8, resize="stretch", background=0)
    data = load(config).for_task("paired", "itself")
    given = tmp_path / "given"
    given.mkdir()
    wide = np.zeros((8, 16, 4), np.uint8)
    wide[:, :4] = (255, 0, 0, 255)  # left quarter red, the rest transparent
    Image.fromarray(wide).save(given / "a.png")
    (given / "notes.txt").write_text("no image")
    _, image, report = given_images(str(given), data, config)
    assert image[0, :, 4, 0].tolist() == [1, -1, -1]  # cropped to its center, the red would be lost
    assert image[0, :, 4, 7].tolist() == [-1, -1, -1]
    assert set(report) == {
        "1 files of another kind left out",
        "1 files: stretched to a square",
        "1 files: transparency laid over gray level 0",
        "1 images reduced to 8x8 from 16x8",
    }
    said: list[str] = []
    read_conditions(str(given), data, None, config, said.append)
    assert said == [f"cond: {line}" for line in report]
    paint(given / "a.png", 255)
    (given / "notes.txt").unlink()
    assert given_images(str(given), data, config)[2] == []
    paint(given / "a.png", 100)
    digits = DIGITS.for_task("paired", "edges")
    assert given_images(str(given), digits)[2] == ["1 images rounded to 17 levels"]


# -- folders of pairs


def paint(path: Path, gray: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, gray).save(path)


def halves(root: Path, count: int) -> Path:
    """Write files whose left half is gray k and whose right half is gray 100 + k."""
    for k in range(count):
        both = Image.new("L", (16, 8), k)
        both.paste(100 + k, (8, 0, 16, 8))
        root.mkdir(parents=True, exist_ok=True)
        both.save(root / f"{k:03}.png")
    return root


def folder(root: Path, **options: Any) -> Dataset:
    return load(FolderConfig.model_validate({"path": str(root), "size": 8, "channels": 1, **options}))


@pytest.mark.parametrize("task", ["paired", "unpaired"])
def test_a_validation_part_takes_both_images_of_a_pair(tmp_path: Path, task: Any) -> None:
    """Catches sources of validation pairs that an unpaired model still trains on."""
    whole = folder(halves(tmp_path, 40), pairs="side-by-side", holdout=0.25)
    made = configured(whole, DataConfig(validation=0.3))
    assert made.validation is not None
    assert made.origin is not None
    assert (len(made.train), len(made.validation), len(made.origin.train)) == (21, 9, 21)
    for k in range(len(made.train)):
        own = made.train.rows(torch.tensor([k]))["source"]
        assert torch.equal(made.origin.train.examples(torch.tensor([k])), own)
    held = made.validation.rows(torch.arange(9))["source"][:, 0, 0, 0].tolist()
    data = made.for_task(task)
    seen = TrainData(data.subset or data.train, data.info, 0).next(200)
    trained = seen.second if task == "unpaired" else seen.cond.image
    assert trained is not None
    assert not set(held) & set(quantize(trained, 256)[:, 0, 0, 0].tolist())


@pytest.mark.parametrize(("made_from", "apart"), [("A", 100), ("B", -100)])
@pytest.mark.parametrize("streamed", [False, True])
def test_two_images_side_by_side_are_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_from: str, apart: int, streamed: bool
) -> None:
    """Catches halves changed about, a crop before the cut, and a source of another file."""
    if streamed:
        monkeypatch.setattr(decoding, "RESIDENT_BYTES", 0)
    data = folder(halves(tmp_path, 20), pairs="side-by-side", made_from=made_from, holdout=0.25)
    assert data.info.shape == (1, 8, 8)
    assert data.tasks == ("paired", "unconditional", "unpaired")
    made = data.for_task("paired")
    assert made.info.image_channels == 1
    assert (len(made.train), len(made.test)) == (15, 5)
    for split in (made.train, made.test):
        assert "source" in split
        index = torch.arange(len(split))
        difference = split.examples(index).long() - split.rows(index)["source"].long()
        assert bool((difference == apart).all())
    batch = TrainData(made.train, made.info, 0).next(15)
    assert batch.cond.image is not None
    torch.testing.assert_close(batch.x - batch.cond.image, torch.full_like(batch.x, 2 * apart / 255))
    other = folder(tmp_path, pairs="side-by-side", made_from=made_from, holdout=0.25)
    assert other.sha256 == data.sha256


def test_the_source_of_a_pair_is_part_of_the_datas_hash(tmp_path: Path) -> None:
    """Catches two sets of sources with one hash, whose scores would stand in one table."""
    before = folder(halves(tmp_path, 20), pairs="side-by-side").sha256
    both = Image.open(tmp_path / "000.png")
    both.paste(50, (0, 0, 8, 8))
    both.save(tmp_path / "000.png")
    assert folder(tmp_path, pairs="side-by-side").sha256 != before


def test_files_that_hold_no_two_images_are_named(tmp_path: Path) -> None:
    halves(tmp_path, 4)
    paint(tmp_path / "odd.png", 3, (15, 8))
    paint(tmp_path / "one.png", 3, (8, 8))
    with pytest.raises(UsageError) as error:
        folder(tmp_path, pairs="side-by-side")
    assert "odd.png: 15 pixels wide: an odd width" in str(error.value)
    assert "one.png: 8x8: no wider than high" in str(error.value)


def domains(root: Path, a: int = 6, b: int = 4) -> Path:
    for split, start in (("train", 0), ("test", 50)):
        for k in range(a):
            paint(root / f"{split}A" / f"{k}.png", start + k)
        for k in range(b):
            paint(root / f"{split}B" / f"{k}.jpg", 100 + start + k)
    return root


def grays(split: Any) -> set[int]:
    return set(split.examples(torch.arange(len(split)))[:, 0, 0, 0].tolist())


def test_four_folders_are_two_domains(tmp_path: Path) -> None:
    """Catches a domain or a split taken for another, and equal names taken for pairs."""
    paint(tmp_path / "stray.png", 1)
    data = folder(domains(tmp_path), pairs="folders")
    assert data.tasks == ("unpaired", "unconditional")
    assert data.report == (
        "1 files left out: outside trainA, trainB, testA, testB, hidden, or of another kind",
    )
    made = data.for_task("unpaired")
    assert made.origin is not None
    assert grays(made.train) == set(range(100, 104))
    assert grays(made.test) == set(range(150, 154))
    assert grays(made.origin.train) == set(range(6))
    assert grays(made.origin.test) == set(range(50, 56))
    batch = TrainData(made.training, made.info, 0).next(40)
    assert batch.second is not None
    levels = ((batch.second[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert set(levels.tolist()) == set(range(6))
    assert len(conditions(made, 6).image) == 6  # type: ignore[union-attr, arg-type]
    back = folder(tmp_path, pairs="folders", made_from="B")
    assert grays(back.train) == set(range(6))


def test_folders_of_equal_names_are_pairs_where_that_is_said(tmp_path: Path) -> None:
    """Catches images paired by their place in a listing: one that is missing moves all others."""
    data = folder(domains(tmp_path, 4, 4), pairs="matched-folders")
    assert data.tasks == ("paired", "unconditional", "unpaired")
    assert "source" in data.train
    index = torch.arange(4)
    difference = data.train.examples(index).long() - data.train.rows(index)["source"].long()
    assert bool((difference == 100).all())
    (tmp_path / "trainB" / "1.jpg").unlink()
    with pytest.raises(UsageError, match="4 images in trainA and 3 in trainB are not pairs") as error:
        folder(tmp_path, pairs="matched-folders")
    assert "trainA/1 has no partner" in str(error.value)


def test_missing_and_empty_folders_are_told(tmp_path: Path) -> None:
    domains(tmp_path)
    for file in (tmp_path / "testA").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match=r"no images in .*testA"):
        folder(tmp_path, pairs="folders")
    (tmp_path / "testA").rmdir()
    with pytest.raises(UsageError, match="has no folder testA"):
        folder(tmp_path, pairs="folders")
