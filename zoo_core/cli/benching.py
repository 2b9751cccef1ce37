"""The verb that runs a suite."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core.cli.completion import complete
from zoo_core.cli.launching import Launch, launcher_options
from zoo_core.cli.overrides import Overrides
from zoo_core.registry.resolution import parse_words


@click.command(cls=Overrides)
@click.argument("suite", required=False)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete)
@click.option(
    "--budget", type=click.FloatRange(min=1), help="Seconds of training per run; default: that of the suite."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the record and the results; default bench/SUITE.",
)
@launcher_options
def bench(
    suite: str | None,
    words: tuple[str, ...],
    budget: float | None,
    out: Path | None,
    launch: Launch,
) -> None:
    """Train and score every model of a suite under one budget, and rank them.

    \b
    zoo bench                                      list the suites
    zoo bench digits-quick                         every model, three seeds
    zoo bench digits-quick plugin=vae,wgan seed=0  a part of it

    The speed of each model is measured once. Each run has the model's own number of steps, or as many as the
    budget allows, whichever is smaller. Startup, sampling and scoring are not included in the budget. The
    same command continues an interrupted suite.
    """
    if suite is None:
        from zoo_core.cli.tables import table
        from zoo_core.launch.suite import SUITES

        rows = [[name, f"{found.budget:g} s", found.summary] for name, found in SUITES.items()]
        click.echo(table(rows, ["suite", "budget a run", "summary"]))
        return
    from zoo_core.launch.queue import first_status
    from zoo_core.launch.suite import Bench

    made = Bench(suite, budget, out or Path("bench") / suite, parse_words(words))
    measuring = made.measuring()
    if measuring:
        click.echo(f"measuring {len(measuring)} models' speed", err=True)
    made.write_down(launch.run(measuring, shown=False) if measuring else [])
    jobs = made.training()
    models = {config.plugin for configs in made.configs.values() for config in configs}
    click.echo(
        f"{len(jobs)} runs of {len(models)} models, {made.budget:g} s of training each at most", err=True
    )
    outcomes = launch.run(jobs, before=made.failed)
    click.echo(
        f"{made.collect(outcomes)} results in {made.out}; the steps of each model in {made.path}", err=True
    )
    _leaderboard(made.out)
    raise click.exceptions.Exit(first_status([*made.failed, *outcomes]))


def _leaderboard(folder: Path) -> None:
    """Print the table of a folder of results, by the verb that whoever evaluates has registered."""
    from zoo_core.registry.manager import load_entry, manager

    for entry in manager().entries("command"):
        if entry.spec.name == "leaderboard":
            load_entry("command", entry).main(args=[str(folder)], prog_name="zoo", standalone_mode=False)
