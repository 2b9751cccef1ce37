"""Tables as CSV and LaTeX, for spreadsheets and papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from zoo_eval.leaderboard.notation import notation_of
from zoo_eval.leaderboard.table import Table
from zoo_eval.leaderboard.tasks import task_of
from zoo_eval.leaderboard.text import names, printable, rank_text
from zoo_eval.statistics.student import mean_interval

_FORMULA = ("=", "+", "-", "@")
"""First characters with which a spreadsheet takes a text for a formula."""

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}",
}  # fmt: skip


def as_csv(tables: Sequence[Table]) -> str:
    """Return tables as one CSV, a line per row, with full precision; "" where a row lacks a value.

    The columns of all tables are there, each metric as its mean and the half-width of its 95 % interval over
    seeds. The rank is a number, and `mark` says ties ("=") and why a row has none.
    """
    columns = list(dict.fromkeys(column.name for table in tables for column in table.group.columns))
    costs = list(dict.fromkeys(name for table in tables for r in table.rows for name in r.row.cost))
    head = ["data", "task", "given", "protocol", "ranked_by", "rank", "mark", "name", "plugin", "family",
            "config_hash", "seeds", "state"]  # fmt: skip
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow([*head, *(part for name in columns for part in (name, f"{name} half-width")), *costs])
    for table in tables:
        group = table.group
        about = [group.data.name, group.task, task_of(group.data).given, group.protocol.hash]
        for ranked, name in zip(table.rows, names(table.rows), strict=True):
            row = ranked.row
            cells: list[object] = [*map(_plain, about), table.column.name, ranked.rank, _plain(ranked.mark)]
            cells += map(_plain, (name, row.plugin, row.family, row.config_hash))
            cells += [" ".join(map(str, row.seeds)), row.state]
            for column in columns:
                values = row.scores.get(column)
                cells += (None, None) if values is None else mean_interval(values)
            out.writerow([*cells, *(row.cost.get(cost) for cost in costs)])
    return file.getvalue()


def _plain(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_latex(tables: Sequence[Table]) -> str:
    """Return tables as LaTeX with booktabs: rank, model, the column that ranks, the next three, and NFE."""
    return "\n\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    beside = [c for c in table.group.columns if c.better and c.name != table.column.name][:3]
    columns = [table.column, *beside]
    notations = [
        notation_of(r.row.scores[c.name] for r in table.rows if c.name in r.row.scores) for c in columns
    ]
    arrows = {"lower": r"$\downarrow$", "higher": r"$\uparrow$"}
    factors = [rf" $\times 10^{{{-n.exponent}}}$" if n.exponent else "" for n in notations]
    heads = [
        f"{latex(column.name)}{factor} {arrows[column.better]}"
        for column, factor in zip(columns, factors, strict=True)
    ]
    given = task_of(table.group.data).given
    caption = f"{table.group.title}{f'; given: {given}' if given else ''}; mean over training seeds"
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(caption)} $\pm$ half of a 95\,\% interval. Ties share a rank (=).}}",
        rf"\begin{{tabular}}{{rl{'r' * (len(columns) + 1)}}}",
        r"\toprule",
        " & ".join(["", "Model", *heads, "NFE"]) + r" \\",
        r"\midrule",
    ]
    for ranked, name in zip(table.rows, names(table.rows), strict=True):
        cells = [latex(rank_text(ranked)), latex(name)]
        for column, how in zip(columns, notations, strict=True):
            values = ranked.row.scores.get(column.name)
            if values is None:
                cells.append("--")
                continue
            mean, width = mean_interval(values)
            sign = {"upper": r"\leq ", "lower": r"\geq "}.get(ranked.row.bounds[column.name], "")
            spread = (
                rf" \pm {how.spread(width, mean)}" if width is not None and column is table.column else ""
            )
            cells.append(f"${sign}{how.text(mean, width)}{spread}$")
        nfe = ranked.row.cost.get("nfe")
        lines.append(" & ".join([*cells, "--" if nfe is None else f"{nfe:,.0f}"]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def latex(text: str) -> str:
    """Return a text with the characters escaped that LaTeX gives a meaning."""
    return "".join(_LATEX.get(letter, letter) for letter in printable(text))
