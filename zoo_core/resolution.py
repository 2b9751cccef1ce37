"""From the words of a command line, a file or a mapping to typed runs; every mistake is reported at once."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import create_model

from zoo_core import strict_yaml
from zoo_core.config import Config, RunConfig, canonical, flatten, nest, validate
from zoo_core.errors import Mistakes, NotFoundError, UsageError, ZooError, nearest
from zoo_core.privacy import kept
from zoo_core.registry.manager import load_entry, manager

NOT_IN_HASH = ("seed", "device", "run_dir", "preset", "track", "train.log_every", "train.checkpoint_every",
               "train.picture_every", "data.root", "eval", "sample.batch_size")  # fmt: skip
"""What does not change the trained model or its samples; scores carry their own protocol's hash."""

LATER = {
    "data.task": "",
    "data.source": "edges",
    "data.pairs": "",
    "data.made_from": "A",
    "model.time": "sinusoidal",
    "model.fourier_scale": 16.0,
    "model.resample": "conv",
    "model.skip_scale": 1.0,
    "model.pyramid": False,
    "model.attend_up": "each",
    "model.dequantise": False,
    "sampler.start": "normal",
}
"""Options that came after the first results, with their defaults: left out there, so that no hash moves."""


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
            mistakes.append(UsageError(f"can't read {word!r}", "expected: key=value, e.g. train.steps=2000"))
        elif key in given:
            mistakes.append(UsageError(f"{key!r} is given twice: {given[key]!r} and {text!r}"))
        else:
            given[key] = text
    if mistakes:
        raise Mistakes(mistakes)
    return given


def split_list(text: Any) -> list[Any]:
    """Return the values of a comma list; brackets and quotes keep their commas."""
    if not isinstance(text, str) or "," not in text or text[:1] in "[{":
        return [text]
    if text[:1] in "'\"" and text[-1:] == text[:1]:
        return [text[1:-1]]
    values, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            values.append(text[start:place])
            start = place + 1
    return [*values, text[start:]]


def resolve(given: Mapping[str, Any] | Sequence[str]) -> RunConfig:
    """Return the one run that is asked for.

    Args:
        given: `key=value` words, or a mapping with nested or dotted keys; `config` names a saved
            config.yaml that the other keys are laid over.

    Raises:
        Mistakes: everything that is wrong, together.
    """
    runs = resolve_matrix(given)
    if len(runs) > 1:
        raise UsageError(
            f"{len(runs)} runs are asked for where one is expected",
            "a comma list is a matrix of runs; to pass one list, put it in brackets: [0.5,0.9]",
        )
    return runs[0]


def resolve_matrix(given: Mapping[str, Any] | Sequence[str]) -> list[RunConfig]:
    """Return every run of a matrix: the product of the comma lists, in the order they were written.

    Raises:
        Mistakes: everything that is wrong, together, each mistake once.
    """
    flat: dict[str, Any] = flatten(given) if isinstance(given, Mapping) else dict(parse_words(given))
    if "config" in flat:
        flat = _from_file(Path(str(flat.pop("config")))) | flat
    lists = [[(key, value) for value in split_list(text)] for key, text in flat.items()]
    runs: list[RunConfig] = []
    mistakes: dict[str, ZooError] = {}
    for combination in itertools.product(*lists):
        try:
            runs.append(_resolve_one(dict(combination)))
        except Mistakes as error:
            mistakes |= {str(mistake): mistake for mistake in error.mistakes}
    if mistakes:
        raise Mistakes(list(mistakes.values()))
    return runs


