"""Commands that make and use runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from zoo_core.cli.completion import complete
from zoo_core.cli.launching import Launch, launcher_options
from zoo_core.cli.overrides import Overrides
from zoo_core.cli.preview import preview
from zoo_core.cli.tables import paragraph, table
from zoo_core.cli.trusting import trust_option
from zoo_core.config import RunConfig
from zoo_core.errors import MachineError, UsageError
from zoo_core.events.console import Console
from zoo_core.machine.distributed import launched
from zoo_core.machine.terminal import tell
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import parse_words, plain, resolve_matrix
from zoo_core.results import RunResult


@click.command(
    cls=Overrides,
    epilog="Options of a model: zoo show NAME. Lists make a matrix of runs: plugin=wgan,vae seed=0,1,2",
)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete)
@click.option("--rerun", is_flag=True, help="Train again; the folder of a finished run is renamed and kept.")
@click.option("--dry-run", is_flag=True, help="Print the resolved config and an estimate, and stop.")
@click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
@trust_option
@launcher_options
def run(
    words: tuple[str, ...],
    rerun: bool,
    dry_run: bool,
    json_: bool,
    launch: Launch,
) -> None:
    """Train, sample, score, record and plot.

    \b
    zoo run plugin=wgan                       with defaults, on handwritten digits
    zoo run plugin=vae data=mnist train.steps=2000
    zoo run config=runs/.../config.yaml       the same run again
    zoo run resume=runs/...                   continue from the last checkpoint
    zoo run resume=runs/... train.steps=4000  train further, as a run of its own
    zoo run plugin=wgan,vae seed=0,1 --launcher local --slots 2
                                              each run in a separate process
    """
    given = parse_words(words)
    if "resume" in given:
        if rerun:
            raise UsageError(
                "--rerun trains again and resume= continues; both were given", "expected: one of them"
            )
        others = sorted(set(given) - {"resume", "train.steps", "run_dir"})
        if others:
            raise UsageError(
                f"resume= continues a run with its own options; also given: {', '.join(others)}",
                "expected: resume=RUN, or resume=RUN train.steps=N to train it further",
                "next: zoo run config=RUN/config.yaml init=RUN key=value starts another run from its weights",
            )
        if dry_run or launch:
            raise UsageError(
                "resume= was given with --dry-run, --launcher, --slots or --resource",
                "next: zoo run config=RUN/config.yaml run_dir=RUN with that option",
            )
        from zoo_core.runs.job import resume

        steps = _steps(given["train.steps"]) if "train.steps" in given else None
        return _show_result(resume(given["resume"], steps=steps, run_dir=given.get("run_dir")), json_)
    configs = resolve_matrix(given)
    if "model.net" in given and not dry_run:
        _trust_typed(configs)
    if dry_run:
        from zoo_core.config import strict_yaml

        click.echo("---\n".join(strict_yaml.dump(plain(config)) for config in configs), nl=False)
        from zoo_core.launch.forecast import forecasts

        return forecasts(configs)
    if rerun:
        for config in configs:
            _set_aside(config)
    if launch:
        return _launch(configs, launch, json_)
    if len(configs) == 1:
        from zoo_core.runs.job import run as run_one

        return _show_result(run_one(configs[0]), json_)
    from zoo_core.launch.here import run_matrix

    results: list[RunResult] = []

    def told(result: RunResult) -> None:
        results.append(result)
        if json_ and launched().first:
            click.echo(json.dumps(result.as_json()))

    status = run_matrix(configs, told)
    _show_comparison(results, json_)
    raise click.exceptions.Exit(status)


def _trust_typed(configs: Sequence[RunConfig]) -> None:
    """Let runs import the networks of the user's own that were typed for them."""
    from zoo_core.runs import folder_of
    from zoo_core.runs.job import trust_typed

    for config in configs:
        trust_typed(config, folder_of(config))


def _steps(text: str) -> int:
    from pydantic import ValidationError

    from zoo_core.config import TrainConfig

    try:
        return TrainConfig.model_validate({"steps": text}).steps
    except ValidationError as error:
        raise UsageError(f"bad value for 'train.steps': {text!r}", "expected: a number of steps") from error


