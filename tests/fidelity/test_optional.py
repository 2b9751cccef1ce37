"""Optional metrics: computed where they are named, kept and verified as the others are."""

from __future__ import annotations

import pytest

import zoo_core
from tests.eval.made_results import result as made_result
from zoo_core.errors import ZooError
from zoo_core.registry.metrics import direction, optional_metrics
from zoo_core.results import Result, merged
from zoo_eval.leaderboard.glossary import DIVERSITY, METRICS, OTHER, group_of
from zoo_eval.pipeline import chosen_metrics
from zoo_eval.store.limits import limits
from zoo_eval.submission.comparison import asked_metrics, disagreements

OURS = {"clipped-density", "clipped-coverage", "vendi", "fld", "copying-test"}


def names(asked):
    return {entry.spec.name for entry in chosen_metrics(asked)}


def test_they_are_computed_only_where_they_are_named():
    # catches five columns, and seconds, that every run gets
    default = names(None)
    assert optional_metrics() == OURS
    assert not OURS & default
    assert "frechet" in default
    assert names(["vendi"]) == {"vendi"}
    assert names(["default"]) == default
    assert names(["default", "vendi"]) == default | {"vendi"}
    with pytest.raises(ZooError, match="no metric"):
        names(["default", "vendy"])


def config_of(*asked):
    each = [Result.model_validate(made_result("wgan", 1.0, config={"eval.metrics": one})) for one in asked]
    return merged(*each, optional_metrics()).config["eval.metrics"]


def test_a_merged_result_names_what_gives_its_columns():
    # catches a result of all metrics whose added column nobody would compute again
    assert config_of(None, ["vendi"]) == config_of(["vendi"], None) == ["default", "vendi"]
    assert config_of(["default", "fld"], ["vendi", "frechet"]) == ["default", "fld", "vendi"]
    assert config_of(None, ["frechet"]) is None
    assert config_of(["default"], ["frechet"]) is None
    assert config_of(["vendi"], ["frechet"]) == ["vendi", "frechet"]


def test_verification_computes_what_a_result_names():
    # catches `default` dropped from the list, which would leave the named columns alone
    def one(cells, asked):
        metrics = {"memorization[pixels]": None} | {name: {"value": v} for name, v in cells.items()}
        return Result.model_validate(
            made_result("wgan", 1.0, metrics=metrics, config={"eval.metrics": asked})
        )

    claimed = one({"vendi[digits]": 5.0}, ["default", "vendi"])
    assert asked_metrics(claimed) == ["default", "vendi", "memorization"]
    again = one({}, ["default", "vendi"])
    assert "vendi[digits]: claimed only" in disagreements(claimed, again, exactly=True)
    extra = one({"vendi[digits]": 5.0, "memorization[pixels]": 0.0}, None)
    assert "memorization[pixels]: computed only" in disagreements(claimed, extra, exactly=True)


def test_each_column_has_a_direction_a_range_and_a_definition():
    better = {
        "clipped-density": "higher",
        "clipped-coverage": "higher",
        "FLD": "lower",
        "vendi": "",
        "C_T": "",
    }
    assert {column: direction(f"{column}[digits]") for column in better} == better
    assert set(better) <= set(METRICS)
    assert {column for column in better if group_of(column) == DIVERSITY} == set(better) - {"C_T"}
    assert group_of("C_T[digits]") == OTHER
    assert limits("clipped-coverage[digits]") == limits("clipped-density[digits]") == (0, 1)
    assert limits("vendi[digits]")[0] == 1
    assert limits("C_T[digits]")[0] < 0
    assert limits("FLD[digits]")[0] < 0


@pytest.mark.slow(depends=("plugins/zoo_fidelity", "evaluation/zoo_eval", "zoo_core/results"))
def test_a_run_that_names_them_has_their_columns_and_is_reproduced(home):
    from zoo_eval.submission import verify

    asked = ["prdc", *sorted(OURS)]
    options = {"eval.baselines": False, "eval.metrics": asked, "device": "cpu", "track.wandb": "off"}
    found = zoo_core.run({"plugin": "histogram", "track.plots": False, **options})
    columns = {column.partition("[")[0] for column in found.scored.metrics}
    assert {"clipped-density", "clipped-coverage", "FLD", "vendi", "C_T", "recall"} <= columns
    folder = home / found.run_dir
    assert verify(folder / "result.json", folder, say=lambda line: None).state == "reproduced"
