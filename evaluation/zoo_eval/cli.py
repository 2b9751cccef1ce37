"""The commands of evaluation: eval, score, stats, audit, leaderboard, submit, verify, fetch."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli.trusting import trust_option
from zoo_core.errors import UsageError
from zoo_core.home import runs_root
from zoo_core.machine.terminal import has_colors, tell
from zoo_core.registry.resolution import parse_words

if TYPE_CHECKING:
    from zoo_eval.leaderboard.table import Group, Table
    from zoo_eval.store import Bad


@click.command()
@click.argument("folder", metavar="RUN")
@click.argument("words", nargs=-1, metavar="[protocol=NAME] [eval.KEY=VALUE] [sample.checkpoint=best]...")
@click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
@trust_option
def evaluate(folder: str, words: tuple[str, ...], json_: bool) -> None:
    """Score a trained run again, for example under another protocol or extractor.

    \b
    zoo eval RUN protocol=standard
    zoo eval RUN sample.checkpoint=best  the best checkpoint on validation

    The result is stored in the run's folder: as result.json if the run has none, and otherwise as
    result-HASH.json, by its protocol, or by its protocol and weights. Where the same samples were scored
    under that protocol before, the new columns are added to that result.
    """
    from zoo_eval.rescoring import rescore
    from zoo_eval.summary import summary_lines

    result = rescore(folder, parse_words(words), say=tell)
    lines = [result.model_dump_json()] if json_ else summary_lines(result)
    for line in lines:
        click.echo(line)


@click.command()
@click.argument("roots", nargs=-1, metavar="[ROOT]...", type=click.Path(path_type=Path))
@click.option("--data", help="Only this dataset.")
@click.option("--task", help="Only this task, or `all`. Default: the task with the most entries.")
@click.option(
    "--protocol", help="Only this protocol: name, name-version or hash. A,B requires that they are equal."
)
@click.option("--metric", help="Column, or kind of likelihood, to rank by.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "csv", "json", "latex", "png"]),
    default="text",
    help="How tables are written; `csv` and `json` hold every task, `png` plots one table.",
)
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="File of --format png, csv, json or latex."
)
@click.option("--json", "json_", is_flag=True, help="Short for --format json.")
@click.option("--html", metavar="DIR", type=click.Path(path_type=Path), help="Write a page: DIR/index.html.")
def leaderboard(
    roots: tuple[Path, ...],
    data: str | None,
    task: str | None,
    protocol: str | None,
    metric: str | None,
    format_: str,
    out: Path | None,
    json_: bool,
    html: Path | None,
) -> None:
    """Rank results: mean and interval over seeds, ties, noise floor, cost.

    ROOT is a folder of runs or results, or one result file; default: the runs on this machine, and results/.
    There is one table per dataset, task and protocol. The page that --html writes opens from disk.
    """
    from zoo_eval.leaderboard.export import as_json
    from zoo_eval.leaderboard.facts import installed
    from zoo_eval.leaderboard.formats import as_csv, as_latex
    from zoo_eval.leaderboard.page import write_page
    from zoo_eval.leaderboard.plot import write_png
    from zoo_eval.leaderboard.table import ANY_TASK, Choice, make_groups
    from zoo_eval.leaderboard.text import other_lines
    from zoo_eval.store import chosen_roots, collect

    here = chosen_roots(roots)
    found, bad = collect(here)
    if json_ and format_ not in ("text", "json"):
        raise UsageError(f"--json and --format {format_} exclude each other")
    format_ = "json" if json_ else format_
    if (format_ == "png") != (out is not None) and format_ in ("png", "text"):
        raise UsageError(
            f"--format {format_} {'with' if out else 'without'} --out FILE",
            "next: zoo leaderboard --format png --out FILE; --out also takes csv, json and latex",
        )
    everything = format_ in ("csv", "json") or html is not None
    choice = Choice(data, task or (ANY_TASK if everything else None), protocol)
    groups, others = choice.of(make_groups(found, installed()))
    if html is not None:
        click.echo(f"page: {write_page(groups, html, bad, metric)}", err=format_ != "text")
    if format_ == "png":
        assert out is not None
        write_png(_only(_tables(groups, metric)), out)
        click.echo(out)
        _tell_refused(bad)
        return
    if format_ == "json":
        _write(json.dumps(as_json(_tables(groups, metric), bad), allow_nan=False) + "\n", out)
        return
    if format_ != "text":
        tables = _tables(groups, metric)
        _write(as_csv(tables) if format_ == "csv" else as_latex(tables) + "\n", out)
        _tell_refused(bad)
        return
    if html is not None:
        return
    _print_tables(_tables(groups, metric))
    for line in other_lines(others):
        click.echo(line)
    if not groups:
        where = ", ".join(str(root) for root in here) or f"{runs_root()}, results"
        click.echo(f"no results in {where}; next: zoo run plugin=NAME")
    _tell_refused(bad)


def _write(text: str, out: Path | None) -> None:
    """Print a text, or write it to a file and print the file's name."""
    if out is None:
        click.echo(text, nl=False)
        return
    from zoo_core.machine.files import write_atomic

    write_atomic(out, text.encode(), parents=True)
    click.echo(out)


