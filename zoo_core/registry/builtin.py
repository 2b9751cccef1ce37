"""The listing of our own distribution, which is built into the wheel as listing.json; a checkout has none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from zoo_core.registry.listing import Listing, from_json, list_module, to_json

PATH = Path(__file__).resolve().parent / "listing.json"


def read() -> dict[str, Listing]:
    """Return module -> listing as built into the wheel; {} in a checkout."""
    try:
        document = json.loads(PATH.read_text(encoding="utf-8"))
        return {module: from_json(listing) for module, listing in document.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def build(modules: Sequence[str]) -> str:
    """Return the text of listing.json for these modules of hooks.

    Raises:
        ValueError: where one of them can't be listed.
    """
    listings = {module: list_module(module) for module in modules}
    for listing in listings.values():
        if listing.failure or listing.problems:
            raise ValueError(f"{listing.module}: {listing.failure or listing.problems[0]}")
    return json.dumps({module: to_json(listing) for module, listing in listings.items()}, indent=1) + "\n"
