"""What an opened entry shows: its samples, curves, values by seed, config and the commands that repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from zoo_core.errors import UsageError
from zoo_core.registry.index import load_index
from zoo_core.registry.ledger import Published, headlines
from zoo_core.results import Result, read_result
from zoo_core.results.attachments import thinned
from zoo_eval.leaderboard.facts import OUTSIDE
from zoo_eval.leaderboard.page.sprites import Strip, shown_grid, strip
from zoo_eval.leaderboard.page.values import Plain, clean, lines, short, without_secrets
from zoo_eval.leaderboard.repeat import changed_options, repeat_command, verify_command
from zoo_eval.leaderboard.rows import Row
from zoo_eval.store import Entry
from zoo_eval.store.media import curves, sample_grid
from zoo_eval.verdicts import memorization_text

GRIDS = 2_600_000
"""Characters of all grids of a page together; the best entries come first."""
POINTS = 60
"""Points of a curve that are shown."""
NOT_CURVES = ("images", "steps_per_second")
"""Series of a run's log that are counters or speeds."""
_HASHES = ("config_hash", "weights_sha256", "samples_sha256")


def command(words: Sequence[str]) -> str:
    """Return the command that was recorded, quoted for a shell; "" for what is not a command of zoo."""
    return shlex.join(without_secrets(word) for word in words) if words[:1] == ["zoo"] else ""


def reference(name: str, one: Published) -> Plain:
    """Return a published score of a model to show."""
    return {
        "name": clean(name),
        "data": clean(one.data),
        "metric": clean(one.metric),
        "value": short(one.value),
        "protocol": clean(one.conditions),
        "source": clean(one.source),
        "read": one.read,
    }


def known_models(names: Collection[str]) -> dict[str, Plain]:
    """Return what the index says of models: summary, paper, package, a score of each data and metric."""
    return {
        entry.name: {
            "summary": clean(entry.summary),
            "package": clean(entry.package),
            "paper": None if entry.paper is None else _paper(entry.paper),
            "published": [reference(entry.name, one) for one in headlines(entry.published)],
        }
        for entry in load_index().plugins
        if entry.name in names
    }


def _paper(paper: Any) -> Plain:
    link = f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else ""
    if not link and paper.doi:
        link = f"https://doi.org/{paper.doi}"
    return {"title": clean(paper.title), "year": paper.year, "link": link}


class Details:
    """Makes the details of entries, one after the other, and counts the characters of their grids.

    Args:
        entries: number of entries that are still to come.
        left: characters that the grids may take.
    """

    def __init__(self, entries: int = 1, left: int = GRIDS) -> None:
        self.entries = entries
        self.left = left

    def of(self, row: Row) -> Plain:
        """Return all that the page shows of an opened entry."""
        runs = [(entry, result) for entry in row.entries if (result := whole(entry)) is not None]
        share = self.left // max(self.entries, 1)
        made = []
        for k, (entry, result) in enumerate(runs):
            # The first seed's grid has precedence; those of others stay inside the entry's share.
            most = self.left if k == 0 else min(share, self.left)
            one, spent = self._run(entry, result, most)
            self.left, share = self.left - spent, share - spent
            made.append(one)
        self.entries -= 1
        config = runs[0][1].config if runs else {}
        own = row.family != OUTSIDE
        return {
            "runs": made,
            "config": lines(config),
            "changed": [clean(key) for key in changed_options(config)] if own else [],
            "repeat": _repeat(row, runs) if runs else "",
            "verify": verify_command(*_location(runs[0][0])) if runs else "",
        }

    def _run(self, entry: Entry, result: Result, most: int) -> tuple[Plain, int]:
        folder = entry.path.parent
        grid, note = _grid(result, entry, "samples", most)
        worst, _ = _grid(result, entry, "worst", most - len(grid or ""))
        origin = result.provenance.model_dump(exclude={"command"})
        hashes = {name: getattr(result, name) for name in _HASHES}
        hashes["file"] = "/".join(entry.path.parts[-4:])
        made = {
            "seed": result.seed,
            "metrics": {clean(name): short(cell.value) for name, cell in result.metrics.items()},
            "notes": list(_notes(result)),
            "grid": grid,
            "grid_note": note,
            "worst": worst,
            "curves": _curves(curves(result, folder)),
            "sampling": lines(result.sampling.model_dump()),
            "provenance": lines(origin) + [(name, clean(text)) for name, text in hashes.items() if text],
        }
        return made, len(grid or "") + len(worst or "")


def strip_of(row: Row) -> Strip | None:
    """Return the first samples of an entry's first seed; None where it has no grid of samples."""
    result = whole(row.entries[0])
    content = None if result is None else sample_grid(result, row.entries[0].path.parent)
    return None if content is None else strip(content)


def whole(entry: Entry) -> Result | None:
    """Return the result in an entry's file; None where the file was changed or removed meanwhile."""
    try:
        result = read_result(entry.path)
    except UsageError:
        return None
    same = (result.plugin, result.config_hash, result.seed) == (entry.plugin, entry.config_hash, entry.seed)
    return result if same else None


def _grid(result: Result, entry: Entry, what: str, most: int) -> tuple[str | None, str]:
    """Return a grid as the source of an image, and why it is left out where it is."""
    content = sample_grid(result, entry.path.parent, what)
    source = None if content is None else shown_grid(content)
    if source is not None and len(source) > most:
        return None, "left out: the page's space for samples is used up"
    return source, ""


def _location(entry: Entry) -> tuple[str, str]:
    """Return the file of a result, and the folder of its run where that is the same."""
    parts = entry.path.parts[-4:]
    run = (entry.path.parent / "checkpoints").is_dir()
    return clean("/".join(parts)), clean("/".join(parts[:-1])) if run else "RUN"


def _repeat(row: Row, runs: Sequence[tuple[Entry, Result]]) -> str:
    """Return the command that repeats all seeds; of samples of another program, what it recorded."""
    if row.family == OUTSIDE or not runs[0][1].config.get("plugin"):
        return command(runs[0][1].provenance.command)
    return clean(repeat_command(runs[0][1].config, [result.seed for _, result in runs]))


def _curves(found: Mapping[str, Sequence[Sequence[float]]]) -> list[Plain]:
    """Return curves as names with steps and values; series with the same steps are together."""
    together: dict[tuple[float | None, ...], list[tuple[str, list[float | None]]]] = {}
    for name, points in found.items():
        if name in NOT_CURVES:
            continue
        some = thinned([list(point) for point in points], POINTS)
        values = [None if (v := short(value)) is None else float(f"{v:.4g}") for _, value in some]
        together.setdefault(tuple(short(step) for step, _ in some), []).append((clean(name), values))
    return [{"steps": list(steps), "series": series} for steps, series in together.items()]


def _notes(result: Result) -> Iterator[str]:
    yield f"memorization {clean(memorization_text(result))}"
    for name, cell in result.metrics.items():
        if cell.unranked:
            yield clean(f"{name}: not ranked: {cell.unranked}")
        if cell.note:
            yield clean(f"{name}: {cell.note}")
