"""What must not leave with a bundle: folders of this machine, and anything that looks like a secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_core.config import flatten, nest

HERE_ONLY = ("run_dir", "device", "preset", "track", "data.root", "eval.extractor_path")
"""Options that say where and on what a run was made: they neither leave nor arrive."""

_PATH = re.compile(
    r"(?P<before>^|[\s=,'\"(\[{])"
    r"(?P<path>(?:file:/|~[\w.-]*[\\/]|[A-Za-z]:[\\/]|\\\\|\.\.?[\\/]|/)[^\s,'\"()\[\]{}]*)"
)
_HOME = re.compile(r"(?:file://)?(?:[A-Za-z]:)?[\\/](?:home|Users)[\\/][^\\/]+")
_SECRET = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bsk-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}|\bAKIA[0-9A-Z]{16}\b|\bwandb_v\d_\w{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|://[^\s/@:]+:[^\s/@]+@"
)
_NAMES_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)


def without_paths(text: str) -> str:
    """Return a text with each path of the file system shortened to its last name; addresses stay.

    Where the last name is that of a user, in a home folder's own path, it is "~".
    """

    def last_name(found: re.Match[str]) -> str:
        path = found["path"].rstrip("\\/")
        if not any(map(str.isalnum, path)):
            return found[0]
        if path == str(Path.home()) or _HOME.fullmatch(path):
            return found["before"] + "~"
        return found["before"] + re.split(r"[\\/]", path)[-1]

    return _PATH.sub(last_name, text)


def scrubbed(value: Any) -> Any:
    """Return plain data with the paths in all its texts shortened."""
    if isinstance(value, str):
        return without_paths(value)
    if isinstance(value, Mapping):
        return {key: scrubbed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(inner) for inner in value]
    return value


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's plain config without what concerns one machine only; doing it twice changes nothing."""
    kept = {
        key: scrubbed(value)
        for key, value in flatten(config).items()
        if not any(key == name or key.startswith(f"{name}.") for name in HERE_ONLY)
    }
    return nest(kept)


def leak(text: str) -> str | None:
    """Return what in a text must not be published, named without being shown, or None."""
    if _SECRET.search(text):
        return "a text in the form of an access token, a private key or a password"
    for name, value in os.environ.items():
        if len(value) >= 8 and _NAMES_SECRET.search(name) and value in text:
            return f"the value of the environment variable {name}"
    home = str(Path.home())
    if len(home) > 1 and re.search(re.escape(home) + r"(?![\w.-])", text):
        return "the path of your home folder"
    return None
