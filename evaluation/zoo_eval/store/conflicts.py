"""Files that claim the same configuration: which of them make a row, and which are left out and listed.

A row takes files of one source and one tier of verification. Files of a better tier displace the others; of
files of one tier, each source makes a row of its own, so that nobody can displace a row or move its mean. A
row whose files are all copies of another row's is left out; of reported rows only where both have the same
files, because anyone can add a file of their own to copies of a rival's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from zoo_eval.store.files import Entry
from zoo_eval.store.states import TIERS, tier_of


class Conflict(NamedTuple):
    """Files that claim the same configuration and can't share a row.

    Attributes:
        plugin, config_hash: of the configuration; config_hash is "" where names are too alike.
        reason: one line.
        left_out: files that no table shows because of it.
    """

    plugin: str
    config_hash: str
    reason: str
    left_out: tuple[Entry, ...] = ()


def separate(entries: Sequence[Entry]) -> tuple[list[list[Entry]], list[Conflict]]:
    """Return the files of each row, ascending by seed, and the conflicts.

    Args:
        entries: of one table.
    """
    by_config: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        by_config[entry.plugin, entry.config_hash].append(entry)
    rows: list[list[Entry]] = []
    conflicts = _alike(sorted({entry.plugin for entry in entries}))
    for _, claims in sorted(by_config.items()):
        made, found = _rows_of(claims)
        rows += made
        conflicts += found
    return rows, conflicts


def _rows_of(claims: Sequence[Entry]) -> tuple[list[list[Entry]], list[Conflict]]:
    """Return the rows of one configuration, and what conflicts."""
    best = max((tier_of(entry.state) for entry in claims), key=TIERS.index)
    kept = [entry for entry in claims if tier_of(entry.state) == best]
    rest = tuple(entry for entry in claims if tier_of(entry.state) != best)
    first = claims[0]
    conflicts = []
    if rest:
        reason = (
            f"{len(rest)} less verified {_files(len(rest))} (seeds {_seeds(rest)}) left out: "
            f"{len(kept)} {_files(len(kept))} {'are' if len(kept) > 1 else 'is'} {best}"
        )
        conflicts.append(Conflict(first.plugin, first.config_hash, reason, rest))
    rows = [row for source in _by_source(kept).values() for row in _once(source)]
    rows = _distinct(rows, parts=best != TIERS[0])
    if len(rows) > 1:
        sources = sorted({row[0].source for row in rows})
        where = f"{len(sources)} folders" if len(sources) > 1 else sources[0]
        reason = f"claimed {len(rows)} times, {best}, in {where}: each claim is a row of its own"
        conflicts.append(Conflict(first.plugin, first.config_hash, reason))
    return rows, conflicts


def _by_source(entries: Sequence[Entry]) -> Mapping[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda one: (one.source, one.seed, str(one.path))):
        found[entry.source].append(entry)
    return found


def _once(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return rows in which each seed occurs once: a second file of a seed is in the second row."""
    rows: list[list[Entry]] = []
    for _, same in groupby(entries, key=lambda entry: entry.seed):
        for place, entry in enumerate(same):
            if place == len(rows):
                rows.append([])
            rows[place].append(entry)
    return rows


def _distinct(rows: Sequence[list[Entry]], *, parts: bool) -> list[list[Entry]]:
    """Return the rows, in their order, without copies of another.

    Args:
        parts: leave out those too whose files are a part of another's.
    """
    kept: dict[int, frozenset[str]] = {}
    holders: dict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(rows)), key=lambda place: -len(rows[place])):
        files = frozenset(entry.sha256 for entry in rows[place])
        rarest = min((holders[one] for one in files), key=len)
        if any(files <= kept[other] if parts else files == kept[other] for other in rarest):
            continue
        kept[place] = files
        for one in files:
            holders[one].append(place)
    return [rows[place] for place in sorted(kept)]


def _alike(names: Sequence[str]) -> list[Conflict]:
    """Return a conflict for each group of names that differ in case or separators only."""
    folded: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folded[name.casefold().translate(str.maketrans("_.", "--"))].append(name)
    return [
        Conflict(same[0], "", f"names that differ in separators only: {', '.join(same)}")
        for same in folded.values()
        if len(same) > 1
    ]


def _files(count: int) -> str:
    return "file" if count == 1 else "files"


def _seeds(entries: Sequence[Entry]) -> str:
    return ", ".join(str(seed) for seed in sorted({entry.seed for entry in entries})[:10])
