"""Samples that any program made, read from a file or a folder: judged whole before anything is scored."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.types import DataInfo

NAMES = ("samples", "arr_0")
"""Of the array, where a file holds more than one."""
LISTED = 20
"""Bad files named in one message."""


def read_samples(path: Path, info: DataInfo, need: int) -> Tensor:
    """Return the first `need` samples in a file or folder, at their data's levels.

    Pictures: `.npz` or `.npy` with uint8 (n, H, W, C), grey ones also (n, H, W); or a folder of picture files
    of their data's size, in the order of their names. Eight bits become L levels as round(v (L - 1) / 255).
    Points: float (n, D).

    Returns:
        uint8 levels (need, C, H, W), or float32 points (need, D).

    Raises:
        UsageError: for too few, another shape, size, type or range, numbers that are not finite, or a file
            that can't be read: what was found, and what is expected.
    """
    if path.is_dir():
        return _levels(_from_folder(path, info, need), info)
    if path.suffix not in (".npz", ".npy"):
        raise UsageError(
            f"{str(path)!r} is {'no samples' if path.exists() else 'not there'}",
            "expected: an .npz or .npy file, or a folder of pictures",
            "format: docs/submitting.md",
        )
    array = _from_file(path, info, need)
    if info.is_image:
        return _levels(torch.from_numpy(array), info)
    points = torch.from_numpy(array).float()
    bad = ~torch.isfinite(points).all(1)
    if bool(bad.any()):
        raise UsageError(
            f"{int(bad.sum())} of {len(points)} points hold a NaN or an infinity",
            f"first: number {int(bad.nonzero()[0])}",
        )
    return points


def _levels(pictures: Tensor, info: DataInfo) -> Tensor:
    """Return uint8 (n, H, W, C) as levels (n, C, H, W)."""
    assert info.levels is not None
    if int(pictures.max()) <= 1:
        raise UsageError(
            f"no picture holds a level above {int(pictures.max())}",
            "expected: levels 0 to 255; were pictures in [0, 1] cast to uint8?",
            "next: np.rint(255 * x).astype(np.uint8)",
        )
    rows = pictures.permute(0, 3, 1, 2)
    if info.levels != 256:
        rows = (rows.double() * ((info.levels - 1) / 255)).round().to(torch.uint8)
    return rows.contiguous()


def _from_file(path: Path, info: DataInfo, need: int) -> np.ndarray[Any, Any]:
    try:
        with open(path, "rb") as file:
            if path.suffix == ".npy":
                _check_header(file, path, info, need)
                file.seek(0)
                array = np.lib.format.read_array(file, allow_pickle=False)
            else:
                with zipfile.ZipFile(file) as members:
                    name = _member(members, path)
                    with members.open(name) as member:  # the header is judged before the array is unpacked
                        _check_header(member, path, info, need)
                    with members.open(name) as member:
                        array = np.lib.format.read_array(member, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UsageError(
            f"{path} can't be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            "expected: np.savez_compressed(FILE, samples=array)",
        ) from error
    array = array[:need]
    return array[..., None] if info.is_image and array.ndim == 3 else array


def _member(members: zipfile.ZipFile, path: Path) -> str:
    names = [name for name in members.namelist() if name.endswith(".npy")]
    chosen = names if len(names) == 1 else [name for name in names if name[:-4] in NAMES]
    if len(chosen) != 1:
        found = ", ".join(name[:-4] for name in names[:8]) or "none"
        raise UsageError(
            f"{path} holds {len(names)} arrays: {found}", f"expected: one, or one called {NAMES[0]!r}"
        )
    return chosen[0]


def _check_header(file: Any, path: Path, info: DataInfo, need: int) -> None:
    """Raise where an array's header promises what can't be scored.

    Raises:
        UsageError: wrong type, shape or number.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if info.is_image:
        channels, height, width = info.shape
        expected = f"uint8 of shape (n, {height}, {width}, {channels})"
        fits = shape[1:] == (height, width, channels) or (channels == 1 and shape[1:] == (height, width))
        hint = ""
        if dtype != np.uint8:
            hint = "next: np.rint(255 * x).astype(np.uint8) for x in [0, 1]" if dtype.kind == "f" else ""
        elif shape[1:] == info.shape:
            hint = "next: array.transpose(0, 2, 3, 1): channels stand last"
        wrong = dtype != np.uint8 or not fits
    else:
        expected, hint = f"float32 of shape (n, {info.shape[0]})", ""
        wrong = dtype.kind != "f" or dtype.itemsize > 8 or tuple(shape[1:]) != info.shape
    if wrong:
        raise UsageError(f"{path} holds {dtype} of shape {tuple(shape)}", f"expected: {expected}", hint)
    _check_count(shape[0], need, str(path))


def _check_count(found: int, need: int, where: str) -> None:
    if found < need:
        raise UsageError(
            f"{where} holds {found:,} samples; the protocol counts {need:,}",
            "expected: at least as many; the first ones are scored",
            "next: draw more, or protocol=quick (2,000)" if need > 2000 else "next: draw more",
        )


def _from_folder(path: Path, info: DataInfo, need: int) -> Tensor:
    from PIL import Image

    from zoo_core.data.configs import FolderConfig
    from zoo_core.data.decoding import Decoder, shown
    from zoo_core.data.folder import list_files
    from zoo_core.data.images import BadImage

    if not info.is_image or info.shape[1] != info.shape[2]:
        raise UsageError(f"a folder of pictures can't be {info.name!r}", "expected: an .npz file")
    channels, size, _ = info.shape
    listing = list_files(str(path.resolve()))
    _check_count(len(listing.names), need, str(path))
    names = listing.names[:need]
    config = FolderConfig(path=str(path), size=size, channels=1 if channels == 1 else 3)
    root = path.resolve()
    found = torch.empty(need, size, size, channels, dtype=torch.uint8)
    bad: list[str] = [f"{shown(name)}: {reason}" for name, reason in listing.bad]
    decoder = Decoder(str(root), config)
    for start in range(0, need, 256):
        chunk = names[start : start + 256]
        for place, (name, picture) in enumerate(zip(chunk, decoder.judge(chunk), strict=True), start):
            if isinstance(picture, BadImage):
                bad.append(f"{shown(name)}: {picture}")
                continue
            with Image.open(root / name) as image:
                if image.size != (size, size):
                    bad.append(f"{shown(name)}: {image.width}x{image.height}, not {size}x{size}")
                    continue
            found[place] = torch.from_numpy(picture.levels).permute(1, 2, 0)
    if bad:
        raise UsageError(
            f"{len(bad)} of {need:,} files in {path} can't be scored",
            *bad[:LISTED],
            f"and {len(bad) - LISTED} more" if len(bad) > LISTED else "",
            f"expected: pictures of {size}x{size}: a resize would move every figure",
        )
    return found
