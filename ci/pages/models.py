"""The pages of models: one for each, the index of them, and the options of every run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pages import NOTE
from pages.results import Scored, results_section
from pages.specs import ours, paper_link
from pages.tables import code, option_table, prose, table, value
from zoo_core.config import Preset, RunConfig, options
from zoo_core.registry.index import IndexEntry, load_index
from zoo_core.registry.manager import load_entry, manager

FAMILIES = {
    "gan": ("Adversarial networks", "gan.md"),
    "vae": ("Variational autoencoders", "vae.md"),
    "diffusion": ("Diffusion models", "diffusion.md"),
    "flow": ("Flow matching", "flow.md"),
    "autoregressive": ("Autoregressive models", "autoregressive.md"),
    "discrete-diffusion": ("Discrete diffusion", "discrete-diffusion.md"),
    "normalizing-flow": ("Normalizing flows", "normalizing-flow.md"),
    "baseline": ("Baselines", "baselines.md"),
}
"""Family -> its title and the page of its mathematics, in the order of the index."""

INDEX = """\
# Models

Choose a model here. Its page has the paper, the commands, the presets, the options and the committed results.
`zoo list` prints this index for everything that is installed, including third-party models, and
`zoo show NAME` prints what a page says. The options that all models share are in
[Options of every run](../options.md).
"""

OPTIONS = """\
# Options of every run

Look up the options that all models share. A model's page lists the options that it adds and those whose
default it changes. Options are given as `key=value`; `--dry-run` prints the resolved config and an
estimate of time and memory, and stops:

    zoo run plugin=ddpm train.steps=2000 data=mnist seed=1 --dry-run

`preset=NAME` applies a named set of options of the model. Options that are given beside it win.
"""

PRESETS = """\
## Presets

`preset=NAME` chooses `NAME@DATA` on that dataset or kind of data, and `NAME` on others. `default` is chosen
without a preset.
"""

TABLES = """\
## Options

Options that this model adds, and those of [every run](../options.md) whose default it changes. Presets change
defaults too.
"""


def options_page() -> str:
    """Return the page of the options of every run."""
    return NOTE + "\n".join([OPTIONS, *option_table(options(RunConfig))[1:]]) + "\n"


def index_page() -> str:
    """Return the index of models: a table for each family, with a line for each model."""
    parts = [INDEX]
    known = load_index()
    for family, (title, page) in FAMILIES.items():
        parts.append(f"\n## {title}\n\nMathematics and code: [{title}](../families/{page}).")
        parts += table(
            ("model", "what it is", "tasks", "paper"),
            (
                (
                    f"[{code(spec.name)}]({spec.name}.md)",
                    prose(sentence(spec.summary)),
                    ", ".join(spec.tasks),
                    _paper(spec.paper, known.entry(spec.name)),
                )
                for spec in ours("plugin")
                if spec.family == family
            ),
        )
    return NOTE + "\n".join(parts) + "\n"


def model_pages(docs: Path, scored: Iterable[Scored]) -> dict[str, str]:
    """Return the page of each model by its path under docs/.

    Args:
        docs: the folder of the pages.
        scored: rows of the committed results, of all models.
    """
    rows = list(scored)
    return {
        f"models/{spec.name}.md": model_page(spec, docs, [row for row in rows if row.plugin == spec.name])
        for spec in ours("plugin")
    }


def model_page(spec: Any, docs: Path, scored: Iterable[Scored]) -> str:
    """Return the page of one model."""
    config = load_entry("plugin", manager().find("plugin", spec.name), "config")
    known = load_index().entry(spec.name)
    common = {key: info.default for key, info in options(RunConfig)}
    own = [(key, info) for key, info in options(config) if common.get(key, info) != info.default]
    parts = [f"# {spec.name}\n", f"{prose(sentence(spec.summary))}."]
    parts += [*_facts(spec, known, docs), "\n## Run it\n", "```sh", *commands(spec, config.PRESETS), "```"]
    parts += results_section(spec.name, scored)
    parts += _published(known)
    if config.PRESETS:
        parts += [f"\n{PRESETS}", *presets(config.PRESETS)[1:]]
    if own:
        parts += [f"\n{TABLES}", *option_table(own)[1:]]
    return NOTE + "\n".join(parts) + "\n"


def sentence(summary: str) -> str:
    """Return a summary that begins with a capital letter, unless its first word has capitals of its own."""
    return summary[:1].upper() + summary[1:]


def _paper(identifier: str, known: IndexEntry | None) -> str:
    if known is None or known.paper is None:
        return paper_link(identifier)
    paper = known.paper
    address = (
        f"https://arxiv.org/abs/{paper.arxiv}"
        if paper.arxiv
        else paper.doi and f"https://doi.org/{paper.doi}"
    )
    title = prose(paper.title)
    return f"[{title}]({address}), {paper.year}" if address else f"{title}, {paper.year}"


def _facts(spec: Any, known: IndexEntry | None, docs: Path) -> Iterator[str]:
    title, page = FAMILIES[spec.family]
    anchor = _anchor(docs / "families" / page, spec.name)
    yield ""
    if paper := _paper(spec.paper, known):
        yield f"- Paper: {paper}"
    yield f"- Equations and their code: [{title}](../families/{page}{anchor})"
    yield f"- Tasks: {', '.join(spec.tasks)}"
    yield f"- Code: {code(spec.target)}"
    if known is not None:
        yield f"- License: {prose(known.license)}"


def _anchor(page: Path, name: str) -> str:
    """Return "#..." of the heading of a family's page that names the model, "" where none does."""
    for line in page.read_text().splitlines():
        if line.startswith("#") and f"`{name}`" in line:
            words = re.sub(r"[^\w\s-]", "", line.lstrip("# ").replace("`", "")).strip().lower()
            return "#" + re.sub(r"[-\s]+", "-", words)
    return ""


