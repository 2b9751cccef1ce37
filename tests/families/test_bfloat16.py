"""Every registered model trains, samples and resumes under bfloat16 autocast, on the CPU."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch

from tests.families.test_icons import depends
from zoo_core.registry.manager import manager
from zoo_core.testing.subject import Model
from zoo_core.training.checkpoint import Checkpoint
from zoo_core.training.harness import Listener

STEPS = 3
MODELS = [
    pytest.param(entry.spec.name, marks=pytest.mark.slow(depends=depends(entry)))
    for entry in manager().entries("plugin")
    if entry.spec.family != "baseline"
]


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_samples_and_resumes_in_bfloat16(name: str) -> None:
    """Catches an operation on two dtypes, and state that a resume loses or restores in another dtype.

    Each stage takes `STEPS` steps at least; the resumed run continues from the middle and ends at the same
    bits.
    """
    model = Model(manager().find("plugin", name), "digits")
    fractions = [stage.fraction for stage in model.build().harness.stages if stage.phases]
    steps = math.ceil(STEPS * sum(fractions) / min(fractions))
    stop_at = steps // 2
    words = (
        f"train.steps={steps}",
        f"train.checkpoint_every={stop_at}",
        "train.batch_size=8",
        "train.precision=bfloat16",
        "sample.precision=bfloat16",
    )
    whole = model.build(*words)
    kept: dict[int, Checkpoint] = {}
    whole.harness.listener = Listener(save=lambda step, state: kept.update({step: deepcopy(state)}))
    assert all(own >= STEPS for own in whole.harness.stage_steps if own)
    whole.harness.run()
    again = model.build(*words)
    again.harness.restore(kept[stop_at])
    again.harness.run()
    ends = whole.harness.checkpoint().weights, again.harness.checkpoint().weights
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())
    assert all(value.dtype != torch.bfloat16 for value in ends[0].values())
    assert bool(torch.isfinite(again.sample(2)).all())
