"""Commands about registry.yaml: its check, its published scores, and where they contradict each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from zoo_core.cli.tables import paragraph
from zoo_core.errors import Mistakes, NotFoundError, UsageError
from zoo_core.home import OURS
from zoo_core.registry.index import load_index
from zoo_core.registry.index_check import disagreements
from zoo_core.registry.ledger import Contradiction, contradictions, tally
from zoo_core.registry.manager import manager


@click.group()
def registry() -> None:
    """Index of papers, published scores and plugins."""


@registry.command()
@click.argument("path", required=False)
def check(path: str | None) -> None:
    """Check a registry.yaml against its schema and the installed plugins; default PATH: the installed file.

    Contradictions between published scores that nothing explains are mistakes too. The network is not used:
    addresses and hashes are checked for their form only.
    """
    index = load_index(Path(path) if path else None)
    found = contradictions(index.scores)
    wrong = disagreements(index, manager())
    wrong += [
        UsageError(line, "expected: another setting, or `explained`") for line in map(_line, _open(found))
    ]
    if wrong:
        raise Mistakes(wrong)
    third_party = len({entry.package for entry in index.plugins} - {OURS})
    click.echo(f"{len(index.plugins)} entries are well-formed, of {third_party} third-party distributions")
    click.echo(
        f"{tally(index.scores)}; {len(found)} contradictions, all explained (zoo registry contradictions)"
    )


@registry.command()
@click.option("--data", help="Dataset.")
@click.option("--metric", help="fid, kid, is, bits_per_dim, nats.")
@click.option("--model", help="Model.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
def scores(data: str | None, metric: str | None, model: str | None, json_: bool) -> None:
    """List published scores with what was run, how it was measured and the source; they are never ranked."""
    asked = {"data": data, "metric": metric, "model": model}
    found = [
        (name, one)
        for name, one in load_index().scores
        if data in (None, one.data) and metric in (None, one.metric) and model in (None, name)
    ]
    if not found:
        wanted = ", ".join(f"{key} {value!r}" for key, value in asked.items() if value)
        raise NotFoundError(f"no published score of {wanted}", "next: zoo registry scores")
    if json_:
        click.echo(json.dumps([{"model": name, **one.model_dump()} for name, one in found], indent=1))
        return
    for name, one in found:
        click.echo(paragraph(f"{name}: {one}", indent=4))
    click.echo(tally(found))


@registry.command("contradictions")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
def disagreeing(json_: bool) -> None:
    """List published scores that contradict each other, with the reason.

    The same run with two values, and one value that two sources attribute to different runs.
    """
    found = contradictions(load_index().scores)
    if json_:
        click.echo(json.dumps([_plain(one) for one in found], indent=1))
        return
    for one in found:
        click.echo(paragraph(_line(one), indent=4))
        click.echo(paragraph(f"    {one.reason}", indent=4))
    click.echo(f"{len(found)} contradictions, {len(_open(found))} of them not explained")


def _open(found: Sequence[Contradiction]) -> list[Contradiction]:
    return [one for one in found if one.open]


def _line(one: Contradiction) -> str:
    first, second = one.first, one.second
    what = f"{one.model}: {first.metric} on {first.data}"
    if one.kind == "conditions":
        return f"{what}: {first.value:.10g} of two runs: {first.source}, and {second.source}"
    return f"{what}: {first.value:.10g} ({first.source}) and {second.value:.10g} ({second.source})"


def _plain(one: Contradiction) -> dict[str, object]:
    pair = [score.model_dump() for score in (one.first, one.second)]
    return {"model": one.model, "kind": one.kind, "scores": pair, "reason": one.reason, "open": one.open}
