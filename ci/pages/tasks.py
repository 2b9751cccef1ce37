"""The page of conditions and image tasks, from results/emoji and the sweeps in results/guidance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import NOTE
from pages.tables import code, prose, table
from zoo_core.registry.metrics import base_name
from zoo_eval.extractors.classifiers import WEIGHTS
from zoo_eval.leaderboard.facts import installed
from zoo_eval.leaderboard.rows import Row
from zoo_eval.leaderboard.table import Group, make_groups
from zoo_eval.store import collect

DATA = "emoji"

INTRODUCTION = """\
# Conditions and image tasks

Look up what models do when they are told something: a class, a caption, or another image. All results of
this page are of the 32x32 color icons (`data=emoji`), one training seed each, with the budget of the suite
`emoji-quick`. They are those of `zoo leaderboard results --data emoji --task all`; numbers in brackets after
a score are its 95 % interval over samples. [Metrics and protocols](evaluation.md) defines the metrics.
A model that memorizes, by [the check](evaluation.md#memorization), has no rank there.
"""

CLASSES = """
## Classes

```sh
zoo bench emoji-quick plugin=cgan,ddpm,iddpm,vp-sde,edm,ldm data.task=class  # hours
```

Each sample is given one of 9 categories. `accuracy` is the share of samples that a classifier puts into the
category asked for. The classifier's own accuracy on held-out real emoji is {real:.1f} %: the categories (for
example objects, symbols, travel) are not visual classes.
"""

SWEEP = """
### Guidance scale of `{plugin}`

![Distance and class accuracy against the guidance scale]({image})

The same weights and the same noise at each scale of classifier-free guidance, {n:,} samples a scale, by
`python ci/studies/guidance.py RUN`. Scale 1 is the model without guidance, and 0 the model without its
condition.
"""

TEXT = """
## Text

```sh
zoo bench emoji-quick plugin=text-gan,dvae,ddpm,ldm data.task=text  # hours
```

Each sample is given the name of an emoji. `retrieval` is the fraction of samples that are nearest to their
caption's image among 100 captions, in another artist's drawings (chance is 1 %), and `caption rank` the
mean rank (chance is 50.5). `new caption rank` is that of captions whose words occur in training and whose
combination does not.
"""

IMAGES = """
## Images from images

```sh
zoo bench emoji-quick plugin=pix2pix,palette data.source=edges,lowres,gray,jpeg  # hours
zoo bench emoji-quick plugin=pix2pix,palette data.source=mask,freeform,crop,blur,labels  # hours
```

{image}Sources are made from the images themselves; `zoo show palette` describes each. L1, PSNR and SSIM
compare a translation with the real image, and `effnet distance` is a distance in the features of a network,
like LPIPS. In parentheses is the best of the trivial translations: the source itself, its bicubic
interpolation, a linear function of its channels (the mean color of each gray value), and the mean image.
{verdict}
"""

SHEET = "assets/image-tasks.png"
"""Drawn by ci/studies/image_tasks.py from runs."""

EXAMPLES = f"""\
![Each source, and what palette and pix2pix make of it]({SHEET})

The sources of three held-out images, and their translations.

"""

UNPAIRED = """
### Without pairs

`cyclegan` learns from two sets of images, sources and targets of other images. `style-transfer` has images
and styles.
"""


def tasks_page(root: Path) -> str:
    """Return the page, from the results under the repository's root."""
    card = json.loads((WEIGHTS / f"{DATA}-classifier.json").read_text())
    found, _ = collect([root / "results" / DATA])
    groups = make_groups(found, installed())
    parts = [INTRODUCTION, CLASSES.format(real=100 * card["test_accuracy"])]
    parts += scores(_rows(groups, "class"), ("FD", "FD by class", "accuracy", "precision", "recall"))
    parts += sweeps(root)
    parts.append(TEXT)
    parts += scores(_rows(groups, "text"), ("FD", "retrieval", "caption rank", "new caption rank"))
    paired = translated(groups, "paired")
    image = EXAMPLES if (root / "docs" / SHEET).exists() else ""
    parts += [IMAGES.format(image=image, verdict=verdict(paired)), *translations(paired), UNPAIRED]
    parts += translations(translated(groups, "unpaired"))
    return NOTE + "\n".join(parts) + "\n"


