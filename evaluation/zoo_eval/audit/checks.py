"""Sanity checks of the metrics: the score of real images, the order of graded damage, agreement with another
tool.

The training split is cut in two random halves that share no near-duplicates, where those are known: one is
the reference, the other is scored, as it is and damaged. A metric that can't order these can't order models.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.data.loading import Resident
from zoo_core.data.splits import two_parts
from zoo_core.errors import UsageError
from zoo_core.registry.manager import Entry
from zoo_core.registry.metrics import base_name, direction
from zoo_core.results.provenance import versions
from zoo_core.runs import choose_device, load_data
from zoo_core.seeds import generator
from zoo_eval.audit.agreement import Agreement, end_to_end, on_features
from zoo_eval.audit.damage import DAMAGES, DROPPED
from zoo_eval.context import Context
from zoo_eval.pipeline import Setup, chosen_metrics, prepare, run_metrics
from zoo_eval.protocol import METRICS_VERSION, SMALLEST
from zoo_eval.reference import scoring_config
from zoo_eval.sampling import Sampled, Source, source_of_rows
from zoo_eval.verdicts import EXCESS

SCHEMA = 2
SLOW = ("memorization",)
"""Metrics that only the copies are scored by: they take long and do not see other damage."""
LARGEST = 5_000
"""Images a side where none are asked for."""
SIZES = (8, 4, 2, 1)
"""Real against real: the whole half, and these parts of it."""
REPEATS = 3
"""Draws of each part, whose mean is taken."""
LEFT_OUT = (1, 3, 6)
"""Classes left out of ten, in steps; in proportion for other numbers of classes."""
COPIED = (0.25, 0.5, 1.0)
"""Share of samples that are training images."""
FEWEST = 280
"""Fewest images a side: with fewer, chance moves the smallest damage."""


@dataclass(frozen=True)
class Bench:
    """Two halves of real images, and what scores them.

    Attributes:
        source: the first half as training split, and the whole test split.
        setup: protocol and extractor.
        probe: uint8 levels (n, C, H, W) of the half that is scored.
        label: its classes, or None.
    """

    source: Source
    setup: Setup
    probe: Tensor
    label: Tensor | None

    @property
    def real(self) -> Tensor:
        """uint8 levels (n, C, H, W) of the half that is the reference."""
        train = self.source.data.train
        return train.examples(torch.arange(len(train)))

    @property
    def asked(self) -> list[Entry]:
        """The metrics of `eval.metrics`."""
        return chosen_metrics(self.source.config.eval.metrics)

    def context(self, rows: Tensor) -> Context:
        """Return the context of images, under a protocol that counts as many."""
        protocol = replace(
            self.setup.protocol,
            n_generated=len(rows),
            neighbors_n=min(len(rows), len(self.source.data.train)),
            kid_subset_size=min(self.setup.protocol.kid_subset_size, len(rows) // 2),
            memorization_n=len(rows),
        )
        return Context(self.source, protocol, self.setup.extractor, Sampled(rows, None, 0, 0.0, 0.0))

    def columns(self, rows: Tensor) -> dict[str, float]:
        """Return every column of images that are scored against the reference."""
        found = run_metrics(
            self.context(rows),
            [e for e in self.asked if e.spec.name not in SLOW and "features" in e.spec.needs],
        )
        return {name: value.value for name, value in found.values.items() if " to " not in name}


def bench(config: RunConfig, most: int | None, say: Callable[[str], None]) -> Bench:
    """Return the halves of a dataset's training split.

    Args:
        config: data and eval.
        most: images a side; None for as many as there are, at most `LARGEST`.
        say: told what is done.

    Raises:
        UsageError: for points, or too few images.
    """
    track = config.track.model_copy(update={"plots": False})
    config, data = config.model_copy(update={"track": track}), load_data(config)
    if not data.info.is_image:
        raise UsageError(f"{data.info.name!r} holds points", "expected: images; e.g. data=digits")
    order = torch.randperm(len(data.train), generator=generator(0, "audit"))
    parts = two_parts(order, data.train.groups or range(len(order)), most or LARGEST)
    n = len(parts[0])
    if n < FEWEST:
        raise UsageError(f"{n} images a side are too few to order damage by", f"expected: at least {FEWEST}")
    real, probe = (data.train.examples(part).cpu() for part in parts)
    every = data.train.label
    labels = [None if every is None else every.cpu()[part] for part in parts]
    train = Resident(real, labels[0])
    halves = replace(data, train=train, sha256=f"{data.sha256}, {n} of its training split by the audit")
    source = source_of_rows(probe, config, halves, choose_device(config.device), say)
    return Bench(source, prepare(source), probe, labels[1])


def real_against_real(made: Bench) -> list[dict[str, Any]]:
    """Return each column's floor for several numbers of samples: what new real images score."""
    floors = []
    for part in SIZES:
        n = len(made.probe) // part
        if n < SMALLEST:
            continue
        drawn = []
        for k in range(REPEATS if part > 1 else 1):
            rows = torch.randperm(len(made.probe), generator=generator(k, "audit", "floor"))[:n]
            drawn.append(made.columns(made.probe[rows]))
        shared = [name for name in drawn[0] if all(name in one for one in drawn)]
        floors.append(
            {
                "n": n,
                "columns": {name: sum(one[name] for one in drawn) / len(drawn) for name in shared},
            }
        )
    return floors


