"""Write the pages that are generated from the code, or check that they are not stale.

python ci/docs.py            writes docs/cli.md and docs/models.md
python ci/docs.py --check    exits with 1 where a page differs from what it would write
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import click

from zoo_core.cli import zoo
from zoo_core.config import options, type_name
from zoo_core.registry.manager import load_entry, manager

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Written by ci/docs.py from the code; do not edit. -->\n\n"


def ours(kind: str) -> list[object]:
    """Return our own specs: a page must not depend on what else is installed."""
    return [entry.spec for entry in manager().entries(kind) if entry.distribution == "genzoo"]


def cli_page() -> str:
    """Return every verb's own help."""
    context = click.Context(zoo, info_name="zoo", max_content_width=100, terminal_width=100)
    parts = ["# The command line\n", "```text", zoo.get_help(context), "```"]
    for name in zoo.list_commands(context):
        command = zoo.get_command(context, name)
        assert command is not None
        inner = click.Context(
            command, info_name=name, parent=context, max_content_width=100, terminal_width=100
        )
        parts += [f"\n## zoo {name}\n", "```text", command.get_help(inner), "```"]
    return NOTE + "\n".join(parts) + "\n"


def models_page() -> str:
    """Return every model with its presets and its own options, and every sampler and dataset."""
    parts = ["# Models, samplers, datasets\n"]
    for spec in ours("plugin"):
        config = load_entry("plugin", manager().find("plugin", spec.name), "config")
        parts.append(f"## {spec.name}\n\n{spec.summary}. Family {spec.family}. {spec.paper}\n")
        parts += [f"- `preset={key}`: {preset.source}" for key, preset in config.PRESETS.items()]
        rows = [(k, i) for k, i in options(config) if k.split(".")[0] in ("model", "optim", "train")]
        if rows:
            parts.append("\n| option | type | default | meaning |\n| --- | --- | --- | --- |")
        for key, info in rows:
            kind = type_name(info.annotation).replace("|", "\\|")
            parts.append(f"| `{key}` | {kind} | `{info.default}` | {info.description} |")
        parts.append("")
    for title, kind in (("Samplers", "sampler"), ("Datasets", "dataset")):
        parts.append(f"## {title}\n\n| name | what it is |\n| --- | --- |")
        parts += [f"| `{spec.name}` | {spec.summary} |" for spec in ours(kind)]
        parts.append("")
    return NOTE + "\n".join(parts)


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
