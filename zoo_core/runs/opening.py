"""Opening a run: its data, its freshly built model, and the weights of its last checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zoo_core.config import RunConfig
from zoo_core.data.conditioning import choose_task
from zoo_core.data.identity import check, digits, stored
from zoo_core.data.loading import Dataset, TrainData
from zoo_core.data.preparation import configured
from zoo_core.diffusion.sampling import bind
from zoo_core.errors import MachineError, NotFoundError, PluginError, UsageError, guess
from zoo_core.home import expanded, runs_root
from zoo_core.interfaces import HasDenoiser
from zoo_core.machine.device import choose_device
from zoo_core.machine.faults import attributed
from zoo_core.machine.memory import peak_bytes, reset_peak
from zoo_core.machine.precision import image_layout
from zoo_core.nn.own import available
from zoo_core.registry.manager import Manager, load_entry, manager
from zoo_core.registry.resolution import config_hash, resolve
from zoo_core.runs import initial
from zoo_core.runs.best import best_checkpoint, check_best
from zoo_core.runs.checkpoints import newest, owner
from zoo_core.runs.fitted import check_grid
from zoo_core.runs.guiding import guide_of, load_guide
from zoo_core.runs.known import known
from zoo_core.runs.lengths import use_length
from zoo_core.runs.parts import NONE, Parts, imported
from zoo_core.runs.run import Run
from zoo_core.seeds import derive
from zoo_core.training import checkpoint
from zoo_core.training.harness import Harness
from zoo_core.training.randomness import seed_all
from zoo_core.training.recipe import Recipe
from zoo_core.types import Task


def default_dir(config: RunConfig, dataset: Dataset | None = None) -> Path:
    """Return runs/<data>/<plugin>/<config hash>-s<seed>.

    The content of the user's own data and of initial weights is named, too.

    Args:
        dataset: of the run; read where it is needed and not given.
    """
    content = ""
    if config.data.BY_CONTENT:
        content = f"-{digits(load_data(config) if dataset is None else dataset)}"
    for address in filter(None, (config.init, guide_of(config))):
        content += f"-{initial.content(address)}"
    name = f"{config_hash(config)}{content}-s{config.seed}"
    return runs_root() / config.data.name / config.plugin / name


def folder_of(config: RunConfig, dataset: Dataset | None = None) -> Path:
    """Return the folder that a run is made in: `run_dir`, or its default."""
    return expanded(Path(config.run_dir)) if config.run_dir else default_dir(config, dataset)


def load_data(config: RunConfig) -> Dataset:
    """Return the dataset that a config names, with the validation part and augmentations it asks for."""
    entry = manager().find("dataset", config.data.name, config.providers.data)
    make = load_entry("dataset", entry)
    try:
        dataset: Dataset = make(config.data)
    except BaseException as error:
        raise attributed(error, config.data.name, "to load its data") from error
    return configured(dataset, config.data)


def build(
    config: RunConfig,
    dataset: Dataset,
    folder: Path,
    here: Manager,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    parts: Parts = NONE,
) -> Run:
    """Return the run with its model freshly initialized from the seed.

    Args:
        parts: the user's own Python objects that were handed over.

    Raises:
        UsageError: where the config names an object of the user's own that may not be imported.
    """
    parts = imported(config, folder, parts, say)
    device = choose_device(config.device)
    entry = here.find("plugin", config.plugin, config.providers.plugin)
    make = load_entry("plugin", entry)
    dataset = dataset.for_task(_task(config, dataset, entry.spec.tasks, here), config.data.source)
    sampler = None
    if config.sampler.name:
        sampler_entry = here.find("sampler", config.sampler.name, config.providers.sampler)
        sampler = bind(sampler_entry.spec, config.sampler)
    check_grid(config, sampler)
    guide = load_guide(config, dataset.info, device, warn)
    reset_peak(device)
    seed_all(derive(_seed(config.seeds.init, config), "init"))
    try:
        with available(parts.networks):
            recipe: Recipe = make(config, dataset.info)
    except BaseException as error:
        raise attributed(error, config.plugin, f"to build (distribution {entry.distribution})") from error
    if not isinstance(recipe, Recipe):
        raise PluginError(
            f"plugin {config.plugin!r} of {entry.distribution} built a {type(recipe).__name__}",
            "expected: a zoo_core Recipe",
        )
    if sampler is not None:
        if not isinstance(recipe, HasDenoiser):
            raise UsageError(
                f"sampler={config.sampler.name}: samplers draw from a denoiser, {config.plugin!r} has none",
                "next: leave sampler out",
            )
        if config.sample.steps:  # what the grid refuses, it refuses before the training
            sampler.grid(recipe.denoiser(), config.sample.steps)
    recipe = recipe.to(device)
    if dataset.info.is_image:
        recipe = recipe.to(memory_format=image_layout(device))
    order = derive(_seed(config.seeds.order, config), "data")
    data = TrainData(dataset.training, dataset.info, order, device)
    noise = _seed(config.seeds.noise, config)
    harness = Harness(recipe, config.train, data, seed=noise, plugin=config.plugin)
    harness.score_every, harness.sampled = config.eval.every, config.eval.weights
    return Run(
        config, folder, entry, dataset, recipe, device, sampler, harness, say, warn, guide=guide, parts=parts
    )


def _seed(own: int | None, config: RunConfig) -> int:
    """Return a source's own seed, or the run's."""
    return config.seed if own is None else own


def _task(config: RunConfig, dataset: Dataset, tasks: Sequence[str], here: Manager) -> Task:
    """Return what the run models; where its data can't serve that, the error names datasets that can."""
    wanted = config.data.task
    served = {entry.spec.name: set(entry.spec.tasks) for entry in here.entries("dataset")}
    able = [name for name, its in served.items() if its & ({wanted} if wanted else set(tasks))]
    return choose_task(dataset, wanted, tasks, config.plugin, able)


