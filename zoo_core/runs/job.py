"""One job, end to end: train, sample, score, record, draw.

import zoo_core
made = zoo_core.run(plugin="wgan", seed=0)
images = zoo_core.load(made.run_dir).sample(16)

Under torchrun all processes train and score; the first alone holds the folder, tells events and writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo_core.config import RunConfig, flatten, privacy
from zoo_core.config.own import is_name
from zoo_core.data import identity
from zoo_core.data.adapters import dataset_of
from zoo_core.data.dataset import Dataset
from zoo_core.data.preparation import configured
from zoo_core.errors import Interrupted, MachineError, PluginError, UsageError, ZooError
from zoo_core.events import Events, trackers
from zoo_core.events.console import Console
from zoo_core.events.listeners import Announced, listeners
from zoo_core.home import expanded
from zoo_core.interfaces import RunView
from zoo_core.machine import terminal, threads
from zoo_core.machine.distributed import World, from_first, gather, joined, local_processes
from zoo_core.machine.faults import machine_error
from zoo_core.registry.manager import manager
from zoo_core.registry.metrics import optional_metrics
from zoo_core.registry.resolution import config_hash, plain, resolve
from zoo_core.results import (
    Attachment,
    Cost,
    Result,
    RunResult,
    merged,
    recorded_result,
    write_result,
)
from zoo_core.results.attachments import (
    attachment_of,
    curves_json,
    sample_grid_file,
    small_png,
    write_attachment,
)
from zoo_core.runs import (
    Run,
    build,
    choose_device,
    choose_weights,
    cost,
    default_dir,
    folder_of,
    load_data,
    restore,
    saved_config,
)
from zoo_core.runs.best import Best, check_best, checkpoints_of
from zoo_core.runs.checkpoints import owner
from zoo_core.runs.estimate import estimated
from zoo_core.runs.folder import (
    finished,
    recorded_compilation,
    run_result,
    write_config,
    write_provenance,
    write_state,
)
from zoo_core.runs.initial import initialize, recorded_init
from zoo_core.runs.known import remember
from zoo_core.runs.lengths import save_snapshot
from zoo_core.runs.lock import locked
from zoo_core.runs.parts import NONE, OPTION, Parts, net_of, of_objects, trust_modules
from zoo_core.runs.parts import trust as trust_name
from zoo_core.runs.parts import trusted as is_trusted
from zoo_core.runs.rehearsal import rehearse
from zoo_core.runs.repeat import changed_since
from zoo_core.runs.signals import Signals
from zoo_core.runs.view import trained_view_of, view_of
from zoo_core.training import checkpoint
from zoo_core.training.harness import Listener


def run(
    config: RunConfig | Mapping[str, Any] | None = None,
    /,
    *,
    dataset: Any = None,
    net: Any = None,
    metrics: Any = None,
    trust: Sequence[str] = (),
    **given: Any,
) -> RunResult:
    """Train, sample, score, record and draw one run; an unfinished one continues, a finished one is read.

    Args:
        config: resolved, or a mapping of (dotted or nested) options; keywords are options too.
        dataset: data of the caller's own instead of data=...: arrays, (arrays, labels) or a torch Dataset, as
            `zoo_core.data.adapters.dataset_of` takes them.
        net: network of a diffusion model: a class or function that is called with the data's `DataInfo`, an
            nn.Module, which is copied, or a name "module:Class", as in model.net=.
        metrics: functions of (samples, test examples), both (n, *shape), images in [-1, 1], that return a
            number: {column: function}, or functions whose names are the columns. They are never ranked.
        trust: modules that a saved config may name; see `zoo_core.runs.parts`.

    Returns:
        Its folder, and its result as recorded in result.json.

    Raises:
        ZooError: with the exit status of the command line.
    """
    data = None
    if dataset is not None:
        data = dataset_of(dataset)
        given = {"data": data.info.name, **given}
    if isinstance(net, str):
        net, given = None, {**given, OPTION: net}
    parts, options = of_objects(net, dataset, metrics)
    given |= options
    if options and isinstance(config, RunConfig):
        raise UsageError(
            f"a resolved config was given, and an object for {', '.join(options)}",
            "next: zoo_core.resolve with all options, or a mapping of options",
        )
    trust_modules(trust)
    typed = {} if isinstance(config, RunConfig) else flatten({**(config or {}), **given})
    resolved = config if isinstance(config, RunConfig) else resolve({**(config or {}), **given})
    data = None if data is None else configured(data, resolved.data)
    folder = folder_of(resolved, data)
    if typed.get(OPTION) == net_of(resolved):
        trust_typed(resolved, folder)
    return execute(resolved, folder, data, parts=parts)


def trust_typed(config: RunConfig, folder: Path) -> None:
    """Record that the user typed the network that a config names, for the run in a folder."""
    name = net_of(config)
    if is_name(name):
        try:
            trust_name(folder, name)
        except OSError as error:
            raise MachineError(f"can't write the list of trusted names: {error.strerror}") from error


def resume(folder: str | Path, *, steps: int | None = None, run_dir: str | Path | None = None) -> RunResult:
    """Continue the run in a folder with its own config, or train it further as a run of its own.

    Args:
        folder: of the run.
        steps: train.steps of the longer run, which equals, to the byte, one that was asked for with as many
            steps at first. The shorter run stays as it is. None to continue the run itself.
        run_dir: folder of the longer run; None for its default.

    Raises:
        NotFoundError: where the folder holds no run.
        UsageError: where a run of `steps` steps would have begun in another way than this one, and for
            `run_dir` without `steps`.
    """
    folder = expanded(Path(folder))
    saved = saved_config(folder)
    if run_dir is not None and steps is None:
        raise UsageError(
            f"run_dir={run_dir} was given, and resume= continues a run in its own folder",
            "expected: resume=RUN, or resume=RUN train.steps=N run_dir=FOLDER to train it further there",
        )
    if run_dir is None and steps in (None, saved.train.steps):
        return execute(saved, folder)
    from zoo_core.runs.continuing import extension

    start = extension(folder, saved.train.steps if steps is None else steps)
    place = expanded(Path(run_dir)) if run_dir is not None else default_dir(start.config, start.data)
    if is_trusted(folder, net_of(start.config)):
        trust_typed(start.config, place)
    return execute(start.config, place, start.data, start.checkpoint)


class SilentEvents(Events):
    """Events of ranks other than 0: listeners are not notified."""

    def tell(self, event: str, **facts: Any) -> None:
        pass


def execute(
    config: RunConfig,
    folder: Path,
    dataset: Dataset | None = None,
    start: checkpoint.Checkpoint | None = None,
    parts: Parts = NONE,
) -> RunResult:
    """Do the job of one config in one folder, on its data or those given; under torchrun, a part of it.

    A folder without a checkpoint starts from `start`, where it is given.

    Nothing that is printed meanwhile, by whatever code, can raise into the run.
    """
    with (
        terminal.guarded(),
        Signals() as signals,
        joined(config.device) as place,
        locked(folder) if place.first else contextlib.nullcontext(),
        threads.shared(local_processes()) as decided,
    ):
        if decided and place.first:
            print(decided)
        try:
            return _execute(config, folder, signals, place, dataset, start, parts)
        except (OSError, MemoryError) as error:
            fault = machine_error(error)
            if fault is None:
                raise
            raise fault from error


def _execute(
    config: RunConfig,
    folder: Path,
    signals: Signals,
    place: World,
    dataset: Dataset | None,
    start: checkpoint.Checkpoint | None,
    parts: Parts,
) -> RunResult:
    here = manager()
    console = Console(config.track.progress)
    say, warn = (console.say, console.warn) if place.first else (terminal.untold, terminal.untold)
    done = from_first(finished(folder, config, warn) if place.first else None)
    if done is not None and not parts.metrics.keys() <= done.metrics.keys():
        done = None  # a function that is asked for has not been computed yet
    if done is None:
        privacy.refuse_hidden(flatten(plain(config)))
    check_best(config)
    choose_device(config.device)  # one that is not there is refused before the data are read
    dataset = load_data(config) if dataset is None else dataset
    identity.check(folder, dataset)
    if done is not None:
        say(f"already done: {folder}; its result is shown (--rerun trains it again)")
        entry = here.find("plugin", config.plugin, config.providers.plugin)
        for line in changed_since(folder, entry, config.device):
            warn(line)
        return _with_baselines(done, config, Events(here, warn))
    events = Events(here, warn) if place.first else SilentEvents(here, warn)
    for line in dataset.report:
        warn(line)
    made = build(config, dataset, folder, here, say=say, warn=warn, parts=parts)
    for line in made.data.report[len(dataset.report) :]:  # what the task left out
        warn(line)
    if made.parts.note:
        say(f"note: the run {made.parts.note}")
    begun = checkpoint.listed(folder / "checkpoints")
    if begun:
        made.harness.compilation += recorded_compilation(folder)
    if config.init:
        made.initial = recorded_init(folder) if begun else initialize(made, config.init)
    if place.first:
        made.progress = console.advance
    view = view_of(made, events)
    with events.listening(_listeners(config, console, events) if place.first else []):
        try:
            events.ask("zoo_preflight", run=made)
            if place.first:
                write_config(config, folder)
                _remember(folder, warn)
                identity.write(folder, dataset)
                write_provenance(folder, made.provenance)
            _train(made, view, events, signals, place, start, console.step if place.first else _unseen)
            if place.first and made.harness.compilation:
                write_provenance(folder, made.provenance)
            result = _finish(made, events, place)
            if place.first:
                facts: dict[str, Any] = {
                    "cost": result.cost.model_dump(mode="json"),
                    "images": dict(result.images),
                }
                write_state(folder, "finished", **facts, weights_sha256=result.weights_sha256)
        except BaseException as error:
            fault = machine_error(error) or error
            if place.first:
                write_state(folder, _state_of(fault), reason=privacy.redacted_text(str(fault)))
            events.tell("zoo_run_failed", run=view, error=fault)
            if isinstance(fault, Interrupted) and not fault.notes:
                raise Interrupted(
                    fault.status - 128, fault.what, f"saved in {folder}", f"next: zoo run resume={folder}"
                ) from None
            if fault is not error:
                raise fault from error
            raise
        events.tell("zoo_run_finished", run=view, result=result)
        return result


def _listeners(config: RunConfig, console: Console, events: Events) -> list[Any]:
    """Return the run's own listeners, and those that installed plugins bring for this config."""
    brought = events.ask("zoo_listeners", config=config)
    return [*listeners(config, console), *(one for some in brought for one in some)]


