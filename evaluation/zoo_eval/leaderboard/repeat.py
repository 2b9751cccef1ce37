"""The commands that repeat an entry and verify it, built from what its results record."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from zoo_core.config import flatten
from zoo_core.config.privacy import public
from zoo_core.errors import ZooError
from zoo_eval.leaderboard.text import printable

_NOT_REPEATED = ("seed", "device", "run_dir", "track", "preset", "data.root", "data.storage", "providers",
                 "train.log_every", "train.checkpoint_every", "train.sample_every")  # fmt: skip
"""Options that neither change the samples nor the scores, or that only one machine has."""
_CHOICES = {"data.name": "data", "sampler.name": "sampler"}
"""Options that decide which others there are, with their short names."""


def changed_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a recorded config that differ from the defaults of its model, data and sampler.

    Of a model that is not installed, every recorded option is returned.

    Args:
        config: dotted name -> value, as results record it.
    """
    options = {key: value for key, value in config.items() if not _starts(key, _NOT_REPEATED)}
    chosen = {key: str(options[key]) for key in ("plugin", *_CHOICES) if options.get(key)}
    defaults = _defaults(tuple(sorted(chosen.items())))
    return {
        key: value
        for key, value in options.items()
        if key not in chosen and (key not in defaults or defaults[key] != value)
    }


@lru_cache(1024)
def _defaults(chosen: tuple[tuple[str, str], ...]) -> Mapping[str, Any]:
    from zoo_core.registry.resolution import plain, resolve
    from zoo_core.results.records import config_record

    if "plugin" not in dict(chosen):
        return {}
    try:
        return config_record(flatten(plain(resolve(dict(chosen)))))
    except ZooError:  # not installed here, or another version of it
        return {}


def repeat_command(config: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """Return the `zoo run` command of an entry, quoted for a shell; "" where the config names no model.

    Secrets are hidden, and only options that differ from the defaults are named.
    """
    plugin = config.get("plugin")
    if not plugin:
        return ""
    words = ["zoo", "run", f"plugin={plugin}"]
    words += [f"{short}={config[key]}" for key, short in _CHOICES.items() if config.get(key)]
    words += [f"{key}={public(_text(value), key)}" for key, value in sorted(changed_options(config).items())]
    if seeds and tuple(seeds) != (0,):
        words.append(f"seed={','.join(map(str, seeds))}")
    return shlex.join(printable(public(word)) for word in words)


def verify_command(name: str, run: str = "RUN") -> str:
    """Return the `zoo verify` command of a result file.

    Args:
        name: path of the file, as the page shows it.
        run: folder of the run with its checkpoint.
    """
    return shlex.join(["zoo", "verify", name, "--run", run])


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return str(value)


def _starts(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)
