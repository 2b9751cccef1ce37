"""The table of a matrix of runs: a row each, means over seeds, the options that differ."""

from __future__ import annotations

import statistics

from tests.eval.made_results import result
from zoo_core.results import Result, RunResult
from zoo_eval.comparison import comparison


def made(plugin: str, fd: float, seed: int, config_hash: str, **config: object) -> RunResult:
    whole = result(
        plugin, fd, seed, config_hash=config_hash, config={"plugin": plugin, "seed": seed, **config}
    )
    one = Result.model_validate(whole)
    return RunResult(
        run_dir="r",
        plugin=plugin,
        data="digits",
        seed=seed,
        config_hash=config_hash,
        result=one,
        cost=one.cost,
        provenance=one.provenance,
    )


def test_each_run_has_a_row_and_seeds_have_a_mean() -> None:
    values = [1.0, 2.0, 4.0]
    runs = [made("wgan", fd, seed, "a" * 12, lr=0.1) for seed, fd in enumerate(values)]
    rows = comparison([*runs, made("vae", 9.0, 0, "b" * 12)])
    assert rows is not None
    head, *body = rows
    fd = head.index("FD[digits] ↓")
    assert "lr" not in head  # all runs of one model have the same
    assert [row[head.index("seed")] for row in body] == ["0", "1", "2", "mean of 3", "0"]
    mean, spread = body[3][fd].split(" ± ")
    assert float(mean) == round(statistics.fmean(values), 2)
    assert float(spread) == round(statistics.stdev(values), 2)
    assert body[4][0] == "vae"
    assert all(len(row) == len(head) for row in body)


def test_options_that_differ_have_columns() -> None:
    rows = comparison([made("wgan", 1.0, 0, "a" * 12, lr=0.1), made("wgan", 2.0, 0, "b" * 12, lr=0.2)])
    assert rows is not None
    place = rows[0].index("lr")
    assert [row[place] for row in rows[1:]] == ["0.1", "0.2"]
    assert not any("mean" in cell for row in rows for cell in row)


def test_runs_without_scores_have_no_table() -> None:
    one = made("wgan", 1.0, 0, "a" * 12)
    assert comparison([RunResult(**{**vars(one), "result": None})]) is None