def _set_aside(config: RunConfig) -> None:
    from zoo_core.runs import folder_of
    from zoo_core.runs.lock import held
    from zoo_core.runs.repeat import set_aside

    folder = folder_of(config)
    if held(folder):
        raise MachineError(f"another process is at work in {folder}", "next: wait for it, then --rerun")
    kept = set_aside(folder)
    if kept is not None:
        click.echo(f"the earlier run is kept in {kept}", err=True)


def _launch(configs: Sequence[RunConfig], launch: Launch, json_: bool) -> None:
    from zoo_core.launch.jobs import training_job
    from zoo_core.launch.queue import first_status
    from zoo_core.runs import saved_config
    from zoo_core.runs.folder import finished

    outcomes = launch.run([training_job(config) for config in configs])
    done = [outcome.job.folder for outcome in outcomes if outcome.status == 0]
    found = (finished(folder, saved_config(folder)) for folder in done)
    results = [made for made in found if made is not None]
    if len(outcomes) == 1 or json_:
        for made in results:
            _show_result(made, json_)
    else:
        _show_comparison(results, json_)
    raise click.exceptions.Exit(first_status(outcomes))


def _show_result(result: RunResult, json_: bool) -> None:
    if not launched().first:  # of several processes the first tells it
        return
    if json_:
        click.echo(json.dumps(result.as_json()))
        return
    for entry in manager().hooks("zoo_summary"):
        for line in entry.function(result) or ():
            click.echo(paragraph(line, indent=12))
    for line in preview(Path(result.run_dir)):
        click.echo(line)
    if result.images:
        click.echo(f"images: {Path(result.run_dir) / next(iter(result.images.values()))}")
    click.echo(f"run: {result.run_dir}")


def _show_comparison(results: Sequence[RunResult], json_: bool) -> None:
    """Print one table for all runs of a matrix, where each is, and what to do next."""
    if json_ or not results or not launched().first:
        return
    answers = (entry.function(results) for entry in manager().hooks("zoo_comparison"))
    rows = next((found for found in answers if found is not None), None)
    if rows is not None:
        click.echo(table(rows[1:], rows[0]))
    for result in results:
        click.echo(f"run: {result.run_dir}")
    if rows is not None:
        click.echo("next: zoo leaderboard")


SAMPLE_OPTIONS = {"seed": "--seed", "n": "-n", "out": "--out"}
"""Options of `zoo sample` that may be typed as overrides."""
DRAWN = 64
"""Default number of samples of `zoo sample`."""


