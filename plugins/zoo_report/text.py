"""A comparison as a paragraph and a table, in Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from zoo_core.registry.metrics import base_name
from zoo_eval.leaderboard.facts import BASELINE, protocol_name
from zoo_eval.leaderboard.formats import latex
from zoo_eval.numbers import number
from zoo_report.comparison import LEFT_OUT, Compared, Comparison, common, different, mean_cost

SMALL = 1e-12


@dataclass(frozen=True)
class Style:
    """How a report is written.

    Attributes:
        escape: makes a text safe.
        table: writes a table of a heading and rows of cells.
        heading: writes the title.
        code: writes a command.
    """

    escape: Callable[[str], str]
    table: Callable[[Sequence[str], Sequence[Sequence[str]], str], str]
    heading: Callable[[str], str]
    code: Callable[[str], str]


def _latex_table(heading: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex(caption)}}}",
        rf"  \begin{{tabular}}{{rl{'r' * (len(heading) - 2)}}}",
        r"    \toprule",
        f"    {' & '.join(map(latex, heading))} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(map(latex, row))} \\\\" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    ruler = [":---" if place == 1 else "---:" for place in range(len(heading))]
    lines = [caption, "", *(f"| {' | '.join(cells)} |" for cells in (heading, ruler, *rows))]
    return "\n".join(lines)


MARKDOWN = Style(
    escape=lambda text: text,
    table=_markdown_table,
    heading=lambda text: f"## {text}",
    code=lambda text: f"`{text}`",
)
LATEX = Style(
    escape=latex,
    table=_latex_table,
    heading=lambda text: rf"\subsection*{{{latex(text)}}}",
    code=lambda text: rf"\texttt{{{latex(text)}}}",
)
STYLES = {"markdown": MARKDOWN, "latex": LATEX}


def report(compared: Comparison, style: Style) -> str:
    """Return the paragraphs and the table of a comparison."""
    paragraphs = [
        ("Setup.", setup(compared)),
        ("Statistics.", statistics(compared)),
        ("Results.", findings(compared)),
        ("Checks.", checks(compared)),
        ("Cost.", cost(compared)),
    ]
    group = compared.table.group
    parts = [
        style.heading(f"Comparison on {data_name(compared)} ({group.task})"),
        *(style.escape(f"{title} {' '.join(sentences)}") for title, sentences in paragraphs if sentences),
        table(compared, style),
    ]
    return "\n\n".join(parts) + "\n"


def data_name(compared: Comparison) -> str:
    """Return the name of the data, with the user's label where it is a folder."""
    data = compared.table.group.data
    return f"{data.label} ({data.name})" if data.label else data.name


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "an unknown number of"


def _is_baseline(row: Compared) -> bool:
    return row.ranked.row.family == BASELINE


def _seeds(rows: Sequence[Compared]) -> str:
    found = list(dict.fromkeys(row.ranked.row.seeds for row in rows))
    if len(found) == 1:
        seeds = found[0]
        return f"{len(seeds)} training seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))})"
    least, most = min(map(len, found)), max(map(len, found))
    return (
        f"{least} to {most} training seeds" if least < most else f"{least} training seeds, not all the same"
    )


def _models(compared: Comparison) -> list[str]:
    """Return which models were trained on which data, and which rows are baselines, which are not trained."""
    group = compared.table.group
    trained = [row for row in compared.rows if not _is_baseline(row)]
    beside = [row.name for row in compared.rows if _is_baseline(row)]
    count = _count(group.protocol.fields.get("n_reference"))
    data = f"{data_name(compared)} ({count} training examples, content sha256 {group.data.sha256[:12]})"
    lines = []
    if trained:
        verb = "was" if len(trained) == 1 else "were"
        lines.append(
            f"{common([row.name for row in trained])} {verb} trained on {data} with {_seeds(trained)}."
        )
    if beside:
        verb, what = ("is", "a baseline") if len(beside) == 1 else ("are", "baselines")
        where = "" if trained else f" on {data}"
        lines.append(f"{common(beside)} {verb} {what}{where}, which {verb} not trained.")
    return lines


