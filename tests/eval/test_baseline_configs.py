"""The baselines that are scored beside a run: their options must be valid, or a run has no comparison."""

from __future__ import annotations

import pytest

from zoo_core.registry.resolution import resolve
from zoo_eval.baselines import BASELINES, baseline_config, baselines


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


def test_baselines_are_scored_under_the_runs_protocol() -> None:
    """Catches baselines of other weights or of another provider of the data: they have another protocol."""
    run = resolve({"plugin": "wgan", "data": "digits", "eval.weights": "raw"})
    made = resolve(baseline_config("gaussian", run))
    ignored = {"baselines", "ode"}
    assert made.eval.model_dump(exclude=ignored) == run.eval.model_dump(exclude=ignored)
    assert made.providers.data == run.providers.data


def test_data_of_a_program_have_no_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches four errors about data that only the program has."""
    run = resolve({"plugin": "wgan", "data": "python"})
    assert baselines(run) == []
    assert capsys.readouterr().err.count("\n") == 1