def _rows(groups: Iterable[Group], task: str) -> list[Row]:
    return [row for group in groups if group.data.task == task for row in group.rows]


def translated(groups: Iterable[Group], task: str) -> list[tuple[str, Row]]:
    """Return the rows of a task of translation with their sources, by source and model."""
    found = [(str(g.data.source), row) for g in groups if g.data.task == task for row in g.rows]
    return sorted(found, key=lambda pair: (pair[0], pair[1].plugin))


def cell(row: Row, base: str) -> str:
    """Return a row's score of a metric with its interval, or "n/a"."""
    name = next((name for name in row.scores if base_name(name) == base), "")
    if not name:
        return "n/a"
    value = sum(row.scores[name]) / len(row.scores[name])
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    if name not in row.within:
        return f"{value:.{digits}f}"
    low, high = row.within[name]
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def scores(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Return a table of rows, the best distance first."""
    ordered = sorted(rows, key=lambda row: next(v[0] for k, v in row.scores.items() if base_name(k) == "FD"))
    return table(
        ("model", *columns, "NFE", "config"),
        (
            (
                _link(row),
                *(prose(cell(row, base)) for base in columns),
                f"{row.cost['nfe']:.0f}" if "nfe" in row.cost else "",
                code(row.config_hash),
            )
            for row in ordered
        ),
    )


def _link(row: Row) -> str:
    """Return a link to the model's page, marked where its samples are too close to training images."""
    return f"[{code(row.plugin)}](models/{row.plugin}.md)" + (", memorizes" if row.memorizes else "")


QUALITY = ("L1", "PSNR", "SSIM")
"""Metrics of translation with a trivial baseline; PSNR and SSIM are better when higher."""


def translations(rows: Iterable[tuple[str, Row]]) -> list[str]:
    """Return a table of translators, by source."""
    return table(
        ("source", "model", *QUALITY, "effnet distance", "FD", "accuracy", "NFE"),
        (
            (
                code(source),
                _link(row),
                *("n/a" if source == "itself" else _beside_trivial(row, base) for base in QUALITY),
                *(prose(cell(row, base)) for base in ("effnet distance", "FD", "accuracy")),
                f"{row.cost['nfe']:.0f}" if "nfe" in row.cost else "",
            )
            for source, row in rows
        ),
    )


def _value(row: Row, base: str) -> float | None:
    return next((values[0] for name, values in row.scores.items() if base_name(name) == base), None)


def _beside_trivial(row: Row, base: str) -> str:
    own, trivial = _value(row, base), _value(row, f"trivial {base}")
    digits = 1 if base == "PSNR" else 3
    shown = "n/a" if own is None else f"{own:.{digits}f}"
    return shown if trivial is None else f"{shown} ({trivial:.{digits}f})"


def verdict(rows: Sequence[tuple[str, Row]]) -> str:
    """Return a sentence that names the translators that do not beat the trivial baseline."""
    worse = []
    for source, row in rows:
        for base in QUALITY:
            own, trivial = _value(row, base), _value(row, f"trivial {base}")
            sign = -1 if base == "L1" else 1
            if own is not None and trivial is not None and sign * own <= sign * trivial:
                worse.append(f"{code(row.plugin)} from {code(source)} in {base}")
    if not worse:
        return "Every translator is better than the trivial baseline in each of the three."
    return f"All are better than it, except {', '.join(worse)}."


def sweeps(root: Path) -> list[str]:
    """Return the sections of the committed sweeps of the guidance scale."""
    lines: list[str] = []
    for path in sorted((root / "results" / "guidance").glob("*.json")):
        record: Mapping[str, Any] = json.loads(path.read_text())
        about = {"plugin": record["plugin"], "n": record["n"], "image": f"assets/guidance-{path.stem}.png"}
        lines.append(SWEEP.format(**about))
        lines += table(
            ("scale", record["rows"][0]["column"], "accuracy", "NFE"),
            (
                (
                    f"{row['scale']:g}",
                    prose(_interval(row["distance"], 0)),
                    prose(_interval(row["accuracy"], 3)) if row["accuracy"] else "",
                    f"{row['nfe']:.0f}",
                )
                for row in record["rows"]
            ),
        )
    return lines


def _interval(values: Sequence[float], digits: int) -> str:
    value, *ends = (f"{value:.{digits}f}" for value in values)
    return f"{value} [{', '.join(ends)}]" if ends else value
