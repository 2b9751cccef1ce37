"""Comparison of registry.yaml with what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo_core.errors import UsageError
from zoo_core.home import OURS
from zoo_core.registry.index import Index

if TYPE_CHECKING:
    from zoo_core.registry.manager import Manager


def disagreements(index: Index, here: Manager) -> list[UsageError]:
    """Return where the index and what is installed contradict each other, entry by entry.

    Each of our own models must have an entry, and each entry a model; of a third party's, what is installed.
    """
    wrong = []
    for listed in index.plugins:
        claims = {e.distribution: e.spec for e in here.entries(listed.kind) if e.spec.name == listed.name}
        spec = claims.get(listed.package)
        if spec is None:
            if claims:
                wrong.append(
                    UsageError(
                        f"{listed.name!r} is listed under {listed.package}, provided by {', '.join(claims)}"
                    )
                )
            elif listed.package == OURS:
                wrong.append(
                    UsageError(
                        f"{listed.name!r} is listed under {OURS}, which provides no such {listed.kind}"
                    )
                )
            continue
        if listed.kind != "plugin":
            continue
        paper = listed.paper
        said = f"arXiv:{paper.arxiv}" if paper and paper.arxiv else paper.doi if paper else ""
        for field, here_said, spec_said in (
            ("family", listed.family, spec.family),
            ("tasks", sorted(listed.tasks), sorted(spec.tasks)),
            ("paper", said, spec.paper),
        ):
            if here_said != spec_said:
                wrong.append(
                    UsageError(
                        f"{listed.name!r}: {field} is {here_said!r} here and {spec_said!r} in its spec"
                    )
                )
    listed_names = {entry.name for entry in index.plugins if entry.kind == "plugin"}
    wrong += [
        UsageError(f"plugin {entry.spec.name!r} of {OURS} has no entry")
        for entry in here.entries("plugin")
        if entry.distribution == OURS and entry.spec.name not in listed_names
    ]
    return wrong