def _only(tables: Sequence[Table]) -> Table:
    """Return the one table that a plot shows.

    Raises:
        UsageError: where there is none, or several.
    """
    if len(tables) == 1:
        return tables[0]
    listed = "; ".join(table.group.title for table in tables) or "none"
    raise UsageError(
        f"a plot shows one table, not {len(tables)}: {listed}",
        "next: choose one with --data, --task and --protocol",
    )


def _tables(groups: Sequence[Group], metric: str | None) -> list[Table]:
    """Return the table of each group; a group without a column to rank is named on standard error.

    Raises:
        UsageError: where no group has one.
    """
    from zoo_eval.leaderboard.table import make_table
    from zoo_eval.leaderboard.text import printable

    tables: list[Table] = []
    left: list[tuple[Group, UsageError]] = []
    for group in groups:
        try:
            tables.append(make_table(group, metric))
        except UsageError as error:
            left.append((group, error))
    if left and not tables:
        raise left[0][1]
    for group, why in left:
        tell(printable(f"left out: {group.title}: {why.what}"))
    return tables


def _print_tables(tables: Sequence[Table]) -> None:
    from zoo_eval.leaderboard.text import conflict_lines, plain

    width = shutil.get_terminal_size().columns
    for place, table in enumerate(tables):
        if place:
            click.echo()
        for line in plain(table, width, styled=has_colors()):
            click.echo(line)
        for line in conflict_lines(table.group.conflicts):
            tell(line)


def _tell_refused(bad: Sequence[Bad]) -> None:
    from zoo_eval.leaderboard.text import refused_lines

    for line in refused_lines(bad):
        tell(line)


@click.command()
@click.argument("samples", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, metavar="data=NAME [protocol=NAME] [levels=K] [eval.KEY=VALUE]...")
@click.option("--name", help="Name of the entry; default: the model of the manifest, or the file name.")
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="JSON or YAML: model, paper, nfe, seconds..."
)
@click.option("--replace", is_flag=True, help="Replace the result of other samples under the same name.")
@click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
def score(
    samples: Path,
    words: tuple[str, ...],
    name: str | None,
    manifest: Path | None,
    replace: bool,
    json_: bool,
) -> None:
    """Score samples from any program: an .npz of uint8 images (n, H, W, C), or a folder of images.

    zoo score samples.npz data=mnist protocol=standard

    If there are more samples than the protocol needs, a random subset is scored. The result appears in the
    leaderboard, family "outside". Format: docs/submitting.md.
    """
    from zoo_eval.samples import score_samples
    from zoo_eval.summary import summary_lines

    made = score_samples(samples, parse_words(words), name=name, manifest=manifest, replace=replace, say=tell)
    for line in [made.scored.model_dump_json()] if json_ else summary_lines(made.scored, made.baselines):
        click.echo(line)


@click.command()
@click.argument("words", nargs=-1, metavar="data=NAME|FOLDER [data.KEY=VALUE] [eval.KEY=VALUE]...")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def stats(words: tuple[str, ...], json_: bool) -> None:
    """Compute and cache the reference that samples of a dataset are scored against.

    zoo stats data=FOLDER data.size=32
    """
    from zoo_eval.reference import statistics
    from zoo_eval.summary import number

    found = statistics(parse_words(words), say=tell)
    if json_:
        click.echo(json.dumps(found, allow_nan=False))
        return
    click.echo(f"{found['data']}: {found['n_train']:,} training, {found['n_test']:,} test examples")
    click.echo(f"data       sha256 {found['sha256']}")
    click.echo(
        f"extractor  {found['extractor']}, {found['dim']} features, sha256 {found['extractor_sha256']}"
    )
    floors = ", ".join(f"{name} {number(value)}" for name, value in found["floors"].items())
    click.echo(f"noise floor {floors} (expected Frechet distance of as many new real examples)")


