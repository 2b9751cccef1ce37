"""A model as the kit sees it: built, trained at preset `tiny`, and watched while it trains."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_core.errors import UsageError, ZooError
from zoo_core.registry.manager import Entry
from zoo_core.testing import abilities, configs, sampling, training
from zoo_core.testing.results import Failed
from zoo_core.testing.subject import DATA, Model
from zoo_core.training.recipe import Recipe


def subjects(entry: Entry, data: tuple[str, ...] = ()) -> Iterator[Model]:
    """Yield the model on each dataset, and on the first that serves it for each further task it declares.

    A dataset that the model refuses with a UsageError is left out.

    Raises:
        UsageError: where the model refuses them all.
    """
    refused: list[str] = []
    tasks: set[str] = set()
    yielded = False
    for name in data or DATA:
        model = Model(entry, name)
        try:
            tasks.add(model.build().data.info.task)
        except UsageError as error:
            refused.append(f"{name}: {error.what}")
            continue
        except ZooError:
            pass  # broken, not refusing: `is built and trained` will say so
        model.first = not yielded
        yielded = True
        yield model
        for task in entry.spec.tasks:
            if task not in tasks and task in model.dataset.tasks:
                tasks.add(task)
                yield Model(entry, name, task)
    if len(refused) == len(data or DATA):
        raise UsageError(
            f"plugin {entry.spec.name!r} refuses every dataset that it was to be checked on",
            *refused,
            f"next: zoo check {entry.spec.name} --data NAME",
        )


def is_built_and_trained(model: Model) -> None:
    """The model is built from its config and the data's shape alone, and trains at preset `tiny`."""
    run, _, error = model._training
    if run is None:
        raise Failed(error, "fix what the message names; ZOO_DEBUG=1 zoo run ... shows the traceback")
    if not isinstance(run.recipe, Recipe):
        raise Failed(
            f"{model.entry.spec.target} makes a {type(run.recipe).__name__}", "extend training.recipe.Recipe"
        )


CHECKS = (
    configs.is_declared_without_torch,
    configs.config_round_trips,
    configs.unknown_keys_are_refused,
    configs.options_are_described,
    is_built_and_trained,
    configs.presets_are_valid,
    *training.CHECKS,
    *sampling.CHECKS,
    *abilities.CHECKS,
)
