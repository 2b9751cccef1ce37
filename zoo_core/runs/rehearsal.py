"""What a run needs after and during training, tried once before its first step."""

from __future__ import annotations

import time

import torch

from zoo_core.machine.distributed import gather
from zoo_core.machine.memory import free_bytes
from zoo_core.runs import Run
from zoo_core.runs.estimate import Rehearsed
from zoo_core.seeds import Seeds
from zoo_core.training.footprint import check_memory, size

PLENTY = 10_000
"""Times the weights and a batch: of so much memory no training takes all, and its need is not measured."""


def rehearse(made: Run) -> Rehearsed | None:
    """Try memory, two samples, one likelihood, and the losses of the smallest micro-batch before training.

    Weights, buffers, random states and the order of the data are left as they were. A recipe that takes no
    steps is not tried: it has nothing to sample from before its fit.

    Returns:
        What the samples took; None for a recipe that takes no steps.

    Raises:
        PluginError: where the plugin raises or returns something else than it promises.
        UsageError: where a sampler does not fit, or a micro-batch of one example meets batch norm.
        MachineError: where training can't fit into the memory that is free.
    """
    if not any(stage.phases for stage in made.harness.stages):
        return None
    made.harness.try_smallest_batch()
    if _may_not_fit(made):
        check_memory(made.harness)
    with made.harness.untouched():
        start = time.perf_counter()
        drawn = made.samples(made.request(range(2)))
        seconds = time.perf_counter() - start
        if made.config.eval.protocol != "none":
            x = made.harness.data.batch(torch.zeros(1, dtype=torch.int64)).x
            made.likelihoods(x, noise=Seeds(0, range(1), made.device), k=1)
    return Rehearsed(2, drawn.calls, seconds)


def _may_not_fit(made: Run) -> bool:
    """Return whether memory is scarce enough to be measured; the same in every process."""
    free = min((one for one in gather(free_bytes(made.device)) if one is not None), default=None)
    batch = 4 * made.data.info.dims * made.config.train.batch_size
    return free is not None and (size(made.recipe.parameters()) + batch) * PLENTY > free
