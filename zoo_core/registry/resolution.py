"""From the words of a command line, a file or a mapping to typed runs; every mistake is reported at once."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import create_model

from zoo_core.config import (
    Config,
    RunConfig,
    before_later,
    canonical,
    check_bounded,
    comma_list,
    flatten,
    nest,
    shown,
    strict_yaml,
    validate,
)
from zoo_core.config.privacy import kept
from zoo_core.errors import Mistakes, NotFoundError, PluginError, UsageError, ZooError
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.registry.presets import preset_overrides

NOT_IN_HASH = ("seed", "device", "run_dir", "preset", "track", "plots", "train.log_every",
               "train.checkpoint_every", "train.keep", "train.audit", "train.sample_every",
               "train.parallel", "data.root",
               "data.storage", "data.label", "eval", "sample.batch_size")  # fmt: skip
"""What does not change the trained model or its samples; scores carry their own protocol's hash."""

MAX_RUNS = 10_000
"""Runs of one matrix."""


MAX_OPTIONS = 400
"""Options of one run, those of its saved config included."""


def parse_words(words: Iterable[str]) -> dict[str, str]:
    """Return key -> text for `a.b=c` words.

    Raises:
        Mistakes: where a word has no `=`, or a key is given twice.
    """
    given: dict[str, str] = {}
    mistakes: list[ZooError] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            mistakes.append(_not_an_override(word))
        elif key in given:
            mistakes.append(UsageError(f"{key!r} is given twice: {given[key]!r} and {text!r}"))
        else:
            given[key] = text
    if mistakes:
        raise Mistakes(mistakes)
    return given


def _not_an_override(word: str) -> UsageError:
    """Return the error for a word without `=`: `zoo run wgan` means plugin=wgan, and a folder is data."""
    meant = ""
    for kind, key in (("plugin", "plugin"), ("dataset", "data"), ("sampler", "sampler")):
        if not meant and word.lower() in {entry.spec.name for entry in manager().entries(kind)}:
            meant = f"{key}={word.lower()}"
    if not meant and "/" in word and _is_dir(word):
        run = (Path(word) / "config.yaml").is_file()
        meant = f"resume={word}" if run else f"data=folder data.path={word}"
    return UsageError(
        f"can't read {shown(word)}",
        f"did you mean: {meant}" if meant else "",
        "expected: key=value, e.g. plugin=vae train.steps=2000",
    )


def _is_dir(text: str) -> bool:
    try:
        return Path(text).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):
        return False


def resolve(given: Mapping[str, Any] | Sequence[str]) -> RunConfig:
    """Return the one run that is asked for.

    Args:
        given: `key=value` words, or a mapping with nested or dotted keys, whose texts are taken as they are;
            `config` names a saved config.yaml that the other keys are laid over.

    Raises:
        Mistakes: everything that is wrong, together.
    """
    runs = _matrix(given, split=not isinstance(given, Mapping))
    if len(runs) > 1:
        raise UsageError(
            f"{len(runs)} runs are asked for where one is expected",
            "a comma list is a matrix of runs; to pass one list, put it in brackets: [0.5,0.9]",
        )
    return runs[0]


def resolve_matrix(given: Mapping[str, Any] | Sequence[str]) -> list[RunConfig]:
    """Return every run of a matrix: the product of the comma lists, in the order they were written.

    Values of a saved config are taken as they are: a path or a caption there may hold a comma.

    Raises:
        Mistakes: everything that is wrong, together, each mistake once.
    """
    return _matrix(given, split=True)


def _matrix(given: Mapping[str, Any] | Sequence[str], *, split: bool) -> list[RunConfig]:
    flat: dict[str, Any] = (
        _flattened(given, "the options") if isinstance(given, Mapping) else parse_words(given)
    )
    listed = set(flat) if split else set()
    if "config" in flat:
        flat = _laid_over(_from_file(Path(str(flat.pop("config")))), flat)
    lists = _lists(flat, listed)
    runs: list[RunConfig] = []
    mistakes: dict[str, ZooError] = {}
    for combination in itertools.product(*lists):
        try:
            runs.append(_resolve_one(dict(combination)))
        except Mistakes as error:
            mistakes |= {str(mistake): mistake for mistake in error.mistakes}
    if mistakes:
        raise Mistakes(list(mistakes.values()))
    shared = [
        folder for folder, count in Counter(run.run_dir for run in runs).items() if folder and count > 1
    ]
    if shared:
        raise UsageError(
            f"{len(runs)} runs are asked for, and run_dir={shared[0]} is one folder",
            "expected: a folder for each run",
            "next: leave run_dir out; each run then has a folder of its own",
        )
    return runs


def _flattened(nested: Mapping[str, Any], name: str) -> dict[str, Any]:
    try:
        check_bounded(nested)
    except ValueError as error:
        raise UsageError(f"can't use {name}: {error}") from error
    return flatten(nested)


