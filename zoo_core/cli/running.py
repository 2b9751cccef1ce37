"""Verbs that make and use runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from zoo_core.errors import UsageError
from zoo_core.registry.manager import load_entry, manager
from zoo_core.resolve import parse_words, plain, resolve_matrix


@click.command(
    epilog="Options of a model: zoo show NAME. Comma lists make a matrix: plugin=wgan,vae seed=0,1,2"
)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--dry-run", is_flag=True, help="Print the resolved config and stop.")
@click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
def run(words: tuple[str, ...], dry_run: bool, json_: bool) -> None:
    """Train, sample, score, record and draw.

    zoo run plugin=wgan                          with defaults, on real handwritten digits

    zoo run plugin=vae data=mnist train.steps=2000

    zoo run config=runs/.../config.yaml          the same run again

    zoo run resume=runs/...                      go on where it was stopped
    """
    given = parse_words(words)
    if "resume" in given:
        if set(given) != {"resume"}:
            raise UsageError(
                f"resume= stands alone; also given: {', '.join(sorted(set(given) - {'resume'}))}",
                "to change options, start a run of its own: zoo run config=RUN/config.yaml key=value",
            )
        from zoo_core.job import resume

        return _show_result(resume(given["resume"]), json_)
    configs = resolve_matrix(given)
    if dry_run:
        from zoo_core import strict_yaml

        click.echo("---\n".join(strict_yaml.dump(plain(config)) for config in configs), nl=False)
        return None
    if len(configs) == 1:
        from zoo_core.job import run as run_one

        return _show_result(run_one(configs[0]), json_)
    from zoo_core.launch import run_matrix

    status = run_matrix(configs, told=lambda result: _show_result(result, json_))
    raise click.exceptions.Exit(status)


def _show_result(result: dict[str, Any], json_: bool) -> None:
    if json_:
        click.echo(json.dumps(result))
        return
    for entry in manager().hooks("zoo_summary"):
        for line in entry.function(result):
            click.echo(line)
    pictures = result.get("pictures")
    if pictures:
        click.echo(f"pictures: {Path(result['run_dir']) / next(iter(pictures.values()))}")
    click.echo(f"run: {result['run_dir']}")


@click.command()
@click.argument("folder", metavar="RUN")
@click.option(
    "-n", "count", default=64, show_default=True, type=click.IntRange(1, 1_000_000), help="How many."
)
@click.option("--seed", type=int, help="Of the noise; the run's own where left out.")
@click.option("--out", type=click.Path(path_type=Path), help="File: .png for a grid, .npz for uint8 NHWC.")
def sample(folder: str, count: int, seed: int | None, out: Path | None) -> None:
    """Draw pictures from a trained run, as a grid (.png) or as numbers (.npz)."""
    from zoo_core.runs import load
    from zoo_core.tracking.pictures import save_samples

    made = load(folder, say=lambda line: click.echo(line, err=True))
    path = out or made.dir / "pictures" / f"drawn-{count}.png"
    save_samples(made.sample(count, seed=seed), made.data.info, path)
    click.echo(str(path))


@click.command()
@click.argument("name")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
def show(name: str, json_: bool) -> None:
    """One model: paper, presets, and every option with its type, default and meaning."""
    from zoo_core.config import options, type_name

    entry = manager().find("plugin", name)
    config = load_entry("plugin", entry, "config")
    rows = [
        {
            "option": key,
            "type": type_name(info.annotation),
            "default": info.default,
            "meaning": info.description,
        }
        for key, info in options(config)
        if key != "plugin"
    ]
    presets = {key: preset.source for key, preset in config.PRESETS.items()}
    if json_:
        facts = entry.spec._asdict() | {
            "distribution": entry.distribution,
            "options": rows,
            "presets": presets,
        }
        click.echo(json.dumps(facts, indent=1, default=str))
        return
    spec = entry.spec
    click.echo(f"{spec.name}: {spec.summary}")
    click.echo(f"family {spec.family}, from {entry.distribution}, code {spec.target}")
    if spec.paper:
        click.echo(f"paper {spec.paper}")
    for key, source in presets.items():
        click.echo(f"preset={key}: {source}")
    click.echo()
    for row in rows:
        click.echo(f"{row['option']}={row['default']}  ({row['type']})")
        click.echo(f"    {row['meaning']}")
