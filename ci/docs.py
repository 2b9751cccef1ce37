"""Write the pages that are generated from the code, or check that they are not stale.

python ci/docs.py            writes docs/cli.md and docs/models.md
python ci/docs.py --check    exits with 1 where a page differs from what it would write
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

from zoo_core.cli import zoo
from zoo_core.config import RunConfig, options, type_name
from zoo_core.registry.manager import load_entry, manager

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Written by ci/docs.py from the code; do not edit. -->\n\n"


INTRODUCTION = """\
This page shows the help text of every command, as `zoo COMMAND --help` prints it. Options of runs and models
are given as `key=value`; they are listed in [Models and their options](models.md).

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


def ours(kind: str) -> list[Any]:
    """Return our own specs: a page must not depend on what else is installed."""
    return [entry.spec for entry in manager().entries(kind) if entry.distribution == "genzoo"]


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


def row(*cells: str) -> str:
    """Return a row of a Markdown table: each cell on one line, with its bars escaped."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def option_table(rows: Iterable[tuple[str, FieldInfo]]) -> list[str]:
    """Return a table of options, or nothing where there are none."""
    lines = []
    for key, info in rows:
        kind = type_name(info.annotation)
        lines.append(row(f"`{key}`", kind, f"`{info.default}`", info.description or ""))
    head = ["\n| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    return [*head, *lines] if lines else []


MODELS_NOTE = """\
Look up the options and presets of the built-in models here. `zoo show NAME` prints the same for any installed
model.

Options are given as `key=value` and presets as `preset=NAME`: `zoo run plugin=ddpm preset=tiny seed=1`. The
first table lists the options of every run. The section of a model lists its presets, the options that it
adds, and those whose default it changes. `preset=NAME@DATA` is chosen by `preset=NAME` on that dataset, and
`default@DATA` without a preset.
"""
"""How to read the page of models."""


def models_page() -> str:
    """Return the options of every run, then each model's presets and what it has or changes."""
    common = {key: info.default for key, info in options(RunConfig)}
    parts = ["# Models, samplers and datasets\n", MODELS_NOTE, "## Options of every run"]
    parts += option_table(options(RunConfig))
    for spec in ours("plugin"):
        config = load_entry("plugin", manager().find("plugin", spec.name), "config")
        summary = spec.summary[:1].upper() + spec.summary[1:]
        facts = ". ".join(filter(None, (summary, f"Family: {spec.family}", spec.paper))) + "."
        parts.append(f"\n## {spec.name}\n\n{facts}\n")
        parts += [f"- `preset={key}`: {preset.source}" for key, preset in config.PRESETS.items()]
        parts += option_table((k, i) for k, i in options(config) if common.get(k, i) != i.default)
    for title, kind in (("Samplers", "sampler"), ("Datasets", "dataset")):
        parts.append(f"\n## {title}\n\n| name | description |\n| --- | --- |")
        parts += [row(f"`{spec.name}`", spec.summary) for spec in ours(kind)]
    return NOTE + "\n".join(parts) + "\n"


PAGES = {"cli.md": cli_page, "models.md": models_page}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    if stale:
        print(
            ("stale: " if check else "written: ") + ", ".join(stale) + (" (next: make docs)" if check else "")
        )
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
