"""The measure, measured: what real pictures score, whether known damage is ordered rightly, and whether
another tool finds the same.

The training split is cut in two halves that nothing but chance tells apart: one is the reference, the other
is scored, as it is and damaged. A measure that can't order these can't order models.
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
from zoo_core.errors import UsageError
from zoo_core.interfaces import Extractor
from zoo_core.provenance import versions
from zoo_core.runs import load_data
from zoo_core.seeds import generator
from zoo_eval.agreement import Agreement, end_to_end, on_features
from zoo_eval.damage import DAMAGES, DROPPED
from zoo_eval.features import Features
from zoo_eval.protocol import METRICS_VERSION, SMALLEST, Protocol
from zoo_eval.reference import Samples, samples_of, scoring_config
from zoo_eval.scoring import figures, generated_features, memorised, preflight, real_features

SCHEMA = 1
LARGEST = 5_000
"""Pictures a side where none are asked for."""
SIZES = (8, 4, 2, 1)
"""Real against real: the whole half, and these parts of it."""
LEFT_OUT = (1, 3, 6)
"""Classes left out of ten, in steps; in proportion for other numbers of classes."""
COPIED = (0.25, 0.5, 1.0)
"""Share of samples that are training pictures."""
FEWEST = 280
"""Fewest pictures a side: with fewer, chance moves the smallest damage."""


@dataclass(frozen=True)
class Bench:
    """Two halves of real pictures, and what scores them.

    Attributes:
        run: the first half as training split, beside the whole test split; its samples are the other half.
        label: classes of the samples, or None.
        extractor, protocol: as in a score.
        train, test: features of the splits.
    """

    run: Samples
    label: Tensor | None
    extractor: Extractor
    protocol: Protocol
    train: Features
    test: Features

    @property
    def probe(self) -> Tensor:
        """uint8 levels (n, C, H, W) of the half that is scored."""
        return self.run.rows

    @property
    def real(self) -> Tensor:
        """uint8 levels (n, C, H, W) of the half that is the reference."""
        return self.run.data.train.examples(torch.arange(len(self.run.data.train)))

    def features(self, rows: Tensor) -> Features:
        """Return the features of pictures, under a protocol that counts as many."""
        protocol = replace(
            self.protocol,
            n_generated=len(rows),
            neighbours_n=min(len(rows), len(self.train)),
            kid_subset_size=min(self.protocol.kid_subset_size, len(rows) // 2),
            memorisation_n=len(rows),
        )
        return generated_features(self.run, rows, self.extractor, protocol)

    def columns(self, rows: Tensor) -> dict[str, dict[str, Any]]:
        """Return every column of pictures scored against the reference."""
        return figures(self.train, self.features(rows))[0]


def bench(config: RunConfig, most: int | None, say: Callable[[str], None]) -> Bench:
    """Return the halves of a dataset's training split.

    Args:
        config: data and eval.
        most: pictures a side; None for as many as there are, at most `LARGEST`.
        say: told what is done.

    Raises:
        UsageError: for points, or too few pictures.
    """
    data = load_data(config)
    if not data.info.is_image:
        raise UsageError(f"{data.info.name!r} holds points", "expected: pictures; e.g. data=digits")
    order = torch.randperm(len(data.train), generator=generator(0, "audit"))
    n = min(len(data.train) // 2, most or LARGEST)
    if n < FEWEST:
        raise UsageError(
            f"{n} pictures a side are too few to order damage by", f"expected: at least {FEWEST}"
        )
    parts = [order[:n], order[n : 2 * n]]
    real, probe = (data.train.examples(part).cpu() for part in parts)
    every = data.train.label
    labels = [None if every is None else every.cpu()[part] for part in parts]
    train = Resident(real, labels[0])
    halves = replace(data, train=train, sha256=f"{data.sha256}, {n} of its training split by the audit")
    run = samples_of(config, probe, halves, say)
    protocol, extractor = preflight(run)
    features = (real_features(run, split, extractor, protocol) for split in ("train", "test"))
    return Bench(run, labels[1], extractor, protocol, *features)


def real_against_real(made: Bench, repeats: int = 3) -> list[dict[str, Any]]:
    """Return each column's floor for several numbers of samples: what new real pictures score."""
    floors = []
    for part in SIZES:
        n = len(made.probe) // part
        if n < SMALLEST:
            continue
        drawn = []
        for k in range(repeats if part > 1 else 1):
            rows = torch.randperm(len(made.probe), generator=generator(k, "audit", "floor"))[:n]
            drawn.append(made.columns(made.probe[rows]))
        shared = [name for name in drawn[0] if all(name in one for one in drawn)]
        floors.append(
            {
                "n": n,
                "columns": {name: sum(one[name]["value"] for one in drawn) / len(drawn) for name in shared},
            }
        )
    return floors


