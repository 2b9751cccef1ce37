"""A trained run scored again, and recorded beside its own result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo_core.errors import UsageError
from zoo_core.resolution import config_hash, resolve
from zoo_core.runs import load
from zoo_core.training.checkpoint import write_atomic
from zoo_eval.results import SCHEMA
from zoo_eval.scoring import score

FREE = ("eval.", "sample.batch_size", "data.root")
"""Options that do not change a run's samples; any other would make it another run."""


def rescore(folder: Path, words: Mapping[str, str], *, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Score a run under changed `eval.*` options and record the result in its folder.

    Args:
        folder: of a finished run.
        words: dotted key -> text.
        say: told what is done.

    Returns:
        The result, recorded as result-<protocol hash>.json unless the run's own has that protocol.

    Raises:
        UsageError: for an option that would change the samples, or where there is no run.
        MachineError: where the run has no usable checkpoint.
    """
    for key in words:
        if not key.startswith(FREE):
            raise UsageError(
                f"{key!r} changes the run, not how it is scored",
                f"expected: {', '.join(FREE)}",
                f"next: zoo run config={folder} {key}={words[key]}",
            )
    run = load(folder, say=say)
    if words:
        config = resolve({"config": str(folder), **words})
        run = replace(run, config=config)
    if run.config.eval.protocol == "none":
        raise UsageError(f"{folder} has eval.protocol=none", "next: zoo eval RUN eval.protocol=quick")
    own = folder / "result.json"
    kept = json.loads(own.read_text()) if own.exists() else {}
    result = {
        "schema": SCHEMA,
        "plugin": run.config.plugin,
        "family": run.spec.family,
        "data": run.config.data.name,
        "seed": run.config.seed,
        "config_hash": config_hash(run.config),
        **{key: kept[key] for key in ("weights_sha256",) if key in kept},
        **score(run),
        "provenance": run.provenance,
    }
    hash_ = result["protocol"]["hash"]
    if kept.get("protocol", {}).get("hash") != hash_:
        text = json.dumps(result, indent=1, allow_nan=False)
        write_atomic(folder / f"result-{hash_}.json", text.encode())
        say(f"recorded: {folder / f'result-{hash_}.json'}")
    return result
