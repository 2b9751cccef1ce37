"""The base class of every config section, and the reading of its values.

Texts are read by the type of the field they go to: `5e-5` is a float, `1e4` an int, and `no` stays a string
in a string field.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from zoo_core.config import strict_yaml
from zoo_core.errors import UsageError


class Config(BaseModel):
    """Base of every section: unknown keys are refused, no infinities, and no bool passes for a number."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _read_by_type(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {
            key: _read_option(key, value, cls.model_fields[key].annotation)
            if key in cls.model_fields
            else value
            for key, value in given.items()
        }


class UnreadableError(ValueError):
    """A value that can't be read by its option's type.

    Attributes:
        option: name of the option within its section.
    """

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(reason)
        self.option = option


def _read_option(name: str, value: Any, annotation: Any) -> Any:
    try:
        return _read(value, annotation)
    except ValueError as error:
        raise UnreadableError(name, str(error)) from error


MAX_TEXT = 100_000
"""Length of an option's value in brackets, characters."""


def _read(value: Any, annotation: Any) -> Any:
    """Turn a text or a number into what the annotation asks for, where that is unambiguous."""
    allowed = set(typing.get_args(annotation)) if is_union(annotation) else {annotation}
    literals = [
        one for kind in allowed if typing.get_origin(kind) is Literal for one in typing.get_args(kind)
    ]
    types_allowed = allowed | {type(one) for one in literals}
    if isinstance(value, bool) and bool not in types_allowed and types_allowed & {int, float}:
        raise ValueError("a true/false where a number is expected")
    if not isinstance(value, str):
        return value
    text = value.strip()
    if types.NoneType in allowed and text.lower() in ("none", "null", ""):
        return None
    if str in allowed or text in literals:
        return value
    for literal in literals:
        if not isinstance(literal, str) and _means(text, literal):
            return literal
    if text.startswith(("[", "{")) and not all(
        isinstance(kind, type) and kind in (int, float) for kind in allowed
    ):
        return _bracketed(text)
    if int in allowed and float not in allowed:
        try:
            number = float(text)
        except ValueError:
            return value
        return int(number) if number.is_integer() and abs(number) < 2**53 else value
    return value


def _means(text: str, literal: Any) -> bool:
    """Return whether a text names a literal that is not a text: 3, 3.0 and 3e0 all mean 3."""
    if isinstance(literal, bool) or literal is None:
        return text.lower() == str(literal).lower()
    try:
        return float(text) == literal
    except ValueError:
        return False


def _bracketed(text: str) -> Any:
    """Return the list or mapping that a text in brackets writes.

    Raises:
        ValueError: where it is not YAML, too long, too deep, or repeats a part by an alias.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"a value of {len(text):,} characters; expected at most {MAX_TEXT:,}")
    try:
        document = strict_yaml.parse(text, "the value")
    except UsageError as error:
        raise ValueError(error.what) from error
    check_bounded(document)
    return document


MAX_DEPTH = 32
"""Nesting of an option's value, or of a config."""


def check_bounded(document: Any) -> None:
    """Refuse plain data that is too deep or too large when written out.

    A few YAML aliases can stand for more values than there is memory, or for a value that contains itself.

    Raises:
        ValueError: where it has more than MAX_TEXT values or MAX_DEPTH levels.
    """
    values, waiting = 0, [(document, 0)]
    while waiting:
        part, depth = waiting.pop()
        values += 1
        if values > MAX_TEXT or depth > MAX_DEPTH:
            raise ValueError(f"it has more than {MAX_TEXT:,} values or {MAX_DEPTH} levels when written out")
        if isinstance(part, Mapping):
            waiting += [(value, depth + 1) for value in part.values()]
        elif isinstance(part, list | tuple):
            waiting += [(value, depth + 1) for value in part]


def is_union(annotation: Any) -> bool:
    """Return whether a type is a union: `int | None`."""
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)
