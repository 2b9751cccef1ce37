"""Checks of a model's declaration and its options."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from zoo_core.config import options, strict_yaml
from zoo_core.errors import UsageError, ZooError
from zoo_core.registry.manager import manager
from zoo_core.registry.presets import preset_key
from zoo_core.registry.resolution import config_hash, plain, resolve
from zoo_core.testing.results import Failed

if TYPE_CHECKING:
    from zoo_core.testing.subject import Model

HEAVY = ("torch", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "torchvision", "timm", "torchmetrics")


def is_declared_without_torch(model: Model) -> None:
    """The module of hooks imports no torch, so that `zoo list` stays quick however many plugins there are."""
    here = manager()
    source = here.source("plugin", model.entry)
    module = source.module.partition(":")[0]
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import {module}\n"
        f"print(*({set(HEAVY)!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        raise Failed(
            f"`import {module}` fails in a fresh process: {last}",
            "the module of hooks must stand alone: specs and hookimpls only",
        )
    if done.stdout.strip():
        raise Failed(
            f"`import {module}` imports {', '.join(sorted(done.stdout.split()))}",
            "keep hookimpls and specs only in that module; a spec names its code as 'module:attribute'",
        )


def config_round_trips(model: Model) -> None:
    """A resolved config, written as YAML and read again, is the same config with the same hash."""
    config = model.config()
    again = resolve(strict_yaml.parse(strict_yaml.dump(plain(config)), "config.yaml"))
    if plain(again) != plain(config) or config_hash(again) != config_hash(config):
        before, now = plain(config), plain(again)
        changed = [key for key in before if before[key] != now.get(key)]
        raise Failed(
            f"{', '.join(changed)} changed when the config was written and read again",
            "give options types that YAML has: numbers, strings, booleans, lists, mappings; no validator"
            " may move a value that it has accepted",
        )


def _sections(kind: type[BaseModel], where: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield where, kind
    for name, info in kind.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _sections(inner, f"{where}.{name}" if where else name)


def unknown_keys_are_refused(model: Model) -> None:
    """No section swallows a key that it has no option for: a misspelled option must never be ignored."""
    for where, section in _sections(model.config_class):
        try:
            section.model_validate({"no_such_option": 1})
        except ValidationError as error:
            if any(problem["type"] == "extra_forbidden" for problem in error.errors()):
                continue
        raise Failed(
            f"{where or 'its config'} ({section.__name__}) accepts no_such_option=1",
            "extend zoo_core.config.Config, which forbids unknown keys, and do not change its model_config",
        )
    try:
        model.config("model.no_such_option=1")
    except ZooError:
        return
    raise Failed("model.no_such_option=1 is accepted", "do not override the validation of RunConfig")


def options_are_described(model: Model) -> None:
    """Every option has a sentence: it is what `zoo show` prints and what an error quotes."""
    bare = [key for key, info in options(model.config_class) if not info.description]
    if bare:
        raise Failed(
            f"no description: {', '.join(bare)}",
            'write a docstring under the option: """Optimizer of the network."""',
        )


def dataset_of(scope: str) -> str:
    """Return a dataset that a preset "name@scope" applies to; "" for a preset of any data.

    Args:
        scope: "points", "caption", "image<=S" (images of at most S pixels a side), or the name of a dataset.
    """
    if scope == "caption":
        return "digits"
    limit = scope.removeprefix("image<=")
    if limit == scope or not limit.isdecimal():
        return "ring" if scope == "points" else scope
    return "digits" if int(limit) < 28 else "mnist" if int(limit) < 32 else "emoji"


def presets_are_valid(model: Model) -> None:
    """There is a preset `tiny` where anything is trained, and every preset resolves, on its own dataset."""
    presets = model.config_class.PRESETS
    trains = any(stage.phases for stage in model.trained.recipe.stages())
    if trains and preset_key(presets, "tiny", model.data) is None:
        raise Failed(
            f"there is no preset 'tiny'; presets: {', '.join(presets) or 'none'}",
            "add PRESETS = {'tiny': Preset({'train.steps': 50}, 'for tests')}: the kit trains with it",
        )
    installed = {entry.spec.name for entry in manager().entries("dataset")}
    for key in presets:
        name, _, scope = key.partition("@")
        data = dataset_of(scope)
        if data and data not in installed:
            continue
        words = [f"plugin={model.name}", f"data={data or model.data}", f"preset={name}"]
        words += ["data.task=caption"] if scope == "caption" else []
        try:
            resolve(words)
        except UsageError as error:
            raise Failed(
                f"preset {key!r}: {error}",
                "a preset maps dotted options to values, as they are typed after `zoo run`",
            ) from error
