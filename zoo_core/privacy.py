"""What may leave the machine of a config or a command: no secret, and no path that names its user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zoo_core.sharing.privacy import leak, without_paths

HIDDEN = "(hidden)"
_SECRET_NAME = re.compile(
    r"(^|[_.-])((api_?key|token|secret|password|passwd|credentials?)($|[_.-])|key$)", re.I
)


def public_text(text: str) -> str:
    """Return a text with each path cut to its last name; hidden where what is left holds a secret."""
    cut = without_paths(text)
    return HIDDEN if leak(cut) else cut


def public(value: Any, name: str = "") -> Any:
    """Return plain data as they may be sent away: texts as `public_text`, none under the name of a secret.

    Args:
        value: mappings, lists, texts, numbers.
        name: the key that it stands under.
    """
    if isinstance(value, Mapping):
        return {key: public(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [public(inner, name) for inner in value]
    if isinstance(value, str):
        return HIDDEN if value and _SECRET_NAME.search(name) else public_text(value)
    return value
