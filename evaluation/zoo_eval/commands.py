"""The verbs of evaluation: eval, leaderboard, fetch."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click

from zoo_core.errors import UsageError
from zoo_core.home import runs_root
from zoo_core.resolve import parse_words


@click.command()
@click.argument("folder", metavar="RUN")
@click.argument("words", nargs=-1, metavar="[eval.KEY=VALUE]...")
@click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
def evaluate(folder: str, words: tuple[str, ...], json_: bool) -> None:
    """Score a trained run again, perhaps under another protocol or extractor.

    zoo eval runs/digits/vae/0123456789ab-s0 eval.protocol=standard

    What is asked for is recorded beside the run's own result, by its protocol's hash.
    """
    from zoo_eval.rescoring import rescore
    from zoo_eval.summary import summary_lines

    result = rescore(Path(folder), parse_words(words), say=lambda line: click.echo(line, err=True))
    lines = [json.dumps(result, allow_nan=False)] if json_ else summary_lines(result)
    for line in lines:
        click.echo(line)


@click.command()
@click.argument("roots", nargs=-1, metavar="[ROOT]...", type=click.Path(path_type=Path))
@click.option("--data", help="Only this dataset.")
@click.option("--protocol", help="Only this protocol: name, name-version, or its hash.")
@click.option("--metric", help="Column, or kind of likelihood, to rank by.")
@click.option("--json", "json_", is_flag=True, help="Print everything as JSON.")
def leaderboard(
    roots: tuple[Path, ...], data: str | None, protocol: str | None, metric: str | None, json_: bool
) -> None:
    """Rank results: mean and interval over seeds, ties, floor, cost.

    ROOT is a folder of runs or results, or one result file; by default the runs made here, and results/.
    Figures of different protocols never share a table.
    """
    from zoo_eval.board import as_json, plain, printable, show_rich
    from zoo_eval.leaderboard import tables
    from zoo_eval.results import collect

    for root in roots:
        if not root.exists():
            raise UsageError(f"no folder {str(root)!r}", "expected: a folder of runs, or a result file")
    here = roots or tuple(root for root in (runs_root(), Path("results")) if root.exists())
    found, bad = collect(here)
    made = tables(found, data=data, protocol=protocol, metric=metric)
    if json_:
        click.echo(json.dumps(as_json(made, bad), allow_nan=False))
        return
    width = shutil.get_terminal_size().columns
    for place, table in enumerate(made):
        if place:
            click.echo()
        if sys.stdout.isatty():
            show_rich(table, width)
        else:
            for line in plain(table, width):
                click.echo(line)
    if not made:
        where = ", ".join(str(root) for root in here) or f"{runs_root()}, results"
        click.echo(f"no results in {where}; next: zoo run plugin=NAME")
    for one in bad:
        click.echo(printable(f"left out: {one.path}: {one.reason}"), err=True)


@click.command()
@click.argument("what", metavar="NAME")
def fetch(what: str) -> None:
    """Download the weights of a feature network: `inception`, or `timm:NAME`.

    They are checked by sha256 and kept, so that scoring needs no network.
    """
    from zoo_eval import fetching

    if what == "inception":
        path = fetching.download(fetching.INCEPTION, "inception")
    elif what.startswith("timm:"):
        from zoo_eval import timm_models

        path = timm_models.fetch(what.removeprefix("timm:"))
    else:
        raise UsageError(f"nothing to fetch is called {what!r}", "expected: inception, or timm:NAME")
    click.echo(f"{what}: {path}")