def graded(
    name: str,
    strengths: Sequence[float],
    steps: Sequence[Mapping[str, float]],
    seen_by: Sequence[str],
    directions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the record of one kind of damage.

    Args:
        strengths: 0 for none, then ascending.
        steps: the columns at each.
        seen_by: base names of the columns that must get worse with every step.
        directions: column -> "lower" or "higher", for columns that are not ranked.
    """
    columns = {c: [step[c] for step in steps] for c in steps[0] if all(c in step for step in steps)}
    expected = [c for c in columns if base_name(c) in seen_by]
    told = directions or {}
    wrong = [c for c in expected if not _worse(columns[c], told.get(base_name(c)) or direction(c))]
    return {
        "damage": name,
        "strengths": list(strengths),
        "columns": columns,
        "expected": expected,
        "wrong": wrong,
    }


def _worse(values: Sequence[float], better: str) -> bool:
    """Return whether each value is worse than the one before it."""
    sign = -1 if better == "higher" else 1
    return all(sign * after > sign * before for before, after in itertools.pairwise(values))


def damaged(made: Bench) -> list[dict[str, Any]]:
    """Return the records of damage to images and to their variety."""
    levels = made.source.data.info.levels
    assert levels is not None
    found = []
    for damage in DAMAGES:
        sets = [made.probe, *(damage.change(made.probe, s, levels) for s in damage.strengths)]
        steps = [made.columns(rows) for rows in sets]
        found.append(graded(damage.name, (0, *damage.strengths), steps, damage.seen_by))
    if made.label is not None:
        found.append(_dropped(made, made.label))
    return found


def _dropped(made: Bench, label: Tensor) -> dict[str, Any]:
    """Return the record of classes left out, the same number of images at every step."""
    classes = made.source.data.info.classes
    counts = sorted({max(1, round(k * classes / 10)) for k in LEFT_OUT if k < classes})
    kept = [label >= count for count in (0, *counts)]
    n = int(kept[-1].sum())
    steps = []
    for mask in kept:
        rows = torch.nonzero(mask).flatten()
        chosen = rows[torch.randperm(len(rows), generator=generator(0, "audit", "modes"))[:n]]
        steps.append(made.columns(made.probe[chosen]))
    return graded("dropped classes", (0, *counts), steps, DROPPED)


def copied(made: Bench) -> dict[str, Any]:
    """Return the record of copies of the training set, which only the checks of copying can see."""
    optional = [entry for entry in made.asked if entry.spec.optional]
    entries = [*(entry for entry in chosen_metrics(None) if entry.spec.name in SLOW), *optional]
    steps = []
    for fraction in (0.0, *COPIED):
        rows = made.probe.clone()
        n = round(fraction * len(rows))
        rows[:n] = made.real[:n]
        values = run_metrics(made.context(rows), entries).values
        steps.append({name: value.value for name, value in values.items()})
    worse = {"memorization": "lower", "authenticity": "higher", "FLD": "lower", "C_T": "higher"}
    found = graded("copies", (0, *COPIED), steps, tuple(worse), worse)
    verdicts = [max(v for c, v in step.items() if base_name(c) == "memorization") > EXCESS for step in steps]
    found["columns"]["memorizes"] = [float(one) for one in verdicts]
    found["expected"].append("memorizes")
    if verdicts[0] or not verdicts[-1]:  # new images must pass, and copies must not
        found["wrong"].append("memorizes")
    return found


def audit(
    words: Mapping[str, str], most: int | None = None, *, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Return the whole record, ready for JSON.

    Args:
        words: of data, eval and device (see `reference.scoring_config`).
        most: images a side.
        say: told what is done.

    Raises:
        UsageError: for data that can't be audited.
    """
    made = bench(scoring_config(words, "audit"), most, say)
    extractor, protocol = made.setup.extractor, made.setup.protocol
    say(f"{len(made.real):,} real images against {len(made.probe):,}, features of {extractor.name}")
    say("known damage")
    graded = [*damaged(made), copied(made)]
    say("beside torch-fidelity")
    noisy = DAMAGES[0].change(made.probe, DAMAGES[0].strengths[1], made.source.data.info.levels or 256)
    ctx = made.context(noisy)
    agreements = on_features(ctx.train, ctx.generated)
    if extractor.name.startswith("inception"):
        agreements.append(_end_to_end(made, ctx, noisy))
    return {
        "schema": SCHEMA,
        "data": {"name": made.source.data.info.name, "sha256": protocol.data_sha256.partition(",")[0]},
        "extractor": {"name": extractor.name, "sha256": extractor.sha256},
        "metrics_version": METRICS_VERSION,
        "n": len(made.real),
        "floor": real_against_real(made),
        "graded": graded,
        "agreement": [one.record() for one in agreements],
        "versions": versions(),
    }


def _end_to_end(made: Bench, ctx: Context, noisy: Tensor) -> Agreement:
    from zoo_eval.extractors.fetching import INCEPTION, require
    from zoo_eval.metrics.frechet import frechet_distance

    given = made.source.config.eval.extractor_path
    weights = Path(given).expanduser() if given else require(INCEPTION, "inception")
    ours = frechet_distance(ctx.train.values, ctx.generated.values)
    return end_to_end(made.real, noisy, made.source.data.info, weights, ours)