LISTED = 8
"""Runs that a message names."""


def saved_config(folder: Path) -> RunConfig:
    """Return the config that a run's folder holds."""
    if not (folder / "config.yaml").exists():
        runs = [str(path) for path in known()]
        raise NotFoundError(
            f"no run in {str(folder)!r}",
            _enclosing(folder) or guess(str(folder), runs),
            "expected: a folder with config.yaml; see: zoo runs",
            f"runs: {', '.join(runs[:LISTED]) or 'none'}"
            + (f" and {len(runs) - LISTED} others" if len(runs) > LISTED else ""),
        )
    return resolve({"config": str(folder)})


def _enclosing(path: Path) -> str:
    """Return the note that names the run that a path is in, such as that of its checkpoint; "" for none."""
    run = next((parent for parent in path.parents if (parent / "config.yaml").is_file()), None)
    return "" if run is None else f"did you mean: {run}, the run that this is in"


def untrained(folder: Path, config: RunConfig, *, say: Callable[[str], None], parts: Parts = NONE) -> Run:
    """Return the run in a folder as it was built, on its data, which are read when they are first asked for.

    Raises:
        UsageError: where its data changed.
    """
    dataset = stored(folder, lambda: load_data(config))
    if dataset is None:
        dataset = load_data(config)
        check(folder, dataset)
    return build(config, dataset, folder, manager(), say=say, warn=say, parts=parts)


def load(
    folder: str | Path,
    *,
    config: RunConfig | None = None,
    say: Callable[[str], None] = print,
    parts: Parts = NONE,
) -> Run:
    """Return a trained run with the weights that `sample.checkpoint` chooses, to sample from or to score.

    Args:
        folder: of a run or a bundle; or `hf://user/name[@revision]` or `zoo://data/name`, pulled first.
        config: of the run, where options that change neither its model nor its samples are not as saved.
        say: receives lines for the user.
        parts: the user's own Python objects that were handed over.

    Raises:
        NotFoundError: where the folder holds no run.
        UsageError: where the config names an object of the user's own that may not be imported.
        MachineError: where it has no checkpoint, or a corrupt one.
    """
    from zoo_core.runs.exchange import run_folder  # which reads saved runs itself

    folder = run_folder(str(folder))
    config = saved_config(folder) if config is None else config
    made = untrained(folder, config, say=say, parts=parts)
    made.initial = initial.recorded_init(folder)
    path, saved = newest(folder, say)
    checkpoint.check_run(path, owner(config))
    restore(made, path, saved)
    choose_weights(made)
    made.cost = {name: value for name, value in cost(made).items() if name != "train_peak_bytes"}
    return made


def choose_weights(made: Run) -> None:
    """Give a run that has the weights of its last checkpoint those that its options of sampling choose.

    Its counts, and so its cost, stay those of the whole training.

    Raises:
        UsageError: where the run keeps no best checkpoint, or has no EMA weights of the length that is
            asked for.
        MachineError: where its best checkpoint or its snapshots are missing or corrupt.
    """
    config = made.config.sample
    check_best(made.config)
    if config.checkpoint == "best":
        path, saved = best_checkpoint(made.dir, made.say)
        checkpoint.check_run(path, owner(made.config))
        averages = made.harness.averages.of
        for name in averages.keys() - saved.state["ema"].keys():  # of stages that began later
            del averages[name]
        state = {**saved.state, "counts": asdict(made.harness.counts)}
        restore(made, path, checkpoint.Checkpoint(saved.weights, saved.ema, state))
    if config.ema_length is not None:
        use_length(made, config.ema_length)


def restore(made: Run, path: Path, saved: checkpoint.Checkpoint) -> None:
    """Set a run to the state of a checkpoint.

    Raises:
        MachineError: where the checkpoint is not one of this model.
    """
    try:
        made.harness.restore(saved)
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise MachineError(
            f"the checkpoint {path} and the model {made.config.plugin!r} do not fit together",
            *str(error).splitlines()[:4],
            "next: install the plugin's version that provenance.json names, or choose another run_dir=...",
        ) from error


def cost(made: Run) -> dict[str, Any]:
    """Return what the training consumed, as counted by the harness, and the memory it took."""
    counts, peak = made.harness.counts, peak_bytes(made.device)
    return {
        "train_seconds": round(counts.seconds, 3),
        "images_seen": counts.images,
        "steps": counts.total,
        "updates": dict(counts.updates),
        "parameters": sum(p.numel() for p in made.recipe.parameters()),
        **({} if peak is None else {"train_peak_bytes": peak}),
    }
