"""The optional metrics against the fraction of samples that are bad, repeated or copied, on digits.

    python ci/studies/fidelity.py --out results/fidelity/digits.json
    python ci/studies/fidelity.py results/fidelity/digits.json --out docs/assets/optional-metrics.png
    python ci/studies/fidelity.py --intervals

One half of the training split is the reference. Of the other half, a fraction of the images is replaced: by
images with noise, by noise, by one image, by images of the reference, or every image of some classes by other
images. A table of each metric is printed, and the scores are written, from which the plot is drawn.
--intervals prints how often the 95 % intervals hold the mean value, over --repeats sets of Gaussian samples.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.machine.files import write_atomic
from zoo_core.results import Value
from zoo_core.seeds import generator
from zoo_core.viz.style import GRAY, INK, MARKERS, make_figure, set_title, styled
from zoo_eval.audit.checks import Bench, bench
from zoo_eval.audit.damage import noise
from zoo_eval.pipeline import chosen_metrics, run_metrics
from zoo_eval.reference import scoring_config
from zoo_fidelity.clipped import clipped_coverage, clipped_density
from zoo_fidelity.fld import LARGEST, fld
from zoo_fidelity.vendi import vendi

NAMES = ("clipped-density", "clipped-coverage", "fld", "vendi", "copying-test")
"""The metrics, in the order of the tables."""
FRACTIONS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
STRENGTH = 0.4
"""Standard deviation of the noise, over the range of levels."""
LAWS = ((8, 1.0, 0.5), (8, 1.3, 0.3), (8, 1.1, 0.1), (2, 1.3, 0.3), (2, 0.5, 0.0))
"""(features, scale, shift) of the samples whose intervals are examined."""


@dataclass(frozen=True)
class Replacement:
    """What takes the place of good samples.

    Attributes:
        name: in the table and the plot.
        rows: (n, C, H, W) levels, which replace the good rows of the same place.
    """

    name: str
    rows: Tensor


def replacements(made: Bench) -> list[Replacement]:
    """Return what takes the place of the images that are scored."""
    levels, n = made.source.data.info.levels or 256, len(made.probe)
    uniform = torch.randint(
        levels, made.probe.shape, generator=generator(0, "uniform"), dtype=made.probe.dtype
    )
    return [
        Replacement("noisy images", noise(made.probe, STRENGTH, levels)),
        Replacement("uniform noise", uniform),
        Replacement("one image", made.probe[:1].expand(n, -1, -1, -1).clone()),
        Replacement("training images", made.real[:n]),
    ]


def scores(made: Bench, rows: Tensor) -> dict[str, float]:
    """Return the value of each metric, by its base name."""
    found = run_metrics(made.context(rows), chosen_metrics(NAMES))
    return {column.partition("[")[0]: value.value for column, value in found.values.items()}


def without_classes(made: Bench) -> dict[float, dict[str, float]]:
    """Return the scores where a fraction of the classes is left out, and the others are repeated instead."""
    assert made.label is not None
    classes, found = made.source.data.info.classes, {}
    for left_out in (1, 3, 5, 7):
        kept = torch.nonzero(made.label >= left_out).flatten()
        chosen = torch.randint(len(kept), (len(made.probe),), generator=generator(0, "classes"))
        rows = torch.where(
            (made.label >= left_out)[:, None, None, None], made.probe, made.probe[kept[chosen]]
        )
        found[left_out / classes] = scores(made, rows)
    return found


def study(made: Bench) -> dict[str, dict[float, dict[str, float]]]:
    """Return replacement -> fraction -> metric -> value."""
    order = torch.randperm(len(made.probe), generator=generator(0, "replaced"))
    good, found = scores(made, made.probe), {}
    for other in replacements(made):
        found[other.name] = {0.0: good}
        for fraction in FRACTIONS[1:]:
            rows = made.probe.clone()
            bad = order[: round(fraction * len(rows))]
            rows[bad] = other.rows[bad]
            found[other.name][fraction] = scores(made, rows)
            print(f"{other.name} {fraction:g}", flush=True)
    found["classes left out"] = {0.0: good, **without_classes(made)}
    return found


def table(found: Mapping[str, Mapping[float, Mapping[str, float]]]) -> str:
    """Return the table as Markdown: a row for each replacement and fraction."""
    names = list(next(iter(found.values()))[0.0])
    lines = [f"| replaced by | fraction | {' | '.join(names)} |", "| --- " * (len(names) + 2) + "|"]
    for other, steps in found.items():
        for fraction, values in steps.items():
            cells = " | ".join(f"{values[name]:,.3g}" if values[name] < 1000 else "10,000" for name in names)
            lines.append(f"| {other} | {fraction:g} | {cells} |")
    return "\n".join(lines)


def record_of(found: Mapping[str, Mapping[float, Mapping[str, float]]], images: int) -> dict[str, Any]:
    """Return what is written of a study: images a side, and [fraction, scores] by replacement."""
    return {"images": images, "replaced": {name: list(steps.items()) for name, steps in found.items()}}


@styled
def draw(record: Mapping[str, Any], path: Path) -> None:
    """Draw a panel for each metric, a line for each replacement."""
    names = list(next(iter(record["replaced"].values()))[0][1])
    figure = make_figure(9.5, 5.6)
    for place, name in enumerate(names):
        axes = figure.add_subplot(2, 3, place + 1)
        for k, (other, steps) in enumerate(record["replaced"].items()):
            fractions = [fraction for fraction, _ in steps]
            values = [min(scores[name], LARGEST) for _, scores in steps]
            axes.plot(fractions, values, color=f"C{k}", marker=MARKERS[k], markersize=4, label=other)
        if name.startswith("clipped"):
            axes.plot([0, 1], [1, 0], color=GRAY, linewidth=1, linestyle=":", label="1 - fraction")
        if name == "FLD":
            axes.set_yscale("symlog", linthresh=50)
            axes.set_yticks([0, 20, 100, 1000, LARGEST], ["0", "20", "100", "1,000", f"{LARGEST:,.0f}"])
            axes.minorticks_off()
        axes.set_title(name, loc="left", color=INK, fontweight="bold")
        axes.set_xlabel("fraction that is replaced")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.add_subplot(2, 3, len(names) + 1)
    legend.axis("off")
    legend.legend(handles, labels, loc="center", title="replaced by")
    set_title(
        figure,
        "Optional metrics where samples are bad, repeated or copied",
        f"real images of digits, {record['images']:,} a side, of which a fraction is replaced",
    )
    figure.savefig(path)


def intervals(repeats: int, n: int = 300) -> None:
    """Print how often intervals hold the mean value over sets of Gaussian samples."""
    print("| features | scale | shift | clipped-density | clipped-coverage | FLD | vendi |")
    print("| --- " * 7 + "|")
    for d, scale, shift in LAWS:
        rng = generator(0, "fidelity intervals", d)
        real, test = torch.randn(2, n, d, generator=rng, dtype=torch.float64)
        metrics: dict[str, Callable[[Tensor], Value]] = {
            "clipped-density": partial(clipped_density, real),
            "clipped-coverage": partial(clipped_coverage, real),
            "FLD": partial(fld, real, test),
            "vendi": lambda x: vendi((x + 0.5) / (x + 0.5).norm(dim=1, keepdim=True)),
        }
        sets = [scale * torch.randn(n, d, generator=rng, dtype=torch.float64) + shift for _ in range(repeats)]
        cells = []
        for name, metric in metrics.items():
            found = [metric(x) for x in sets[: repeats // 4 if name == "FLD" else repeats]]
            mean = sum(one.value for one in found) / len(found)
            held = [
                one.interval is not None and one.interval.low <= mean <= one.interval.high for one in found
            ]
            cells.append(f"{mean:.3g}: {sum(held) / len(held):.1%}")
        print(f"| {d} | {scale:g} | {shift:g} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the table and write the scores, draw those of a file, or examine intervals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("record", nargs="?", type=Path, help="file of scores to draw; else they are made")
    parser.add_argument("--out", type=Path, help="file of the scores, or of the plot of a file")
    parser.add_argument("--n", type=int, default=700, help="images a side")
    parser.add_argument("--intervals", action="store_true", help="examine intervals instead")
    parser.add_argument("--repeats", type=int, default=400, help="sets of samples; a quarter for FLD")
    given = parser.parse_args()
    start = time.monotonic()
    if given.record:
        draw(json.loads(given.record.read_text()), given.out or given.record.with_suffix(".png"))
        return
    if given.intervals:
        intervals(given.repeats)
    else:
        found = study(bench(scoring_config({"data": "digits"}, "study"), given.n, print))
        print(table(found))
        out = given.out or Path("fidelity.json")
        write_atomic(out, json.dumps(record_of(found, given.n), indent=1).encode() + b"\n")
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
