"""YAML for people and for hostile files: safe types only, YAML 1.2 numbers and booleans, no duplicate keys.

YAML 1.1 reads `no` as false, `1e-4` as a text and `12:30:00` as 45000; here they are a text, a number and a
text. Size, depth and aliases are bounded before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from zoo_core.errors import UsageError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_ALIASES = 100


class _Loader(yaml.SafeLoader):
    """SafeLoader with the resolvers of YAML 1.2's core schema."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise yaml.constructor.ConstructorError(
                None, None, "a key must be a text or a number", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} stands twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))  # 010 is ten


def parse(text: str, name: str) -> Any:
    """Return the document in `text`.

    Args:
        text: one YAML document.
        name: of the file, for messages.

    Raises:
        UsageError: where it is not YAML, too large, too deep, or holds a type that is not plain data.
    """
    if len(text.encode()) > MAX_BYTES:
        raise UsageError(f"{name} is too large", f"expected: at most {MAX_BYTES:,} bytes")
    try:
        depth = aliases = 0
        for event in yaml.parse(text, Loader=_Loader):
            aliases += isinstance(event, yaml.AliasEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH or aliases > MAX_ALIASES:
                raise UsageError(f"{name} nests or repeats too much", f"expected: depth at most {MAX_DEPTH}")
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{name} is not readable YAML: {reason}") from error


def read(path: Path) -> Any:
    """Return the document in a file.

    Raises:
        UsageError: as `parse`, and where the file can't be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is too large", f"expected: at most {MAX_BYTES:,} bytes")
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read {path}: {error}") from error


class _Dumper(yaml.SafeDumper):
    """SafeDumper whose texts come back as texts, and whose numbers come back as numbers, through `parse`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
_Dumper.add_representer(tuple, lambda dumper, data: dumper.represent_list(data))


def dump(document: Mapping[str, Any]) -> str:
    """Return the YAML text of plain data, keys in their own order."""
    return yaml.dump(
        dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
