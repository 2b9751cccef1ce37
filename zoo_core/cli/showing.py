"""The command that shows everything about one name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from zoo_core.cli.tables import painted, paragraph
from zoo_core.errors import NotFoundError
from zoo_core.registry.index import IndexEntry, load_index
from zoo_core.registry.ledger import Published, headlines
from zoo_core.registry.manager import Entry, load_entry, manager

KINDS = ("plugin", "sampler", "dataset", "extractor", "metric")
"""Kinds of specs that have a name of their own, in the order in which one is looked for."""


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="Kind, if several have the name.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
def show(name: str, kind: str | None, json_: bool) -> None:
    """Show a model: paper, published scores, license, checkpoints, presets, and every option.

    NAME may also be a sampler, dataset, extractor or metric. A model that is not installed is shown with its
    entry in registry.yaml.
    """
    found = _find(name, kind)
    if isinstance(found, IndexEntry):
        facts = {"kind": found.kind, "installed": False, **_known(found)}
    else:
        facts = _facts(*found)
    if json_:
        click.echo(json.dumps(facts, indent=1, default=str))
        return
    for line in _lines(facts):
        click.echo(paragraph(line, indent=4 if not line.startswith("    ") else 0))


def _find(name: str, kind: str | None) -> tuple[str, Entry] | IndexEntry:
    """Return what a name means: installed, by kind in their order; or known to the index only."""
    here = manager()
    kinds = (kind,) if kind else KINDS
    for one in kinds:
        if any(entry.spec.name == name.rpartition(":")[2] for entry in here.entries(one)):
            return one, here.find(one, name)
    index = load_index()
    for one in kinds:
        known = index.entry(name, one)
        if known is not None and not any(f.distribution == known.package for f in here.failures):
            return known
    here.find(kinds[0], name)
    raise NotFoundError(f"nothing is registered as {name!r}", "next: zoo list --all")


def _known(entry: IndexEntry) -> dict[str, Any]:
    """Return what the index knows beside the code."""
    known = entry.model_dump(exclude={"kind", "package"}, exclude_defaults=True)
    if entry.published:
        known["published"] = [one.model_dump() for one in entry.published]  # with the fields that are null
    return {"distribution": entry.package, "install": entry.how_to_install, **known}


def _facts(kind: str, entry: Entry) -> dict[str, Any]:
    known = load_index().entry(entry.spec.name, kind)
    known = known if known is not None and known.package == entry.distribution else None
    facts = {"kind": kind, "installed": True} | entry.spec._asdict() | {"distribution": entry.distribution}
    if known is not None:
        facts |= {key: value for key, value in _known(known).items() if key not in facts or key == "paper"}
    if hasattr(entry.spec, "config"):
        facts |= _options(kind, entry)
    return facts


def _options(kind: str, entry: Entry) -> dict[str, Any]:
    from zoo_core.config import options, type_name

    config = load_entry(kind, entry, "config")
    prefix = {"sampler": "sampler.", "dataset": "data."}.get(kind, "")
    rows = [
        {
            "option": f"{prefix}{key}",
            "type": type_name(info.annotation),
            "default": info.default,
            "meaning": info.description,
        }
        for key, info in options(config)
        if key not in ("plugin", "name")
    ]
    presets = {key: preset.source for key, preset in getattr(config, "PRESETS", {}).items()}
    return {"options": rows, "presets": presets} if kind == "plugin" else {"options": rows}


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    yield f"{painted(facts['name'], bold=True)}: {facts['summary']}"
    origin = f"from {facts['distribution']}"
    origin += f", code {facts['target']}" if facts["installed"] else f", not installed: {facts['install']}"
    yield " ".join(filter(None, (facts["kind"], facts.get("family")))) + f", {origin}"
    yield from _paper(facts.get("paper"))
    if facts.get("license"):
        yield f"license {facts['license']}"
    if facts["kind"] == "plugin":
        yield f"tasks: {', '.join(facts.get('tasks', ('unconditional',)))}"
    scores = [Published.model_validate(score) for score in facts.get("published", ())]
    shown = headlines(scores)
    yield from (f"published: {score}" for score in shown)
    if more := len(scores) - len(shown):
        yield f"published: {more} more; zoo registry scores --model {facts['name']}"
    for weights in facts.get("weights", ()):
        yield f"checkpoint: {weights['uri']} on {weights['data']}, sha256 {weights['sha256']}"
    for key, source in facts.get("presets", {}).items():
        yield f"preset={key}: {source}"
    yield ""
    for row in facts.get("options", ()):
        yield f"{painted(row['option'], bold=True)}={row['default']}  ({row['type']})"
        if row["meaning"]:
            yield f"    {' '.join(row['meaning'].split())}"


def _paper(paper: Any) -> Iterator[str]:
    if isinstance(paper, str) and paper:
        yield f"paper {paper}"
    elif paper:
        where = f"arXiv:{paper['arxiv']}" if paper.get("arxiv") else paper.get("doi", "")
        yield f"paper {paper['title']} ({', '.join(filter(None, (str(paper['year']), where)))})"
