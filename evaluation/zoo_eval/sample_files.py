"""Samples of any program, read from a file or a folder: checked as a whole, every conversion reported."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.data.arrays import ArrayHeader, only_array, read_array, read_headers
from zoo_core.data.loading import Dataset
from zoo_core.errors import UsageError, beginning
from zoo_core.machine.spool import new_array
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

NAMES = ("samples", "arr_0")
"""Names of the array, where a file holds several."""
CONVERTED = 1024
"""Images that are looked at, or converted, at a time."""
LISTED = 20
"""Bad files named in one message."""
COMPARED = 2_000
"""Training examples that a range of values is compared with."""
LOSSY = {"JPEG": "JPEG, which is lossy", "AVIF": "AVIF, which is lossy", "WEBP": "WebP, which may be lossy"}
"""Formats whose compression changes the pixels that a model wrote."""
KEEPING = ("animated", "rotated", "gray repeated")
"""Conversions that leave the values of pixels as they are; all others change them."""
GRAY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class SampleSet:
    """Samples as they are scored.

    Attributes:
        rows: uint8 levels (n, C, H, W), or float32 points (n, D).
        notes: what was chosen or converted, a line each.
    """

    rows: Tensor
    notes: tuple[str, ...] = ()


def read_samples(path: Path, data: Dataset, need: int, levels: int | None = None) -> SampleSet:
    """Return `need` of the samples in a file or folder, at their data's levels.

    Where there are more, a random subset is taken, the same for the same number of samples: files are often
    sorted by class.

    Images: `.npz` or `.npy` with uint8 (n, H, W, C), gray ones also (n, H, W); or a folder of image files of
    their data's size. Values 0 to K - 1 become L levels as round(v (L - 1) / (K - 1)), from an array and from
    files alike. Points: float (n, D).

    Args:
        path: of the file or the folder.
        data: the dataset that they are scored against.
        need: number of samples that the protocol scores.
        levels: K, values of a channel; None for 256, whose range is then checked against the data's.

    Raises:
        UsageError: for too few, another shape, size, type or an implausible range, values that are not
            finite, or a file that can't be read.
    """
    info = data.info
    if levels is not None and not (info.is_image and 2 <= levels <= 256):
        raise UsageError(f"levels={levels}", "expected: 2 to 256, of images")
    if path.is_dir():
        images, notes = _from_folder(path, info, need, levels)
    else:
        array, notes = _from_file(path, info, need)
        if not info.is_image:
            return SampleSet(_points(array), tuple(notes))
        images = torch.from_numpy(array)
    if levels is None:
        _check_range(images, data, notes)
        notes += _scaling(info)
    elif int(images.max()) >= levels:
        raise UsageError(
            f"{path} holds values up to {int(images.max())}",
            f"expected: 0 to {levels - 1}, as levels={levels}",
        )
    else:
        notes.append(f"values 0 to {levels - 1} scaled to the data's {info.levels} levels")
    return SampleSet(_quantized(images, info, levels or 256), tuple(notes))


def subset(count: int, need: int) -> Tensor:
    """Return which of `count` samples are scored: (need,) ascending, random and repeatable."""
    order = torch.randperm(count, generator=generator(0, "samples from outside"))
    return order[:need].sort().values


def _choose(count: int, need: int, where: str) -> tuple[Tensor, list[str]]:
    if count < need:
        raise UsageError(
            f"{where} holds {count:,} samples; the protocol scores {need:,}",
            "expected: at least as many; of more, a random subset is scored",
            "next: sample more, or protocol=quick (2,000)" if need > 2000 else "next: sample more",
        )
    note = f"scoring a random subset of {need:,} of {count:,} samples"
    return subset(count, need), [note] if count > need else []


def _points(array: np.ndarray[Any, Any]) -> Tensor:
    points = torch.from_numpy(array).float()
    bad = ~torch.isfinite(points).all(1)
    if bool(bad.any()):
        raise UsageError(
            f"{int(bad.sum())} of {len(points)} points hold a NaN or an infinity",
            f"first: number {int(bad.nonzero()[0])}",
        )
    return points


def _quantized(images: Tensor, info: DataInfo, levels: int) -> Tensor:
    """Return uint8 (n, H, W, C) of K values as levels (n, C, H, W)."""
    assert info.levels is not None
    count, height, width, channels = images.shape
    rows = torch.from_numpy(new_array((count, channels, height, width), np.uint8))
    for index in torch.arange(count).split(CONVERTED):
        part = images[index[0] : index[-1] + 1].permute(0, 3, 1, 2)
        if info.levels != levels:
            part = (part.double() * ((info.levels - 1) / (levels - 1))).round().to(torch.uint8)
        rows[index[0] : index[-1] + 1] = part
    return rows


def _scaling(info: DataInfo) -> list[str]:
    """Return the note on 8-bit values of which the data have fewer; none where they have all 256."""
    return [] if info.levels == 256 else [f"8-bit values scaled to the data's {info.levels} levels"]


def _check_range(images: Tensor, data: Dataset, notes: Sequence[str]) -> None:
    """Refuse 8-bit images whose values show that they are not 8-bit.

    Args:
        notes: what was converted, which may be the reason.

    Raises:
        UsageError: with what was probably meant.
    """
    counts = torch.zeros(256, dtype=torch.int64)
    for part in images.split(CONVERTED):
        counts += part.flatten().bincount(minlength=256)
    found = counts.nonzero()[:, 0]
    most, levels = int(found[-1]), data.info.levels
    assert levels is not None
    if most <= 1:
        raise UsageError(
            f"no image holds a value above {most}",
            *notes,
            "expected: values 0 to 255; were images in [0, 1] cast to uint8?",
            "next: np.rint(255 * x).astype(np.uint8)",
        )
    if found.tolist() in ([0, 1, 255], [1, 255]):
        raise UsageError(
            f"the images hold the values {', '.join(map(str, found.tolist()))} only",
            *notes,
            "expected: values 0 to 255; were images in [-1, 1] cast to uint8?",
            "next: np.rint((x + 1) * 127.5).astype(np.uint8)",
        )
    train = data.train.examples(torch.arange(min(COMPARED, len(data.train))))
    real = round(float(train.max()) * 255 / (levels - 1))
    if 2 * most < real:
        guess = levels if most < levels < 256 else most + 1
        raise UsageError(
            f"values 0..{most}: did you mean levels={guess}?",
            *notes,
            f"expected: 0 to 255; the data reach {real}",
            f"next: levels={guess}, or levels=256 if these are 8-bit values",
        )


def _from_file(path: Path, info: DataInfo, need: int) -> tuple[np.ndarray[Any, Any], list[str]]:
    if path.suffix not in (".npz", ".npy"):
        raise UsageError(
            f"can't read samples from {str(path)!r}" if path.exists() else f"no file {str(path)!r}",
            "expected: an .npz or .npy file, or a folder of images",
            "format: docs/submitting.md",
        )
    headers = read_headers(path)
    name = only_array(headers, NAMES, path)
    header = headers[name]
    _check_header(header, path, name, info)
    chosen, notes = _choose(header.shape[0], need, str(path))
    others = [other for other in headers if other != name]
    if others:
        notes.append(f"not read: {', '.join(map(repr, sorted(others)[:8]))} of {path.name}"[:200])
    array = read_array(path, name, rows=chosen.numpy())
    if not info.is_image and header.dtype != np.float32:
        notes.append(f"{header.dtype} converted to float32")
    return (array[..., None] if info.is_image and array.ndim == 3 else array), notes


def _check_header(header: ArrayHeader, path: Path, name: str, info: DataInfo) -> None:
    """Refuse an array of another type or shape than the data's samples.

    Raises:
        UsageError: with what is expected, and how to convert.
    """
    shape, dtype = header.shape, header.dtype
    if not info.is_image:
        if dtype.kind != "f" or shape[1:] != info.shape or len(shape) < 2:
            raise UsageError(
                f"{path} holds {dtype} of shape {shape}", f"expected: float32 of shape (n, {info.shape[0]})"
            )
        return
    channels, height, width = info.shape
    fits = shape[1:] == (height, width, channels) or (channels == 1 and shape[1:] == (height, width))
    if dtype == np.uint8 and fits:
        return
    hint = ""
    if dtype.kind == "f":
        hint = _float_hint(path, name, header)
    elif dtype.kind == "b":
        hint = "next: array.astype(np.uint8) * 255"
    elif dtype != np.uint8:
        hint = _integer_hint(path, name, header)
    elif shape[1:] == info.shape:
        hint = "next: array.transpose(0, 2, 3, 1): channels come last"
    raise UsageError(
        f"{path} holds {dtype} of shape {shape}",
        f"expected: uint8 of shape (n, {height}, {width}, {channels})",
        hint,
    )


def _first(path: Path, name: str, header: ArrayHeader) -> np.ndarray[Any, Any]:
    """Return the first samples of an array, by which a hint guesses its range."""
    return read_array(path, name, rows=np.arange(min(64, header.shape[0] if header.shape else 0)))


def _integer_hint(path: Path, name: str, header: ArrayHeader) -> str:
    """Return how to convert integers, by the range of the first ones."""
    first = _first(path, name, header)
    low, most = (int(first.min()), int(first.max())) if first.size else (0, 0)
    if low >= 0 and most <= 255:
        return f"next: values {low} to {most}: array.astype(np.uint8)"
    return f"next: values {low} to {most}: scale them to 0 to 255, round, then .astype(np.uint8)"


def _float_hint(path: Path, name: str, header: ArrayHeader) -> str:
    """Return how to convert floats, by the range of the first ones."""
    first = _first(path, name, header)
    if not np.isfinite(first).all():
        return "next: the first samples hold NaNs or infinities, which no 8-bit value stands for: remove them"
    low, most = (float(first.min()), float(first.max())) if first.size else (0.0, 1.0)
    if low < 0:
        return f"next: values {low:.3g} to {most:.3g}: np.rint((x + 1) * 127.5).astype(np.uint8) for [-1, 1]"
    if most > 1:
        return f"next: values {low:.3g} to {most:.3g}: np.rint(x).astype(np.uint8) for [0, 255]"
    return "next: np.rint(255 * x).astype(np.uint8) for x in [0, 1]"


def _from_folder(path: Path, info: DataInfo, need: int, levels: int | None) -> tuple[Tensor, list[str]]:
    """Return uint8 images (need, H, W, C) of a folder's files, and what was chosen and converted.

    Raises:
        UsageError: for too few, for files that can't be scored, and where `levels` says what the values are
            and a conversion to 8 bits changed them.
    """
    from zoo_core.data.decoding import shown
    from zoo_core.data.image_files import list_files
    from zoo_core.data.images import BadImage

    if not info.is_image or info.shape[1] != info.shape[2]:
        raise UsageError(f"{info.name!r} can't be read from a folder of images", "expected: an .npz file")
    channels, size, _ = info.shape
    root = path.resolve()
    listing = list_files(str(root))
    chosen, notes = _choose(len(listing.names), need, str(path))
    names = [listing.names[k] for k in chosen.tolist()]
    found = torch.from_numpy(new_array((need, size, size, channels), np.uint8))
    bad = [f"{shown(name)}: {reason}" for name, reason in listing.bad]
    conversions: Counter[str] = Counter()
    for place, name in enumerate(names):
        try:
            values, made = _decoded(root, name, size, channels)
        except BadImage as error:
            bad.append(f"{shown(name)}: {error}")
            continue
        found[place] = values
        conversions.update(made)
    if bad:
        raise UsageError(
            f"{len(bad)} of {need:,} files in {path} can't be scored",
            *beginning(bad, LISTED),
            f"expected: images of {size}x{size}: resizing would change every metric",
        )
    changed = [what for what in conversions if not what.startswith(KEEPING)]
    if levels not in (None, 256) and changed:
        raise UsageError(
            f"levels={levels} says what values the files in {path} hold, but their values were converted",
            *(f"{conversions[what]:,} of {need:,} files: {what}" for what in sorted(changed)),
            f"expected: 8-bit files with the values 0 to {levels - 1}, without loss or transparency",
            "next: such files, or leave out levels=",
        )
    folders = {name.rpartition(os.sep)[0] for name in listing.names}
    if len(folders) > 1:
        notes.append(f"files of {len(folders)} folders in {path} scored as one set of samples")
    if listing.others:
        notes.append(f"{listing.others} files without an image's extension left out")
    notes += [f"warning: {count:,} of {need:,} files: {what}" for what, count in sorted(conversions.items())]
    return found, notes


def _decoded(root: Path, name: str, size: int, channels: int) -> tuple[Tensor, list[str]]:
    """Return one file as uint8 (H, W, C), and what was converted.

    Raises:
        BadImage: with the reason, for what can't be read, or has another size.
    """
    from PIL import Image

    from zoo_core.data.configs import FolderConfig
    from zoo_core.data.images import BadImage, decode

    config = FolderConfig(path=str(root), size=size, channels=1 if channels == 1 else 3)
    image = decode(str(root / name), str(root), config)
    with Image.open(root / name) as opened:
        if opened.size != (size, size):
            raise BadImage(f"{opened.width}x{opened.height}, not {size}x{size}")
        notes = list(image.notes)
        if opened.format in LOSSY:
            notes.append(LOSSY[opened.format])
        gray = opened.mode in GRAY_MODES
        if channels != 1 and gray:
            notes.append("gray repeated over the color channels")
        if opened.mode == "1":
            notes.append("1 bit scaled to 8")
    return torch.from_numpy(image.levels).permute(1, 2, 0), notes
