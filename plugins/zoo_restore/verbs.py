"""The command restore."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from pydantic import Field

from zoo_core.cli.trusting import trust_option
from zoo_core.config import Config, validate
from zoo_core.errors import MachineError, Mistakes, UsageError
from zoo_core.machine.terminal import tell
from zoo_core.registry.resolution import parse_words

if TYPE_CHECKING:
    from zoo_core.events.console import Console
    from zoo_restore.spec import MethodSpec, OperatorSpec


class RestoreConfig(Config):
    """Options of `zoo restore` beside those of the operator and the method."""

    operator: str = ""
    """How images are degraded."""
    method: str = ""
    """How they are restored; several methods are separated by commas."""
    steps: int | None = Field(None, ge=1)
    """Steps of the noise schedule; none for the default of the method."""
    noise: float = Field(0.0, ge=0, le=2)
    """Standard deviation of the noise of the measurement; images are in [-1, 1]."""
    draws: int = Field(2, ge=1, le=1000)
    """Restorations per image."""
    given: Literal["original", "degraded"] = "original"
    """What the files are: originals, which are degraded first; or degraded images."""
    cond: str = ""
    """Classes or captions of a conditional model, in the order of the images."""


def _print_table(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from zoo_core.cli.tables import table
    from zoo_restore.capabilities import registered
    from zoo_restore.capabilities import table as rows_of

    head, rows = rows_of(registered())
    click.echo(table(rows, head))
    context.exit()


def _check(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None or context.resilient_parsing:
        return
    from zoo_core.cli.authoring import show_result
    from zoo_restore.conformance import examine

    failed = False
    for result in examine(value):
        show_result(result)
        failed = failed or result.state == "failed"
    context.exit(4 if failed else 0)


@click.command()
@click.argument("folder", metavar="RUN")
@click.argument("images", metavar="FOLDER|IMAGE")
@click.argument("words", nargs=-1, metavar="operator=NAME method=NAME [KEY=VALUE]...")
@click.option(
    "-n", "count", type=click.IntRange(1, 100_000), help="Number of images; default: all, 16 of test."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all noise.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("restored"), help="Folder to write: new or empty."
)
@click.option("--json", "json_", is_flag=True, help="Print the scores as JSON.")
@click.option(
    "--table",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_table,
    help="Print which methods fit which operators and models, and stop.",
)
@click.option(
    "--check",
    metavar="OPERATOR",
    is_eager=True,
    expose_value=False,
    callback=_check,
    help="Run the conformance checks on an installed operator, and stop; status 4 if one fails.",
)
@trust_option
def restore(
    folder: str, images: str, words: tuple[str, ...], count: int | None, seed: int, out: Path, json_: bool
) -> None:
    """Restore degraded images with the denoiser of a run, and compare with trivial restorations.

    \b
    zoo restore RUN FOLDER operator=inpaint method=pigdm
    zoo restore RUN photo.png operator=lowres method=pigdm          one image
    zoo restore RUN test operator=lowres method=pigdm,ddrm -n 32  test images
    zoo restore RUN FOLDER operator=inpaint operator.mask=mask.png \\
        method=repaint given=degraded

    Operators: inpaint, uncrop, lowres, blur, gray, jpeg. Methods: repaint, ddrm, pigdm, dps, sdedit. Options
    of the operator are operator.KEY=VALUE, those of a method method.KEY=VALUE. The other options are steps,
    noise, draws, given and cond.

    Written: grid.png (original, degraded, restored), scores.json, and the restored images.
    """
    given, operator_words, method_words = _split(parse_words(words))
    settings, mistakes = validate(RestoreConfig, given, "restore")
    if settings is None:
        raise Mistakes(mistakes)
    operator_spec, methods = _specs(settings)
    _check_out(out)
    from zoo_core import load
    from zoo_core.cli.tables import table
    from zoo_core.events.console import Console
    from zoo_core.registry.spec import load_target
    from zoo_restore import report, restoration
    from zoo_restore.capabilities import facts_of, refuse
    from zoo_restore.registry import options_of

    operator_options = options_of(operator_spec, operator_words)
    options = {spec.name: options_of(spec, method_words) for spec in methods}

    run = load(folder, say=tell)
    refuse(methods, operator_spec, facts_of(run))
    names, image = restoration.read_images(run, images, count, tell)
    operator = load_target(operator_spec.target)(operator_options, run.data.info)
    original = settings.given == "original"
    measured = restoration.measure(operator, names, image, settings.noise, seed, original)
    cond = restoration.condition(run, settings.cond, len(names), tell)
    console, total = Console(), len(names) * settings.draws
    restored = {}
    for spec in methods:
        console.advance(spec.name, 0, total, "images")
        restored[spec.name] = restoration.restore(
            run,
            operator,
            operator_spec,
            spec,
            options[spec.name],
            measured,
            steps=settings.steps,
            draws=settings.draws,
            seed=seed,
            cond=cond,
            progress=partial(_advance, console, spec.name, total),
        )
    trivial = report.trivial_restorations(run, operator, operator_spec, measured, tell)
    rows = report.rows_of(run, operator, measured, trivial, restored)
    record = {
        "run": {"plugin": run.config.plugin, "data": run.config.data.name, "seed": run.config.seed},
        "images": len(names),
        "seed": seed,
        **settings.model_dump(),
        "operator_options": operator_options.model_dump(),
        "method_options": {name: made.model_dump() for name, made in options.items()},
        "rows": rows,
    }
    figure = report.grid(run, operator_spec, measured, operator.view(measured.y), restored)
    try:
        report.write(out, run, figure, measured, restored, record)
    except OSError as error:
        raise MachineError(f"can't write to {out}: {error.strerror}", "next: --out another place") from error
    if json_:
        click.echo(json.dumps(record, allow_nan=False))
        return
    head, body = report.cells(rows)
    click.echo(table(body, head))
    click.echo(f"images: {out / 'grid.png'}")


def _advance(console: Console, what: str, total: int, done: int) -> None:
    console.advance(what, done, total, "images")


def _split(given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return the options of the command, of the operator and of the method, the latter two without prefix."""
    parts: dict[str, dict[str, str]] = {"": {}, "operator": {}, "method": {}}
    for key, text in given.items():
        prefix, dot, name = key.partition(".")
        owner = prefix if dot and prefix in parts else ""
        parts[owner][name if owner else key] = text
    return parts[""], parts["operator"], parts["method"]


def _specs(settings: RestoreConfig) -> tuple[OperatorSpec, list[MethodSpec]]:
    """Return the operator and the methods that are asked for.

    Raises:
        UsageError: where none is named, or a name is not known.
    """
    from zoo_restore.registry import method, operator, operators
    from zoo_restore.specs import METHODS

    known: Any = {"operator": operators(), "method": METHODS}
    for key, specs in known.items():
        if not getattr(settings, key):
            raise UsageError(
                f"no {key} was given", f"expected: {key}=NAME, one of {', '.join(one.name for one in specs)}"
            )
    names = dict.fromkeys(settings.method.split(","))
    return operator(settings.operator), [method(name.strip()) for name in names]


def _check_out(out: Path) -> None:
    """Refuse a folder that holds files, before anything is computed.

    Raises:
        UsageError: as said.
    """
    if out.is_file():
        raise UsageError(f"{out} is a file", "expected: --out FOLDER, new or empty")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(
            f"{out} is not empty: new files would mix with those there", "next: --out another folder"
        )
