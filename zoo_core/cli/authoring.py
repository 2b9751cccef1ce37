"""Verbs for those who write plugins."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo_core.cli.showing import KINDS

if TYPE_CHECKING:
    from zoo_core.testing.results import Result


@click.command(
    epilog="The checks train with preset `tiny`. The same checks as tests: pytest --zoo-plugin NAME"
)
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="Kind, if several have the name.")
@click.option("--data", multiple=True, metavar="NAME", help="Check a model on this dataset; may be repeated.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
def check(name: str, kind: str | None, data: tuple[str, ...], json_: bool) -> None:
    """Run the conformance checks on a model, sampler, dataset, extractor or metric; status 4 if one fails.

    \b
    zoo check wgan                      a model, on images and on points
    zoo check zoo-plugin-straight-flow  everything that a distribution provides
    """
    from zoo_core.testing import checks, perform, subjects
    from zoo_core.testing.kit import chosen
    from zoo_core.testing.results import kept_quiet

    results: list[dict[str, object]] = []
    states: Counter[str] = Counter()
    seconds = 0.0
    for its, own in chosen(name, kind):
        with kept_quiet():  # a check prints on failure what the plugin printed
            found = subjects(its, own, data)
        for subject in found:
            if not json_:
                click.echo(f"{its} {own}" + (f" on {subject.case}" if subject.case else ""))
            for one in checks(its):
                result = perform(one, subject)
                states[result.state] += 1
                seconds += result.seconds
                results.append({"kind": its, "name": own, **result._asdict()})
                if not json_:
                    show_result(result)
    if json_:
        click.echo(json.dumps(results, indent=1))
    else:
        counts = ", ".join(f"{states[state]} {state}" for state in ("passed", "failed", "not applicable"))
        click.echo(f"{counts}, in {seconds:.0f} s")
    raise click.exceptions.Exit(4 if states["failed"] else 0)


def show_result(result: Result) -> None:
    """Print the result of one check: a line, and of a failed one what to do."""
    mark = {"passed": "ok", "failed": "!!", "not applicable": "--"}[result.state]
    why = f": {result.what}" if result.state == "not applicable" else ""
    click.echo(f"  {mark}  {result.check}{why}")
    if result.state == "failed":
        printed = [f"it printed: {line}" for line in result.output.splitlines()]
        for line in (*result.what.splitlines(), f"do: {result.do}", *printed):
            click.echo(f"      {line}")


@click.command()
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(("gan", "vae", "denoiser", "sampler", "dataset", "metric")),
    default="denoiser",
    show_default=True,
    help="What the plugin provides.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Parent folder; default: the current folder.",
)
def new(name: str, kind: str, folder: Path) -> None:
    """Create a plugin distribution that installs, trains and passes its tests without changes."""
    from zoo_core.testing.scaffold import write

    made = write(name, kind, folder)
    click.echo(f"{made}: a {kind} named {name!r}")
    for line in (f"pip install -e {made}", *_next(name, kind)):
        click.echo(f"next: {line}")


def _next(name: str, kind: str) -> tuple[str, ...]:
    run = {
        "sampler": f"zoo run plugin=ddpm preset=tiny sampler={name}",
        "dataset": f"zoo run plugin=vae preset=tiny data={name}",
        "metric": "zoo run plugin=gaussian",
    }.get(kind, f"zoo run plugin={name} preset=tiny")
    return (run, f"zoo check {name}")
