"""Do effnet-lite0, raw values and the digits' classifier order known damage alike?

Run from the checkout; the tables are those of docs/evaluation.md, "Agreement of feature networks":

    python ci/studies/extractor_agreement.py [--images 280]

The damage is that of `zoo audit`; columns of emoji in effnet-lite0, and of digits in the digits' classifier,
are those of its records in results/audit. The first table has Kendall's tau of a column with the known order
of each damage, of which 1 is the whole order. The second has Spearman's correlation of a column with the same
column of effnet-lite0 over the damaged sets of all kinds, whose order nobody knows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from zoo_eval.audit.checks import bench, damaged
from zoo_eval.reference import scoring_config

MEASURES = ("FD", "KD")
RECORDS = Path("results/audit")
RECORDED = {"emoji": "effnet-lite0", "digits": "digits"}
MEASURED = {"emoji": ("raw",), "digits": ("raw", "effnet-lite0")}
"""Feature networks of each dataset, those of its record and others."""
Series = Mapping[str, Mapping[str, Sequence[float]]]
"""damage -> measure -> its values, from no damage to the strongest."""


def series(graded: Sequence[Mapping[str, Any]], extractor: str) -> Series:
    """Return the measures of an audit's records of damage that have them."""
    return {
        one["damage"]: {name: one["columns"][f"{name}[{extractor}]"] for name in MEASURES}
        for one in graded
        if f"FD[{extractor}]" in one["columns"]
    }


def measured(data: str, extractor: str, most: int) -> Series:
    """Return the measures of damaged images of a dataset in the features of an extractor."""
    words = {"data": data, "eval.extractor": extractor, "eval.metrics": "[frechet,kernel]"}
    return series(damaged(bench(scoring_config(words, "audit"), most, tell)), extractor)


def tell(line: str) -> None:
    """Print to the standard error, beside the tables."""
    print(line, file=sys.stderr, flush=True)


def order(values: Sequence[float]) -> float:
    """Return Kendall's tau of values with their own places, 1 where each is larger than the one before."""
    return float(stats.kendalltau(range(len(values)), values).statistic)


def alike(one: Series, other: Series, measure: str) -> float:
    """Return Spearman's correlation of a measure over the damaged sets that both have."""
    pairs = [
        pair
        for name in one
        if name in other
        for pair in zip(one[name][measure][1:], other[name][measure][1:], strict=True)
    ]
    return float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=280, help="of a half, where not recorded")
    most = parser.parse_args().images
    found: dict[str, dict[str, Series]] = {}
    for data, name in RECORDED.items():
        graded = json.loads((RECORDS / f"{data}.json").read_text())["graded"]
        found[data] = {name: series(graded, name)}
    names = list(found["digits"]["digits"])
    print("\n| images | column | " + " | ".join(names) + " |")
    print("| --- " * (2 + len(names)) + "|")
    for data, by_extractor in found.items():
        for extractor in (RECORDED[data], *MEASURED[data]):
            if extractor not in by_extractor:
                by_extractor[extractor] = measured(data, extractor, most)
            made = by_extractor[extractor]
            for measure in MEASURES:
                cells = [f"{order(made[name][measure]):.2f}" if name in made else "-" for name in names]
                print(f"| {data} | `{measure}[{extractor}]` | " + " | ".join(cells) + " |", flush=True)
    print("\n| images | measure | other features | sets | Spearman's correlation |")
    print("| --- | --- | --- | --- | --- |")
    for data, by_extractor in found.items():
        ours = by_extractor["effnet-lite0"]
        for extractor in (name for name in by_extractor if name != "effnet-lite0"):
            sets = sum(len(one["FD"]) - 1 for one in ours.values())
            for measure in MEASURES:
                value = alike(ours, by_extractor[extractor], measure)
                print(f"| {data} | `{measure}` | `{extractor}` | {sets} | {value:.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
