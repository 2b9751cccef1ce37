"""Errors for options that do not exist: the present name of a renamed option, or the one that was meant."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo_core.config.base import Config
from zoo_core.config.keys import option_names, section
from zoo_core.errors import UsageError, ZooError, nearest


def unknown_key(config: type[Config], key: str, value: Any, owner: str) -> ZooError | None:
    """Return the error for a key that the config has no option for, or None."""
    inner_config: type[Config] = config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if part not in inner_config.model_fields:
            break
        inner = section(inner_config, part)
        if inner is None:
            last = depth == len(parts) - 1
            is_dict = typing.get_origin(inner_config.model_fields[part].annotation) is dict
            return (
                None
                if last or is_dict
                else _no_option(config, inner_config, parts[:depth], key, value, owner)
            )
        inner_config = inner
    else:
        return (
            None if isinstance(value, Mapping) else _no_option(config, inner_config, parts, key, value, owner)
        )
    return _no_option(config, inner_config, parts[:depth], key, value, owner)


def _no_option(
    config: type[Config], inner: type[Config], where: list[str], key: str, value: Any, owner: str
) -> ZooError:
    here = ".".join(where)
    allowed = [f"{here}.{name}" if here else name for name in inner.model_fields]
    if key in RENAMED:
        new, convert = RENAMED[key]
        return UsageError(f"the option {key!r} has a new name", f"use: {new}={convert(value)}")
    keys = option_names(config)
    meant = option_meant(key, keys) or filter(None, [nearest(key, keys) or nearest(key, allowed)])
    return UsageError(
        f"unknown option {key!r} for {owner}",
        *(f"did you mean: {match}={'STEPS' if key in EPOCHS else value}" for match in meant),
        "training is counted in steps: steps = epochs * images / train.batch_size" if key in EPOCHS else "",
        f"allowed here: {', '.join(allowed)}",
    )


def _scale(value: Any) -> Any:
    """Return the guidance scale 1 + w for the earlier option's w."""
    try:
        return f"{float(value) + 1:g}"
    except (TypeError, ValueError):
        return "SCALE"


RENAMED: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "train.picture_every": ("train.sample_every", str),
    "track.pictures": ("track.plots", lambda value: str(value).lower()),
    "model.null_share": ("model.cond_dropout", str),
    "model.dequantise": ("model.dequantize", lambda value: str(value).lower()),
    "sample.guidance": ("sample.guidance_scale", _scale),
}
"""Options of version 0.1 by their earlier name -> the present one, and its value for an earlier value."""

RENAMED_VALUES: Mapping[str, str] = {"grey": "gray", "colour": "color"}
"""Values of options of version 0.1 by their earlier name -> the present one."""


def renamed_value(text: str, choices: str) -> str:
    """Return a value as it is typed, with the earlier names in it replaced by the present ones.

    Args:
        text: of the value.
        choices: of the option, as they are shown; an earlier name is replaced where the present one is one.
    """
    now = set(re.findall(r"\w+", choices))
    new = {before: name for before, name in RENAMED_VALUES.items() if name in now}
    return re.sub(r"\w+", lambda word: new.get(word[0], word[0]), text)


EPOCHS = ("epochs", "epoch", "num_epochs", "max_epochs", "train.epochs")
MEANT = {
    **dict.fromkeys((*EPOCHS, "iterations", "iters", "max_steps", "num_steps", "n_steps"), "train.steps"),
    **dict.fromkeys(("learning_rate", "learningrate"), "lr"),
    **dict.fromkeys(("batch", "bs", "batchsize"), "train.batch_size"),
    **dict.fromkeys(("model", "name", "arch"), "plugin"),
    **dict.fromkeys(("dataset", "datasets"), "data.name"),
    **dict.fromkeys(("gpu", "cuda", "gpus"), "device"),
    **dict.fromkeys(("out", "output", "output_dir", "outdir", "logdir"), "run_dir"),
    "optimizer": "kind",
    **dict.fromkeys(("random_seed", "manual_seed"), "seed"),
}
"""What other tools call an option -> its key here, or the last part of it."""


def option_meant(key: str, keys: Sequence[str]) -> list[str]:
    """Return the options that a key of another tool, or the last part of a key, means; most likely first.

    Args:
        key: as typed: "batch_size", "lr", "epochs".
        keys: dotted keys of all options.
    """
    plain = key.replace("-", "_").lower()
    wanted = MEANT.get(plain, plain)
    if wanted in keys:
        return [wanted.removesuffix(".name")]
    found = [name for name in keys if name.endswith(f".{wanted}")]
    sections = ("train", "optim", "model", "data", "sampler", "sample")
    rank = {name: place for place, name in enumerate(sections)}
    found.sort(key=lambda name: rank.get(name.partition(".")[0], len(rank)))
    return found[:1] if found and found[0].startswith("train.") else found[:4]
