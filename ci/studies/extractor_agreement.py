"""Do effnet-lite0, raw values and the digits' classifier order known damage alike?

Run from the checkout; the tables are those of docs/evaluation.md, "Agreement of feature networks":

    python ci/studies/extractor_agreement.py [--images 280]

The images are the damaged halves of `zoo audit`. The first table has Kendall's tau of a column with the known
order of each damage, of which 1 is the whole order. The second has Spearman's correlation of a column with
the same column of effnet-lite0 over the damaged sets of all kinds, whose order nobody knows.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from zoo_eval.audit.checks import bench, damaged
from zoo_eval.reference import scoring_config

MEASURES = ("FD", "KD")
NETWORKS = {"emoji": ("effnet-lite0", "raw"), "digits": ("effnet-lite0", "raw", "digits")}
"""Feature networks of each dataset."""
Series = Mapping[str, Mapping[str, Sequence[float]]]
"""damage -> measure -> its values, from no damage to the strongest."""


def series(graded: Sequence[Mapping[str, Any]], extractor: str) -> Series:
    """Return the measures of an audit's records of damage, by its kind, where the records have them."""
    return {
        one["damage"]: {name: one["columns"][f"{name}[{extractor}]"] for name in MEASURES}
        for one in graded
        if f"FD[{extractor}]" in one["columns"]
    }


def measured(data: str, extractor: str, most: int) -> Series:
    """Return the measures of damaged images of a dataset in the features of an extractor."""
    words = {"data": data, "eval.extractor": extractor, "eval.metrics": "[frechet,kernel]"}
    return series(damaged(bench(scoring_config(words, "audit"), most, print)), extractor)


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
    parser.add_argument("--images", type=int, default=280, help="of a half")
    most = parser.parse_args().images
    found = {
        data: {name: measured(data, name, most) for name in networks} for data, networks in NETWORKS.items()
    }
    names = list(found["digits"]["effnet-lite0"])
    print("\n| images | column | " + " | ".join(names) + " |")
    print("| --- " * (2 + len(names)) + "|")
    for data, by_extractor in found.items():
        for extractor, made in by_extractor.items():
            for measure in MEASURES:
                cells = [f"{order(made[name][measure]):.2f}" if name in made else "-" for name in names]
                print(f"| {data} | `{measure}[{extractor}]` | " + " | ".join(cells) + " |")
    print("\n| images | measure | other features | sets | Spearman's correlation |")
    print("| --- | --- | --- | --- | --- |")
    for data, by_extractor in found.items():
        ours = by_extractor["effnet-lite0"]
        for extractor in list(by_extractor)[1:]:
            sets = sum(len(one["FD"]) - 1 for one in ours.values())
            for measure in MEASURES:
                value = alike(ours, by_extractor[extractor], measure)
                print(f"| {data} | `{measure}` | `{extractor}` | {sets} | {value:.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