def _unseen(step: int) -> None:
    """Show nothing: the first process shows how far the run is."""


def _state_of(error: BaseException) -> str:
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return "interrupted"
    return "diverged" if isinstance(error, ZooError) and error.status == 3 else "failed"


def _with_baselines(made: RunResult, config: RunConfig, events: Events) -> RunResult:
    """Return a run's result with those of the baselines that the evaluation compares it with."""
    found = None if made.result is None else events.first("zoo_baselines", config=config)
    return replace(made, baselines=tuple(found or ()))


def _remember(folder: Path, warn: Callable[[str], None]) -> None:
    try:
        remember(folder)
    except OSError as error:
        warn(f"warning: {folder} is not in the list of runs ({error.strerror}); `zoo runs` may not show it")


def _recovered(
    folder: Path, warn: Callable[[str], None], of: Mapping[str, str | int]
) -> tuple[tuple[Path, checkpoint.Checkpoint] | None, list[str]]:
    """Return what `checkpoint.recover` does, once the checkpoint is one of this run."""
    found, set_aside = checkpoint.recover(folder, warn)
    if found is not None:
        checkpoint.check_run(found[0], of)
    return found, set_aside


def _train(
    made: Run,
    view: RunView,
    events: Events,
    signals: Signals,
    place: World,
    start: checkpoint.Checkpoint | None,
    step: Callable[[int], None],
) -> None:
    harness, folder = made.harness, made.dir / "checkpoints"
    of = owner(made.config)
    recovered = from_first(_recovered(folder, made.warn, of) if place.first else None)
    assert recovered is not None  # sent by the first process
    found, set_aside = recovered
    metadata = {
        "plugin": made.config.plugin,
        "data": made.config.data.name,
        "config": config_hash(made.config),
    }
    if found is None and start is not None:
        begun = start.state["counts"]["total"]
        path = checkpoint.save(folder, begun, start, metadata, run=of) if place.first else folder
        found = path, start
    first = None
    if found is not None:
        restore(made, *found)
        made.say(f"continuing from step {harness.counts.total} ({found[0]})")
    else:
        made.say(f"run: {made.dir}")
        first = rehearse(made)
    if harness.sharded:
        first = None  # samples would have to be drawn by all processes
    if place.first:
        write_state(made.dir, "running", set_aside=set_aside)

    def save(step: int, kept: checkpoint.Checkpoint) -> None:
        if place.first:
            saved = checkpoint.save(folder, step, kept, metadata, made.config.train.keep, of)
            events.tell("zoo_checkpoint", run=view, step=step, path=str(saved))

    def snapshot(step: int, averages: Mapping[str, Any]) -> None:
        if place.first:
            save_snapshot(made.dir, step, averages)

    best = Best(made, view, events, place.first)
    harness.listener = Listener(
        log=lambda step, values: events.tell("zoo_log", run=view, step=step, values=values),
        step=estimated(made, first, step) if place.first else step,
        save=save,
        snapshot=snapshot,
        score=best.score,
        best=best.keep(metadata),
        image=lambda step: events.tell("zoo_plot", run=view, step=step),
        stop=lambda: signals.received is not None,
        say=made.say,
    )
    events.tell("zoo_run_started", run=view)
    signals.deferred = True
    harness.run()
    signals.deferred = False
    received = next(filter(None, gather(signals.received)), None)  # a stop that one received stops them all
    if received is not None:
        raise Interrupted(
            received,
            f"interrupted at step {harness.counts.total} of {made.config.train.steps}; saved in {made.dir}",
            f"next: zoo run resume={made.dir}",
        )
    choose_weights(made)
    made.cost = cost(made)


