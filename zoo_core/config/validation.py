"""Validation of a run's options: every mistake, with the option's type, default and meaning."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from zoo_core.config.base import Config, UnreadableError, is_union
from zoo_core.config.keys import flatten, nest, options, section
from zoo_core.config.unknown import renamed_value, unknown_key
from zoo_core.errors import UsageError, ZooError

C = TypeVar("C", bound="Config")


def type_name(annotation: Any) -> str:
    """Return how a type is shown to a user: `int`, `adam | sgd`, `float or none`, `list of int`."""
    if annotation is types.NoneType:
        return "none"
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return next((part for part in inner[1:] if isinstance(part, str)), type_name(inner[0]))
    if origin is Literal:
        return " | ".join(str(part) or '""' for part in inner)
    if origin is list or (origin is tuple and inner[1:] == (...,)):
        return f"list of {type_name(inner[0])}"
    if origin is tuple:
        return f"[{', '.join(map(type_name, inner))}]"
    if is_union(annotation):
        return " or ".join(map(type_name, inner))
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def validate(
    config: type[C], flat: Mapping[str, Any], owner: str, see: str = ""
) -> tuple[C | None, list[ZooError]]:
    """Lay dotted values over a config's defaults and check them all.

    Returns:
        (the config, []) or (None, every mistake there is).
    """
    unknown = {key: unknown_key(config, key, value, owner) for key, value in flat.items()}
    mistakes = [error for error in unknown.values() if error]
    known = {
        key: value
        for key, value in flat.items()
        if not unknown[key] and not _is_empty_section(config, key, value)
    }
    defaults = flatten({name: _plain(info) for name, info in config.model_fields.items()})
    try:
        made = config.model_validate(nest(defaults | known))
    except UsageError as error:
        return None, [*mistakes, error]
    except ValidationError as error:
        fields = dict(options(config))
        # A value that fits no type of a union is one problem for each type; the first is told.
        wrong = {one.what: one for one in (_bad_value(p, fields, known, see) for p in error.errors()[::-1])}
        return None, [*mistakes, *reversed(wrong.values())]
    return (None, mistakes) if mistakes else (made, [])


def _is_empty_section(config: type[Config], key: str, value: Any) -> bool:
    """Return whether a value says nothing: `train: {}` in a file, which must not reset the section."""
    if not isinstance(value, Mapping) or value:
        return False
    inner: type[Config] | None = config
    for part in key.split("."):
        inner = section(inner, part) if inner is not None and part in inner.model_fields else None
    return inner is not None


def _plain(info: FieldInfo) -> Any:
    default = info.get_default(call_default_factory=True)
    return default.model_dump() if isinstance(default, Config) else default


def shown(value: Any) -> str:
    """Return a value as an error shows it: at most 200 characters."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text):,} characters)"


def _bad_value(
    problem: Any, fields: Mapping[str, FieldInfo], given: Mapping[str, Any], see: str
) -> UsageError:
    path = [str(part) for part in problem["loc"]]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, UnreadableError):
        path.append(cause.option)
    key = next((k for n in range(len(path), 0, -1) if (k := ".".join(path[:n])) in fields), ".".join(path))
    if key not in fields:  # raised for a whole section: name the option that was given in it
        key = next((k for k in given if k.startswith(f"{key}.")), key)
    info = fields.get(key)
    reason = problem["msg"].removeprefix("Value error, ")
    expected = ""
    if info is not None:
        expected = f"expected: {type_name(info.annotation)} (default {info.default})"
        expected += f", {info.description}" if info.description else ""
    value = given.get(key, problem["input"])
    typed = _typed(value)
    meant = renamed_value(typed, "" if info is None else type_name(info.annotation))
    if problem["type"] == "list_type" and isinstance(value, str):
        meant = f"[{typed}]"
    hint = "" if meant == typed else f"did you mean: {key}={meant}"
    return UsageError(
        f"bad value for {key!r}: {shown(value)}", hint, reason[:1].lower() + reason[1:], expected, see
    )


def _typed(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)
