"""The commands runs, diff, compare and rm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.errors import UsageError
from zoo_core.registry.resolution import parse_words

if TYPE_CHECKING:
    from zoo_runs.records import RunRecord

FILTERS = ("plugin", "data", "state", "seed")
SORTS = ("time", "score", "plugin", "steps")


@click.command()
@click.argument("words", nargs=-1, metavar="[plugin=A,B] [data=NAME] [state=NAME] [seed=N]")
@click.option("--sort", type=click.Choice(SORTS), default="time", help="Order; default: the latest first.")
@click.option("--metric", default="", help="Column of the score; default: the first ranked one of each run.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
def runs(words: tuple[str, ...], sort: str, metric: str, json_: bool) -> None:
    """List the runs of this user: those in the default folder, and those made with run_dir=.

    zoo runs plugin=wgan,vae data=digits --sort score

    States: running, finished, interrupted, stopped (its process ended without a word), diverged, failed,
    pulled, new.
    """
    from zoo_core.cli.listings import table
    from zoo_eval.numbers import number
    from zoo_runs.records import all_records

    filters = _filters(words)
    records, problems = all_records()
    chosen = [record for record in records if all(_is(record, key, some) for key, some in filters.items())]
    chosen = _sorted(chosen, sort, metric)
    for line in problems:
        click.echo(line, err=True)
    if json_:
        click.echo(json.dumps([_row(record, metric) for record in chosen], indent=1, allow_nan=False))
        return
    if not chosen:
        click.echo(f"no runs{' like these' if records else ''}; next: zoo run plugin=NAME")
        return
    rows = []
    for record in chosen:
        row = _row(record, metric)
        score = "" if row["score"] is None else f"{row['column']} {number(row['score'])}"
        cells = [row[key] for key in ("plugin", "data", "seed", "state", "steps", "time")]
        rows.append([*map(str, cells), score, row["folder"]])
    click.echo(table(rows, ("plugin", "data", "seed", "state", "steps", "time", "score", "folder")))


def _filters(words: Sequence[str]) -> dict[str, list[str]]:
    given = parse_words(words)
    unknown = sorted(set(given) - set(FILTERS))
    if unknown:
        raise UsageError(
            f"can't filter runs by {', '.join(unknown)}", f"expected: {', '.join(f'{f}=' for f in FILTERS)}"
        )
    from zoo_runs.records import STATES

    filters = {key: value.split(",") for key, value in given.items()}
    wrong = [state for state in filters.get("state", ()) if state not in STATES]
    if wrong:
        raise UsageError(f"no state is called {wrong[0]!r}", f"expected: one of {', '.join(STATES)}")
    return filters


def _is(record: RunRecord, key: str, some: Sequence[str]) -> bool:
    return str(getattr(record, key)) in some


def _row(record: RunRecord, metric: str) -> dict[str, Any]:
    found = record.score(metric)
    return {
        "plugin": record.plugin,
        "data": record.data,
        "seed": record.seed,
        "state": record.state,
        "steps": record.options.get("train.steps"),
        "time": record.time,
        "column": None if found is None else found[0],
        "score": None if found is None else found[1].value,
        "folder": str(record.folder),
    }


def _sorted(records: list[RunRecord], sort: str, metric: str) -> list[RunRecord]:
    from zoo_core.registry.metrics import direction

    if sort == "time":
        return sorted(records, key=lambda record: record.time, reverse=True)
    if sort == "plugin":
        return sorted(records, key=lambda record: (record.plugin, record.data, record.seed))
    if sort == "steps":
        steps = [(record.options.get("train.steps"), record) for record in records]
        return [r for _, r in sorted(steps, key=lambda pair: pair[0] if isinstance(pair[0], int) else -1)]

    def key(record: RunRecord) -> tuple[Any, ...]:
        found = record.score(metric)
        if found is None:
            return (1, "", "", 0.0)
        column, value = found
        return (0, record.data, column, -value.value if direction(column) == "higher" else value.value)

    return sorted(records, key=key)


@click.command()
@click.argument("first", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("second", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
def diff(first: Path, second: Path, json_: bool) -> None:
    """Show the options that differ in two runs, and their scores.

    A difference of scores is tested over the training seeds of both configurations, as in the leaderboard;
    with one seed the intervals over samples are compared.
    """
    from dataclasses import asdict

    from zoo_runs.difference import lines, option_differences, score_differences
    from zoo_runs.records import all_records, record_of

    one, two = record_of(first), record_of(second)
    records, _ = all_records()
    if json_:
        scores, reason = score_differences(one, two, records)
        options = option_differences([one.options, two.options])
        found = {"options": [asdict(o) for o in options], "scores": [asdict(s) for s in scores]}
        click.echo(json.dumps(found | {"not_compared": reason}, indent=1, allow_nan=False))
        return
    for line in lines(one, two, records):
        click.echo(line)


@click.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("comparison.html"), help="File of the page."
)
def compare(folders: tuple[Path, ...], out: Path) -> None:
    """Write a page that compares runs: options, scores, sample grids side by side, curves in one plot.

    zoo compare RUN RUN --out comparison.html

    The page is one HTML file. It opens from disk and fetches nothing.
    """
    from zoo_core.machine.files import write_atomic
    from zoo_runs.page import page
    from zoo_runs.records import record_of

    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise UsageError(f"can't write the page to {str(out)!r}", "expected: --out FILE.html")
    if not out.parent.is_dir():
        raise UsageError(f"no folder {str(out.parent)!r}", "expected: --out in a folder that exists")
    text = page([record_of(folder) for folder in folders])
    write_atomic(out, text.encode())
    click.echo(f"page: {out}")


@click.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(folders: tuple[Path, ...], yes: bool) -> None:
    """Remove runs with their checkpoints and results, after a question.

    Refused: a run that a process is at work in, and a folder that holds files which are not of the run. If
    one of several runs is refused, none is removed.
    """
    from zoo_runs.removal import check_removable, size
    from zoo_runs.removal import remove as remove_one

    folders = tuple(dict.fromkeys(folders))
    for folder in folders:
        check_removable(folder)
    for folder in folders:
        click.echo(f"{folder}  {size(folder) / 1e6:,.1f} MB", err=True)
    if not yes and not click.confirm(f"remove {len(folders)} run{'s'[: len(folders) > 1]}?", err=True):
        click.echo("nothing was removed", err=True)
        return
    for folder in folders:
        remove_one(folder)
        click.echo(f"removed: {folder}")
