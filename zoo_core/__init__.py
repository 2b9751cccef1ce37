"""zoo: deep generative models of every family, trained, sampled, scored and ranked side by side.

Everything the command line does is a call here; nothing heavy is imported before it is called.

    import zoo_core
    result = zoo_core.run(plugin="wgan", data="digits", seed=0)
    pictures = zoo_core.load(result["run_dir"]).sample(16)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_core.job import resume, run
    from zoo_core.launch.here import run_matrix
    from zoo_core.registry.manager import manager
    from zoo_core.resolution import resolve, resolve_matrix
    from zoo_core.runs import Run, load

__all__ = ["run", "resume", "run_matrix", "load", "resolve", "resolve_matrix", "manager", "Run"]

_HOMES = {
    "run": "zoo_core.job",
    "resume": "zoo_core.job",
    "run_matrix": "zoo_core.launch.here",
    "load": "zoo_core.runs",
    "Run": "zoo_core.runs",
    "resolve": "zoo_core.resolution",
    "resolve_matrix": "zoo_core.resolution",
    "manager": "zoo_core.registry.manager",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo_core' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
