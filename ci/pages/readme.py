"""README.md: its table of results and its image are made from results/."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from pages.figure import CELLS, Shown, Strip
from pages.results import Scored
from pages.tables import code, prose, table
from zoo_core.data.conditioning import dealt, source_images
from zoo_core.data.tasks import with_origin
from zoo_core.hub.bundle import MANIFEST
from zoo_core.hub.shipped import PACKAGE
from zoo_core.registry.index import Index, load_index
from zoo_core.registry.ledger import Published
from zoo_core.registry.resolution import resolve
from zoo_core.runs.opening import load_data
from zoo_eval.leaderboard.page.sprites import strip

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("digits", "unconditional")
"""Dataset and task of the table, and of the scores in the image."""
SAMPLED = "emoji"
"""Dataset of the samples in the image."""
TASKS = {"unconditional": 4, "class": 2, "paired from lowres": 2}
"""Tasks of the samples in the image, and for how many families the best model of each is shown."""
NOTES = {"unconditional": "FD", "class": "given a class, FD", "paired from lowres": "from 8x8, L1"}
"""What stands before a score in the image."""
ROWS = 8
"""Rows of the table; the pages of the models have all of them."""
PAPERS = ("cifar10", "fid")
"""Dataset and metric of the published scores that stand beside ours."""


def shown_rows(scored: Iterable[Scored]) -> list[Scored]:
    """Return the rows that have a rank on the shown leaderboard, in its order."""
    return [row for row in scored if (row.data, row.task) == SHOWN and row.rank[0] not in "-?"]


def sampled_rows(scored: Iterable[Scored], task: str) -> list[Scored]:
    """Return the best row of each of the best families of a task, with samples that may be shown.

    A row of one seed has no rank and may be shown; one that copies training images, or a baseline, may not.
    """
    best: dict[str, Scored] = {}
    for row in scored:
        usable = row.samples and row.rank[0] != "-" and row.family != "baseline"
        if (row.data, row.task) == (SAMPLED, task) and usable:
            best.setdefault(row.family, row)
    return list(best.values())[: TASKS[task]]


def low_resolution() -> list[Any]:
    """Return the held-out images that samples of super-resolution are made from, in the samples' order."""
    data = with_origin(load_data(resolve(["plugin=pix2pix", f"data={SAMPLED}"])), "lowres")
    image = source_images(data, dealt(data, CELLS)).image
    assert image is not None
    return list(((image + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def image_strips(scored: Sequence[Scored], root: Path = ROOT) -> list[Strip]:
    """Return the rows of samples of the image, of the first samples at seed 0, below real images."""

    def images(row: Scored) -> Sequence[Any]:
        return strip((root / row.samples).read_bytes()) or ()

    copies = (
        row for row in scored if (row.data, row.task, row.plugin) == (SAMPLED, "unconditional", "copycat")
    )
    strips = [Strip("real images", "training split", "", images(row)) for row in copies]
    for task in TASKS:
        rows = sampled_rows(scored, task)
        if rows and task == "paired from lowres":
            strips.append(Strip("8x8 pixels", "of held-out images", "", low_resolution()))
        strips += [
            Strip(row.plugin, f"{NOTES[task]} {row.score.partition(' ')[0]}", row.family, images(row))
            for row in rows
        ]
    return strips


def image_rows(scored: Sequence[Scored], root: Path = ROOT) -> Shown:
    """Return what the image shows: the leaderboard of its samples once enough models have a rank there."""
    here = [row for row in scored if (row.data, row.task) == (SAMPLED, "unconditional")]
    ranked = [row for row in here if row.rank[0] not in "-?"]
    column = here[0].column if here else ""
    return Shown(
        f"Samples: {SAMPLED}",
        f"the best model of each of the best families by {column} or L1; first samples of seed 0",
        image_strips(scored, root),
        ranked if len(ranked) >= ROWS else shown_rows(scored),
    )


def readme(text: str, scored: Sequence[Scored]) -> str:
    """Return README.md with its generated sections: what stands between their markers is replaced.

    Raises:
        ValueError: for a README without the markers.
    """
    text = _replaced(text, "results", "\n".join(results_lines(shown_rows(scored), load_index())))
    seeds = [row.seeds for task in TASKS for row in sampled_rows(scored, task)]
    return _replaced(text, "image", "\n".join(image_lines(image_rows(scored), seeds)))


def _replaced(text: str, name: str, section: str) -> str:
    pattern = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"README.md: expected <!-- {name} --> and <!-- end of {name} -->")
    return pattern.sub(lambda _: section, text)


def image_lines(shown: Shown, seeds: Iterable[int]) -> list[str]:
    """Return the image, with a text for those who don't see it, and its caption; [] with nothing to draw."""
    if not (shown.strips and shown.ranked):
        return []
    ranked, counts = shown.ranked[0], sorted(set(seeds))
    return [
        f"![samples of the best models on {SAMPLED}, one of a family, and the ranking of models on "
        f"{ranked.data} with intervals](docs/samples.png)",
        "",
        f"*Left: first samples of the best models on `{SAMPLED}`, one of a family, trained for minutes on "
        f"one CPU core ({' or '.join(map(str, counts))} {'seed' if counts == [1] else 'seeds'}). Right: the "
        f"ranking on `{ranked.data}`, lower is better.*",
        "",
    ]


def results_lines(rows: Sequence[Scored], index: Index) -> list[str]:
    """Return the table "model, data, score, published score, cost, weights" as Markdown, below its terms."""
    if not rows:
        return ["The committed results are being made again with the current version of the metrics.", ""]
    best = rows[:ROWS]
    seeds = sorted({row.seeds for row in best})
    return [
        f"The {len(best)} best of the {len(rows)} ranked models on `{SHOWN[0]}` ({SHOWN[1]}), trained with "
        f"default options on one CPU core each, with {' or '.join(map(str, seeds))} seeds. A score is the "
        "mean with its 95 % interval over seeds. Models whose difference is not significant share a rank "
        "(`=`). A published score is the lowest unconditional FID on CIFAR-10 that the index has from a "
        "table that was read: a reference only, of other data and a larger network.",
        *table(
            ("model", "data", "rank", best[0].column, "published", "training FLOPs", "NFE", "weights"),
            (
                (
                    f"[{code(row.plugin)}](docs/models/{row.plugin}.md)",
                    code(row.data),
                    prose(row.rank.partition(" ")[0]),
                    prose(row.score).replace(" ", "&nbsp;"),
                    published(row.plugin, index),
                    row.cost.flops,
                    row.cost.nfe,
                    weights(row.data, row.plugin),
                )
                for row in best
            ),
        ),
        "",
        "Every model has a [page](docs/models/index.md) with its results, and `zoo leaderboard results` "
        "ranks all of them. `zoo sample ADDRESS` draws from [weights](docs/weights.md) at once.",
        "",
    ]


def weights(data: str, name: str, root: Path = ROOT) -> str:
    """Return the address of a model's weights on a dataset; "" where the weights package has none."""
    bundle = root / "weights" / PACKAGE / data / name / MANIFEST
    return code(f"zoo://{data}/{name}") if bundle.is_file() else ""


def published(name: str, index: Index) -> str:
    """Return the lowest published score of a model that was read, with its source; "" where there is none.

    A model that is trained without labels here is compared with unconditional ones.
    """
    entry = index.entry(name)
    found = [one for one in (entry.published if entry else []) if _comparable(one)]
    if not found:
        return ""
    best = min(found, key=lambda one: one.value)
    return f"{best.value:.4g} ({prose(best.source.partition(', ')[0])})"


def _comparable(one: Published) -> bool:
    return (one.data, one.metric, one.condition) == (*PAPERS, "unconditional") and one.read