@click.command()
@click.argument("folder", metavar="RUN")
@click.argument("words", nargs=-1, metavar="[cond=...] [sampler=NAME] [sample.KEY=VALUE]...")
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, 1_000_000),
    help="Number of samples; default 64, or one per image of a folder.",
)
@click.option("--seed", type=int, help="Seed of the noise; default: the run's sample.seed.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Output: .png (grid), .npz (uint8 NHWC), a folder (one file per image), or .txt (captions).",
)
@trust_option
def sample(
    folder: str, words: tuple[str, ...], count: int | None, seed: int | None, out: Path | None
) -> None:
    """Sample from a trained run into a grid (.png), an array (.npz), a folder of images, or captions.

    \b
    zoo sample runs/... -n 16                         16 samples
    zoo sample hf://user/name                         from shared weights
    zoo sample runs/... cond=3                        one class, or its name
    zoo sample runs/... cond="a three,a seven"        captions in turn
    zoo sample runs/... sampler=heun sample.steps=18  with another sampler
    zoo sample runs/... cond=FOLDER --out DONE        translations or captions of images
    """
    given = parse_words(words)
    others = {key: value for key, value in given.items() if key != "cond"}
    from zoo_core import load
    from zoo_core.config import comma_list
    from zoo_core.data.conditioning import SHOWN, dealt, read_conditions, source_images
    from zoo_core.runs.sampling import is_of_sampling
    from zoo_core.viz.plots import save_folder, save_samples
    from zoo_core.viz.translations import save_translations

    wrong = [key for key in others if not is_of_sampling(key)]
    if wrong:
        raise UsageError(
            f"can't sample with {', '.join(f'{key}=' for key in wrong)}",
            *(f"did you mean: {SAMPLE_OPTIONS[key]} {others[key]}" for key in wrong if key in SAMPLE_OPTIONS),
            "expected: cond=CLASS or cond=CAPTION, several separated by commas, or cond=FOLDER; "
            "sampler=NAME, sampler.KEY=, sample.KEY=",
            "next: the other options of a run are fixed; zoo run config=RUN/config.yaml key=value",
        )
    _check_out(out)

    made = load(folder, say=tell, **others)
    said, data = given.get("cond"), made.data
    translates, writes = data.info.task in SHOWN, data.info.task == "caption"
    _check_form(out, writes)
    each_once = None if translates or writes else DRAWN
    cond = None
    if said is not None:
        cond = read_conditions(said, data, count or each_once, made.config.data, tell)
    source = None if cond is None else cond.image
    n = count or (DRAWN if source is None else len(source))
    console = Console()
    console.advance("sampling", 0, n, "samples")
    x = made.sample(
        n, seed=seed, cond=cond, progress=lambda done: console.advance("sampling", done, n, "samples")
    )
    used = made.config.sample.seed if seed is None else seed
    path = out or made.dir / "plots" / _default_name(n, used, said, others, ".txt" if writes else ".png")
    if writes:
        x.save(path)
    elif not path.suffix:
        _check_empty(path)
        save_folder(x, data.info, path, _names(said) if translates and said else ())
    elif translates and path.suffix == ".png":
        if source is None:
            source = source_images(data, dealt(data, n)).image
        assert source is not None
        save_translations(source, x, path)
    else:
        save_samples(x, data.info, path, len(comma_list.split(said)) if said and "," in said else None)
    click.echo(str(path))


def _check_empty(folder: Path) -> None:
    """Refuse a folder that holds files, with which new ones would mix.

    Raises:
        UsageError: as said.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty: new files would mix with those there",
            "expected: a folder that is empty or new",
            f"next: --out {folder}-2",
        )


def _check_out(out: Path | None) -> None:
    """Refuse a place that samples can't be written to, before anything is sampled.

    Raises:
        UsageError: for a file's ending that is not known, or a folder where a file was named.
        MachineError: where the folder that receives it can't be made or written.
    """
    if out is None:
        return
    if out.suffix and (out.suffix not in (".png", ".npz", ".txt") or out.is_dir()):
        raise UsageError(
            f"can't write samples to {str(out)!r}",
            "expected: --out a .png or .npz file, or a folder; of captions a .txt file",
        )
    if not out.suffix:
        _check_empty(out)
    folder = out.parent if out.suffix else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK) and (not out.is_file() or os.access(out, os.W_OK))
    except OSError as error:
        raise MachineError(
            f"can't write to {folder}: {error.strerror}", "next: --out another place"
        ) from error
    if not writable:
        raise MachineError(f"can't write to {out}: permission denied", "next: --out another place")


def _check_form(out: Path | None, writes: bool) -> None:
    """Refuse a file that samples of a run can't be written as.

    Args:
        out: the file or folder, None for the default.
        writes: whether the samples are captions.

    Raises:
        UsageError: for captions in another file than .txt, and for others in one.
    """
    if out is not None and (out.suffix == ".txt") != writes:
        raise UsageError(
            f"can't write {'captions' if writes else 'these samples'} to {str(out)!r}",
            "expected: --out a .txt file" if writes else "expected: --out a .png or .npz file, or a folder",
        )


def _default_name(
    n: int, seed: int, cond: str | None, options: Mapping[str, str], suffix: str = ".png"
) -> str:
    """Return the file name of samples: another one for another number, seed, condition or option."""
    said = [] if cond is None else [cond]
    said += [f"{key}={value}" for key, value in options.items()]
    if not said:
        return f"samples-{n}-seed{seed}{suffix}"
    text = " ".join(said)
    slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in text)[:40]
    return f"samples-{n}-seed{seed}-{slug}-{hashlib.sha256(text.encode()).hexdigest()[:6]}{suffix}"


def _names(folder: str) -> Sequence[str]:
    from zoo_core.data.image_files import find_root, list_files

    return list_files(find_root(folder, "cond")).names
