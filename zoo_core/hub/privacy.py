"""What of a run's config leaves with a bundle: nothing that concerns one machine, no path, no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo_core.config import flatten, nest
from zoo_core.config.privacy import redacted, scrubbed

HERE_ONLY = ("run_dir", "device", "preset", "track", "plots", "data.root", "eval.extractor_path")
"""Options that say where and on what a run was made: they neither leave nor arrive."""


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's plain config without what concerns one machine only; doing it twice changes nothing."""
    kept = {
        key: scrubbed(redacted(value, key))
        for key, value in flatten(config).items()
        if not any(key == name or key.startswith(f"{name}.") for name in HERE_ONLY)
    }
    return nest(kept)
