"""Strict YAML: plain data only, YAML 1.2 numbers and booleans, no duplicate keys, bounded in every respect.

YAML 1.1 reads `no` as false, `1e-4` as a string and `12:30:00` as 45000; here they are a string, a number and
a string. Of explicit tags, those of plain data are accepted; all others (`!!timestamp`, `!!binary`,
`!!python/...`) are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from zoo_core.errors import UsageError
from zoo_core.machine.files import read_bounded

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_ALIASES = 100
MAX_NODES = 10_000
"""Values, keys and collections, where an alias counts as all that it repeats."""
LARGEST_INTEGER = 2**64

_TAG = "tag:yaml.org,2002:"
_PATTERNS = {
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
    "null": r"~|null|Null|NULL|",
}
_FIRST = {"bool": "tTfF", "int": "-+0123456789", "float": "-+0123456789.", "null": "~nN\0"}


class _TooMuch(yaml.YAMLError):
    """A document beyond one of the bounds."""


_Base: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""libyaml reads the index of the registry in a tenth of the time."""


class _Loader(_Base):
    """SafeLoader with the resolvers of YAML 1.2's core schema, which measures what it composed."""

    def __init__(self, text: str, nodes: int) -> None:
        super().__init__(text)
        self._nodes = nodes
        self._sizes: dict[int, int] = {}
        self._heights: dict[int, int] = {}

    def measure(self, node: Node, depth: int = 1) -> tuple[int, int]:
        """Return (nodes, height) of a node where each alias is replaced by what it names.

        Raises:
            yaml.YAMLError: beyond the bounds, or where a node contains itself.
        """
        if id(node) not in self._sizes:
            self._sizes[id(node)] = 0  # being measured
            inner: list[Node] = []
            if isinstance(node, SequenceNode):
                inner = node.value
            elif isinstance(node, MappingNode):
                inner = [part for pair in node.value for part in pair]
            found = [self.measure(child, depth + 1) for child in inner]
            self._sizes[id(node)] = 1 + sum(size for size, _ in found)
            self._heights[id(node)] = 1 + max((height for _, height in found), default=0)
        size, height = self._sizes[id(node)], self._heights.get(id(node), 0)
        if size == 0:
            raise _TooMuch("a value contains itself")
        if size > self._nodes or depth + height > MAX_DEPTH + 1:
            raise _TooMuch(f"its aliases repeat too much; expected: at most {self._nodes:,} nodes in all")
        return size, height


def _scalar(loader: _Loader, node: Node, kind: str) -> str:
    if not isinstance(node, ScalarNode) or not re.fullmatch(_PATTERNS[kind], node.value):
        raise ConstructorError(None, None, f"not a value of type {kind}", node.start_mark)
    return str(node.value)


def _null(loader: _Loader, node: Node) -> None:
    _scalar(loader, node, "null")


def _integer(loader: _Loader, node: Node) -> int:
    text = _scalar(loader, node, "int")
    if len(text) > 64 or abs(int(text)) > LARGEST_INTEGER:
        raise ConstructorError(None, None, "an integer beyond 64 bits", node.start_mark)
    return int(text)  # 010 is ten


def _string(loader: _Loader, node: Node) -> str:
    if not isinstance(node, ScalarNode):
        raise ConstructorError(None, None, "not a string", node.start_mark)
    return str(node.value)


def _sequence(loader: _Loader, node: Node) -> list[Any]:
    if not isinstance(node, SequenceNode):
        raise ConstructorError(None, None, "not a list", node.start_mark)
    return [loader.construct_object(part, deep=True) for part in node.value]


def _mapping(loader: _Loader, node: Node) -> dict[Any, Any]:
    if not isinstance(node, MappingNode):
        raise ConstructorError(None, None, "not a mapping", node.start_mark)
    made: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise ConstructorError(None, None, "a key must be a string or a number", key_node.start_mark)
        if key in made:
            raise ConstructorError(None, None, f"duplicate key {key!r:.80}", key_node.start_mark)
        made[key] = loader.construct_object(value_node, deep=True)
    return made


def _refuse(loader: _Loader, node: Node) -> None:
    raise ConstructorError(None, None, f"the tag {node.tag!r:.80} is not accepted", node.start_mark)


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern in _PATTERNS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), list(_FIRST[_kind]))
_Loader.add_implicit_resolver(_TAG + "null", re.compile("^$"), [""])
_Loader.yaml_constructors = {
    _TAG + "null": _null,
    _TAG + "bool": lambda loader, node: _scalar(loader, node, "bool").lower() == "true",
    _TAG + "int": _integer,
    _TAG + "float": lambda loader, node: float(_scalar(loader, node, "float")),
    _TAG + "str": _string,
    _TAG + "seq": _sequence,
    _TAG + "map": _mapping,
    None: _refuse,
}
_Loader.yaml_multi_constructors = {}


def _bound(text: str, nodes: int) -> None:
    """Read a text without composing it, which recurses.

    Raises:
        yaml.YAMLError: where it is not YAML, nests too deep, or has too many aliases or nodes.
    """
    depth = aliases = count = 0
    for event in yaml.parse(text, Loader=_Base):
        aliases += isinstance(event, yaml.AliasEvent)
        count += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        # A scalar is as deep as a collection that begins in its place.
        if depth + isinstance(event, yaml.ScalarEvent) > MAX_DEPTH or aliases > MAX_ALIASES or count > nodes:
            raise _TooMuch(
                f"expected: depth at most {MAX_DEPTH}, at most {MAX_ALIASES} aliases, {nodes:,} nodes"
            )


def parse(text: str, name: str, nodes: int = MAX_NODES) -> Any:
    """Return the document in `text`.

    Args:
        text: one YAML document.
        name: of the file or option, for messages.
        nodes: most values, keys and collections.

    Returns:
        Mappings, lists, strings, numbers, booleans and None; a tree: no part contains itself.

    Raises:
        UsageError: where it is not YAML, too large, too deep, or holds a type that is not plain data.
    """
    try:
        if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
            raise UsageError(f"{name} is too large", f"expected: at most {MAX_BYTES:,} bytes")
        _bound(text, nodes)
        loader = _Loader(text, nodes)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            loader.measure(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except _TooMuch as error:
        raise UsageError(f"{name} nests or repeats too much", str(error)) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = (
            " ".join(str(error).replace('in "<unicode string>", ', "in ").split()) or type(error).__name__
        )
        raise UsageError(f"{name} is not readable YAML: {reason}"[:400]) from error


def read(path: Path, nodes: int = MAX_NODES) -> Any:
    """Return the document in a regular file of at most `nodes` values, keys and collections.

    Raises:
        UsageError: as `parse`, and where the file can't be read, is too large, or is not a regular file.
    """
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"can't read {path}: {error}") from error
    return parse(text, str(path), nodes)


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
