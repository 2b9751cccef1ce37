"""A trained run sampled in another way than it was made: another sampler, other options of sampling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_core.config import RunConfig, flatten
from zoo_core.errors import UsageError
from zoo_core.registry.resolution import plain, resolve
from zoo_core.runs.opening import saved_config

SECTIONS = ("sampler", "sample")
"""Sections of options that change how a trained model is sampled, and not the model."""


def is_of_sampling(key: str) -> bool:
    """Return whether an option belongs to sampling: `sampler`, `sampler.eta`, `sample.steps`."""
    section, _, name = key.partition(".")
    return section in SECTIONS and (bool(name) or section == "sampler")


def sampling_config(folder: Path, given: Mapping[str, Any]) -> RunConfig:
    """Return the config of a run with other options of sampling.

    A sampler that is named starts from its own options, not from those of the run's sampler.

    Args:
        folder: of the run.
        given: dotted key -> value, as `zoo run` takes them.

    Raises:
        UsageError: for options of other sections.
        Mistakes: as `resolve`.
    """
    flat = flatten(given)
    others = [key for key in flat if not is_of_sampling(key)]
    if others:
        raise UsageError(
            f"can't sample with {', '.join(f'{key}=' for key in others)}",
            "expected: sampler=NAME, sampler.KEY=, sample.KEY=",
            "next: the other options of a run are fixed; zoo run config=RUN/config.yaml key=value",
        )
    saved = flatten(plain(saved_config(folder)))
    dropped = {"run_dir", "preset"}
    name = flat.get("sampler", flat.get("sampler.name"))
    if name is not None and name != saved.get("sampler.name"):
        dropped |= {key for key in saved if key.startswith("sampler.")} | {"providers.sampler"}
    return resolve({key: value for key, value in saved.items() if key not in dropped} | flat)
