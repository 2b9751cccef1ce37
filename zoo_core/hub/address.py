"""Where a bundle lies or goes: a folder, or a repository of the Hugging Face hub at a revision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from zoo_core.errors import UsageError

SCHEME = "hf://"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
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


def parse(text: str) -> Hub | Path:
    """Return the place that `hf://user/name[@revision]` or a folder's path means.

    Raises:
        UsageError: for another scheme, or a name that the hub would refuse.
    """
    if not text.startswith(SCHEME):
        if "://" in text or not text:
            raise UsageError(f"can't share through {text!r}", "expected: hf://user/name, or a folder")
        return Path(text).expanduser()
    found = _HUB.fullmatch(text.removeprefix(SCHEME))
    if found is None or ".." in text or "--" in found["repo"]:
        raise UsageError(
            f"no address on the hub: {text!r}", "expected: hf://user/name, or hf://user/name@revision"
        )
    return Hub(found["repo"], found["revision"] or "")
