"""zoo: deep generative models of every family, trained, sampled, scored and ranked side by side.

The command line calls these functions; importing this package imports no heavy library.

    import zoo_core
    made = zoo_core.run(plugin="wgan", data="digits", seed=0)
    images = zoo_core.load(made.run_dir).sample(16)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from zoo_core.launch.here import run_matrix
    from zoo_core.registry.manager import manager
    from zoo_core.registry.resolution import resolve, resolve_matrix
    from zoo_core.runs import Run
    from zoo_core.runs.job import resume, run

__all__ = ["run", "resume", "run_matrix", "load", "resolve", "resolve_matrix", "manager", "Run"]

_HOMES = {
    "run": "zoo_core.runs.job",
    "resume": "zoo_core.runs.job",
    "run_matrix": "zoo_core.launch.here",
    "Run": "zoo_core.runs",
    "resolve": "zoo_core.registry.resolution",
    "resolve_matrix": "zoo_core.registry.resolution",
    "manager": "zoo_core.registry.manager",
}


def load(
    run: str | Path,
    *,
    net: Any = None,
    trust: Sequence[str] = (),
    say: Callable[[str], None] = print,
    **given: Any,
) -> Run:
    """Return a trained run with the weights of its last checkpoint, to sample from or to score;
    `**{"sample.checkpoint": "best"}` takes its best one.

    Args:
        run: its folder, the folder of a bundle, `zoo://data/name` of the package genzoo-weights, or
            `hf://user/name[@revision]`, which is downloaded once.
        net: the network of a run that was made with `zoo_core.run(net=...)`.
        trust: modules that are imported if the config names a network of the user's own in them.
        say: called with messages for the user.
        given: other options of sampling than those of the run: sampler="heun", **{"sample.steps": 18}.

    Raises:
        NotFoundError: where the folder contains no run.
        UsageError: where the config names a network in a module that is not trusted.
        UsageError, MachineError: as `zoo pull`; and where the checkpoint is missing or corrupt.
    """
    from zoo_core.runs import load as load_folder
    from zoo_core.runs.exchange import run_folder
    from zoo_core.runs.parts import of_objects, trust_modules

    trust_modules(trust)
    folder = run_folder(str(run))
    config = None
    if given:
        from zoo_core.runs.sampling import sampling_config

        config = sampling_config(folder, given)
    return load_folder(folder, config=config, say=say, parts=of_objects(net)[0])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo_core' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