def _lists(flat: Mapping[str, Any], listed: Collection[str]) -> list[list[tuple[str, Any]]]:
    """Return (key, value) for each value of each option.

    Args:
        flat: dotted key -> value.
        listed: keys whose text may be a comma list.

    Raises:
        Mistakes: for values that can't be read.
        UsageError: where the matrix is too large to be run.
    """
    lists: list[list[tuple[str, Any]]] = []
    mistakes: list[ZooError] = []
    for key, value in flat.items():
        try:
            _check_text(key, value)
            values = comma_list.split(value) if isinstance(value, str) and key in listed else [value]
            lists.append([(key, one) for one in values])
        except UsageError as error:
            mistakes.append(UsageError(f"{key}: {error.what}", *error.notes))
    if mistakes:
        raise Mistakes(mistakes)
    count = math.prod(len(values) for values in lists)
    if count > MAX_RUNS:
        raise UsageError(
            f"{count:,} runs are asked for", f"expected: at most {MAX_RUNS:,} in one command; shorten a list"
        )
    return lists


def _check_text(key: str, value: Any) -> None:
    """Refuse texts that no file can hold.

    Raises:
        UsageError: for a NUL character, or bytes that are not UTF-8.
    """
    for text in (key, value):
        if isinstance(text, str):
            if "\0" in text:
                raise UsageError("a value contains a NUL character", "expected: text without it")
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise UsageError("a value is not valid UTF-8", "expected: UTF-8 text") from error


