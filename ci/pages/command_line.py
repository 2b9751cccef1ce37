"""The page of the help texts of all commands."""

from __future__ import annotations

import click

from pages import NOTE
from zoo_core.cli import zoo

INTRODUCTION = """\
This page shows the help text of every command, as `zoo COMMAND --help` prints it. Options of runs and models
are given as `key=value`; they are listed in [Options of every run](options.md) and on the page of each
[model](models/index.md).

| exit status | meaning |
| --- | --- |
| 0 | success |
| 2 | usage error: an option, a name, a value or a data file |
| 3 | training diverged: a loss, gradient or weight is not finite |
| 4 | a plugin failed |
| 5 | a problem of the machine: disk, memory, device, network, library |
| 130, 143 | interrupted by Ctrl-C or SIGTERM, after the run was saved |
"""

COMPLETION = r"""
## Shell completion

Completion covers commands, options of a model (`zoo run plugin=wgan model.<TAB>`), names of plugins,
datasets, samplers, extractors and presets, and values of options with a fixed set of values. It reads the
cached listing of plugins. It imports a plugin only to complete the options of that model.

| shell | line to add | file |
| --- | --- | --- |
| bash 4.4 or later | `eval "$(_ZOO_COMPLETE=bash_source zoo)"` | `~/.bashrc` |
| zsh | `eval "$(_ZOO_COMPLETE=zsh_source zoo)"` | `~/.zshrc` |
| fish | `_ZOO_COMPLETE=fish_source zoo \| source` | `~/.config/fish/completions/zoo.fish` |
"""
"""Section on shell completion, which is not in any help text."""


def cli_page() -> str:
    """Return the page of the help texts of all commands."""
    context = click.Context(zoo, info_name="zoo", max_content_width=100, terminal_width=100)
    parts = ["# Command line\n", INTRODUCTION, "```text", zoo.get_help(context), "```"]
    for name in zoo.list_commands(context):
        command = zoo.get_command(context, name)
        assert command is not None
        inner = click.Context(
            command, info_name=name, parent=context, max_content_width=100, terminal_width=100
        )
        parts += [f"\n## zoo {name}\n", "```text", command.get_help(inner), "```"]
    return NOTE + "\n".join([*parts, COMPLETION])
