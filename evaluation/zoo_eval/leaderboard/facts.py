"""What decides a ranking and is known to the code: directions of columns, families, names of protocols.

Nothing here is read from a result file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from zoo_core.registry.metrics import base_name, declared
from zoo_core.results.result import ProtocolRecord
from zoo_eval.numbers import LIKELIHOODS
from zoo_eval.store.limits import limits

Scale = Literal["log", "linear"]
BASELINE = "baseline"
"""Family of models that do not train: their rows are not tested."""
OUTSIDE = "outside"
"""Family of samples that another program made."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: e.g. `FD[digits]`.
        better: "lower", "higher", or "" for a column that is shown and never ranked.
        scale: on which its scores are compared: ratios ("log"), or differences where they may be negative.
    """

    name: str
    better: str
    scale: Scale


@dataclass(frozen=True)
class Facts:
    """What the installed metrics and plugins declare.

    Attributes:
        directions: base name of each column -> "lower", "higher" or "", in the order of registration.
        families: name of each plugin -> its family.
        summaries: base name of each column -> what its metric says of itself.
        labeled: names of the datasets whose tables may be titled by `data.label`.
    """

    directions: Mapping[str, str]
    families: Mapping[str, str]
    summaries: Mapping[str, str] = field(default_factory=dict)
    labeled: frozenset[str] = frozenset()

    def column(self, name: str) -> Column | None:
        """Return a column by its name in a file; None where no installed metric declares it."""
        better = self.directions.get(base_name(name))
        if better is None:
            return None
        return Column(name, better, "log" if limits(name)[0] >= 0 else "linear")

    def family(self, plugin: str, claimed: str) -> str:
        """Return a plugin's family; what a file claims counts only for a plugin that is not installed."""
        return self.families.get(plugin, claimed)


def installed() -> Facts:
    """Return the facts of the metrics and plugins that are installed."""
    from zoo_core.registry.manager import manager

    metrics = {base: entry.spec for base, entry in declared().items()}
    directions = {base: spec.directions[base] for base, spec in metrics.items()}
    summaries = {base: spec.summary for base, spec in metrics.items()}
    families = {entry.spec.name: entry.spec.family for entry in manager().entries("plugin")}
    return Facts(directions, families, summaries, _labeled())


def _labeled() -> frozenset[str]:
    """Return the names of the datasets of the user's own files that have the option `data.label`.

    Only configs of zoo_core are looked at: a leaderboard imports no plugin.
    """
    from zoo_core.registry.manager import load_entry, manager

    return frozenset(
        entry.spec.name
        for entry in manager().entries("dataset")
        if not entry.spec.shape  # where the spec has one, the data have a name already
        and entry.spec.config.startswith("zoo_core.")
        and "label" in load_entry("dataset", entry, "config").model_fields
    )


def protocol_name(protocol: ProtocolRecord) -> str:
    """Return "quick-1" for a protocol that follows a known plan, else "custom", whatever a file calls it."""
    from zoo_eval.protocol import PLANS

    fields = protocol.fields
    plan = PLANS.get(str(fields.get("name")))
    if plan is None or (fields.get("version"), fields.get("n_generated")) != (plan.version, plan.n_generated):
        return "custom"
    return f"{fields['name']}-{plan.version}"


def protocol_title(protocol: ProtocolRecord) -> str:
    """Return the name of a protocol with its hash: "quick-1 (0123456789ab)"."""
    return f"{protocol_name(protocol)} ({protocol.hash})"


def noise_floor_of(column: str) -> str:
    """Return the column that holds the noise floor of a distance."""
    return f"noise floor[{column}]"


def is_likelihood(column: str) -> bool:
    """Return whether a column is a likelihood."""
    return base_name(column) in LIKELIHOODS