def _finish(made: Run, events: Events, place: World) -> RunResult:
    """Score, plot and record a trained run; all processes score, the first does the rest."""
    try:
        result: Result | None = None
        if made.config.eval.protocol != "none":
            made.say("scoring")
            result = events.first("zoo_score", run=made)
            if result is not None and not isinstance(result, Result):
                raise PluginError(
                    f"zoo_score returned {type(result).__name__}",
                    "expected: zoo_core.results.Result, or None",
                )
        recorded = from_first(_record(made, events, result) if place.first else None)
        assert recorded is not None
        return _with_baselines(recorded, made.config, events)
    except Exception as error:
        fault = machine_error(error) or error
        if isinstance(fault, ZooError) and not isinstance(fault, Interrupted):
            fault.notes += (
                f"the trained weights are saved; zoo run resume={made.dir} scores them without training",
            )
        if fault is not error:
            raise fault from error
        raise


def _record(made: Run, events: Events, result: Result | None) -> RunResult:
    announced = Announced()
    with events.listening([announced]):
        metrics = {} if result is None else result.metrics
        events.tell("zoo_plot_trained", run=trained_view_of(made, events, metrics))
    weights = checkpoint.listed(checkpoints_of(made.dir, made.config))[-1]
    hash_ = checkpoint.verify(weights)[checkpoint.WEIGHTS]
    if result is not None:
        attached = {**result.attachments, **_attach(made)}
        result = result.model_copy(update={"weights_sha256": hash_, "attachments": attached})
        recorded = recorded_result(made.dir / "result.json")
        result = result if recorded is None else merged(recorded, result, optional_metrics())
        write_result(result, made.dir / "result.json")
    cost = Cost(**made.cost) if result is None else result.cost
    return run_result(made.dir, made.config, result, cost=cost, images=announced.images, weights_sha256=hash_)


def _attach(made: Run) -> dict[str, Attachment]:
    """Write the sample grid and the curves beside the result; return their records."""
    log = made.dir / "metrics.jsonl"
    found = {
        ("samples", "png"): small_png(sample_grid_file(made.dir)),
        ("curves", "json"): curves_json(trackers.read_metrics(log)) if log.exists() else None,
    }
    attached = {}
    for (what, suffix), content in found.items():
        if content is not None:
            attached[what] = attachment_of(what, content, suffix)
            write_attachment(made.dir, attached[what], content)
    return attached
