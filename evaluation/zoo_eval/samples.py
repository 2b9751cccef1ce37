"""Samples of other programs, scored under the zoo's protocols and recorded beside its runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from torch import Tensor

from zoo_core.config import Config, flatten, strict_yaml
from zoo_core.config.base import UnreadableError
from zoo_core.data.loading import Dataset, to_unit
from zoo_core.errors import UsageError
from zoo_core.home import runs_root
from zoo_core.registry.manager import manager
from zoo_core.registry.metrics import optional_metrics
from zoo_core.registry.resolution import plain
from zoo_core.registry.spec import NAME
from zoo_core.results import Cost, RunResult, SamplingRecord, merged, recorded_result, write_result
from zoo_core.results.attachments import attachment_of, write_attachment
from zoo_core.results.provenance import provenance
from zoo_core.results.records import config_record, provenance_record
from zoo_core.runs import choose_device, load_data
from zoo_eval.baselines import baselines
from zoo_eval.pipeline import Identity, evaluate, prepare
from zoo_eval.protocol import plan
from zoo_eval.reference import scoring_config
from zoo_eval.sample_files import read_samples
from zoo_eval.sampling import samples_hash, source_of_rows

FAMILY = "outside"
GRID = 64
"""Images in the attached grid."""


class Manifest(Config):
    """What the author of a set of samples reports: shown with the result, and not checked."""

    model: str = Field("", max_length=64)
    """Name; --name takes precedence."""
    paper: str = Field("", max_length=200)
    """arXiv:..., a DOI, or a title."""
    url: str = Field("", max_length=200)
    """Where the code is."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Training seed; sets that differ in it alone are seeds of one entry."""
    sample_seed: int = Field(0, ge=0, lt=2**63)
    """Seed of sampling."""
    sampler: str = Field("", max_length=64)
    """Name of the sampler."""
    nfe: float | None = Field(None, ge=0)
    """Network evaluations per sample."""
    seconds_per_sample: float | None = Field(None, ge=0)
    """Wall-clock seconds of sampling."""
    train_seconds: float | None = Field(None, ge=0)
    """Wall-clock seconds of training."""
    images_seen: float | None = Field(None, ge=0)
    """Training examples consumed, repetitions counted."""
    parameters: int | None = Field(None, ge=0)
    """Number of trained parameters."""
    hardware: str = Field("", max_length=200)
    """Hardware of the seconds above."""
    notes: str = Field("", max_length=2000)
    """Anything else."""


COSTS = ("train_seconds", "images_seen", "parameters", "seconds_per_sample", "nfe")


