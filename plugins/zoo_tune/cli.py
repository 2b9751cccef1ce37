"""The commands `zoo tune` and `zoo lengths`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli.completion import complete
from zoo_core.cli.launching import Launch, launcher_options
from zoo_core.cli.overrides import Overrides
from zoo_core.cli.tables import paragraph, table
from zoo_core.cli.trusting import trust_option
from zoo_core.registry.resolution import parse_words

if TYPE_CHECKING:
    from zoo_core.config import RunConfig
    from zoo_tune.search import Trainer
    from zoo_tune.space import Space
    from zoo_tune.tuning import Tuning


class Seconds(click.ParamType):
    """A duration: 90, 90s, 10m, 1.5h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from zoo_tune.tuning import seconds_of

        try:
            return value if isinstance(value, float) else seconds_of(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a duration; expected: 90s, 10m or 1.5h", param, ctx)


@click.command(cls=Overrides)
@click.argument("words", nargs=-1, metavar="KEY=VALUE...", shell_complete=complete)
@click.option("--trials", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Most trials.")
@click.option(
    "--budget",
    type=Seconds(),
    help="Training and scoring of all trials together: 90s, 10m, 2h; default: no limit.",
)
@click.option(
    "--trial-budget",
    type=Seconds(),
    help="Training and scoring of one trial, which decide its steps; default: --budget over --trials.",
)
@click.option(
    "--search",
    multiple=True,
    metavar="OPTION=VALUES",
    help="Search this option too: low..high, low..high:log or a,b,c; several times for several options.",
)
@click.option(
    "--space",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file that states the whole space, option: low..high[:log] or a list; default: a reviewed one.",
)
@click.option("--metric", help="Metric on validation that selects; default: FD, L1 for paired images.")
@click.option(
    "--seeds", type=click.IntRange(0, 1000), default=3, show_default=True, help="Runs of the winner."
)
@click.option("--seed", type=click.IntRange(0, 90), default=0, show_default=True, help="Seed of the search.")
@click.option("--dry-run", is_flag=True, help="Print the space and the first trial, and stop.")
@launcher_options
def tune(
    words: tuple[str, ...],
    trials: int,
    budget: float | None,
    trial_budget: float | None,
    search: tuple[str, ...],
    space: Path | None,
    metric: str | None,
    seeds: int,
    seed: int,
    dry_run: bool,
    launch: Launch,
) -> None:
    """Search for good options of a model, and retrain the best on fresh seeds.

    \b
    zoo tune plugin=vae --trials 20 --budget 10m
    zoo tune plugin=vae --search optim.net.lr=1e-4..1e-2:log \\
        --search model.net=mlp,conv

    Trials are scored on a validation part of the training split, never on the test split. The same command
    continues an interrupted search.
    """
    from zoo_tune.search import Limits
    from zoo_tune.study import require_optuna
    from zoo_tune.table import SPACE_HEAD, TRIALS_HEAD, result_lines, space_rows, summary, trial_rows
    from zoo_tune.tuning import RECORD, chosen, retrain, tuning

    require_optuna()
    given = parse_words(words)
    each = trial_budget or (budget / trials if budget else None)
    made = tuning(
        given,
        lambda config: _space(config, given, search, space),
        _metric(given, metric),
        Limits(trials, budget, each),
        seed,
    )
    defaults = made.defaults()
    values = _values(made)
    click.echo(table(space_rows(made.space, values), SPACE_HEAD), err=True)
    first = "the model's own options" if defaults else "random options: a default is outside the space"
    limit = "" if each is None else f", {each:g} s of training and scoring each at most"
    total = "" if budget is None else f", {budget:g} s together"
    click.echo(f"{trials} trials{limit}{total}; the first has {first}", err=True)
    click.echo(f"kept in {made.folder}", err=True)
    if dry_run:
        return
    record = made.search(lambda line: click.echo(paragraph(line), err=True)).run(_trainer(made, launch))
    winner = chosen(record)
    click.echo(table(trial_rows(record, winner), TRIALS_HEAD))
    for line in summary(record, winner):
        click.echo(paragraph(line, indent=4))
    if not seeds:
        return
    results, status = retrain(made, record, seeds, lambda configs: _run(configs, launch))
    for line in result_lines(results, record.metric):
        click.echo(line)
    click.echo(f"runs of the winner: {made.folder / 'winner'}; the search: {made.folder / RECORD}", err=True)
    raise click.exceptions.Exit(status)


@click.command()
@click.argument("folder", metavar="RUN")
@click.option(
    "--among",
    metavar="LENGTHS",
    help="Lengths to compare beside that of training, 0.03 to 0.20; default: 0.03,0.05,0.07,0.1,0.14,0.2.",
)
@trust_option
def lengths(folder: str, among: str | None) -> None:
    """Choose the length of EMA weights by a score on the validation part.

    zoo lengths runs/digits/edm/0123456789ab-s0 --among 0.05,0.15

    The run was trained with train.ema.kind=power and data.validation=0.1. Samples have seeds of their own,
    and the test split is not read. A result of the run with the chosen length then says that it was selected.
    """
    from zoo_tune.lengths import AMONG, HEAD, choose, lengths_of

    chosen = choose(
        folder,
        AMONG if among is None else lengths_of(among),
        lambda line: click.echo(paragraph(line), err=True),
    )
    click.echo(table(chosen.rows(), [*HEAD[:2], HEAD[2].format(chosen.column)]))
    for line in chosen.lines():
        click.echo(paragraph(line, indent=4))


def _metric(given: dict[str, str], name: str | None) -> Any:
    from zoo_tune.metrics import metric_of

    if name is None:
        name = "L1" if given.get("data.task") == "paired" else "FD"
    return metric_of(name)


def _space(config: RunConfig, given: dict[str, str], search: Sequence[str], file: Path | None) -> Space:
    from zoo_tune.space import default_space, stated_space

    stated = stated_space(config, search, file)
    return stated if file is not None else {**default_space(config, given), **stated}


def _values(made: Tuning) -> dict[str, Any]:
    from zoo_core.config import flatten
    from zoo_core.registry.resolution import plain

    return flatten(plain(made.trial))


def _trainer(made: Tuning, launch: Launch) -> Trainer:
    from zoo_tune.trainers import Here, Jobs

    trials = made.trials
    if not launch:
        return Here(trials.base, trials.root, trials.metric, trials.seed)
    place = launch.opened()
    place.close()
    return Jobs(trials, place.slots, lambda jobs: launch.run(jobs, shown=False))


def _run(configs: Sequence[RunConfig], launch: Launch) -> int:
    from zoo_core.launch.here import run_matrix
    from zoo_core.launch.jobs import training_job
    from zoo_core.launch.queue import first_status

    if not launch:
        return run_matrix(configs)
    return first_status(launch.run([training_job(c) for c in configs]))
