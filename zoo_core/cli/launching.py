"""The options and the table that every verb with many jobs shares."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zoo_core.errors import Interrupted, UsageError
from zoo_core.machine.distributed import launched
from zoo_core.registry.resolution import parse_words

if TYPE_CHECKING:
    from zoo_core.launch.jobs import Job, Outcome

F = TypeVar("F", bound=Callable[..., Any])


def launcher_options(command: F) -> F:
    """Add --launcher, --slots and --resource to a verb."""
    for option in (
        click.option(
            "--resource",
            "resources",
            multiple=True,
            metavar="KEY=VALUE",
            help="Resource of a job, as named by Ray or submitit: num_gpus=1, slurm_partition=gpu.",
        ),
        click.option(
            "--slots",
            type=click.IntRange(1, 10_000),
            help="Jobs at once; default: one per GPU or core (local), as resources allow (ray), 200 (slurm).",
        ),
        click.option("--launcher", metavar="local|ray|slurm", help="Run each job in a separate process."),
    ):
        command = option(command)
    return command


def run_jobs(
    jobs: Sequence[Job],
    launcher: str | None,
    slots: int | None,
    resources: Sequence[str],
    *,
    before: Sequence[Outcome] = (),
    shown: bool = True,
) -> list[Outcome]:
    """Run jobs through the launcher of a name, telling how they go, and return what has become of each.

    Args:
        before: what ended badly earlier; it stands first in the table.
        shown: whether a table is printed at the end where a job ended badly.

    Raises:
        Interrupted: where a signal ended them early, after the table was printed.
        UsageError, MachineError: as `make_launcher` does.
    """
    from zoo_core.launch.progress import HEAD, Progress, counted, table_rows
    from zoo_core.launch.queue import Queue, make_launcher

    if launched().size > 1:
        raise UsageError(
            "torchrun spreads one run, a launcher many; this command asks for both",
            "next: leave out torchrun, or --launcher",
        )
    place = make_launcher(launcher or "local", slots, parse_words(resources))
    try:
        outcomes, received = Queue(jobs, place, Progress(len(jobs))).run()
    finally:
        place.close()
    every = [*before, *outcomes]
    if shown and len(every) > 1 and any(outcome.status for outcome in every):
        from zoo_core.cli.tables import table

        click.echo(table(table_rows(every), HEAD, stream=sys.stderr), err=True)
    if received is not None:
        raise Interrupted(
            received, f"interrupted: {counted(outcomes)}", "next: the same command goes on where it was"
        )
    return outcomes