def read_manifest(path: Path | None, samples: Path) -> Manifest:
    """Return the manifest in a file; None looks for manifest.json or .yaml in the folder, or beside the file.

    Raises:
        UsageError: for a file that is not one: every key that is wrong.
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
    if not isinstance(given, dict):
        raise UsageError(
            f"{path} is not a manifest",
            "expected: a mapping, such as {model: my-model, seed: 0}",
            f"keys: {', '.join(Manifest.model_fields)}",
        )
    try:
        return Manifest.model_validate(given)
    except ValidationError as error:
        wrong = [_told(one) for one in error.errors()]
        raise UsageError(
            f"{path} is not a manifest", *wrong, f"keys: {', '.join(Manifest.model_fields)}"
        ) from error


def _told(problem: Mapping[str, Any]) -> str:
    """Return which key of a manifest is wrong, and why."""
    cause = problem.get("ctx", {}).get("error")
    path = [*problem["loc"], *([cause.option] if isinstance(cause, UnreadableError) else [])]
    return f"{'.'.join(map(str, path))}: {problem['msg'].removeprefix('Value error, ')}"


def entry_name(wanted: str | None, manifest: Manifest, samples: Path) -> str:
    """Return the entry's name: the one asked for, the manifest's model, or the file's name.

    Raises:
        UsageError: for a name that is not allowed, or is an installed model's.
    """
    given = wanted or manifest.model or Path(os.path.realpath(samples)).stem
    name = given if wanted else given.lower().replace(" ", "-")
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{given!r} is not a name",
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
    replace: bool = False,
    say: Callable[[str], None] = print,
) -> RunResult:
    """Score samples and record their result where the leaderboard finds it.

    Args:
        path: of an .npz or .npy file, or of a folder of images (see `sample_files.read_samples`).
        words: options of data, eval and device (see `reference.scoring_config`), and `levels=K`.
        name: of the entry.
        manifest: file with a `Manifest`.
        replace: whether a result of other samples under the same name and seed is replaced.
        say: tells the user how things go.

    Returns:
        The result, with the folder that it was written to. Where these samples were scored there before,
        under the same protocol, it has the earlier columns, too.

    Raises:
        ZooError: where the samples, the words or the manifest are unfit, or the name is taken by other
            samples.
    """
    about = read_manifest(manifest, path)
    called = entry_name(name, about, path)
    given = dict(words)
    levels = _levels(given.pop("levels", None))
    config = scoring_config(given, called)
    data = load_data(config)
    for line in data.report:
        say(line)
    found = read_samples(path, data, plan(config.eval.protocol).n_generated, levels)
    for line in found.notes:
        say(line)
    said = about.model_dump(exclude_defaults=True)
    key = {k: v for k, v in said.items() if k not in ("seed", "sample_seed")}
    digest = hashlib.sha256(json.dumps([called, key], sort_keys=True).encode()).hexdigest()[:12]
    folder = runs_root() / config.data.name / called / f"{digest}-s{about.seed}"
    source = source_of_rows(found.rows, config, data, choose_device(config.device), say, folder)
    setup = prepare(source)
    file = folder / f"result-{setup.protocol.hash}.json"
    if not replace:
        _check_free(file, samples_hash(found.rows), called, about.seed)
    folder.mkdir(parents=True, exist_ok=True)
    recorded = (
        provenance(str(source.device), "genzoo")
        | {
            "plugin_package": "",  # no installed distribution made these samples
            "seeds": {"train": about.seed, "sample": about.sample_seed},
            "samples": _origin(path),
            "notes": {k: str(said[k])[:400] for k in ("paper", "url", "hardware", "notes") if k in said},
        }
    )
    identity = Identity(
        plugin=called,
        family=FAMILY,
        seed=about.seed,
        config_hash=digest,
        cost=Cost(**{k: value for k in COSTS if (value := getattr(about, k)) is not None}),
        provenance=provenance_record(recorded),
        sampling=SamplingRecord(sampler=about.sampler, seed=about.sample_seed),
        config=config_record(flatten(plain(config))),
    )
    result = evaluate(source, identity, setup)
    result = result.model_copy(
        update={"attachments": {**result.attachments, **_grid(found.rows, data, folder)}}
    )
    before = recorded_result(file)
    result = result if before is None else merged(before, result, optional_metrics())
    write_result(result, file)
    say(f"recorded: {file}")
    others = tuple(baselines(config)) if config.eval.baselines else ()
    return RunResult(
        str(folder), called, data.info.name, about.seed, digest, result, result.cost, baselines=others
    )


def _levels(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 3:
        raise UsageError(f"levels={text[:40]}", "expected: a whole number, 2 to 256")
    return int(text)


def _check_free(file: Path, samples: str, name: str, seed: int) -> None:
    """Refuse to overwrite the result of other samples.

    Raises:
        UsageError: with the ways to keep both.
    """
    if not file.exists():
        return
    recorded = recorded_result(file)
    if recorded is None or recorded.samples_sha256 != samples:
        raise UsageError(
            f"a result of other samples is recorded under the name {name!r}, seed {seed}: {file}",
            "next: --name NAME for another entry",
            "next: a manifest with seed: N for another training seed of the same entry",
            "next: --replace to replace the recorded result",
        )


def _origin(path: Path) -> dict[str, str]:
    if path.is_dir():
        return {"folder": path.resolve().name[:400]}
    with path.open("rb") as file:
        return {"file": path.name[:400], "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _grid(rows: Tensor, data: Dataset, folder: Path) -> dict[str, object]:
    """Write a grid of samples beside the result; return its record."""
    from zoo_core.results.attachments import small_png
    from zoo_core.viz.plots import save_samples

    info = data.info
    chosen = rows[:GRID] if info.is_image else rows[:2000]
    x = chosen if info.levels is None else to_unit(chosen, info.levels)
    path = folder / "plots" / "samples.png"
    save_samples(x, info, path)
    content = small_png(path)
    if content is None:
        return {}
    attachment = attachment_of("samples", content, "png")
    write_attachment(folder, attachment, content)
    return {"samples": attachment}
