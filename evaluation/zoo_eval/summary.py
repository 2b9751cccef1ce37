"""What a run says at its end: its scores beside the four baselines', its likelihoods, its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo_core.likelihood import COLLAPSED
from zoo_eval.results import is_frechet

Result = Mapping[str, Any]

ARROWS = {"lower": "↓", "higher": "↑"}


def number(value: float) -> str:
    """Return a figure in at most 8 characters: three significant digits, two decimals from 10 on."""
    if value == 0 or 1e-3 <= abs(value) < 10:
        return f"{value:.3g}"
    return f"{value:.2f}" if 10 <= abs(value) < 1e4 else f"{value:.1e}"


def cell_text(cell: Mapping[str, Any]) -> str:
    """Return a cell's figure; a count with what it is out of."""
    return f"{cell['value']}/{cell['of']}" if "of" in cell else number(cell["value"])


def likelihood_text(record: Mapping[str, Any]) -> str:
    """Return a likelihood with its unit, its kind, its standard error, and <= where it is a bound on bits."""
    bits = "bits_per_dim" in record
    value = record["bits_per_dim"] if bits else record["nats"]
    # A bound from below on log p bounds bits from above; nats are of log p itself.
    sign = ("<= " if bits else ">= ") if record.get("bound") else ""
    error = f" ± {number(record['se'])}" if record.get("se") is not None else ""
    spread = "dequantised" if record.get("dequantisation") == "uniform" else ""
    note = ", ".join(filter(None, (record["name"], spread, record.get("note", ""))))
    nats = f", {record['nats']:.1f} nats" if bits and "nats" in record else ""
    return f"{sign}{value:.3f}{error} {'bits/dim' if bits else 'nats'}{nats} ({note})"


def posterior_gap(records: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the line of IWAE minus ELBO, where a model has both: what its encoder's posterior costs.

    ELBO = log p - KL(q || posterior), and IWAE lies between ELBO and log p (Burda et al. 2016,
    arXiv:1509.00519, Theorem 1).
    """
    elbo = next((record for record in records if record["kind"] == "elbo"), None)
    iwae = max((record for record in records if record["kind"] == "iwae"), key=lambda r: r["k"], default=None)
    if elbo is None or iwae is None:
        return None
    bits = "bits_per_dim" in elbo
    gap = elbo["bits_per_dim"] - iwae["bits_per_dim"] if bits else iwae["nats"] - elbo["nats"]
    unit = "bits/dim" if bits else "nats"
    return f"{gap:.3f} {unit} between {iwae['name']} and elbo: what the encoder's posterior costs, or more"


def latent_use(records: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the line of how much of the latent is in use, where a model tells the KL of its parts."""
    kl = next((record["kl"] for record in records if record.get("kl")), None)
    if kl is None:
        return None
    collapsed = [name for name, nats in kl.items() if nats < COLLAPSED]
    text = f"{sum(kl.values()):.2f} nats of KL in {len(kl) - len(collapsed)} of {len(kl)} parts of the latent"
    return f"{text}; collapsed: {', '.join(collapsed)}" if 0 < len(collapsed) <= 4 else text


def summary_lines(result: Result, baselines: Sequence[Result] = ()) -> list[str]:
    """Return the lines to print, at most 80 characters wide where names are not long.

    Args:
        result: of the run, as in its result.json.
        baselines: results of baselines under the same protocol; one under another is left out.
    """
    if "metrics" not in result:
        return []
    protocol = result["protocol"]
    beside = [
        other
        for other in baselines
        if other.get("protocol", {}).get("hash") == protocol["hash"] and other["plugin"] != result["plugin"]
    ]
    name, hash_, n = protocol["name"], protocol["hash"], protocol["fields"]["n_generated"]
    lines = [f"{result['data']}, protocol {name}-{protocol['version']} ({hash_}), {n:,} samples"]
    lines += _table(result, beside)
    lines += _distance_lines(result, beside)
    own = [likelihood_text(record) for record in result.get("likelihood", [])]
    theirs = [
        f"{other['plugin']}: {likelihood_text(record)}"
        for other in beside
        for record in other.get("likelihood", [])
    ]
    best = [f"{likelihood_text(result['truth'])}: the best there is"] if result.get("truth") else []
    texts = [*(own or ["n/a: this model has none"]), *best, *theirs]
    gap = posterior_gap(result.get("likelihood", []))
    used = latent_use(result.get("likelihood", []))
    texts += [text for text in (gap, used) if text]
    lines += [f"{'' if k else 'likelihood':<12}{text}" for k, text in enumerate(texts)]
    lines.append(f"memory      {result['memorisation']['verdict']}")
    return lines


def _table(result: Result, beside: Sequence[Result]) -> list[str]:
    columns = [result, *beside]
    widest = max(len(name) for name in result["metrics"]) + 2
    lines = [" " * widest + "".join(f"{other['plugin'][:10]:>11}" for other in columns)]
    for name, cell in result["metrics"].items():
        label = f"{name} {ARROWS.get(cell.get('better', ''), ' ')}"
        cells = [other["metrics"].get(name) for other in columns]
        figures = "".join(f"{'n/a' if c is None else cell_text(c):>11}" for c in cells)
        lines.append(f"{label:<{widest}}{figures}")
    return lines


def _distance_lines(result: Result, beside: Sequence[Result]) -> list[str]:
    column = next(filter(is_frechet, result["metrics"]), None)
    if column is None:
        return []
    cell = result["metrics"][column]
    floor = result["floor"]["value"]
    text = f"floor       {number(floor)}: what as many new real examples would score in {column}"
    lines = [text + ("; not to be told from it" if cell["value"] < 2 * floor else "")]
    if "reconstruction" in result["floor"]:
        lost = number(result["floor"]["reconstruction"])
        lines.append(f"codes       {lost}: of test examples to their own reconstructions, as {column}")
    if "low" in cell:
        low, high = number(cell["low"]), number(cell["high"])
        lines.append(f"interval    {low} to {high}: where as many other samples' {column} lies (95 %)")
    gaussian = next((other for other in beside if other["plugin"] == "gaussian"), None)
    theirs = None if gaussian is None else gaussian["metrics"].get(column)
    if theirs is not None and theirs["value"] > 0:
        lines.append(f"beside      {cell['value'] / theirs['value']:.3g} times the gaussian's {column}")
    noted = {column: cell} | {name: c for name, c in result["metrics"].items() if "classes" in c}
    lines += [f"note        {name}: {c['note']}" for name, c in noted.items() if "note" in c]
    return [*lines, *(f"n/a         {name}: {why}" for name, why in result.get("absent", {}).items())]


def summary(result: Result, baselines: Sequence[Result] = ()) -> str:
    """Return `summary_lines` as one text."""
    return "\n".join(summary_lines(result, baselines))