def commands(spec: Any, given: Iterable[str]) -> Iterator[str]:
    """Yield the commands that run a model: as it is, quickly, and for each further task."""
    shown = [(f"zoo run plugin={spec.name}", "seconds" if spec.family == "baseline" else "minutes")]
    if "tiny" in given:
        shown.append((f"zoo run plugin={spec.name} preset=tiny", "seconds; the samples are noise"))
    shown += [(f"zoo run plugin={spec.name} data.task={task}", "minutes") for task in spec.tasks[1:]]
    shown.append((f"zoo show {spec.name}", "this page in the terminal"))
    width = max(len(command) for command, _ in shown)
    yield from (f"{command.ljust(width)}  # {comment}" for command, comment in shown)


def presets(given: Mapping[str, Preset]) -> list[str]:
    """Return the table of presets, each with the options that it sets."""
    return table(
        ("preset", "what it is", "options"),
        ((code(key), prose(preset.source), _folded(preset.overrides)) for key, preset in given.items()),
    )


def _folded(overrides: Mapping[str, Any]) -> str:
    words = [f"{name}={_word(value(item))}" for name, item in overrides.items()]
    if len(words) <= 2:
        return " ".join(map(code, words)) or "none"
    return f"<details><summary>{len(words)} options</summary>{'<br>'.join(map(code, words))}</details>"


def _word(text: str) -> str:
    return f"'{text}'" if " " in text else text


def _published(known: IndexEntry | None) -> list[str]:
    if known is None or not known.published:
        return []
    rows = table(
        ("dataset", "metric", "value", "protocol", "source"),
        (
            (
                code(score.data),
                prose(score.metric),
                f"{score.value:.10g}",
                prose(score.conditions),
                prose(score.origin),
            )
            for score in known.published
        ),
    )
    return [
        "\n## Published scores\n",
        "Scores that others published. They are shown and never ranked. A score is unverified where it is "
        "known from a citation only.",
        *rows,
    ]
