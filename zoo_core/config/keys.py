"""Dotted keys of nested options: `train.steps` is the field `steps` of the section `train`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic.fields import FieldInfo

from zoo_core.config.base import Config
from zoo_core.errors import UsageError


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys for a nested mapping; empty mappings stay values."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested mapping for dotted keys; later keys win.

    Raises:
        UsageError: where a key stands for a value and for a section.
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise UsageError(f"{key!r} and {section!r} were both given", "expected: one of them")
        inner[last] = value
    return nested


def section(config: type[Config], name: str) -> type[Config] | None:
    """Return the Config class of a field, or None where it is a plain value."""
    kind = config.model_fields[name].annotation
    return kind if isinstance(kind, type) and issubclass(kind, Config) else None


def options(config: type[Config], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every option with its default, as (dotted key, field)."""
    for name, info in config.model_fields.items():
        inner = section(config, name)
        if inner is None:
            yield f"{prefix}{name}", info
            continue
        default = info.get_default(call_default_factory=True)
        for key, field in options(inner, f"{prefix}{name}."):
            shown = field
            if isinstance(default, Config):
                value: Any = default
                for part in key.removeprefix(f"{prefix}{name}.").split("."):
                    value = getattr(value, part)
                shown = FieldInfo.merge_field_infos(field, default=value)
            yield key, shown


@lru_cache(maxsize=8)
def option_names(config: type[Config]) -> tuple[str, ...]:
    """Return the dotted keys of every plain option."""
    return tuple(name for name, _ in options(config))


def canonical(config: type[Config], key: str, value: Any) -> str:
    """Return the key that an assignment means: `data=mnist` names the section's `name`."""
    if "." not in key and key in config.model_fields and not isinstance(value, Mapping):
        inner = section(config, key)
        if inner is not None and "name" in inner.model_fields:
            return f"{key}.name"
    return key
