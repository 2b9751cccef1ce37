"""The command `zoo course`: list topics, make a figure, check an answer, write the interactive page."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core.errors import UsageError
from zoo_course.catalog import TOPICS, Entry, entry, exercise, load


class Topics(click.Group):
    """A group with a command for each topic, which is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*OTHERS, *(one.name for one in TOPICS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        return OTHERS[name] if name in OTHERS else _figure_command(entry(name))


@click.group(cls=Topics, invoke_without_command=True, subcommand_metavar="[TOPIC | check EXERCISE | browser]")
@click.pass_context
def course(ctx: click.Context) -> None:
    """List the topics of the course, make the figure of one, or check the answer to an exercise."""
    if ctx.invoked_subcommand is not None:
        return
    width = max(len(one.name) for one in TOPICS)
    for number, one in enumerate(TOPICS, 1):
        click.echo(f"{number:2}  {one.name:{width}}  {one.title}")
    click.echo("\nnext: zoo course TOPIC, or zoo course browser for a page with models to play with")


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
    measured = topic.draw(folder)
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


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("course") / "browser.html",
    show_default=True,
    help="File to write.",
)
@click.option(
    "--pages",
    metavar="ADDRESS",
    help="Folder or address of the pages of the topics, for links; commands are named without it.",
)
def browser(out: Path, pages: str | None) -> None:
    """Write a page with small networks that run in a browser.

    The networks are trained first, on one core. The page is one file that opens from disk and fetches
    nothing.
    """
    from zoo_course.browser.page import check_path, write_page
    from zoo_course.browser.training import train

    check_path(out)
    click.echo("training five networks on one core ...")
    path = write_page(out, train(), pages)
    click.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    click.echo("next: open it in a browser")


OTHERS: dict[str, click.Command] = {"check": check, "browser": browser}
"""Commands that are not topics."""


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
