"""The specs that the pages describe: our own, because a page must not depend on what else is installed."""

from __future__ import annotations

from typing import Any

from zoo_core.registry.manager import manager


def ours(kind: str) -> list[Any]:
    """Return the specs of one kind in the order of their names."""
    return sorted(
        (entry.spec for entry in manager().entries(kind) if entry.distribution == "genzoo"),
        key=lambda spec: spec.name,
    )


def paper_link(identifier: str) -> str:
    """Return "arXiv:1701.07875" or a DOI as a link, "" where there is no paper."""
    kind, _, number = identifier.partition(":")
    if kind == "arXiv":
        return f"[{identifier}](https://arxiv.org/abs/{number})"
    return f"[{identifier}](https://doi.org/{identifier})" if identifier else ""
