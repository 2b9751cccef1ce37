"""Choice of a preset by dataset, by kind of data, or by its name alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo_core.config import RunConfig
from zoo_core.errors import NotFoundError, UsageError, ZooError, guess
from zoo_core.registry.manager import manager


def preset_key(
    presets: Mapping[str, Any],
    name: str,
    data: str,
    side: Any = None,
    provider: str = "",
    task: str = "",
) -> str | None:
    """Return the key of the preset for a dataset, for its kind of data, or for any; None where there is none.

    Kinds are "NAME@points" and "NAME@image<=S", for images of at most S pixels a side; the least S wins. With
    task "caption" examples are captions, of kind "NAME@caption" whatever the dataset.

    Args:
        presets: of the plugin, by key.
        name: of the preset, e.g. "default".
        data: registered name of the dataset.
        side: of the images of a dataset that leaves it to an option.
        provider: distribution of the dataset, where two claim its name.
        task: `data.task`.
    """
    if task == "caption":
        return next((key for key in (f"{name}@caption", name) if key in presets), None)
    keys = (f"{name}@{data}", *_of_kind(presets, name, data, side, provider), name)
    return next((key for key in keys if key in presets), None)


def preset_overrides(
    config: type[RunConfig], name: str, data: str, side: Any = None, provider: str = "", task: str = ""
) -> tuple[Mapping[str, Any], ZooError | None]:
    """Return the overrides of a preset, and the error where there is no such preset.

    Args:
        config: of the plugin.
        name: of the preset; "" for "default", which need not exist.
        data, side, provider, task: as in `preset_key`.
    """
    presets = config.PRESETS
    key = preset_key(presets, name or "default", data, side, provider, task)
    if key is not None:
        return presets[key].overrides, None
    if not name:
        return {}, None
    known = sorted({key for key in presets if not key.startswith("default")})
    return {}, UsageError(
        f"no preset {name!r} for data={data}",
        guess(name, known, "preset={}"),
        f"presets: {', '.join(known) or 'none'}",
    )


def _of_kind(presets: Mapping[str, Any], name: str, data: str, side: Any, provider: str) -> list[str]:
    """Return the keys of a preset for a dataset's kind, the closest first."""
    try:
        shape = manager().find("dataset", data, provider).spec.shape
    except NotFoundError:
        return []
    if len(shape) == 1:
        return [f"{name}@points"]
    pixels = str(max(shape[1:]) if shape else side)
    if not pixels.isdigit():
        return []
    limits = sorted(int(key.rpartition("<=")[2]) for key in presets if key.startswith(f"{name}@image<="))
    return [f"{name}@image<={limit}" for limit in limits if int(pixels) <= limit]
