"""Samples of a program that is no plugin, scored under the zoo's protocols and recorded beside its runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from torch import Tensor

from zoo_core import strict_yaml
from zoo_core.config import Config
from zoo_core.errors import UsageError
from zoo_core.home import runs_root
from zoo_core.provenance import provenance
from zoo_core.registry.manager import manager
from zoo_core.registry.spec import NAME
from zoo_core.runs import load_data
from zoo_core.training.checkpoint import write_atomic
from zoo_eval.baselines import baselines
from zoo_eval.pictures import read_samples
from zoo_eval.protocol import plan
from zoo_eval.reference import samples_of, scoring_config
from zoo_eval.results import SCHEMA
from zoo_eval.scoring import score

FAMILY = "outside"
SHEET = 64
"""Pictures in the sheet that is kept of them."""


class Manifest(Config):
    """What its author says of a set of samples: shown beside the figures, and not checked."""

    model: str = Field("", max_length=64)
    """Name; --name goes before it."""
    paper: str = Field("", max_length=200)
    """arXiv:..., a DOI, or a title."""
    url: str = Field("", max_length=200)
    """Where the code is."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of the training: sets that differ in it alone are seeds of one entry."""
    sample_seed: int = Field(0, ge=0, lt=2**63)
    """Of the drawing."""
    sampler: str = Field("", max_length=64)
    """Name of the sampler."""
    nfe: float | None = Field(None, ge=0)
    """Network calls a sample."""
    seconds_per_sample: float | None = Field(None, ge=0)
    """Of drawing, wall-clock."""
    train_seconds: float | None = Field(None, ge=0)
    """Of training, wall-clock."""
    images_seen: float | None = Field(None, ge=0)
    """Training examples consumed, repetitions counted."""
    parameters: int | None = Field(None, ge=0)
    """Of the networks that were trained."""
    hardware: str = Field("", max_length=200)
    """What the seconds were measured on."""
    notes: str = Field("", max_length=2000)
    """Anything else."""


COSTS = ("train_seconds", "images_seen", "parameters", "seconds_per_sample", "nfe")


def read_manifest(path: Path | None, samples: Path) -> Manifest:
    """Return the manifest in a file; None looks for manifest.json or .yaml in the folder, or beside the file.

    Raises:
        UsageError: for a file that is none: every key that is wrong.
    """
    if path is None:
        folder = samples if samples.is_dir() else samples.parent
        found = [folder / f"manifest.{suffix}" for suffix in ("json", "yaml", "yml")]
        path = next((file for file in found if file.is_file()), None)
        if path is None:
            return Manifest()
    if not path.is_file():
        raise UsageError(
            f"no manifest {str(path)!r}", "expected: a JSON or YAML file", "format: docs/submitting.md"
        )
    given = strict_yaml.read(path)
    try:
        return Manifest.model_validate(given)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise UsageError(
            f"{path} is no manifest", *wrong, f"keys: {', '.join(Manifest.model_fields)}"
        ) from error


def entry_name(wanted: str | None, manifest: Manifest, samples: Path) -> str:
    """Return the name that the samples stand under: as asked for, as in the manifest, or as their file's.

    Raises:
        UsageError: for a name that is none, or an installed model's: figures of others are not its own.
    """
    given = wanted or manifest.model or samples.resolve().stem
    name = given if wanted else given.lower().replace(" ", "-")
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{given!r} is no name",
            "expected: lower-case letters, digits, _ . and -, at most 64",
            "next: --name NAME",
        )
    if any(entry.spec.name == name for entry in manager().entries("plugin")):
        raise UsageError(
            f"{name!r} is the name of an installed model",
            "expected: another one",
            f"next: --name {name}-theirs",
        )
    return name


def score_samples(
    path: Path,
    words: Mapping[str, str],
    *,
    name: str | None = None,
    manifest: Path | None = None,
    say: Callable[[str], None] = print,
) -> tuple[dict[str, Any], Path]:
    """Score samples and record their result where the leaderboard finds it.

    Args:
        path: of an .npz or .npy file, or of a folder of pictures (see `pictures.read_samples`).
        words: of data, eval and device (see `reference.scoring_config`).
        name: of the entry.
        manifest: file with a `Manifest`.
        say: told what is done.

    Returns:
        the result, and the file it was written to.

    Raises:
        ZooError: where the samples, the words or the manifest are unfit.
    """
    about = read_manifest(manifest, path)
    called = entry_name(name, about, path)
    config = scoring_config(words, called)
    need = plan(config.eval.protocol).n_generated
    data = load_data(config)
    for line in data.report:
        say(line)
    rows = read_samples(path, data.info, need)
    said = about.model_dump(exclude_defaults=True)
    key = {k: v for k, v in said.items() if k not in ("seed", "sample_seed")}
    digest = hashlib.sha256(json.dumps([called, key], sort_keys=True).encode()).hexdigest()[:12]
    folder = runs_root() / config.data.name / called / f"{digest}-s{about.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    run = samples_of(config, rows, data, say, folder)
    scored = score(run)
    result = {
        "schema": SCHEMA,
        "plugin": called,
        "family": FAMILY,
        "data": config.data.name,
        "seed": about.seed,
        "config_hash": digest,
        **scored,
        "entry": {"sampler": about.sampler, "seed": about.sample_seed},
        "cost": {k: value for k in COSTS if (value := getattr(about, k)) is not None},
        "manifest": said,
        "provenance": provenance(str(run.device), "genzoo")
        | {"data": {"name": data.info.name, "sha256": data.sha256}, "samples": _origin(path)},
    }
    if config.eval.baselines:
        result["baselines"] = baselines(run)
    file = folder / f"result-{result['protocol']['hash']}.json"
    write_atomic(file, json.dumps(result, indent=1, allow_nan=False).encode())
    _draw_sheet(rows, run, folder)
    return result, file


def _origin(path: Path) -> dict[str, str]:
    if path.is_dir():
        return {"folder": path.resolve().name}
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _draw_sheet(rows: Tensor, run: Any, folder: Path) -> None:
    from zoo_core.data.loading import to_unit
    from zoo_core.tracking.pictures import save_samples

    info = run.data.info
    chosen = rows[:SHEET] if info.is_image else rows[:2000]
    x = chosen if info.levels is None else to_unit(chosen, info.levels)
    save_samples(x, info, folder / "pictures" / "samples.png")
