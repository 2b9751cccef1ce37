"""Training curves: related losses share a panel, raw values are faint and their moving average is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo_core.viz.plot import Plot
from zoo_core.viz.style import COLORS, make_figure, set_title, styled

Record = Mapping[str, float]
Series = tuple[np.ndarray, np.ndarray]
"""Steps and values, (n,) each."""
FEWEST = 12
"""Records below which nothing is smoothed."""
DECADES = 100.0
"""scale=auto: ratio of the largest to the smallest value above which the axis is logarithmic."""


def moving_average(values: np.ndarray, decay: float) -> np.ndarray:
    """Return the exponential moving average m_t = d m_{t-1} + (1 - d) v_t over 1 - d^t, (n,).

    The division removes the bias towards the start value 0 (Kingma and Ba 2014, section 3).
    """
    found, mean = np.empty(len(values)), 0.0
    for place, value in enumerate(values):
        mean = decay * mean + (1 - decay) * float(value)
        found[place] = mean / (1 - decay ** (place + 1))
    return found


def series_of(records: Sequence[Record]) -> dict[str, Series]:
    """Return "phase/value" -> steps and values of a log; values that are not finite are left out.

    Learning rates are included where they change.
    """
    names = dict.fromkeys(name for record in records for name in record if "/" in name)
    found: dict[str, Series] = {}
    for name in names:
        rows = [(r["step"], r[name]) for r in records if name in r and math.isfinite(r[name])]
        values = np.array([value for _, value in rows], dtype=float)
        if rows and not (name.startswith("lr/") and np.ptp(values) == 0):
            found[name] = np.array([step for step, _ in rows], dtype=float), values
    return found


def panels(names: Sequence[str]) -> dict[str, list[str]]:
    """Return panel -> series: values of one kind in all phases share a panel, e.g. every loss."""
    found: dict[str, list[str]] = {}
    for name in names:
        kind = "learning rate" if name.startswith("lr/") else name.rpartition("/")[2].replace("_", " ")
        found.setdefault(kind, []).append(name)
    order = sorted(found, key=lambda kind: (kind != "loss", kind == "learning rate"))
    return {kind: found[kind] for kind in order}


def axis_scale(wanted: str, values: Sequence[np.ndarray]) -> str:
    """Return the scale of a panel's y axis: linear, log, or symlog where log is asked for and not possible.

    Args:
        wanted: auto, linear or log.
    """
    every = np.concatenate(values)
    positive = bool((every > 0).all())
    if wanted == "auto":
        return "log" if positive and every.max() > DECADES * every.min() else "linear"
    return "symlog" if wanted == "log" and not positive else wanted


@styled
def draw_curves(
    records: Sequence[Record],
    subtitle: str,
    *,
    scale: str = "auto",
    smoothing: float = 0.9,
    units: Mapping[str, str] | None = None,
) -> Plot | None:
    """Return the curves of a log, or None where it has no values.

    Args:
        records: of metrics.jsonl.
        scale: of the y axes: auto, linear or log.
        smoothing: decay of the moving average per record, in [0, 1); 0 draws the records only.
        units: panel -> unit of its values.
    """
    series = series_of(records)
    if not series:
        return None
    kinds, units = panels(list(series)), units or {}
    columns = min(2, len(kinds))
    rows = math.ceil(len(kinds) / columns)
    figure = make_figure(4.3 * columns + 0.6, 2.5 * rows + 0.7)
    last = max(steps[-1] for steps, _ in series.values())
    smoothed = smoothing > 0 and max(len(values) for _, values in series.values()) >= FEWEST
    for place, (kind, names) in enumerate(kinds.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        used = axis_scale(scale, [series[name][1] for name in names])
        axes.set_yscale(used)
        for number, name in enumerate(names):
            _draw_series(axes, *series[name], COLORS[number % len(COLORS)], name, smoothing)
        axes.set_xlim(0, last * 1.02)
        note = "" if used == "linear" else f", {used} scale"
        unit = f" ({units[kind]})" if kind in units else ""
        axes.set(xlabel="training step", ylabel=f"{kind}{unit}{note}", title=kind)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        if len(names) > 1:
            axes.legend([_line(axes, k) for k in range(len(names))], [n.rpartition("/")[0] for n in names])
        else:
            axes.set_title(names[0])
    how = f"line: moving average (EMA, decay {smoothing:g} per record), faint: records" if smoothed else ""
    how = how or "records, not smoothed"
    set_title(figure, "Training curves", f"{subtitle} · {how}; a record is the mean since the one before")
    return Plot(figure, _columns(records, list(series)))


def _draw_series(
    axes: Any, steps: np.ndarray, values: np.ndarray, color: str, name: str, smoothing: float
) -> None:
    smoothed = smoothing > 0 and len(values) >= FEWEST
    marker = "o" if len(values) < FEWEST else None
    if smoothed:
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.9)
        values = moving_average(values, smoothing)
    axes.plot(steps, values, color=color, marker=marker, markersize=3, gid=name)


def _line(axes: Any, number: int) -> Any:
    return [line for line in axes.lines if line.get_gid()][number]


def _columns(records: Sequence[Record], names: Sequence[str]) -> dict[str, list[float]]:
    """Return a column for the steps and one for each series; a step without a value has nan."""
    kept = [record for record in records if any(name in record for name in names)]
    return {"step": [r["step"] for r in kept]} | {n: [r.get(n, math.nan) for r in kept] for n in names}
