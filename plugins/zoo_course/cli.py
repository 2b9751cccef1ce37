"""The command `zoo course`: list topics, make a figure, check an answer."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core.errors import UsageError
from zoo_course.catalog import TOPICS, Entry, entry, exercise, load


class Topics(click.Group):
    """A group with a command for each topic, which is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["check", *(one.name for one in TOPICS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        return check if name == "check" else _figure_command(entry(name))


@click.group(cls=Topics, invoke_without_command=True, subcommand_metavar="[TOPIC | check EXERCISE]")
@click.pass_context
def course(ctx: click.Context) -> None:
    """List the topics of the course, make the figure of one, or check the answer to an exercise."""
    if ctx.invoked_subcommand is not None:
        return
    width = max(len(one.name) for one in TOPICS)
    for number, one in enumerate(TOPICS, 1):
        click.echo(f"{number:2}  {one.name:{width}}  {one.title}")
    click.echo("\nnext: zoo course TOPIC")


def _figure_command(one: Entry) -> click.Command:
    @click.command(one.name, short_help=one.title)
    @click.option(
        "--out", type=click.Path(path_type=Path), help="Folder to write to; course/TOPIC if not given."
    )
    def command(out: Path | None) -> None:
        """Make the figure of a topic and print what to look at."""
        _make(one, out or Path("course") / one.name)

    return command


def _make(one: Entry, path: Path) -> None:
    from zoo_course.folder import Folder

    topic = load(one)
    click.echo(f"{one.title}: {topic.question}\n")
    folder = Folder(path)
    measured = topic.figure(folder)
    for file in folder.files:
        click.echo(f"wrote {file}")
    click.echo("\nmeasured:")
    for line in measured:
        click.echo(f"  {line}")
    click.echo("\nlook at:")
    for line in topic.look:
        click.echo(f"  - {line}")
    for number, task in enumerate(topic.exercises, 1):
        click.echo(f"\n{one.name}-{number}: {task.question}")
        click.echo(f"next: zoo course check {one.name}-{number} --answer ...")


@click.command()
@click.argument("name", metavar="EXERCISE")
@click.option("--answer", required=True, help="Number.")
@click.pass_context
def check(ctx: click.Context, name: str, answer: str) -> None:
    """Check the answer to an exercise, such as vae-1; status 1 and a hint if it is wrong."""
    task = exercise(name)
    hint = task.feedback(_number(answer))
    if hint is None:
        click.echo(f"right (answers within {task.tolerance:g} of {task.answer():.6g} are accepted)")
        return
    click.echo(f"wrong: answers within {task.tolerance:g} of the right one are accepted")
    click.echo(f"question: {task.question}")
    click.echo(f"hint: {hint}")
    ctx.exit(1)


def _number(text: str) -> float:
    """Return the number that an answer states.

    Raises:
        UsageError: where it is not a number.
    """
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--answer={text!r} is not a number", "expected: a decimal number, such as 0.25"
        ) from None
