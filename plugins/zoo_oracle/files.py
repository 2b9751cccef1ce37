"""The files of an oracle in the weights package, each checked against a sum that the code knows.

model/      the bundle of the run that is the law
draws.npz   images and classes drawn from it: image (N, C, H, W) uint8, label (N,) uint8
law.json    sums of both, the number of training images, and the entropy
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import Tensor

from zoo_core.config import Config, strict_json
from zoo_core.data.arrays import read_array
from zoo_core.errors import MachineError, NotFoundError
from zoo_core.hub.bundle import MANIFEST
from zoo_core.hub.shipped import DISTRIBUTION, shipped_root
from zoo_core.machine.files import sha256_of

FOLDER, MODEL, DRAWS, LAW = "oracles", "model", "draws.npz", "law.json"
SHA256: Mapping[str, str] = {
    "oracle-digits": "82c66321377bddf789e85867c2a8ed539eaa7b79a14a6a7974e9b750b9eba4c6",
    "oracle-digits-columns": "cc4ba6b0ca7aabfd4454ed469180ffa83fcfe9777404486c9e214188d8607ca7",
    "oracle-digits-mixture": "300e93cfa46b0e08aaa4f8909d032e6ada291b5e12e3e74d468b65f81250a0d3",
}
"""Of law.json by the name of the dataset."""
BYTES = 64 << 20


class LawFile(Config):
    """What law.json says."""

    train: int = Field(ge=1)
    """The first images of the draws are the training split, the others the test split."""
    resembles: str
    """Dataset that the model was fitted to, whose classifier can tell the classes."""
    levels: int = Field(ge=2, le=256)
    """Of a pixel."""
    classes: int = Field(ge=0)
    """Number of classes; 0 for none."""
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the bundle's manifest, which has the sums of its files."""
    draws_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of draws.npz."""
    entropy: float
    """Bits per dimension."""
    entropy_error: float = Field(ge=0)
    """Its standard error."""
    entropy_draws: int = Field(ge=0)
    """Images that it was computed from."""


def folder_of(name: str) -> Path:
    """Return the folder of an oracle.

    Raises:
        NotFoundError: where the weights package is not installed, or lacks the oracle.
    """
    root = shipped_root()
    if root is None or not (root / FOLDER / name / LAW).is_file():
        raise NotFoundError(
            f"data={name} is in the distribution {DISTRIBUTION}, which is not installed"
            + ("" if root is None else " in a version that has it"),
            f"next: pip install {DISTRIBUTION}, or pip install ./weights in a copy of the repository",
        )
    return root / FOLDER / name


def read_law(folder: Path, sha256: str | None = None) -> LawFile:
    """Return what an oracle's law.json says.

    Raises:
        MachineError: where the file is damaged, or is not the one that the code knows.
    """
    path = folder / LAW
    if sha256 is not None and sha256_of(path) != sha256:
        raise _changed(path)
    try:
        return LawFile.model_validate(strict_json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise _changed(path) from error


def read_draws(folder: Path, law: LawFile) -> tuple[Tensor, Tensor | None]:
    """Return the images, (N, C, H, W) uint8, and their classes, (N,) int64 or None.

    Raises:
        MachineError: where the file is not the one that law.json names.
    """
    path = folder / DRAWS
    if sha256_of(path) != law.draws_sha256:
        raise _changed(path)
    image = torch.from_numpy(read_array(path, "image", max_bytes=BYTES))
    label = torch.from_numpy(read_array(path, "label", max_bytes=BYTES).astype(np.int64))
    return image, label if law.classes else None


def check_model(folder: Path, law: LawFile) -> Path:
    """Return the folder of the bundle; its files are checked where they are read.

    Raises:
        MachineError: where its manifest is not the one that law.json names.
    """
    path = folder / MODEL / MANIFEST
    if not path.is_file() or sha256_of(path) != law.manifest_sha256:
        raise _changed(path)
    return folder / MODEL


def _changed(path: Path) -> MachineError:
    return MachineError(
        f"{path} is damaged, or of another version than genzoo",
        f"next: pip install --force-reinstall {DISTRIBUTION} of the same version",
    )
