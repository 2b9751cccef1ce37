"""Options added after runs had been recorded without them: they move no config hash of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field
from pydantic_core import to_jsonable_python

from zoo_core.config.base import Config
from zoo_core.config.keys import flatten, section


def later(default: Any, *, since: str, as_before: Any = ..., **constraints: Any) -> Any:
    """Return the field of an option that was added after runs had been recorded without it.

    While such an option has the value under which a model behaves as it did before, the option is left out of
    the config hash, so the runs recorded earlier keep their folders and their rows.

    Args:
        default: the option's default.
        since: version of the distribution that added the option.
        as_before: the value that means the earlier behavior; the default where left out.
        constraints: as pydantic's Field takes them: ge, lt, pattern.
    """
    before = default if as_before is ... else as_before
    extra = {"since": since, "as_before": to_jsonable_python(before)}
    return Field(default, json_schema_extra=extra, **constraints)


def before_later(config: type[Config], prefix: str = "") -> dict[str, Any]:
    """Return the value that each later option had implicitly before it was added: dotted key -> plain value.

    A marker holds for subclasses that declare the field again.
    """
    found: dict[str, Any] = {}
    for name in config.model_fields:
        inner = section(config, name)
        if inner is not None:
            found |= before_later(inner, f"{prefix}{name}.")
        marked = _marker(config, name)
        if marked is None:
            continue
        value = marked["as_before"]
        found |= flatten({f"{prefix}{name}": value})
    return found


def _marker(config: type[Config], name: str) -> Mapping[str, Any] | None:
    for base in config.__mro__:
        fields = getattr(base, "model_fields", {}) if issubclass(base, BaseModel) else {}
        extra = fields[name].json_schema_extra if name in fields else None
        if isinstance(extra, Mapping) and "since" in extra:
            return extra
    return None
