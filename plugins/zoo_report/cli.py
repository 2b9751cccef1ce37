"""The command `zoo report`."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core.errors import UsageError
from zoo_report.text import STYLES


@click.command()
@click.argument("roots", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path))
@click.option("--data", help="Dataset, where the results are of several.")
@click.option("--task", help="Task, where the results are of several.")
@click.option("--protocol", help="Protocol (name or hash), where the results are of several.")
@click.option("--metric", help="Column to compare by; the leaderboard's default.")
@click.option("--format", "style", type=click.Choice(list(STYLES)), default="markdown", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def report(
    roots: tuple[Path, ...],
    data: str | None,
    task: str | None,
    protocol: str | None,
    metric: str | None,
    style: str,
    out: Path | None,
) -> None:
    """Write a comparison of scored runs for a paper: a paragraph and a table.

    RUN is a folder of runs or results, or one result file; default: the runs on this machine, and results/.
    The results that are chosen must be of one dataset, one task and one protocol. The text states the numbers
    of seeds and samples, the intervals and tests, the protocol, the hardware and the cost, as they are
    recorded in the results.
    """
    from zoo_core.home import runs_root
    from zoo_core.machine.files import write_atomic
    from zoo_eval.leaderboard.facts import installed
    from zoo_eval.leaderboard.table import Choice, make_groups, make_table
    from zoo_eval.leaderboard.text import refused_lines
    from zoo_eval.store import chosen_roots, collect
    from zoo_report.comparison import compare
    from zoo_report.text import report as written

    here = chosen_roots(roots)
    found, bad = collect(here)
    for line in refused_lines(bad):
        click.echo(line, err=True)
    if not found:
        raise UsageError(
            "no results in " + ", ".join(map(str, here or [runs_root()])),
            "next: zoo run plugin=NAME, then zoo report RUN",
        )
    groups, others = Choice(data, task or "all", protocol).of(make_groups(found, installed()))
    if len(groups) > 1:
        raise UsageError(
            "the results are of several datasets, tasks or protocols, which can't be compared",
            *(f"there are: {group.title}" for group in [*groups, *others][:20]),
            "next: --data, --task or --protocol chooses one",
        )
    text = written(compare(make_table(groups[0], metric)), STYLES[style])
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomic(out, text.encode())
        click.echo(f"written: {out}")
