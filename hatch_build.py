"""Build hook: puts the listing of our own plugins into the wheel, so that listings import none of them."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ListingHook(BuildHookInterface[Any]):
    """Writes zoo_core/registry/listing.json into a wheel; an editable install has none."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        sys.path[:0] = [str(root / folder) for folder in (".", "plugins", "evaluation")]
        from zoo_core.registry.builtin import build

        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        made = Path(self.directory) / "listing.json"
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(build(list(project["entry-points"]["zoo"].values())), encoding="utf-8")
        build_data["force_include"][str(made)] = "zoo_core/registry/listing.json"
