"""The options and the table that every verb with many jobs shares."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from zoo_core.errors import Interrupted, UsageError
from zoo_core.machine.distributed import launched
from zoo_core.registry.resolution import parse_words

if TYPE_CHECKING:
    from zoo_core.launch.jobs import Job, Launcher, Outcome


@dataclass(frozen=True)
class Launch:
    """Where the jobs of a verb run, as --launcher, --slots and --resource say; falsy where none was given."""

    launcher: str | None
    slots: int | None
    resources: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.launcher or self.slots or self.resources)

    def opened(self) -> Launcher:
        """Return the launcher.

        Raises:
            UsageError, MachineError: as `make_launcher` does.
        """
        from zoo_core.launch.queue import make_launcher

        return make_launcher(self.launcher or "local", self.slots, parse_words(self.resources))

    def run(
        self, jobs: Sequence[Job], *, before: Sequence[Outcome] = (), shown: bool = True
    ) -> list[Outcome]:
        """Run jobs, telling how they go, and return what has become of each.

        Args:
            before: what ended badly earlier; it stands first in the table.
            shown: whether a table is printed at the end where a job ended badly.

        Raises:
            Interrupted: where a signal ended them early, after the table was printed.
            UsageError, MachineError: as `opened` does.
        """
        from zoo_core.launch.progress import HEAD, Progress, counted, table_rows
        from zoo_core.launch.queue import Queue

        if launched().size > 1:
            raise UsageError(
                "torchrun spreads one run, a launcher many; this command asks for both",
                "next: leave out torchrun, or --launcher",
            )
        place = self.opened()
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


def launcher_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --launcher, --slots and --resource to a verb, which takes them as `launch`."""

    @functools.wraps(command)
    def combined(
        *args: Any, launcher: str | None, slots: int | None, resources: Sequence[str], **options: Any
    ) -> Any:
        return command(*args, launch=Launch(launcher, slots, resources), **options)

    made: Callable[..., Any] = combined
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
        made = option(made)
    return made
