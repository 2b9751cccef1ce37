"""Where a bundle lies or goes: a folder, the weights package, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from zoo_core.errors import UsageError

SCHEME = "hf://"
SHIPPED = "zoo://"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_SHIPPED = re.compile(r"(?P<data>[a-z0-9][a-z0-9-]{0,63})/(?P<name>[a-z0-9][a-z0-9-]{0,63})")
_HUB = re.compile(rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]{{0,127}}))?")


class Hub(NamedTuple):
    """A repository on huggingface.co.

    Attributes:
        repo: "user/name".
        revision: commit, tag or branch; "" for the newest.
    """

    repo: str
    revision: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo}" + (f"@{self.revision}" if self.revision else "")


class Shipped(NamedTuple):
    """An entry of the weights package.

    Attributes:
        data: name of the dataset it was trained on.
        name: of the model, and how it was trained where that is not its default: "ddpm", "ddpm-class".
    """

    data: str
    name: str

    def __str__(self) -> str:
        return f"{SHIPPED}{self.data}/{self.name}"


def is_address(text: str) -> bool:
    """Return whether a text names something to fetch, and not a folder."""
    return text.startswith((SCHEME, SHIPPED))


def parse(text: str) -> Hub | Shipped | Path:
    """Return the place that `hf://user/name[@revision]`, `zoo://data/name` or a folder's path means.

    Raises:
        UsageError: for another scheme, or a name that the hub would refuse.
    """
    if text.startswith(SHIPPED):
        entry = _SHIPPED.fullmatch(text.removeprefix(SHIPPED))
        if entry is None:
            raise UsageError(f"no address of shipped weights: {text!r}", "expected: zoo://digits/ddpm")
        return Shipped(entry["data"], entry["name"])
    if not text.startswith(SCHEME):
        if "://" in text or not text:
            raise UsageError(
                f"can't share through {text!r}", "expected: hf://user/name, zoo://data/name, or a folder"
            )
        return Path(text).expanduser()
    found = _HUB.fullmatch(text.removeprefix(SCHEME))
    if found is None or ".." in text or "--" in found["repo"]:
        raise UsageError(
            f"no address on the hub: {text!r}", "expected: hf://user/name, or hf://user/name@revision"
        )
    return Hub(found["repo"], found["revision"] or "")
