"""Options and provenance of a run as a result holds them: bounded, without secrets and paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo_core.config.privacy import public
from zoo_core.results.result import Hardware, InitialWeights, Provenance, Scalar

LONGEST = 400
"""Characters of a text; a longer one is cut."""
MOST = 64
"""Values of a list; a longer one is cut."""


def config_record(options: Mapping[str, Any]) -> dict[str, Scalar | list[Scalar]]:
    """Return options by dotted name as a result holds them; `run_dir` is left out, secrets are redacted.

    Args:
        options: flat: dotted name -> value.
    """
    kept = {key: value for key, value in options.items() if key != "run_dir"}
    return {key: _plain(public(value, key.rpartition(".")[2])) for key, value in kept.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value[:LONGEST]
    if isinstance(value, Sequence):
        return [_plain(one) for one in value[:MOST]]
    return value if value is None or isinstance(value, bool | int | float) else str(value)[:LONGEST]


def provenance_record(found: Mapping[str, Any]) -> Provenance:
    """Return a run's provenance as a result holds it.

    Args:
        found: as `zoo_core.results.provenance.provenance` returns it, with `seeds`.
    """
    package = str(found.get("plugin_package", ""))
    versions = {str(k): str(v)[:LONGEST] for k, v in found.get("versions", {}).items()}
    seeds = found.get("seeds", {})
    return Provenance(
        distribution=package,
        distribution_version=versions.get(package, ""),
        source_sha256=found.get("plugin_code", {}).get("sha256"),
        versions=versions,
        git=dict(found.get("git", {})),
        hardware=Hardware(**found.get("hardware", {})),
        command=[_plain(word) for word in public(list(found.get("command", [])))][:MOST],
        train_seed=seeds.get("train"),
        sample_seed=seeds.get("sample"),
        samples=dict(found.get("samples", {})),
        notes=dict(found.get("notes", {})),
        init=initial_weights(found["init"]) if found.get("init") else None,
    )


def initial_weights(found: Mapping[str, Any]) -> InitialWeights:
    """Return the origin of initial weights as a result holds it: without its address.

    Args:
        found: as `zoo_core.runs.initial.initialize` returns it; runs of earlier versions recorded no data.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: for anything else.
    """
    data = found.get("data", {})
    return InitialWeights(
        plugin=found["plugin"][:LONGEST],
        step=found["step"],
        weights_sha256=found["sha256"],
        data=data.get("name", "")[:LONGEST],
        data_sha256=data.get("sha256"),
    )