def ladder(
    name: str, strengths: Sequence[float], rungs: Sequence[Mapping[str, Any]], seen_by: Sequence[str]
) -> dict[str, Any]:
    """Return the record of one kind of damage.

    Args:
        strengths: 0 for none, then ascending.
        rungs: the columns {"value", "better"} at each.
        seen_by: short names of the columns that must get worse with every step.
    """
    columns = {c: [rung[c]["value"] for rung in rungs] for c in rungs[0] if all(c in rung for rung in rungs)}
    expected = [c for c in columns if c.partition("[")[0] in seen_by and " " not in c]
    wrong = [c for c in expected if not _worse(columns[c], rungs[0][c]["better"])]
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
    """Return the ladders of damage to pictures and to their variety."""
    levels = made.run.data.info.levels
    assert levels is not None
    found = []
    for damage in DAMAGES:
        sets = [made.probe, *(damage.change(made.probe, s, levels) for s in damage.strengths)]
        rungs = [made.columns(rows) for rows in sets]
        found.append(ladder(damage.name, (0, *damage.strengths), rungs, damage.seen_by))
    if made.label is not None:
        found.append(_dropped(made, made.label))
    return found


def _dropped(made: Bench, label: Tensor) -> dict[str, Any]:
    """Return the ladder of classes left out, the same number of pictures at every step."""
    classes = made.run.data.info.classes
    steps = sorted({max(1, round(k * classes / 10)) for k in LEFT_OUT if k < classes})
    kept = [label >= step for step in (0, *steps)]
    n = int(kept[-1].sum())
    rungs = []
    for mask in kept:
        rows = torch.nonzero(mask).flatten()
        chosen = rows[torch.randperm(len(rows), generator=generator(0, "audit", "modes"))[:n]]
        rungs.append(made.columns(made.probe[chosen]))
    return ladder("dropped classes", (0, *steps), rungs, DROPPED)


def copied(made: Bench) -> dict[str, Any]:
    """Return the ladder of copies of the training set, which only the memorisation check can see."""
    rungs = []
    for share in (0.0, *COPIED):
        rows = made.probe.clone()
        n = round(share * len(rows))
        rows[:n] = made.real[:n]
        record, column = memorised(made.run, rows, made.features(rows), made.train, made.test)
        shares = {
            key: {"value": record[key], "better": "lower"} for key in ("close_share", "feature_close_share")
        }
        authenticity = {name: {**cell, "better": "higher"} for name, cell in column.items()}
        rungs.append(
            {**shares, **authenticity, "memorises": {"value": float(record["memorises"]), "better": ""}}
        )
    found = ladder("copies", (0, *COPIED), rungs, ("close_share", "feature_close_share", "authenticity"))
    verdicts = found["columns"]["memorises"]
    found["expected"].append("memorises")
    if verdicts[0] or not verdicts[-1]:  # new pictures must pass, and copies must not
        found["wrong"].append("memorises")
    return found


def audit(
    words: Mapping[str, str], most: int | None = None, *, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Return the whole record, ready for JSON.

    Args:
        words: of data, eval and device (see `reference.scoring_config`).
        most: pictures a side.
        say: told what is done.

    Raises:
        UsageError: for data that can't be audited.
    """
    made = bench(scoring_config(words, "audit"), most, say)
    say(f"{len(made.train):,} real pictures against {len(made.probe):,}, features of {made.extractor.name}")
    say("known damage")
    ladders = [*damaged(made), copied(made)]
    say("beside torch-fidelity")
    noisy = DAMAGES[0].change(made.probe, DAMAGES[0].strengths[1], made.run.data.info.levels or 256)
    fake = made.features(noisy)
    agreements = on_features(made.train, fake)
    if made.extractor.name.startswith("inception"):
        agreements.append(_end_to_end(made, fake, noisy))
    return {
        "schema": SCHEMA,
        "data": {"name": made.run.data.info.name, "sha256": made.protocol.data_sha256.partition(",")[0]},
        "extractor": {"name": made.extractor.name, "sha256": made.extractor.sha256},
        "metrics_version": METRICS_VERSION,
        "n": len(made.train),
        "floor": real_against_real(made),
        "ladders": ladders,
        "agreement": [one.record() for one in agreements],
        "versions": versions(),
    }


def _end_to_end(made: Bench, fake: Features, noisy: Tensor) -> Agreement:
    from zoo_eval.fetching import INCEPTION, require
    from zoo_eval.frechet import frechet_distance

    given = made.run.config.eval.extractor_path
    weights = Path(given).expanduser() if given else require(INCEPTION, "inception")
    ours = frechet_distance(made.train.values, fake.values)
    return end_to_end(made.real, noisy, made.run.data.info, weights, ours)
