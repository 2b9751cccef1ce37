"""The reference side of a score without a run: which data, which network, under which protocol; its floor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from pydantic import create_model
from torch import Tensor

from zoo_core.config import Config, RunConfig, canonical, validate
from zoo_core.data.loading import Dataset
from zoo_core.errors import Mistakes, UsageError
from zoo_core.registry.manager import load_entry, manager
from zoo_core.runs import Drawn, choose_device, load_data
from zoo_core.types import Cond
from zoo_eval.protocol import PLANS
from zoo_eval.scoring import floor, preflight, real_features

FREE = ("data", "eval", "device")
"""Sections of a run's options that concern its scoring."""


def scoring_config(words: Mapping[str, str], name: str) -> RunConfig:
    """Return the config of a score without a run.

    Args:
        words: options of data, eval and device; `protocol=` is short for `eval.protocol=`, and `data=` takes
            the path of a folder of pictures, too.
        name: of what is scored.

    Raises:
        Mistakes, NotFoundError: everything that is wrong with the words.
    """
    given: dict[str, Any] = {canonical(RunConfig, key, value): value for key, value in words.items()}
    if "protocol" in given:
        given["eval.protocol"] = given.pop("protocol")
    if "data.name" not in given:
        raise UsageError("no data are named", "expected: data=NAME, or data=FOLDER", "see: zoo datasets")
    if os.path.isdir(os.path.expanduser(given["data.name"])) and not _registered(given["data.name"]):
        given |= {"data.name": "folder", "data.path": given["data.name"]}
    foreign = [key for key in given if key.split(".")[0] not in FREE]
    if foreign:
        raise Mistakes(
            [
                UsageError(f"{key!r} is an option of a run", f"expected: {'.*, '.join(FREE)}, protocol")
                for key in foreign
            ]
        )
    entry = manager().find("dataset", given["data.name"])
    options: type[Config] = load_entry("dataset", entry, "config")
    kind = create_model(
        "RunConfig", __base__=RunConfig, data=(options, options.model_validate({"name": entry.spec.name}))
    )
    made, mistakes = validate(kind, {"plugin": name} | given, "scoring", "see: zoo datasets")
    if made is None:
        raise Mistakes(mistakes)
    return made


def _registered(name: str) -> bool:
    return any(entry.spec.name == name for entry in manager().entries("dataset"))


@dataclass(frozen=True)
class Samples:
    """Samples that no model of the zoo drew, as what the evaluator scores (`scoring.Scorable`).

    Attributes:
        config: data, protocol, device.
        data: what they are compared with.
        rows: uint8 levels (n, C, H, W), or float32 points (n, D), on the CPU.
        device: of the feature network.
        say: told what is done.
        dir: folder that pictures of the check for copies are drawn into; None for none.
    """

    config: RunConfig
    data: Dataset
    rows: Tensor
    device: torch.device
    say: Callable[[str], None]
    dir: Path | None = None
    recipe: Any = None
    harness: Any = field(default_factory=SimpleNamespace)
    cost: Mapping[str, Any] = field(default_factory=dict)

    def draw(
        self, n: int, *, start: int = 0, seed: int | None = None, cond: Cond | None = None
    ) -> Iterator[Drawn]:
        """Yield samples `start` to `start + n` in batches."""
        for part in self.rows[start : start + n].split(self.config.eval.batch_size):
            yield Drawn(part, 0, 0.0)


def samples_of(
    config: RunConfig, rows: Tensor, data: Dataset, say: Callable[[str], None], folder: Path | None = None
) -> Samples:
    """Return rows beside their data, ready to be scored."""
    return Samples(config, data, rows, choose_device(config.device), say, folder)


def statistics(words: Mapping[str, str], say: Callable[[str], None] = print) -> dict[str, Any]:
    """Compute and keep the reference features of a dataset under ZOO_HOME/stats; return what they are.

    Args:
        words: see `scoring_config`.
        say: told what is done.

    Returns:
        data, sha256, n_train, n_test, extractor, extractor_sha256, dim, and floors: protocol -> what as many
        new real examples would be expected to score.
    """
    config = scoring_config(words, "reference")
    data = load_data(config)
    for line in data.report:
        say(line)
    run = samples_of(config, torch.empty(0), data, say)
    protocol, extractor = preflight(run)
    train, test = (real_features(run, split, extractor, protocol) for split in ("train", "test"))
    return {
        "data": data.info.name,
        "sha256": data.sha256,
        "n_train": len(data.train),
        "n_test": len(data.test),
        "extractor": extractor.name,
        "extractor_sha256": extractor.sha256,
        "dim": train.values.shape[1],
        "floors": {name: floor(train, test, plan.n_generated)["value"] for name, plan in PLANS.items()},
    }