def setup(compared: Comparison) -> list[str]:
    """Return which models, data, samples and protocol."""
    group, column = compared.table.group, compared.table.column
    fields = group.protocol.fields
    weights = common([result.sampling.weights for result in compared.results])
    versions = common(
        [
            f"{result.provenance.distribution} {result.provenance.distribution_version}".strip()
            for result in compared.results
        ]
    )
    extractor = str(fields.get("extractor"))
    projection = str(fields.get("projection", "none"))
    axes = "" if projection == "none" else f", projected ({projection})"
    return [
        *_models(compared),
        f"From each model, {_count(fields.get('n_generated'))} samples were drawn"
        + (f" with the {weights.upper() if weights == 'ema' else weights} weights" if weights else "")
        + f" and scored by {column.name} ({column.better} is better) against the "
        f"{fields.get('reference', 'train')} split, in the features of {extractor} (sha256 "
        f"{str(fields.get('extractor_sha256'))[:12]}{axes}), under the protocol "
        f"{protocol_name(group.protocol)}, hash {group.protocol.hash}, metrics version "
        f"{fields.get('metrics_version')}.",
        f"Software: {versions}." if versions else "",
    ]


def statistics(compared: Comparison) -> list[str]:
    """Return how values were averaged and compared."""
    log = compared.table.column.scale == "log"
    tested = [row for row in compared.rows if row.tested]
    alone = [row.name for row in compared.rows if len(row.ranked.row.seeds) == 1 and not _is_baseline(row)]
    lines = []
    if compared.pairs:
        mean, test = ("geometric means", "the logarithms of the scores") if log else ("means", "the scores")
        kind = "ratio" if log else "difference"
        lines += [
            f"Values are {mean} over training seeds with 95 % intervals. Models were compared by moderated "
            f"t-tests on {test}, in which each model's variance is shrunk to that of the table (Smyth 2004); "
            f"{compared.pairs} pair{'s were' if compared.pairs > 1 else ' was'} tested, with Holm's "
            "correction at a family-wise error rate of 5 %. No two models with the same rank differ "
            "significantly.",
        ]
        if compared.separable is not None:
            lines.append(
                f"The smallest {kind} of two scores that these seeds can separate is "
                f"{number(compared.separable)}."
            )
    if alone:
        lines.append(
            f"{common(alone)} {'have' if len(alone) > 1 else 'has'} one training seed: the interval is over "
            "samples only and says nothing about the spread over training seeds, so "
            f"{'they are' if len(alone) > 1 else 'it is'} not ranked."
        )
    if not tested and not alone:
        lines.append("No row could be tested.")
    if compared.floor is not None and base_name(compared.table.column.name) in ("FD", "FID"):
        generated = compared.table.group.protocol.fields.get("n_generated")
        lines.append(
            f"The noise floor, the expected score of {_count(generated)} new real examples, is "
            f"{number(compared.floor)}."
        )
    return lines


def value_text(row: Compared) -> str:
    """Return a value with its interval."""
    text = number(row.place.center)
    if row.interval is None:
        return text
    low, high = (number(end) for end in row.interval)
    return f"{text} [{low}, {high}]"


def findings(compared: Comparison) -> list[str]:
    """Return which model is best, and from which others it differs significantly."""
    tested = [row for row in compared.rows if row.tested]
    if len(tested) < 2:
        return []
    best = tested[0]
    equal = [row.name for row in tested[1:] if not different(compared, best, row)]
    worse = [row for row in tested[1:] if different(compared, best, row)]
    column = compared.table.column
    word = "lowest" if column.better == "lower" else "highest"
    lines = [f"{best.name} has the {word} {column.name}, {value_text(best)}."]
    if equal:
        lines.append(f"The difference to {common(equal)} is not significant.")
    if worse:
        runner = worse[0]
        if column.scale == "log":
            ratio = max(runner.place.center, SMALL) / max(best.place.center, SMALL)
            size = number(ratio if column.better == "lower" else 1 / ratio)
            how = f"by a factor of {size}"
        else:
            how = f"by {number(abs(runner.place.center - best.place.center))}"
        rest = f" and from {common([row.name for row in worse[1:]])}" if len(worse) > 1 else ""
        lines.append(f"It differs significantly from {runner.name} ({how}){rest}.")
    return lines


