"""The command `zoo lottery`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo_core.cli.launching import Launch, launcher_options
from zoo_core.cli.overrides import Overrides
from zoo_core.cli.tables import table
from zoo_core.errors import UsageError
from zoo_core.machine.terminal import tell
from zoo_core.registry.resolution import parse_words, resolve_matrix

if TYPE_CHECKING:
    from zoo_core.config import RunConfig

out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("lottery"),
    show_default=True,
    help="Folder of the scores, the table and the plot.",
)


@click.group()
def lottery() -> None:
    """Measure how much of a score is due to seeds.

    Every run is trained by the options that are given, scored by its protocol, and kept under the runs of
    this machine. The same command continues an interrupted lottery.
    """


@lottery.command(cls=Overrides)
@click.argument("words", nargs=-1, metavar="KEY=VALUE...")
@click.option("--training", type=click.IntRange(2), default=10, show_default=True, help="Training seeds.")
@click.option("--sampling", type=click.IntRange(2), default=3, show_default=True, help="Sampling seeds.")
@out_option
@launcher_options
def total(
    words: tuple[str, ...],
    training: int,
    sampling: int,
    out: Path,
    launch: Launch,
) -> None:
    """Compare models over training seeds, with several sampling seeds of each.

    zoo lottery total plugin=vae,wgan-gp data=digits --training 10 --sampling 3
    """
    from zoo_lottery.record import by_model
    from zoo_lottery.table import TOTAL_HEAD, ordered, total_rows

    configs = _matrix(words, {"seed": training})
    scores = _scores(configs, sampling, out, launch)
    found = ordered(by_model(configs, scores, (training, sampling)))
    _show(found, total_rows(found), TOTAL_HEAD, out / "total.json")


@lottery.command(cls=Overrides)
@click.argument("words", nargs=-1, metavar="KEY=VALUE...")
@click.option("--levels", type=click.IntRange(2), default=4, show_default=True, help="Seeds of each source.")
@out_option
@launcher_options
def sources(
    words: tuple[str, ...],
    levels: int,
    out: Path,
    launch: Launch,
) -> None:
    """Tell apart the seeds of initial weights, order of the data and training noise.

    One run is made for each combination of their seeds: 64 by default.

    zoo lottery sources plugin=vae data=digits --levels 4
    """
    from zoo_lottery.record import by_model
    from zoo_lottery.table import SOURCES_HEAD, source_rows

    configs = _matrix(words, {"seeds.init": levels, "seeds.order": levels, "seeds.noise": levels})
    scores = _scores(configs, 1, out, launch)
    found = by_model(configs, scores, (levels, levels, levels))
    _show(found, source_rows(found), SOURCES_HEAD, out / "sources.json")


def _matrix(words: Sequence[str], seeds: dict[str, int]) -> list[RunConfig]:
    """Return the configs of every model under every combination of seeds, those of a model together."""
    given = parse_words(words)
    if taken := sorted({"seed", *seeds} & given.keys() - ({"seed"} - seeds.keys())):
        raise UsageError(f"the lottery chooses {', '.join(taken)}", "expected: options without it")
    if "plugin" not in given:
        raise UsageError("no model was named", "expected: plugin=NAME,NAME,...", "next: zoo list")
    for key in ("run_dir", "resume", "config"):
        if key in given:
            raise UsageError(f"{key}= names one run, and a lottery has many", "expected: plugin=NAME")
    levels = {key: ",".join(map(str, range(count))) for key, count in seeds.items()}
    return [
        config
        for plugin in given["plugin"].split(",")
        for config in resolve_matrix({**given, "plugin": plugin, **levels})
    ]


def _scores(configs: Sequence[RunConfig], sampling: int, out: Path, launch: Launch) -> list[float]:
    """Train what is missing, and return the scores of each run under each sampling seed, run by run."""
    from zoo_core.launch.jobs import training_job
    from zoo_core.launch.queue import first_status
    from zoo_lottery.record import Record

    record = Record(out / "scores.json")
    outcomes = launch.run([training_job(config) for config in configs])
    if status := first_status(outcomes):
        click.echo("some runs have failed; the same command tries them again", err=True)
        raise click.exceptions.Exit(status)

    return [record.score(config, k, tell) for config in configs for k in range(sampling)]


def _show(found: object, rows: Sequence[Sequence[str]], head: Sequence[str], path: Path) -> None:
    from zoo_core.machine.files import write_atomic
    from zoo_lottery.table import plain

    click.echo(table([list(row) for row in rows], head))
    write_atomic(path, (json.dumps(plain(found, rows, head), indent=1) + "\n").encode())  # type: ignore[arg-type]
    click.echo(f"written: {path}", err=True)
