"""The baselines that are scored beside a run: their options must be valid, or a run has no comparison."""

from __future__ import annotations

import pytest

from zoo_core.registry.resolution import resolve
from zoo_eval.baselines import BASELINES, baseline_config


@pytest.mark.parametrize("data", ["digits", "ring"])
@pytest.mark.parametrize("name", BASELINES)
def test_the_config_of_a_baseline_resolves(name: str, data: str) -> None:
    """An option that was renamed, but not here, left out every baseline with one line on standard error."""
    run = resolve({"plugin": "wgan", "data": data})
    made = resolve(baseline_config(name, run))
    assert made.plugin == name
    assert made.data.name == data
    assert made.eval.protocol == run.eval.protocol
    assert not made.track.plots
    assert not made.eval.baselines