def checks(compared: Comparison) -> list[str]:
    """Return what is known of memorization and of the verification of the files."""
    rows = compared.rows
    copies = [row.name for row in rows if row.ranked.row.memorizes]
    unknown = [row.name for row in rows if row.ranked.row.memorizes is None]
    checked = len(rows) - len(copies) - len(unknown)
    lines = []
    if checked:
        every = "every model" if not copies and not unknown else "the other models"
        lines.append(f"Memorization of the training examples was checked and not detected for {every}.")
    if copies:
        lines.append(f"Not ranked because of memorization of the training set: {common(copies)}.")
    if unknown:
        lines.append(f"Not ranked because memorization was not checked at every seed: {common(unknown)}.")
    states = {state: [row.name for row in rows if row.ranked.row.state == state] for state in _STATES}
    for state, meaning in _STATES.items():
        if states[state]:
            whose = (
                "All results"
                if len(states[state]) == len(rows)
                else f"The results of {common(states[state])}"
            )
            lines.append(f"{whose} are {state}: {meaning}.")
    if any(map(_is_baseline, rows)):
        lines.append("Baselines are deterministic and are not tested.")
    return lines


_STATES = {
    "reproduced": "the samples were drawn and scored again, with the same values",
    "resampled": "the samples were drawn and scored again, with values within the intervals",
    "reported": "the values come from the runs themselves",
}


def _span(values: Sequence[float], show: Callable[[float], str]) -> str:
    least, most = show(min(values)), show(max(values))
    return least if least == most else f"{least} to {most}"


def duration(seconds: float) -> str:
    """Return a duration in words: "42 s", "3.1 min", "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def cost(compared: Comparison) -> list[str]:
    """Return the cost of training and sampling, and the hardware."""
    trained = [row for row in compared.rows if not _is_baseline(row)]
    seconds = [value for row in trained if (value := mean_cost(row, "train_seconds")) is not None]
    each = [value for row in trained if (value := mean_cost(row, "seconds_per_sample")) is not None]
    hardware = common(
        [
            ", ".join(
                filter(
                    None,
                    (
                        result.provenance.hardware.device,
                        result.provenance.hardware.cpu,
                        f"{result.provenance.hardware.threads} thread"
                        f"{'s' * (result.provenance.hardware.threads != 1)}"
                        if result.provenance.hardware.threads
                        else "",
                    ),
                )
            )
            for result in compared.results
        ]
    )
    lines = []
    if seconds:
        lines.append(f"Training took {_span(seconds, duration)} per seed")
        lines[-1] += f" on {hardware}." if hardware else "."
    if each:
        lines.append(
            f"Sampling took {_span([1000 * s for s in each], lambda ms: f'{ms:.3g}')} ms per sample."
        )
    return lines


def _cell(value: float | None, show: Callable[[float], str]) -> str:
    return "n/a" if value is None else show(value)


def _rank_text(row: Compared) -> str:
    if row.place.rank is None:
        return "-" if row.ranked.mark in LEFT_OUT else "?"
    return f"={row.place.rank}" if row.place.tied else str(row.place.rank)


def table(compared: Comparison, style: Style) -> str:
    """Return the table: rank, model, seeds, value, NFE, parameters, training time, state."""
    column = compared.table.column
    heading = ["rank", "model", "seeds", f"{column.name} ({column.better} is better)"]
    heading += ["NFE", "parameters", "training", "state"]
    rows = [
        [
            _rank_text(row),
            row.name,
            str(len(row.ranked.row.seeds)),
            value_text(row),
            _cell(mean_cost(row, "nfe"), lambda v: f"{v:.0f}"),
            _cell(mean_cost(row, "parameters"), lambda v: f"{v:,.0f}"),
            _cell(mean_cost(row, "train_seconds"), duration),
            row.ranked.row.state,
        ]
        for row in compared.rows
    ]
    seeds = fmean(len(row.ranked.row.seeds) for row in compared.rows)
    unit = "training seeds" if seeds > 1 else "the samples of one run"
    caption = (
        f"{column.name} on {data_name(compared)}, protocol {compared.table.group.protocol.hash}. "
        f"95 % intervals over {unit} in brackets; = marks ranks that are shared, - rows that are not ranked, "
        "? rows that can't be tested."
    )
    return style.table(heading, rows, caption)
