"""Initial weights taken from another run: what fits is loaded, and all else is listed by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import strict_json
from zoo_core.data.identity import trained_on
from zoo_core.errors import MachineError, UsageError
from zoo_core.results.records import initial_weights
from zoo_core.runs.checkpoints import newest, places
from zoo_core.training import checkpoint
from zoo_core.training.randomness import random_states, set_random_states

Kind = tuple[torch.Size, torch.dtype]
LISTED = 12
"""Names that one line of the report holds."""


@dataclass(frozen=True)
class Matching:
    """Which weights of a source fit a model.

    Attributes:
        pairs: name in the model -> name in the source.
        renamed: (prefix in the source, prefix in the model) of layers that have another name.
        other: name in the model -> shapes, where the source's weight has another shape or type.
        missing: names in the model that the source does not have.
        unused: names in the source that the model does not have.
    """

    pairs: dict[str, str]
    renamed: tuple[tuple[str, str], ...]
    other: dict[str, str]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self, source: str) -> Iterator[str]:
        """Yield what was loaded and what was not, by name."""
        total = len(self.pairs) + len(self.other) + len(self.missing)
        yield f"init={source}: {len(self.pairs)} of {total} weights are loaded"
        for before, after in self.renamed:
            yield f"renamed: {before or '(top)'} there, {after or '(top)'} here"
        listed = {
            "newly initialized, of another shape": [f"{name} ({how})" for name, how in self.other.items()],
            "newly initialized, not in the source": self.missing,
            "not used, in the source only": self.unused,
        }
        for what, names in listed.items():
            if names:
                more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
                yield f"{what}: {', '.join(names[:LISTED])}{more}"


def match(source: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> Matching:
    """Return which weights of `source` fit which of `model`: by name, else under another prefix."""
    names = {name: name for name in model if name in source}
    renamed = _renamed(source, model)
    for before, after in renamed:
        names |= {
            name: before + name.removeprefix(after)
            for name in model
            if name not in names and name.startswith(after) and before + name.removeprefix(after) in source
        }
    fits = {a: b for a, b in names.items() if _kind(model[a]) == _kind(source[b])}
    other = {
        a: f"{_shown(source[b])} there, {_shown(model[a])} here" for a, b in names.items() if a not in fits
    }
    used = set(names.values())
    return Matching(
        fits,
        tuple(renamed),
        other,
        tuple(name for name in model if name not in names),
        tuple(name for name in source if name not in used),
    )


def _kind(tensor: Tensor) -> Kind:
    return tensor.shape, tensor.dtype


def _shown(tensor: Tensor) -> str:
    kind = "" if tensor.dtype == torch.float32 else f"{str(tensor.dtype).removeprefix('torch.')} "
    return f"{kind}{tuple(tensor.shape)}"


def _renamed(source: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Return pairs of prefixes under which unmatched weights have equal names and shapes; the widest first.

    A pair holds at least one layer within a layer: the names `weight` and `bias` alone say nothing.
    """
    theirs = {name: _kind(tensor) for name, tensor in source.items() if name not in model}
    ours = {name: _kind(tensor) for name, tensor in model.items() if name not in source}
    endings: dict[str, set[str]] = {}
    for name in theirs:
        for prefix, rest in _splits(name):
            endings.setdefault(rest, set()).add(prefix)
    pairs = {
        (before, after) for name in ours for after, rest in _splits(name) for before in endings.get(rest, ())
    }
    kept: list[tuple[str, str]] = []
    for before, after in sorted(pairs, key=lambda pair: (len(pair[0]) + len(pair[1]), pair)):
        group = _under(before, theirs)
        inside = any(before.startswith(b) or after.startswith(a) for b, a in kept)
        if group == _under(after, ours) and any("." in rest for rest in group) and not inside:
            kept.append((before, after))
    return kept


def _under(prefix: str, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    return {name.removeprefix(prefix): kind for name, kind in kinds.items() if name.startswith(prefix)}


def _splits(name: str) -> Iterator[tuple[str, str]]:
    parts = name.split(".")
    for k in range(len(parts)):
        prefix = ".".join(parts[:k])
        yield (f"{prefix}." if prefix else ""), ".".join(parts[k:])


def content(address: str) -> str:
    """Return 8 hexadecimal digits of the weights that an address names: of raw and EMA weights.

    Raises:
        NotFoundError: where there is no run.
        MachineError: where it has no checkpoint, or its manifest is damaged.
    """
    from zoo_core.runs import saved_config
    from zoo_core.runs.exchange import run_folder

    folder = run_folder(address)
    saved_config(folder)
    point = places(folder)[-1]
    try:
        sums = strict_json.read(point / checkpoint.MANIFEST)["sha256"]
        text = f"{sums[checkpoint.WEIGHTS]} {sums[checkpoint.EMA]}"
    except (KeyError, TypeError) as error:
        raise MachineError(f"checkpoint {point} is incomplete: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def recorded_init(folder: Path) -> dict[str, Any]:
    """Return the origin of a run's initial weights as provenance.json has it; empty where there is none.

    Raises:
        MachineError: for a damaged record.
    """
    path = folder / "provenance.json"
    record = strict_json.mapping_or_empty(path).get("init")
    if not record:
        return {}
    try:
        initial_weights(record)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise MachineError(
            f"{path} is damaged: `init` is not a record of initial weights",
            "next: restore it, or remove the run's folder and train again",
        ) from error
    return dict(record)


def initialize(made: Any, address: str) -> dict[str, Any]:
    """Load the weights that are scored of another run into a newly built one, as far as they fit.

    Buffers that the source's options determine (tables, noise levels) are not taken: those of the new run
    follow from its own options. A buffer counts as such where training left it as it was built.

    Args:
        made: a `Run`, newly initialized.
        address: folder of the other run, or hf://user/name.

    Returns:
        What provenance.json records: address, step, sha256 of the raw weights, the data that they were
        trained on, and how many were loaded.

    Raises:
        NotFoundError: where there is no run.
        UsageError: where no weight fits.
        MachineError: where it has no checkpoint that verifies, or its record of data is damaged.
    """
    from zoo_core.runs import saved_config, untrained
    from zoo_core.runs.exchange import run_folder

    folder = run_folder(address)
    config = saved_config(folder)
    path, saved = newest(folder, made.warn)
    kept = random_states(made.device)
    fresh = untrained(folder, config, say=made.warn).recipe
    set_random_states(kept, made.device)
    constant = {
        name
        for name, buffer in fresh.named_buffers()
        if name in saved.weights and torch.equal(buffer.cpu(), saved.weights[name])
    }
    scored, _ = checkpoint.scored_and_raw(saved)
    own = made.recipe.state_dict()
    source = {name: tensor for name, tensor in scored.items() if name not in constant}
    matching = match(source, {name: tensor for name, tensor in own.items() if name not in constant})
    if not matching.pairs:
        raise UsageError(
            f"init={address}: no weight of the {config.plugin} there fits the {made.config.plugin} here",
            *list(matching.lines(address))[1:],
            "expected: a run whose network has layers of the same shapes",
        )
    with torch.no_grad():
        for name, other in matching.pairs.items():
            own[name].copy_(source[other])
    for line in matching.lines(address):
        made.warn(line)
    return {
        "address": address,
        "plugin": config.plugin,
        "step": saved.state["counts"]["total"],
        "sha256": checkpoint.verify(path)[checkpoint.WEIGHTS],
        "data": trained_on(folder),
        "loaded": len(matching.pairs),
        "renamed": [list(pair) for pair in matching.renamed],
        "not_loaded": [*matching.other, *matching.missing],
    }
