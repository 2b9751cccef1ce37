"""A bundle: the few files that carry a trained run, and the manifest that they are checked against.

    manifest.json        sha256 and size of every file below
    config.yaml          repeats the run
    weights.safetensors  the weights that were scored: averages, where the run kept them
    raw.safetensors      what was averaged, as the last step left it; absent where nothing was
    state.json           counters and random states
    data.json            shape, class names and hashes of the data, so that samples need no data
    provenance.json      versions, code, hardware, data, seeds
    result.json          figures with their protocols; absent where the run was not scored
    samples.png          a grid of samples
    README.md            the model card: for readers, never read back, so not in the manifest

Names are a closed list, sizes are bounded, weights are safetensors: a pickle can run code and is refused,
whatever its name says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from zoo_core.config import Config, strict_json
from zoo_core.errors import MachineError, NotFoundError, UsageError
from zoo_core.machine.files import open_regular

FORMAT = "zoo-bundle-1"
MANIFEST = "manifest.json"
CARD = "README.md"
TEXT_BYTES = 1 << 20
WEIGHTS_BYTES = 16 << 30
LIMITS: Mapping[str, int] = {
    "config.yaml": TEXT_BYTES,
    "weights.safetensors": WEIGHTS_BYTES,
    "raw.safetensors": WEIGHTS_BYTES,
    "state.json": TEXT_BYTES,
    "data.json": 64 << 20,
    "provenance.json": TEXT_BYTES,
    "result.json": TEXT_BYTES,
    "samples.png": 32 << 20,
}
"""Largest size in bytes of each file that a bundle may hold."""
REQUIRED = ("config.yaml", "weights.safetensors", "state.json")
PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib")


class File(Config):
    """One file of a bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of its bytes."""
    bytes: int = Field(ge=0)
    """Its size."""


class Manifest(Config):
    """What a bundle holds."""

    format: str
    """Version of this layout."""
    plugin: str
    """Registered name of the model."""
    package: str
    """Distribution that the model came from; whoever made the bundle says so."""
    step: int = Field(ge=0)
    """Steps trained."""
    files: dict[str, File]
    """By name."""


def sniff(head: bytes) -> str:
    """Return what a file's first bytes say it is: "pickle", "zip", "safetensors", "png" or "other".

    Args:
        head: at least the first 16 bytes. torch.save writes a zip of a pickle.
    """
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    return "safetensors" if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32 else "other"


def check_names(names: Mapping[str, int], where: str) -> None:
    """Refuse a listing that holds a pickle or a file beyond its limit; names a bundle has no use for pass.

    Args:
        names: name -> bytes, of every file there is.

    Raises:
        UsageError: which file, and why.
    """
    for name, size in names.items():
        if name.lower().endswith(PICKLES):
            raise _pickle(f"{where}: {name}")
        limit = LIMITS.get(name, TEXT_BYTES if name == MANIFEST else None)
        if limit is not None and size > limit:
            raise UsageError(
                f"{where}: {name} has {size:,} bytes", f"expected: at most {limit:,}", "nothing was taken"
            )


def _pickle(what: str) -> UsageError:
    return UsageError(
        f"{what} is a pickle, which can run code when it is read",
        "expected: safetensors; nothing was taken",
        "next: ask its author for a bundle made by zoo push",
    )


def read_manifest(folder: Path) -> Manifest:
    """Return the checked manifest of the bundle in a folder.

    Raises:
        NotFoundError: where there is none.
        UsageError: where it is not one, or names a file that no bundle holds.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise NotFoundError(
            f"no bundle in {str(folder)!r}: it has no {MANIFEST}", "a bundle is made by: zoo push RUN FOLDER"
        )
    document = strict_json.read(path, TEXT_BYTES, follow_links=False)
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        reason = " ".join(error.errors()[0]["msg"].split())
        raise UsageError(f"{path} is not the manifest of a bundle: {reason}"[:300]) from error
    if manifest.format != FORMAT:
        raise UsageError(f"{path} has format {manifest.format!r:.80}", f"this zoo reads {FORMAT}")
    for name in manifest.files:
        if name not in LIMITS:
            raise UsageError(f"{path} names {name!r:.80}", f"a bundle holds only: {', '.join(LIMITS)}")
    for name in REQUIRED:
        if name not in manifest.files:
            raise UsageError(f"{path} names no {name}", "next: pull again, or ask its author to push again")
    return manifest


def write_manifest(folder: Path, plugin: str, package: str, step: int) -> Manifest:
    """Write the manifest over the files that lie in a folder, and return it."""
    files = {}
    for name in LIMITS:
        if (folder / name).exists():
            with open(folder / name, "rb") as file:
                sum_ = hashlib.file_digest(file, "sha256").hexdigest()
            files[name] = File(sha256=sum_, bytes=(folder / name).stat().st_size)
    manifest = Manifest(format=FORMAT, plugin=plugin, package=package, step=step, files=files)
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=1))
    return manifest


def take(source: Path, into: Path) -> Manifest:
    """Copy the files of a bundle, each checked while it is copied, and return its manifest.

    Only regular files are read: a link, a pipe or a device is refused without being opened through.

    Args:
        source: folder of the bundle; what it holds beside the bundle's files stays where it is.
        into: an empty folder; where an error is raised, its content is worth nothing.

    Raises:
        NotFoundError: where there is no bundle.
        UsageError: a pickle, a link, a file too large, or a name that no bundle holds.
        MachineError: a file that is missing, or differs from its sum in the manifest.
    """
    if source.is_dir():
        entries = {entry.name: entry for entry in os.scandir(source)}
        check_names({name: e.stat(follow_symlinks=False).st_size for name, e in entries.items()}, str(source))
    manifest = read_manifest(source)
    for name, file in manifest.files.items():
        if file.bytes > LIMITS[name]:
            check_names({name: file.bytes}, str(source))
        _copy_checked(source / name, into / name, file)
    return manifest


def _copy_checked(source: Path, target: Path, expected: File) -> None:
    if not os.path.lexists(source):
        raise MachineError(f"{source} is missing", "next: pull again, or ask its author")
    whole = hashlib.sha256()
    with open_regular(source, follow_links=False) as file, open(target, "xb") as copy:
        head, received = b"", 0
        while received <= expected.bytes and (block := file.read(1 << 20)):
            head = head or block[:16]
            received += len(block)
            whole.update(block)
            copy.write(block)
    kind = sniff(head)
    if kind in ("pickle", "zip"):
        raise _pickle(str(source))
    wanted = {".safetensors": "safetensors", ".png": "png"}.get(source.suffix, "other")
    if received != expected.bytes or whole.hexdigest() != expected.sha256:
        raise MachineError(
            f"{source} differs from its sha256 in the manifest",
            f"given: {whole.hexdigest()[:16]}..., {received:,} bytes read",
            f"expected: {expected.sha256[:16]}..., {expected.bytes:,} bytes",
            "next: pull again; if it still differs, tell its author",
        )
    if kind != wanted:
        raise UsageError(f"{source} holds no {source.suffix.lstrip('.')}", "nothing was taken")
