"""Rows of a table: one configuration of a model, over the training seeds of one source."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo_core.registry.metrics import base_name
from zoo_eval.leaderboard.facts import BASELINE, Facts
from zoo_eval.store import STATES, Entry, Score
from zoo_eval.verdicts import EXCESS


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration over its seeds.

    Attributes:
        plugin, family, config_hash: which; the family is the installed plugin's.
        source: folder that all its files come from.
        state: one of `STATES`: the least of its files', which are of one tier.
        entries: its files, ascending by seed.
        scores: column -> one value per seed, for the columns that every seed has.
        within: column -> ends of the 95 % interval over the samples of its only run.
        bounds: column -> "exact", "upper" or "lower".
        unranked: column -> why it is shown and not ranked.
        cost: means over seeds.
        memorizes: whether memorization was detected at any seed; None where it was not, and some seed was not
            checked.
    """

    plugin: str
    family: str
    config_hash: str
    source: str
    state: str
    entries: tuple[Entry, ...]
    scores: Mapping[str, tuple[float, ...]]
    within: Mapping[str, tuple[float, float]]
    bounds: Mapping[str, str]
    unranked: Mapping[str, str]
    cost: Mapping[str, float]
    memorizes: bool | None

    @property
    def key(self) -> str:
        """What tells it from every other row of its table; rows may share a file, and no two share all."""
        first, *others = (entry.sha256 for entry in self.entries)
        return hashlib.sha256("".join((first, *others)).encode()).hexdigest() if others else first

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(entry.seed for entry in self.entries)

    @property
    def selected(self) -> str:
        """How its options were selected, in words; "" where no search did that."""
        return next((entry.selected for entry in self.entries if entry.selected), "")

    @property
    def deterministic(self) -> bool:
        """Whether it is a baseline, which training seeds do not move."""
        return self.family == BASELINE


def make_row(entries: Sequence[Entry], facts: Facts) -> Row:
    """Return the row of files that `store.separate` put together, without columns that no metric declares."""
    first = entries[0]
    known = [
        name
        for name in first.scores
        if base_name(name) in facts.directions and all(name in entry.scores for entry in entries)
    ]
    cells = {name: [entry.scores[name] for entry in entries] for name in known}
    alone = len(entries) == 1
    return Row(
        plugin=first.plugin,
        family=facts.family(first.plugin, first.family),
        config_hash=first.config_hash,
        source=first.source,
        state=min((entry.state for entry in entries), key=STATES.index),
        entries=tuple(entries),
        scores={name: tuple(cell.value for cell in of_seeds) for name, of_seeds in cells.items()},
        within={n: c[0].ends for n, c in cells.items() if alone and c[0].ends is not None},
        bounds={name: of_seeds[0].bound for name, of_seeds in cells.items()},
        unranked={name: why for name, of_seeds in cells.items() if (why := _why(of_seeds))},
        cost=_mean_cost(entries),
        memorizes=_memorizes(entries),
    )


def _why(cells: Sequence[Score]) -> str:
    return next((cell.unranked for cell in cells if cell.unranked), "")


def _mean_cost(entries: Sequence[Entry]) -> dict[str, float]:
    shared = [name for name in entries[0].cost if all(name in entry.cost for entry in entries)]
    return {name: math.fsum(entry.cost[name] for entry in entries) / len(entries) for name in shared}


def _memorizes(entries: Sequence[Entry]) -> bool | None:
    found = [
        [score.value for column, score in entry.scores.items() if base_name(column) == "memorization"]
        for entry in entries
    ]
    if any(value > EXCESS for values in found for value in values):
        return True
    return False if all(found) else None