def _from_file(path: Path) -> dict[str, Any]:
    path = path / "config.yaml" if path.is_dir() else path
    if not path.exists():
        raise UsageError(f"no file {str(path)!r}", "expected: a config.yaml saved by a run, or its folder")
    saved = strict_yaml.read(path)
    if not isinstance(saved, Mapping):
        raise UsageError(f"{path} holds no config", "expected: a mapping such as a run's config.yaml")
    # What was resolved for that run is repeated; where it was kept, and on what, is not.
    flat = kept(path.parent, flatten(saved))
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
        entry = here.find("plugin", plugin)
        config: type[RunConfig] = load_entry("plugin", entry, "config")
    except NotFoundError as error:
        mistakes.append(error)
        config, entry = RunConfig, None
    owner, see = (f"plugin {plugin!r}", f"see: zoo show {plugin}") if entry else ("a run", "")
    flat = {canonical(config, key, value): value for key, value in flat.items()}
    config = _chosen(config, "dataset", "data", flat, mistakes)
    overrides, problem = _preset(
        config, str(flat.get("preset") or ""), config.model_fields["data"].default.name
    )
    if problem is not None:
        mistakes.append(problem)
    preset = {canonical(config, key, value): value for key, value in flatten(overrides).items()}
    config = _chosen(config, "sampler", "sampler", preset | flat, mistakes)
    flat = _without_strays(config, flat, mistakes)
    if any(isinstance(mistake, NotFoundError) for mistake in mistakes):
        flat = {key: value for key, value in flat.items() if key not in ("data.name", "sampler.name")}
    if entry is None:  # its own options are unknown: judge only what every run has
        flat = {k: v for k, v in flat.items() if k.split(".")[0] in RunConfig.model_fields}
    made, more = validate(config, {"plugin": plugin} | preset | flat, owner, see)
    mistakes += more
    if mistakes or made is None:
        raise Mistakes(mistakes)
    return made


def _chosen(
    config: type[RunConfig], kind: str, section: str, flat: Mapping[str, Any], mistakes: list[ZooError]
) -> type[RunConfig]:
    """Return the config with a section's class replaced by the one of the named dataset or sampler.

    An unknown name is added to the mistakes and leaves the config as it is.
    """
    default = config.model_fields[section].get_default()
    name = str(flat.get(f"{section}.name") or default.name)
    if not name:  # a sampler left to the model
        return config
    try:
        found = manager().find(kind, name)
    except NotFoundError as error:
        mistakes.append(error)
        return config
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
        having = [e.spec.name for e in entries if part in load_entry("sampler", e, "config").model_fields]
        if having:
            strays[key] = having
    for key, having in strays.items():
        mistakes.append(
            UsageError(
                f"{key}={flat[key]} was given, and the sampler that it is an option of is not named",
                f"samplers that have it: {', '.join(having)}",
                f"next: sampler={having[0]} {key}={flat[key]}",
            )
        )
    return {key: value for key, value in flat.items() if key not in strays}


def _preset(config: type[RunConfig], name: str, data: str) -> tuple[Mapping[str, Any], ZooError | None]:
    presets = config.PRESETS
    wanted = name or "default"
    for key in (f"{wanted}@{data}", wanted):
        if key in presets:
            return presets[key].overrides, None
    if not name:
        return {}, None
    known = sorted({key for key in presets if not key.startswith("default")})
    match = nearest(name, known)
    return {}, UsageError(
        f"no preset {name!r} for data={data}",
        f"did you mean: preset={match}" if match else "",
        f"presets: {', '.join(known) or 'none'}",
    )


def plain(config: Config) -> dict[str, Any]:
    """Return a config as plain data, ready for YAML or JSON; resolving it again gives the same config."""
    return config.model_dump(mode="json")


def deciding(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a config as plain data decides the trained model and its samples: dotted name -> value.

    The seed is not among them; nor is an option that came later and is at its default.
    """
    return {
        key: value
        for key, value in flatten(options).items()
        if not any(key == name or key.startswith(f"{name}.") for name in NOT_IN_HASH)
        and not (key in LATER and value == LATER[key])
    }


def config_hash(config: RunConfig) -> str:
    """Return 12 hexadecimal digits of what decides the trained model and its samples, the seed left out."""
    text = json.dumps(nest(deciding(plain(config))), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
