"""The store of results: one small JSON file a result; a bad one is listed and never stops the others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zoo_eval.schema import EXTRAS, LARGEST, SCHEMA, fault, is_frechet, parse

__all__ = [
    "SCHEMA",
    "Bad",
    "Stored",
    "collect",
    "fault",
    "is_frechet",
    "lean",
    "parse",
    "read",
    "result_files",
]


class Stored(NamedTuple):
    """A result and the file it was read from."""

    path: Path
    result: Mapping[str, Any]


class Bad(NamedTuple):
    """A file that is no result, and why, in one line."""

    path: Path
    reason: str


def read(path: Path) -> Stored | Bad:
    """Return the result in a file, whole, or why there is none."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Bad(path, "not a regular file")
        if status.st_size > LARGEST:
            return Bad(path, f"{status.st_size:,} bytes; a result has at most {LARGEST:,}")
        return Stored(path, parse(path.read_text(encoding="utf-8")))
    except OSError as error:
        return Bad(path, error.strerror or str(error))
    except ValueError as error:  # JSON's and UTF-8's own errors are of this kind
        return Bad(path, " ".join(str(error).split())[:200])


def lean(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result without what only an opened entry shows."""
    return {key: value for key, value in result.items() if key not in EXTRAS}


def result_files(root: Path) -> list[Path]:
    """Return every result*.json under a folder, in order; links to folders are not followed."""
    found: list[str] = []
    for folder, _, names in os.walk(root):
        found += (
            os.path.join(folder, name)
            for name in names
            if name.startswith("result") and name.endswith(".json")
        )
    return [Path(name) for name in sorted(found)]


def collect(roots: Iterable[Path]) -> tuple[list[Stored], list[Bad]]:
    """Read every result*.json under the roots, in order of their paths; a copy of one counts once.

    Files that have not changed since they were last read come from the index, and all come without
    `EXTRAS`: `submission.enrich` brings those.

    Returns:
        the results, and the files that are none.
    """
    from zoo_eval.index import Index

    found: list[Stored] = []
    bad: list[Bad] = []
    seen: set[tuple[Any, ...]] = set()
    with Index() as index:
        for root in roots:
            for one in index.read(root, [root] if root.is_file() else result_files(root)):
                if isinstance(one, Bad):
                    bad.append(one)
                    continue
                result = one.result
                key = (
                    result["protocol"]["hash"], result["plugin"], result["config_hash"], result["seed"],
                )  # fmt: skip
                if key not in seen:  # the same run in runs/ and in results/ is one seed, not two
                    seen.add(key)
                    found.append(one)
    return found, bad
