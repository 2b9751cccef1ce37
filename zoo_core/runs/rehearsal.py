"""What a run needs after and during training, tried once before its first step."""

from __future__ import annotations

import torch

from zoo_core.runs import Run
from zoo_core.seeds import Seeds


def rehearse(made: Run) -> None:
    """Draw two samples, one likelihood, and the losses of the smallest micro-batch of a run before training.

    Weights, buffers, random states and the order of the data are left as they were. A recipe that takes no
    steps is not tried: it has nothing to sample from before its fit.

    Raises:
        PluginError: where the plugin raises or returns something else than it promises.
        UsageError: where a sampler does not fit, or a micro-batch of one example meets batch norm.
    """
    if not any(stage.phases for stage in made.harness.stages):
        return
    made.harness.try_smallest_batch()
    with made.harness.untouched():
        made.samples(made.request(range(2)))
        if made.config.eval.protocol != "none":
            x = made.harness.data.batch(torch.zeros(1, dtype=torch.int64)).x
            made.likelihoods(x, noise=Seeds(0, range(1), made.device), k=1)
