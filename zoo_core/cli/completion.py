"""Shell completion of overrides: option names, and the names of plugins, datasets, samplers and presets."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

import click

from zoo_core.registry.manager import glance, load_entry

NAMES = {"plugin": "plugin", "data": "dataset", "sampler": "sampler", "eval.extractor": "extractor"}
"""Options that take a registered name -> its kind."""


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the words that a half-typed override can become; none where anything fails.

    bash splits words at "=": it asks for the part after it, and is given that part.
    """
    words = list(ctx.params.get(param.name or "") or ())
    try:
        if incomplete == "=" and words:
            return values(words[-1], "", words)
        if words[-1:] == ["="] and len(words) > 1:
            return values(words[-2], incomplete, words)
        key, equals, value = incomplete.partition("=")
        if equals:
            return [f"{key}={one}" for one in values(key, value, words)]
        return [f"{one}=" for one in keys(words) if one.startswith(incomplete)]
    except Exception:  # a shell that completes has no place for an error
        return []


def chosen_plugin(words: Sequence[str]) -> str:
    """Return the plugin that the words before name, as zsh or as bash splits them; "" for none."""
    for place, word in enumerate(words):
        if word.startswith("plugin=") and word != "plugin=":
            return word.removeprefix("plugin=").partition(",")[0]
        if list(words[place : place + 2]) == ["plugin", "="] and len(words) > place + 2:
            return words[place + 2]
    return ""


def chosen_config(words: Sequence[str]) -> Any:
    """Return the config of the plugin that the words name, or that of every run."""
    from zoo_core.config import RunConfig

    plugin = chosen_plugin(words)
    return load_entry("plugin", glance().find("plugin", plugin), "config") if plugin else RunConfig


def keys(words: Sequence[str]) -> list[str]:
    """Return the options of the plugin that the words name, or those that every run has."""
    from zoo_core.config import options

    config = chosen_config(words)
    found = [key.removesuffix(".name") for key, _ in options(config) if not key.startswith("providers.")]
    return sorted({*found, "config", "resume"})


def values(key: str, start: str, words: Sequence[str]) -> list[str]:
    """Return the values of an option that begin with `start`; of a comma list, those of its last part."""
    from zoo_core.config import options

    first, comma, last = start.rpartition(",")
    if key in NAMES:
        found = [entry.spec.name for entry in glance().entries(NAMES[key])]
    else:
        config = chosen_config(words)
        if key == "preset":
            found = sorted({name.partition("@")[0] for name in getattr(config, "PRESETS", {})} - {"default"})
        else:
            found = _choices(dict(options(config))[key].annotation)
    return [f"{first}{comma}{one}" for one in found if one.startswith(last)]


def _choices(annotation: object) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if typing.get_origin(annotation) is typing.Literal:
        return [str(one) for one in typing.get_args(annotation)]
    return [one for part in typing.get_args(annotation) for one in _choices(part)]
