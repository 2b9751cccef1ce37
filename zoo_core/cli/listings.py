"""Commands that list what is installed; they import no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from zoo_core.cli.tables import painted, paragraph, table
from zoo_core.registry.manager import manager

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")


def _print(rows: list[dict[str, Any]], columns: Sequence[str], json_: bool) -> None:
    if json_:
        import json

        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(table([[str(row[name]) for name in columns] for row in rows], columns))


def _specs(kind: str) -> list[dict[str, Any]]:
    return [entry.spec._asdict() | {"distribution": entry.distribution} for entry in manager().entries(kind)]


def _warn() -> None:
    for failure in manager().failures:
        click.echo(f"warning: {failure.distribution}: {failure.entry_point}: {failure.reason}", err=True)


@click.command()
@click.option(
    "--all",
    "all_",
    is_flag=True,
    help="Include models of registry.yaml that are not installed, and load errors.",
)
@click.option(
    "--weights", is_flag=True, help="List trained models: zoo sample ADDRESS, zoo run init=ADDRESS."
)
@as_json
def models(all_: bool, weights: bool, json_: bool) -> None:
    """List installed models; with --all, also models that can be installed, and load errors."""
    if weights:
        _weights(json_)
        return
    rows = sorted(_specs("plugin"), key=lambda row: (row["family"], row["name"]))
    if not all_:
        _print(rows, ["name", "family", "paper", "summary"], json_)
        _warn()
        return
    rows = [row | {"state": "installed", "next": f"zoo run plugin={row['name']}"} for row in rows]
    _print([*rows, *_missing()], ["name", "family", "state", "next", "summary"], json_)


def _weights(json_: bool) -> None:
    """Print the trained models that registry.yaml lists, and whether they are installed."""
    from zoo_core.hub.shipped import DISTRIBUTION, shipped
    from zoo_core.registry.index import load_index

    here = {str(place) for place in shipped()}
    rows: list[dict[str, Any]] = [
        {
            "address": one.uri,
            "model": entry.name,
            "family": entry.family,
            "score": ", ".join(f"{name} {value:.4g}" for name, value in one.scores.items()),
            "installed": "yes" if one.uri in here else "no",
        }
        for entry in load_index().plugins
        if entry.kind == "plugin"
        for one in entry.weights
    ]
    rows.sort(key=lambda row: (row["family"], row["address"]))
    if not json_ and not rows:
        click.echo("registry.yaml lists no weights")
        return
    _print(rows, ["address", "model", "family", "score", "installed"], json_)
    if any(row["installed"] == "no" and row["address"].startswith("zoo://") for row in rows) and not json_:
        click.echo(f"next: pip install {DISTRIBUTION}, or ./weights in a copy of the repository", err=True)


def _missing() -> list[dict[str, Any]]:
    """Return a row for every model that the index knows and nothing installed has, and for every failure."""
    from zoo_core.registry.index import load_index

    here = manager()
    installed = {entry.spec.name for entry in here.entries("plugin")}
    failed = {failure.distribution for failure in here.failures}
    known = [
        {
            "name": entry.name,
            "family": entry.family,
            "paper": f"arXiv:{entry.paper.arxiv}" if entry.paper and entry.paper.arxiv else "",
            "summary": entry.summary,
            "distribution": entry.package,
            "state": "known",
            "next": entry.how_to_install,
        }
        for entry in load_index().plugins
        if entry.kind == "plugin" and entry.name not in installed and entry.package not in failed
    ]
    broken = [
        {
            "name": failure.entry_point,
            "family": "",
            "paper": "",
            "summary": f"{failure.distribution}: {failure.reason}",
            "distribution": failure.distribution,
            "state": "failed",
            "next": f"ZOO_DISABLE_PLUGINS={failure.distribution}",
        }
        for failure in here.failures
    ]
    return [*known, *broken]


@click.command()
@as_json
def samplers(json_: bool) -> None:
    """List samplers; each works with any denoiser: sampler=NAME."""
    _print(_specs("sampler"), ["name", "steps", "paper", "summary"], json_)
    _warn()


@click.command()
@as_json
def datasets(json_: bool) -> None:
    """List datasets: data=NAME."""
    rows = _specs("dataset")
    for row in rows:
        row["size"] = "x".join(map(str, row["shape"])) or "any"
    _print(rows, ["name", "size", "levels", "classes", "summary"], json_)
    _warn()


@click.command()
@as_json
def metrics(json_: bool) -> None:
    """List metrics, which are the columns of results: eval.metrics=[NAME,...].

    An optional metric is computed only if it is named: eval.metrics=[default,NAME].
    """
    _print(_specs("metric"), ["name", "better", "optional", "distribution", "summary"], json_)
    _warn()


@click.command()
@as_json
def extractors(json_: bool) -> None:
    """List feature networks: eval.extractor=NAME."""
    _print(_specs("extractor"), ["name", "distribution", "summary"], json_)
    _warn()


@click.command()
@click.option("--refresh", is_flag=True, help="List every plugin again instead of reading the cache.")
@as_json
def plugins(json_: bool, refresh: bool) -> None:
    """List installed plugins, what they provide, and load errors."""
    from zoo_core.cli import added_verbs

    if refresh:
        from zoo_core.registry import cache

        cache.clear()
    here = manager()
    added_verbs()  # a verb that is the core's own is refused now, so that it is listed below
    provided: dict[str, list[str]] = {}
    for kind in ("plugin", "sampler", "dataset", "extractor", "metric", "command"):
        for entry in here.entries(kind):
            provided.setdefault(entry.distribution, []).append(entry.spec.name)
    versions = {source.distribution: source.version for source in here.sources}
    rows: list[dict[str, Any]] = [
        {"distribution": name, "version": version, "state": "loaded", "provides": provided.get(name, [])}
        for name, version in sorted(versions.items())
    ]
    rows += [
        {
            "distribution": f.distribution,
            "version": "",
            "state": f"failed: {f.reason}",
            "provides": [f.entry_point],
        }
        for f in here.failures
    ]
    if not json_:
        rows = [row | {"provides": ", ".join(row["provides"])} for row in rows]
    _print(rows, ["distribution", "version", "state", "provides"], json_)


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """List installed versions, problems and the commands that fix them; status 5 if there is a problem."""
    from zoo_core.cli.doctor import examine

    findings = examine()
    if json_:
        _print([finding._asdict() for finding in findings], [], True)
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            mark = painted("!!", fg="red", bold=True) if finding.problem else painted("ok", fg="green")
            lines = [finding.value, *((finding.problem, f"fix: {finding.fix}") if finding.problem else ())]
            for place, line in enumerate(lines):
                lead = f"{mark}  {finding.what.ljust(width)}" if place == 0 else f"    {' ' * width}"
                click.echo(paragraph(f"{lead}  {line}", indent=width + 6))
    raise click.exceptions.Exit(5 if any(finding.problem for finding in findings) else 0)
