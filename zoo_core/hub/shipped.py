"""The weights package: a second distribution of data only, with a bundle for each entry.

It is found by its name and never imported.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from zoo_core.errors import NotFoundError, not_found
from zoo_core.hub.address import Shipped
from zoo_core.hub.bundle import MANIFEST

PACKAGE = "genzoo_weights"
DISTRIBUTION = "genzoo-weights"


def shipped_root() -> Path | None:
    """Return the folder of the installed weights package; None where it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    places = [] if found is None else list(found.submodule_search_locations or ())
    return Path(places[0]) if places else None


def shipped() -> list[Shipped]:
    """Return the entries that are installed, in order of data and name."""
    root = shipped_root()
    manifests = [] if root is None else sorted(root.glob(f"*/*/{MANIFEST}"))
    return [Shipped(path.parts[-3], path.parts[-2]) for path in manifests]


def shipped_folder(place: Shipped) -> Path:
    """Return the folder of an entry's bundle.

    Raises:
        NotFoundError: where the package is not installed, or lacks the entry.
    """
    root = shipped_root()
    if root is None:
        raise NotFoundError(
            f"{place} is in the distribution {DISTRIBUTION}, which is not installed",
            f"next: pip install {DISTRIBUTION}, or pip install ./weights in a copy of the repository",
        )
    folder = root / place.data / place.name
    if not (folder / MANIFEST).is_file():
        raise not_found("weights", str(place), [str(one) for one in shipped()], say="zoo sample {}")
    return folder
