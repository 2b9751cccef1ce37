"""A finished run as a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import strict_json, strict_yaml
from zoo_core.config.privacy import leak, scrubbed
from zoo_core.data.identity import RECORD
from zoo_core.errors import UsageError
from zoo_core.hub.bundle import CARD, WEIGHTS_BYTES, Manifest, write_manifest
from zoo_core.hub.card import card
from zoo_core.hub.compact import Compaction, halved
from zoo_core.hub.privacy import portable
from zoo_core.machine.files import cannot_write
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import plain
from zoo_core.results import Result, read_result, write_result
from zoo_core.results.attachments import sample_grid_file
from zoo_core.runs import saved_config
from zoo_core.runs.checkpoints import newest
from zoo_core.training import checkpoint


def pack(
    run: Path,
    into: Path,
    *,
    license_: str = "",
    compact: Compaction | None = None,
    say: Callable[[str], None] = print,
) -> Manifest:
    """Write a run's bundle into an empty folder.

    Args:
        run: folder of a run that was trained to its end.
        into: the empty folder.
        license_: SPDX name of the weights' license, for the card.
        compact: what to keep (`needed.compaction`); such a run can't be trained further. None to keep all.
        say: told what was left out.

    Returns:
        What the bundle holds.

    Raises:
        NotFoundError: where there is no run.
        UsageError: where it is not finished, its weights are not finite, or a secret would leave with it.
        MachineError: where its checkpoint is missing or corrupt, or the disk is full.
    """
    from safetensors import safe_open
    from safetensors.torch import save as to_bytes

    config = saved_config(run)
    entry = manager().find("plugin", config.plugin, config.providers.plugin)
    for key, value in (("checkpoint", "last"), ("ema_length", None)):
        if getattr(config.sample, key) != value:
            raise UsageError(
                f"{run} is sampled with sample.{key}={getattr(config.sample, key)}, and a bundle holds the "
                "weights of the last checkpoint alone",
                f"next: zoo run config={run} sample.{key}={'none' if value is None else value}",
            )
    path, kept = newest(run, say)
    settled = all(in_place for _, in_place in kept.state["ema"].values())
    if kept.state["optimizers"] or not settled:
        raise UsageError(f"{run} is not trained to its end", f"next: zoo run resume={run}")
    for weights in (kept.weights, *kept.ema.values()):
        _check_finite(weights)
    shared = portable(plain(config))
    result = _shared_result(run / "result.json")
    recorded = run / "provenance.json"
    provenance = _without_command(strict_json.read(recorded)) if recorded.exists() else {}
    try:
        with safe_open(path / checkpoint.WEIGHTS, framework="pt") as file:
            header = file.metadata()
        scored, raw = checkpoint.scored_and_raw(kept)
        state = {key: value for key, value in kept.state.items() if key != checkpoint.END}
        if compact:
            scored, state = _compacted(kept, scored, compact)
        (into / "weights.safetensors").write_bytes(to_bytes(scored, header))
        if kept.ema and not compact:
            (into / "raw.safetensors").write_bytes(to_bytes(raw, header))
        grid = sample_grid_file(run)
        if grid.is_file():
            shutil.copyfile(grid, into / "samples.png")
        else:
            say("no sample grid in plots/ of the run: the bundle has no samples")
        (into / "config.yaml").write_text(strict_yaml.dump(shared), encoding="utf-8")
        (into / "state.json").write_text(json.dumps(_encoded(state)), encoding="utf-8")
        if (run / RECORD).is_file():
            shutil.copyfile(run / RECORD, into / RECORD)
        if result is not None:
            write_result(result, into / "result.json")
        if provenance:
            text = json.dumps(provenance, indent=1, allow_nan=False)
            (into / "provenance.json").write_text(text, encoding="utf-8")
        manifest = write_manifest(into, config.plugin, entry.distribution, kept.state["counts"]["total"])
        text = card(
            shared,
            result,
            spec=entry.spec,
            package=entry.distribution,
            is_image=config.data.task != "caption"
            and manager().find("dataset", config.data.name, config.providers.data).spec.levels is not None,
            license_=license_,
            files=list(manifest.files),
        )
        (into / CARD).write_text(text, encoding="utf-8")
    except OSError as error:
        size = min(WEIGHTS_BYTES, sum(t.numel() * t.element_size() for t in kept.weights.values()))
        raise cannot_write(into, size, error) from error
    _check_private(into)
    return manifest


def _compacted(
    kept: checkpoint.Checkpoint, scored: Mapping[str, Tensor], compact: Compaction
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights that are needed, in float16 where that is asked for, and as much of the state."""

    def needed(name: str) -> bool:
        return name.partition(".")[0] not in compact.left_out

    weights = {name: tensor for name, tensor in scored.items() if needed(name)}
    averaged = {name: list(average) for name, average in kept.ema.items() if needed(name)}
    state = {
        "counts": kept.state["counts"],
        "drawn": kept.state["drawn"],
        "ema": {name: kept.state["ema"][name] for name in averaged},
    }
    if compact.kind == "float16":
        weights = halved(weights, compact.parameters)
    half = [name for name, tensor in weights.items() if tensor.dtype == torch.float16]
    record = {"left_out": list(compact.left_out), "averaged": averaged, "half": half}
    return weights, state | {"compact": record}


def _check_finite(weights: Mapping[str, Tensor]) -> None:
    bad = [n for n, t in weights.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if bad:
        raise UsageError(f"{len(bad)} of the weights are not finite, the first is {bad[0]!r}")


def _shared_result(path: Path) -> Result | None:
    """Return a run's result as it is shared: without the command that was typed, and without attachments."""
    if not path.exists():
        return None
    result = read_result(path)
    provenance = result.provenance.model_copy(update={"command": []})
    return result.model_copy(update={"provenance": provenance, "attachments": {}})


def _without_command(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return a provenance without the command that was typed: config.yaml says all that it said."""
    kept: dict[str, Any] = scrubbed({k: v for k, v in provenance.items() if k != "command"})
    return kept


def _check_private(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        found = leak(_text_of(path))
        if found is not None:
            raise UsageError(
                f"{path.name} of the bundle holds {found}", "nothing was sent", "next: remove it from the run"
            )


def _text_of(path: Path) -> str:
    """Return what a reader could find in a file: all of a text, the header of weights, an image's bytes."""
    with open(path, "rb") as file:
        if path.suffix == ".safetensors":
            return file.read(int.from_bytes(file.read(8), "little")).decode("utf-8", "replace")
        return file.read().decode("utf-8", "replace")


def _encoded(value: Any) -> Any:
    """Return a checkpoint's state as JSON holds it: {"tensor": numbers, "dtype": name} for a tensor."""
    if isinstance(value, Tensor):
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, Mapping):
        return {str(key): _encoded(inner) for key, inner in value.items()}
    return [_encoded(inner) for inner in value] if isinstance(value, list | tuple) else value


def decoded(value: Any) -> Any:
    """Return a state from its JSON, the inverse of what `pack` writes."""
    if isinstance(value, Mapping):
        if value.keys() == {"tensor", "dtype"}:
            kinds = {"uint8": torch.uint8, "int64": torch.int64, "float32": torch.float32}
            return torch.tensor(value["tensor"], dtype=kinds[value["dtype"]])
        return {key: decoded(inner) for key, inner in value.items()}
    return [decoded(inner) for inner in value] if isinstance(value, list) else value