def _laid_over(saved: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved config with options laid over it.

    Where another model, dataset or sampler is named, the distribution recorded for the saved one is dropped.
    """
    for part in ("plugin", "data", "sampler"):
        if part in given or f"{part}.name" in given:
            saved.pop(f"providers.{part}", None)
    return saved | dict(given)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        path = path.expanduser()
        path = path / "config.yaml" if path.is_dir() else path
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"config={shown(str(path))} can't be a file: {error}"[:400]) from error
    if not exists:
        raise UsageError(f"no file {str(path)!r}", "expected: a config.yaml saved by a run, or its folder")
    saved = strict_yaml.read(path)
    if not isinstance(saved, Mapping):
        raise UsageError(f"{path} contains no config", "expected: a mapping such as a run's config.yaml")
    # What was resolved for that run is repeated; the folder and the preset it came from are not.
    flat = kept(path.parent, _flattened(saved, str(path)))
    return {key: value for key, value in flat.items() if key not in ("run_dir", "preset")}


def _resolve_one(flat: dict[str, Any]) -> RunConfig:
    if len(flat) > MAX_OPTIONS:
        raise Mistakes([UsageError(f"{len(flat):,} options", f"expected: at most {MAX_OPTIONS}")])
    here = manager()
    mistakes: list[ZooError] = []
    plugin = str(flat.pop("plugin", "") or "")
    if not plugin:
        names = ", ".join(entry.spec.name for entry in here.entries("plugin"))
        raise Mistakes([UsageError("no plugin is named", f"expected: plugin=NAME, one of {names}")])
    try:
        entry = here.find("plugin", plugin, str(flat.get("providers.plugin", "")))
        plugin = entry.spec.name
        config: type[RunConfig] = load_entry("plugin", entry, "config")
    except NotFoundError as error:
        mistakes.append(error)
        config, entry = RunConfig, None
    owner, see = (f"plugin {plugin!r}", f"see: zoo show {plugin}") if entry else ("a run", "")
    flat = named_repo({canonical(config, key, value): value for key, value in flat.items()})
    config = _chosen(config, "dataset", "data", flat, mistakes)
    chosen = config.model_fields["data"].default
    side = flat.get("data.size", getattr(chosen, "size", None))
    provider = str(flat.get("providers.data") or "")
    task = str(flat.get("data.task") or "")
    overrides, problem = preset_overrides(
        config, str(flat.get("preset") or ""), chosen.name, side, provider, task
    )
    if problem is not None and entry is not None:  # of an unknown plugin no preset is known
        mistakes.append(problem)
    preset = {canonical(config, key, value): value for key, value in flatten(overrides).items()}
    own = preset | flat
    config = _chosen(config, "sampler", "sampler", own, mistakes)
    flat |= {key: value for key, value in own.items() if key in ("sampler.name", "providers.sampler")}
    if entry is not None:
        flat["providers.plugin"] = entry.distribution
    flat = _without_strays(config, flat, mistakes)
    if any(isinstance(mistake, NotFoundError) for mistake in mistakes):
        flat = {key: value for key, value in flat.items() if key not in ("data.name", "sampler.name")}
    if entry is None:  # its own options are unknown: check only what every run has
        flat = {k: v for k, v in flat.items() if k.split(".")[0] in RunConfig.model_fields}
    made, more = validate(config, {"plugin": plugin} | preset | flat, owner, see)
    mistakes += more
    if mistakes or made is None:
        raise Mistakes(mistakes)
    return made


def _chosen(
    config: type[RunConfig], kind: str, section: str, flat: dict[str, Any], mistakes: list[ZooError]
) -> type[RunConfig]:
    """Return the config with a section's class replaced by the one of the named dataset or sampler.

    The name in `flat` loses its distribution, which is recorded beside it. An unknown name is added to the
    mistakes and leaves the config as it is.
    """
    default = config.model_fields[section].get_default()
    name = str(flat.get(f"{section}.name") or default.name)
    if not name:  # a sampler left to the model
        return config
    try:
        found = manager().find(kind, name, str(flat.get(f"providers.{section}", "")))
    except NotFoundError as error:
        mistakes.append(with_folder(error, kind, name))
        return config
    flat[f"providers.{section}"] = found.distribution
    if name.removeprefix(f"{found.distribution}:") != name:
        name = flat[f"{section}.name"] = name.removeprefix(f"{found.distribution}:")
    options: type[Config] = load_entry(kind, found, "config")
    # A model's own choice may have more options than what was asked for instead, or fewer: then it keeps
    # what the model says, and no defaults.
    alike, narrower = isinstance(default, options), issubclass(options, type(default))
    fields = options.model_fields if alike or narrower else {}
    own = default.model_dump(exclude_unset=not alike)
    kept = {key: value for key, value in own.items() if key in fields}
    inner = options(**(kept | {"name": name}))
    field = config.model_fields[section]
    return create_model(  # type: ignore[call-overload]
        config.__name__,
        __base__=config,
        __module__=config.__module__,
        **{section: (options, field.merge_field_infos(field, default=inner, annotation=options))},
    )


def with_folder(error: NotFoundError, kind: str, name: str) -> NotFoundError:
    """Return the error, with what to do about a folder of images that was given as the dataset's name."""
    if kind == "dataset" and _is_dir(name):
        return NotFoundError(error.what, f"did you mean: data=folder data.path={name}")
    if kind == "dataset" and (os.sep in name or name.startswith((".", "~"))):
        return NotFoundError(
            f"found no folder {shown(name)}, and no dataset of that name",
            "expected: data=NAME, or a folder of images",
            "see: zoo datasets",
        )
    return error


def _without_strays(
    config: type[RunConfig], flat: Mapping[str, Any], mistakes: list[ZooError]
) -> dict[str, Any]:
    """Return the options without those of a sampler that was not named, each of which is a mistake."""
    known = type(config.model_fields["sampler"].get_default()).model_fields
    strays: dict[str, list[str]] = {}
    for key in flat:
        part = key.removeprefix("sampler.")
        if part == key or part in known or str(flat.get("sampler.name") or ""):
            continue
        entries = manager().entries("sampler")
        having = [e.spec.name for e in entries if part in _fields("sampler", e)]
        if having:
            strays[key] = having
    for key, having in strays.items():
        mistakes.append(
            UsageError(
                f"{key} needs a sampler that has it: sampler={having[0]} {key}={flat[key]}",
                f"samplers that have it: {', '.join(having)}",
            )
        )
    return {key: value for key, value in flat.items() if key not in strays}


def _fields(kind: str, entry: Entry) -> Mapping[str, Any]:
    """Return the options of an entry's config; none where it can't be imported."""
    try:
        fields: Mapping[str, Any] = load_entry(kind, entry, "config").model_fields
    except PluginError:
        return {}
    return fields


def plain(config: Config) -> dict[str, Any]:
    """Return a config as plain data, ready for YAML or JSON; resolving it again gives the same config."""
    return config.model_dump(mode="json")


def deciding(options: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what of a config as plain data decides the trained model and its samples: dotted name -> value.

    Args:
        options: the config as plain data.
        before: values of later options that mean the earlier behavior, as `config.before_later` gives them;
            options that have them are left out.
    """
    before = before or {}
    return {
        key: value
        for key, value in flatten(options).items()
        if not any(key == name or key.startswith(f"{name}.") for name in NOT_IN_HASH)
        and not (key in before and value == before[key])
    }


def config_hash(config: RunConfig) -> str:
    """Return 12 hexadecimal digits of what decides the trained model and its samples, the seed left out."""
    decides = deciding(plain(config), before_later(type(config)))
    text = json.dumps(nest(decides), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def named_repo(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted options with data.name=hf:NAME written as data.name=hf data.repo=NAME."""
    name, _, repo = str(flat.get("data.name") or "").partition(":")
    return {**flat, "data.name": name, "data.repo": repo} if name == "hf" and repo else dict(flat)
