"""The command line: verbs loaded when they are called, errors in a few lines, statuses that mean something.

0 done, 2 usage error, 3 diverged, 4 plugin fault, 5 machine fault, 130 and 143 interrupted and saved.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from zoo_core.errors import ZooError
    from zoo_core.registry.manager import Manager
    from zoo_core.registry.spec import CommandSpec

VERBS = {
    "run": ("running:run", "run", "Train, sample, score, record and plot: zoo run plugin=wgan"),
    "bench": ("benching:bench", "run", "Train and rank models under one budget: zoo bench digits-quick"),
    "sample": ("running:sample", "run", "Sample from a trained run"),
    "list": ("listings:models", "look", "List installed models"),
    "show": ("showing:show", "look", "Show a model: paper, published scores, license, options, presets"),
    "push": ("sharing:push", "share", "Share a run: zoo push RUN hf://user/name, or a folder"),
    "pull": ("sharing:pull", "share", "Download shared weights as a run"),
    "plugins": ("listings:plugins", "look", "List installed plugins and load errors"),
    "samplers": ("listings:samplers", "look", "List samplers"),
    "datasets": ("listings:datasets", "look", "List datasets"),
    "metrics": ("listings:metrics", "look", "List metrics"),
    "extractors": ("listings:extractors", "look", "List feature networks that metrics use"),
    "doctor": ("listings:doctor", "look", "List installed versions, problems and the commands that fix them"),
    "check": ("authoring:check", "extend", "Run the conformance checks on a plugin"),
    "new": ("authoring:new", "extend", "Create a plugin that installs, trains and passes its tests"),
    "registry": ("registry:registry", "extend", "Check registry.yaml, list published scores"),
}
"""The core's own verbs: module and command in this package, group, summary; plugins add theirs through the
hook zoo_commands."""
GROUPS = {"run": "Run and score", "look": "Look", "share": "Share", "extend": "Extend"}
"""Sections of `zoo --help`: group -> title; a group that is not known is `extend`."""


_NO_WORDS: tuple[type[click.ClickException], ...] = tuple(
    found for found in [getattr(click.exceptions, "NoArgsIsHelpError", None)] if found
)
"""What click 8.2 and later raise for a group without a command; its message is the help."""


class _ReaderLeft(Exception):
    """The reader of standard output has closed it: `zoo list | head -1`."""


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; click itself would end the process with status 1 on a broken pipe."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeft from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS, *added_verbs()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from zoo_core.registry.spec import load_target

        if name in VERBS:
            return _command(load_target(f"zoo_core.cli.{VERBS[name][0]}"))
        from zoo_core.registry.manager import load_entry, manager

        if name not in added_verbs():
            return None
        return _command(load_entry("command", manager().find("command", name)))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            from zoo_core.errors import UsageError, nearest

            verbs = self.list_commands(ctx)
            match = nearest(name, verbs)
            raise UsageError(
                f"no command {name!r}",
                f"did you mean: zoo {match}" if match else "",
                "see: zoo --help" if match else f"commands: {', '.join(verbs)}",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Summaries come from the tables, so that help imports no verb.
        from zoo_core.registry.manager import glance

        here = glance()
        rows = [(group, name, summary) for name, (_, group, summary) in VERBS.items()]
        rows += [
            (spec.group if spec.group in GROUPS else "extend", name, spec.summary)
            for name, spec in added_verbs(here).items()
        ]
        width = max(len(name) for _, name, _ in rows)
        for group, title in GROUPS.items():
            own = [(name.ljust(width), summary) for one, name, summary in rows if one == group]
            with formatter.section(title):
                formatter.write_dl(own)
        if here.unlisted:
            with formatter.section("Not listed yet"):
                formatter.write_text(f"{', '.join(sorted(set(here.unlisted)))}: `zoo plugins` lists it once")


def added_verbs(here: Manager | None = None) -> dict[str, CommandSpec]:
    """Return the verbs that plugins add, by name; one that takes the core's is refused."""
    from zoo_core.registry.manager import manager

    here = here or manager()
    for entry in here.entries("command"):
        if entry.spec.name in VERBS:
            here.refuse("command", entry, f"command {entry.spec.name!r} is the core's own")
    return {entry.spec.name: entry.spec for entry in here.entries("command")}


def _command(loaded: object) -> click.Command:
    from zoo_core.errors import PluginError

    if not isinstance(loaded, click.Command):
        raise PluginError(
            f"a verb is a {type(loaded).__name__}", "expected: a click command", "see: zoo plugins"
        )
    return loaded


def _version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        click.echo(f"zoo {version('genzoo')}")
        ctx.exit()


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def zoo() -> None:
    """Train, sample, score and rank deep generative models of every family."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit with its status."""
    from zoo_core.machine import terminal

    terminal.prepare()
    status = invoke(args)
    error = terminal.finish()
    if error is not None and not isinstance(error, BrokenPipeError):
        terminal.tell(f"error: cannot write to standard output: {error.strerror}")
        status = status or 5
    sys.exit(status)


def invoke(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; a ZooError is printed without a traceback."""
    from zoo_core.errors import Mistakes, ZooError
    from zoo_core.machine import terminal

    try:
        words = list(sys.argv[1:] if args is None else args)
        _check_arguments(words)
        # click hands back the status of an Exit, and otherwise what the command returned: None.
        status = zoo.main(args=words, prog_name="zoo", standalone_mode=False)
    except ZooError as error:
        return _tell(error, *(error.mistakes if isinstance(error, Mistakes) else (error,)))
    except _NO_WORDS as error:  # `zoo` alone, or a group alone, asks what there is: not an error
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        return _tell(error, plain_error(error))
    except (KeyboardInterrupt, click.Abort):
        terminal.tell("interrupted")
        return 130
    except _ReaderLeft:
        return 0
    except (OSError, MemoryError) as error:
        from zoo_core.machine.faults import bad_path, machine_error

        fault = machine_error(error) or bad_path(error)
        if fault is None:
            raise
        return _tell(fault, fault)
    except Exception as error:
        from zoo_core.machine.libraries import explain_import

        try:
            explain_import(error)
        except ZooError as plain:
            return _tell(plain, plain)
        raise  # a bug of ours keeps its traceback
    return status if isinstance(status, int) else 0


def _check_arguments(args: Sequence[str]) -> None:
    """Refuse an empty argument, which would stand for the current folder where a path is expected.

    Raises:
        UsageError: as said.
    """
    if "" in args:
        from zoo_core.errors import UsageError

        raise UsageError(
            f"argument {list(args).index('') + 1} is empty",
            "expected: a value; in a shell, a variable that is not set gives an empty one",
        )


def plain_error(error: click.ClickException) -> ZooError:
    """Return click's error in the style of all others, with the help that explains it."""
    from zoo_core.errors import UsageError

    message = " ".join(error.format_message().split()).rstrip(".")
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    return UsageError(message, f"see: {context.command_path} --help" if context is not None else "")


def _tell(error: Exception, *lines: Exception) -> int:
    from zoo_core.machine import terminal

    if os.environ.get("ZOO_DEBUG"):
        import traceback

        traceback.print_exception(error)
    from zoo_core.cli.tables import painted, paragraph

    mark = painted("error:", sys.stderr, fg="red", bold=True)
    for line in lines:
        first, *notes = f"error: {line}".split("\n")
        terminal.tell(paragraph(first, indent=4, stream=sys.stderr).replace("error:", mark, 1))
        for note in notes:
            terminal.tell(paragraph(note, indent=2, stream=sys.stderr))
    return getattr(error, "status", 2)
