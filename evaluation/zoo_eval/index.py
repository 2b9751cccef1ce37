"""The index of the store: what was read of every result file, in SQLite under ZOO_HOME.

The files are the truth. The index is rebuilt from them, is never committed, and may be deleted at any time;
where it can't be had, files are read as if it were not there.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from zoo_core.home import home
from zoo_eval.results import Bad, Stored, lean, read

VERSION = 1
"""Raised when what counts as a result changes: an older index is emptied."""

Row = tuple[int, int, int, str, str]
"""mtime in nanoseconds, bytes, inode, what is wrong with the file or "", the result without its extras."""


class Index:
    """A context in which result files are read through the index.

    Args:
        path: of the database; None for ZOO_HOME/index.sqlite.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or home() / "index.sqlite"
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Index:
        for _ in range(2):  # a damaged file is removed, once
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._database = self._open()
                return self
            except sqlite3.OperationalError:  # locked, or a folder that can't be written
                return self
            except sqlite3.DatabaseError:
                self.path.unlink(missing_ok=True)
            except OSError:
                return self
        return self

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=2)
        try:
            if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                database.execute("DROP TABLE IF EXISTS files")
                database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute(
                "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, mtime INTEGER, size INTEGER,"
                " inode INTEGER, problem TEXT, result TEXT) WITHOUT ROWID"
            )
        except sqlite3.Error:
            database.close()
            raise
        return database

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._database is not None:
            self._database.close()

    def read(self, root: Path, paths: Sequence[Path]) -> Iterator[Stored | Bad]:
        """Yield what each file holds, without its extras, in order; what is gone is forgotten.

        Args:
            root: a folder that all the paths lie in, or the one path.
            paths: of result files.
        """
        known = self._known(root)
        fresh: dict[bytes, Row] = {}
        for path in paths:
            key, now = _key(path), _stamp(path)
            row = known.pop(key, None)
            if row is None or row[:3] != now:
                one = read(path)
                if now is not None:
                    fresh[key] = (*now, *_kept(one))
                yield Stored(path, lean(one.result)) if isinstance(one, Stored) else one
            elif row[3]:
                yield Bad(path, row[3])
            else:
                yield Stored(path, json.loads(row[4]))
        self._update(fresh, list(known))

    def _known(self, root: Path) -> dict[bytes, Row]:
        if self._database is None:
            return {}
        key = _key(root)
        inside = key.rstrip(b"/") + b"/"
        ask = (
            "SELECT path, mtime, size, inode, problem, result FROM files"
            " WHERE path = ? OR (path >= ? AND path < ?)"
        )
        try:
            rows = self._database.execute(ask, (key, inside, inside[:-1] + b"0")).fetchall()
        except sqlite3.Error:
            return {}
        return {path: tuple(row) for path, *row in rows}

    def _update(self, fresh: dict[bytes, Row], gone: list[bytes]) -> None:
        if self._database is None or not (fresh or gone):
            return
        with contextlib.suppress(sqlite3.Error), self._database:
            self._database.executemany("DELETE FROM files WHERE path = ?", [(key,) for key in gone])
            rows = [(key, *row) for key, row in fresh.items()]
            self._database.executemany("REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)


def _key(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does, or None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _kept(one: Stored | Bad) -> tuple[str, str]:
    if isinstance(one, Bad):
        return one.reason.encode("utf-8", "backslashreplace").decode(), ""
    return "", json.dumps(lean(one.result), allow_nan=False)
