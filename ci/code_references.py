"""References of pages to code: `module:name` as a file and a line, read from the source, not imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("", "plugins", "evaluation")
"""Where the packages of the repository lie."""
PACKAGES = sorted(
    {found.parent.name for folder in FOLDERS for found in (ROOT / folder).glob("zoo_*/__init__.py")}
)
REFERENCE = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)*:[A-Za-z_][\w.]*")
FILE = re.compile(r"(?:ci|zoo_core|evaluation|plugins|examples|tests)/[\w./-]+\.\w+")
_ON_PAGE = re.compile(rf"(?<!`)`(?:({REFERENCE.pattern})|({FILE.pattern}))`(?!`)(?:,\s+at\s+`([^`]+)`)?")


class Place(NamedTuple):
    """A line of a file.

    Attributes:
        path: of the file, from the root of the repository.
        line: from 1; 0 for the whole file.
    """

    path: str
    line: int


class _Definition(NamedTuple):
    module: str
    node: ast.AST


def resolve(reference: str, words: str = "") -> Place:
    """Return where the code of "module:name" or "module:Class.method" begins.

    Args:
        words: text within that code, in which white space does not count; then it is the line of the words.

    Raises:
        LookupError: where the module has no such name, or the code has no such words and neither has the
            docstring of its module.
    """
    module, _, dotted = reference.partition(":")
    found = _find(module, dotted.split("."))
    if found is None:
        raise LookupError(f"`{reference}` is not in the source")
    path = _file(found.module)
    assert path is not None
    lines = path.read_text().splitlines()
    start, end = found.node.lineno, found.node.end_lineno or found.node.lineno  # type: ignore[attr-defined]
    line = _line_of(words, lines, start, end) if words else start
    if line == 0:
        top = ast.get_docstring(_tree(path)) or ""
        if " ".join(words.split()) not in " ".join(top.split()):
            raise LookupError(f"`{reference}` has no `{words}`")
        line = start
    return Place(path.relative_to(ROOT).as_posix(), line)


def file_place(name: str) -> Place:
    """Return the place of a whole file of the repository.

    Raises:
        LookupError: where there is no such file.
    """
    if not (ROOT / name).is_file():
        raise LookupError(f"`{name}` is not a file of the repository")
    return Place(name, 0)


def references(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield (`module:name` or a file, words that are quoted after it) of a page, without its code blocks."""
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    for match in _ON_PAGE.finditer(text):
        yield match[1] or match[2], " ".join((match[3] or "").split())


def place_of(name: str, words: str = "") -> Place:
    """Return the place of what `references` yields.

    Raises:
        LookupError: as `resolve` and `file_place`.
    """
    return resolve(name, words) if ":" in name else file_place(name)


def _line_of(words: str, lines: list[str], start: int, end: int) -> int:
    """Return the last line from which on the code still has the words; 0 where it never has them."""
    wanted = " ".join(words.split())
    found = 0
    for line in range(start, end + 1):
        if wanted not in " ".join(" ".join(lines[line - 1 : end]).split()):
            break
        found = line
    return found


@cache
def _file(module: str) -> Path | None:
    parts = module.replace(".", "/")
    candidates = (ROOT / folder / f"{parts}{end}" for folder in FOLDERS for end in (".py", "/__init__.py"))
    return next((path for path in candidates if path.is_file()), None)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _find(module: str, names: list[str]) -> _Definition | None:
    """Return the definition of a dotted name of a module, through imports and base classes."""
    path = _file(module)
    if path is None:
        return None
    tree = _tree(path)
    found = _in_body(tree.body, names[0])
    if found is None:
        source = _imported(tree, module, names[0])
        return _find(source[0], [source[1], *names[1:]]) if source else None
    if len(names) == 1:
        return _Definition(module, found)
    if not isinstance(found, ast.ClassDef):
        return None
    inner = _in_body(found.body, names[1])
    if inner is not None:
        return _Definition(module, inner) if len(names) == 2 else None
    for base in found.bases:
        if isinstance(base, ast.Name) and (inherited := _find(module, [base.id, *names[1:]])) is not None:
            return inherited
    return None


def _in_body(body: list[ast.stmt], name: str) -> ast.stmt | None:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node
    return None


def _imported(tree: ast.Module, module: str, name: str) -> tuple[str, str] | None:
    """Return (module, name) that `from module import name` brings a name from."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module != module:
                    return node.module, alias.name
    return None