@click.command()
@click.argument("words", nargs=-1, metavar="[data=NAME] [eval.KEY=VALUE]...")
@click.option("-n", "most", type=click.IntRange(min=1), help="Images per half; default: up to 5,000.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the record as JSON.")
@click.option("--json", "json_", is_flag=True, help="Print the record as JSON.")
def audit(words: tuple[str, ...], most: int | None, out: Path | None, json_: bool) -> None:
    """Sanity-check the metrics: real against real, graded damage, and agreement with torch-fidelity.

    zoo audit data=digits --out results/audit/digits.json

    The exit status is 4 if a metric does not detect damage that it should, or if torch-fidelity computes
    another value.
    """
    from zoo_core.errors import PluginError
    from zoo_core.machine.files import write_atomic
    from zoo_eval.audit.checks import audit as measure
    from zoo_eval.audit.table import audit_lines, faults

    given = {"data": "digits"} | parse_words(words)
    record = measure(given, most, say=tell)
    text = json.dumps(record, indent=1, allow_nan=False)
    if out is not None:
        write_atomic(out, f"{text}\n".encode(), parents=True)
        tell(f"recorded: {out}")
    for line in [text] if json_ else audit_lines(record):
        click.echo(line)
    wrong = faults(record)
    if wrong:
        raise PluginError(f"the metrics failed {len(wrong)} checks", *wrong)


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File result*.json, or a folder, which is made if it does not exist; default: the current folder.",
)
def submit(folder: Path, out: Path | None) -> None:
    """Write the result of a run and its attachments (sample grid, curves) for submission.

    RUN is the folder of a run, or one of the result files in it. Secrets and paths of this machine are
    removed.
    """
    from zoo_eval.submission import submission, write_submission

    path = write_submission(submission(folder, tell), out)
    click.echo(str(path))
    tell(f"next: zoo verify {path} --run {folder if folder.is_dir() else folder.parent}")


class Spot(click.ParamType):
    """A number of segments, or `all`."""

    name = "spot"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value == "all":
            return sys.maxsize
        return click.IntRange(min=1).convert(value, param, ctx)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), help="Folder of the run with its checkpoint."
)
@click.option(
    "--spot",
    metavar="M|all",
    type=Spot(),
    help="Also execute the first and the last segment of the training again, and M more at random.",
)
@click.option("--json", "json_", is_flag=True, help="Print the verdict as JSON.")
@trust_option
def verify(file: Path, folder: Path | None, spot: int | None, json_: bool) -> None:
    """Check a result file; with --run, sample and score its run again.

    With --run, the verdict is recorded in ZOO_HOME/verdicts under the SHA-256 of the file: reported,
    resampled or reproduced; with --spot, of a run trained with train.audit=STEPS, also consistent or audited.
    The exit status is 2 if a value in the file is wrong.
    """
    from zoo_eval.leaderboard.text import printable
    from zoo_eval.submission import verify as repeat

    verdict = repeat(file, folder, spot=spot, say=tell)
    if json_:
        click.echo(json.dumps(dataclasses.asdict(verdict), allow_nan=False))
    else:
        for line in verdict.findings:
            click.echo(printable(line))
        click.echo(f"state: {verdict.state}")
    if verdict.refuted:
        raise UsageError(f"{file} makes claims that are not those of the run", "see: the findings above")


@click.command()
@click.argument("what", metavar="NAME")
def fetch(what: str) -> None:
    """Download the weights of a feature network: `inception`, `dinov2`, or `timm:NAME`.

    They are checked against their SHA-256 and cached, so scoring needs no network.
    """
    from zoo_eval.extractors import fetching

    if what == "inception":
        path = fetching.download(fetching.INCEPTION, "inception")
    elif what == "dinov2":
        from zoo_eval.extractors import dinov2

        path = dinov2.fetch()
    elif what.startswith("timm:"):
        from zoo_eval.extractors import timm_models

        path = timm_models.fetch(what.removeprefix("timm:"))
    else:
        raise UsageError(f"nothing to fetch is called {what!r}", "expected: inception, dinov2, or timm:NAME")
    click.echo(f"{what}: {path}")
