"""How often a table's ranks are wrong, and which differences they find, on simulated tables.

Run from the checkout:

    python ci/studies/ranking.py

Scores are log-normal. "Equal" spreads are 20 % in all rows; "the boards'" are drawn from the spreads over
seeds of the committed results on digits. A false rank: a table of identical models with more than one rank.
"Two states": half of the rows are reproduced and half reported, and the rows of one of the states, which are
ranked one after the other, have more than one rank. Found: of the pairs of one better model with each of the
others, which are identical, the fraction that differs significantly.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo_eval.statistics.ranking import Rows, holm, moderate, rank

ROOT = Path(__file__).parents[2]
SPREAD = 0.2
"""Standard deviation of the log of a score over seeds."""


def committed_spreads(results: Path) -> NDArray[np.float64]:
    """Return the standard deviations of log FD over seeds, of each committed model that has any."""
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path in sorted(results.glob("*/*/result.json")):
        result = json.loads(path.read_text())
        cell = result["metrics"].get("FD[digits]")
        if cell is not None:
            scores[result["plugin"], result["config_hash"]].append(cell["value"])
    spreads = [np.std(np.log(row), ddof=1) for row in scores.values() if len(row) > 1]
    return np.array([s for s in spreads if s > 1e-9])


def false_ranks(
    tables: int, rows: int, seeds: int, spreads: NDArray[np.float64], *, two_states: bool = False
) -> float:
    """Return the fraction of tables of identical models that have more than one rank."""
    rng = np.random.default_rng(rows * 100 + seeds)
    wrong = 0
    for _ in range(tables):
        spread = rng.choice(spreads, rows)
        scores = np.exp(spread[:, None] * rng.standard_normal((rows, seeds))).tolist()
        first = rows // 2 if two_states else rows
        parts = [(scores[:first], []), (scores[first:], scores[:first])]
        wrong += any(
            place.rank != 1
            for part, beside in parts
            if part
            for place in rank(part, better="lower", testable=[True] * len(part), beside=beside).places
        )
    return wrong / tables


def found(tables: int, rows: int, seeds: int, ratio: float) -> float:
    """Return the fraction of pairs of one model, better by `ratio`, with the others that differ."""
    rng = np.random.default_rng(rows * 100 + seeds)
    count = 0
    for _ in range(tables):
        logs = SPREAD * rng.standard_normal((rows, seeds))
        logs[0] -= np.log(ratio)
        table = Rows(logs.ravel(), np.full(rows, seeds))
        order = np.argsort(table.means, kind="stable")
        moderated = moderate(table, order)
        threshold, _ = holm(moderated)
        better = int(np.flatnonzero(order == 0)[0])
        others = np.delete(np.arange(rows), better)
        count += int((moderated.p_values(np.full(rows - 1, better), others) <= threshold).sum())
    return count / tables / (rows - 1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "digits")
    given = parser.parse_args()
    board = committed_spreads(given.results)
    print(
        f"{given.tables:,} tables; {len(board)} committed spreads, {board.min():.3f} to {board.max():.3f}\n"
    )
    print(
        "| seeds | rows | false ranks, equal spreads | boards' | two states, equal spreads | boards' |"
        " twofold found | threefold found |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for seeds in (3, 5):
        for rows in (10, 32):
            wrong = [
                false_ranks(given.tables, rows, seeds, spreads, two_states=two)
                for two in (False, True)
                for spreads in (np.array([SPREAD]), board)
            ]
            right = [found(given.tables, rows, seeds, ratio) for ratio in (2.0, 3.0)]
            cells = " | ".join(f"{100 * value:.1f} %" for value in (*wrong, *right))
            print(f"| {seeds} | {rows} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
