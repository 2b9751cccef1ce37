"""`zoo tune` from end to end on tiny runs, and what its results say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from zoo_core.errors import UsageError
from zoo_core.registry.manager import Manager, standing_in
from zoo_core.registry.resolution import resolve
from zoo_core.results import Selection, read_result, write_record
from zoo_core.results.result import content_hash
from zoo_core.runs import load_data
from zoo_eval.validation import validation_data
from zoo_tune.cli import tune
from zoo_tune.metrics import metric_of
from zoo_tune.search import Limits
from zoo_tune.space import Choices
from zoo_tune.trials import read_record
from zoo_tune.tuning import Tuning, seconds_of, tuning, winner_config

FAST = ("plugin=planted", "data=ring", "train.steps=18", "track.wandb=off", "track.plots=false")
HOW = Selection(trials=20, metric="FD[digits]", value=0.1, space_sha256="0" * 64, seconds=12.5)


@pytest.fixture
def planted() -> Iterator[None]:
    """The test's own model beside those that are installed."""
    own = EntryPoint("planted", "tests.tune.planted", "zoo")
    with standing_in(Manager([*entry_points(group="zoo"), own])):
        yield


def call(*words: str) -> Result:
    return CliRunner().invoke(tune, list(words), catch_exceptions=False)


def made(*words: str, **limits: Any) -> Tuning:
    given = dict(word.split("=", 1) for word in words)
    space = {"model.dropout": Choices((0.0, 0.1))}
    return tuning(given, lambda config: space, metric_of("FD"), Limits(**{"trials": 4, **limits}))


def test_the_real_test_split_is_not_in_what_trials_are_scored_on() -> None:
    plain = load_data(resolve(["plugin=vae"]))
    held = load_data(resolve(["plugin=vae", "data.validation=0.1"]))
    seen = validation_data(held)
    assert held.validation is not None
    assert len(seen.train) + len(seen.test) == len(plain.train)
    real = {row.tobytes() for row in plain.test.examples(torch.arange(len(plain.test))).numpy()}
    rows = [row.tobytes() for row in seen.test.examples(torch.arange(len(seen.test))).numpy()]
    trained = {row.tobytes() for row in seen.train.examples(torch.arange(len(seen.train))).numpy()}
    assert not real & set(rows)
    assert not trained & set(rows)
    assert seen.sha256 not in (plain.sha256, held.sha256)
    with pytest.raises(UsageError, match="no validation part"):
        validation_data(plain)


def test_the_winner_trains_on_all_data_with_a_seed_that_no_trial_has(home: Path) -> None:
    one = made("plugin=vae", "train.steps=900")
    assert (one.config.data.validation, one.trial.data.validation) == (0.0, 0.1)
    record = read_record_of(one)
    seeds = {one.trials.chosen(trial)["seed"] for trial in record}
    sampling = {one.trials.chosen(trial)["sample.seed"] for trial in record}
    assert len(seeds) == len(sampling) == len(record)
    finals = [winner_config(one, record[1], seed) for seed in range(3)]
    assert not {config.seed for config in finals} & seeds
    assert not {config.sample.seed for config in finals} & sampling
    assert all(config.data.validation == 0 for config in finals)
    assert {config.train.steps for config in finals} == {450}
    assert {config.model.dropout for config in finals} == {0.1}  # type: ignore[attr-defined]
    assert finals[0].train.ema.decay == pytest.approx(resolve(["plugin=vae"]).train.ema.decay ** 2, rel=1e-5)


def read_record_of(one: Tuning) -> list[Any]:
    from zoo_tune.trials import Trial

    return [Trial(k, {"model.dropout": 0.1}, steps=450) for k in range(4)]


def test_the_folder_depends_on_what_is_searched_and_not_on_how_long(home: Path) -> None:
    one = made("plugin=vae")
    assert one.folder == made("plugin=vae", trials=9, seconds=60.0).folder
    assert home in one.folder.parents
    others = [made("plugin=vae", each=3.0), made("plugin=vae", "train.steps=7"), made("plugin=hvae")]
    assert len({one.folder, *(other.folder for other in others)}) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=ring"], "no model was named"),
        (["plugin=vae", "seed=1"], "zoo tune chooses seed"),
        (["plugin=vae", "run_dir=x"], "a search has many"),
        (["plugin=vae", "eval.protocol=none"], "trials are scored"),
        (["plugin=gaussian"], "does not train"),
    ],
)
def test_options_that_no_search_has_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made(*words)


def test_durations() -> None:
    assert [seconds_of(text) for text in ("90", "90s", "10m", "1.5h")] == [90, 90, 600, 5400]
    for text in ("", "m", "10d", "-3s", "inf", "nan"):
        with pytest.raises(ValueError):
            seconds_of(text)


def test_committed_results_have_no_selection_and_keep_their_bytes() -> None:
    file = next((Path(__file__).parents[2] / "results" / "digits").rglob("result.json"))
    result = read_result(file)
    assert result.selection is None
    assert result.cost.search_seconds is None
    assert b"selection" not in result.text()
    assert b"search_seconds" not in result.text()
    assert content_hash(result.text()) == result.content_sha256


def test_a_result_says_how_its_options_were_selected() -> None:
    from zoo_core.results.files import parse_result
    from zoo_eval.summary import summary_lines

    file = next((Path(__file__).parents[2] / "results" / "digits").rglob("result.json"))
    result = read_result(file)
    cost = result.cost.model_copy(update={"search_seconds": 12.5})
    tuned = result.model_copy(update={"selection": HOW, "cost": cost, "content_sha256": None})
    assert parse_result(tuned.text()) == tuned
    assert "selected: best of 20 by FD[digits] on validation" in repr(tuned)
    assert tuned.cost.line().endswith("12.5 s of search")
    assert "selected    best of 20 by FD[digits] on validation; search 12.5 s" in summary_lines(tuned)


def test_the_leaderboard_says_that_a_row_was_selected(tmp_path: Path) -> None:
    from zoo_core.results import write_result
    from zoo_eval.leaderboard.export import as_json
    from zoo_eval.leaderboard.facts import installed
    from zoo_eval.leaderboard.table import make_groups, make_table
    from zoo_eval.leaderboard.text import plain
    from zoo_eval.store import collect

    folder = next((Path(__file__).parents[2] / "results" / "digits" / "vae").glob("*-s0"))
    result = read_result(folder / "result.json")
    cost = result.cost.model_copy(update={"search_seconds": 125.0})
    tuned = result.model_copy(update={"selection": HOW, "cost": cost})
    (tmp_path / "run").mkdir()
    write_result(tuned, tmp_path / "run" / "result.json")
    (group,) = make_groups(collect([tmp_path]).entries, installed())
    table = make_table(group)
    text = " ".join(" ".join(plain(table)).split())
    assert "vae: selected: best of 20 by FD[digits] on validation; search" in text
    (row,) = as_json([table])["tables"][0]["rows"]
    assert row["selected"] == HOW.line
    assert row["cost"]["search_seconds"] == 125.0


def test_a_damaged_record_of_a_selection_is_refused(tmp_path: Path) -> None:
    from zoo_core.results import recorded

    assert recorded(Selection, tmp_path) is None
    write_record(HOW, tmp_path)
    assert recorded(Selection, tmp_path) == HOW
    (tmp_path / "selection.json").write_text("{}")
    with pytest.raises(UsageError, match="not the record of a selection"):
        recorded(Selection, tmp_path)


@pytest.mark.slow(depends=("plugins/zoo_tune", "zoo_core/runs", "evaluation/zoo_eval/metrics"))
def test_a_planted_option_that_memorizes_is_not_chosen(home: Path, planted: None) -> None:
    search = ("--search", "model.memorize=true,false", "--search", "model.scale=0.5..4")
    words = (*FAST, "optim.net.lr=0.001", "train.batch_size=64", *search, "--trials", "8", "--seeds", "1")
    done = call(*words)
    assert done.exit_code == 0, done.output
    (file,) = home.rglob("search.json")
    record = read_record(file)
    assert record is not None
    copies = [t for t in record.trials if str(t.options["model.memorize"]).lower() == "true"]
    scored = [t for t in copies if t.scores]
    assert scored
    assert all(t.state == "memorizes" for t in scored)
    honest = [t.scores[-1].value for t in record.trials if t.state == "done"]
    assert min(t.scores[-1].value for t in scored) < min(honest)  # it would have won
    failed = [t for t in record.trials if t.state == "failed"]
    assert all("planted failure" in t.reason for t in failed)
    (final,) = home.rglob("winner/*/result.json")
    result = read_result(final)
    assert str(result.config["model.memorize"]).lower() == "false"
    assert result.selection is not None
    assert (result.selection.trials, result.selection.memorized) == (8, len(scored))
    assert result.selection.failed == len(failed)
    assert result.selection.line == "best of 8 by FD[raw] on validation"
    assert result.cost.search_seconds == pytest.approx(record.seconds, abs=1e-3)
    assert result.config["data.validation"] == 0
    assert not list(home.rglob("trials/*/run-*"))  # nothing is kept of the trials but their scores
    before = file.read_bytes()
    assert call(*words).exit_code == 0
    assert file.read_bytes() == before


@pytest.mark.slow(depends=("plugins/zoo_tune", "plugins/zoo_vae", "zoo_core/runs", "zoo_core/launch"))
def test_a_trial_that_is_trained_further_equals_one_trained_at_once(home: Path) -> None:
    """Milestones of 2, 6 and 18 steps give the weights, and so the score, of 18 steps at once."""
    import zoo_core
    from zoo_tune.milestone import RUN, advance, options_of

    base = resolve(
        ["plugin=vae", "preset=tiny", "data=ring", "data.validation=0.1", "seed=3", "sample.seed=3"]
    )
    options = options_of(base, {"optim.net.lr": 0.003, "optim.net.schedule": "constant"}, 18)
    metric, folder = metric_of("FD"), home / "trial"
    found = [advance(options, steps, folder, before, metric) for before, steps in ((0, 2), (2, 6), (6, 18))]
    once = advance(options, 18, home / "once", 0, metric)
    assert not any(one.anew for one in found)
    assert found[-1].value == once.value != found[0].value
    a, b = (zoo_core.load(place / RUN.format(18)).recipe.state_dict() for place in (folder, home / "once"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    tied = options_of(base, {"optim.net.schedule": "cosine"}, 6)  # a function of the number of steps
    first = advance(tied, 2, home / "tied", 0, metric)
    second = advance(tied, 6, home / "tied", 2, metric)
    assert (first.anew, second.anew) == (False, True)


@pytest.mark.slow(depends=("plugins/zoo_tune", "zoo_core/launch"))
def test_trials_in_processes_of_their_own(home: Path) -> None:
    words = ("plugin=vae", "preset=tiny", "data=ring", "train.steps=9", "track.wandb=off", "--trials", "2")
    done = call(*words, "--seeds", "0", "--slots", "2", "--trial-budget", "10s")
    assert done.exit_code == 0, done.output
    (file,) = home.rglob("search.json")
    found = json.loads(file.read_text())
    assert len(found["trials"]) == 2
    assert all(trial["scores"] for trial in found["trials"])


def test_what_is_cached_of_a_cut_training_split_is_not_taken_for_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from zoo_eval import context
    from zoo_eval.sampling import Source

    keys = []
    monkeypatch.setattr(context, "cached", lambda name, key, compute, say: keys.append(key))
    for words in (["plugin=vae"], ["plugin=vae", "data.validation=0.1"]):
        config = resolve(words)
        source = Source(config, load_data(config), torch.device("cpu"), lambda *_: iter(()), print)
        context.Context(source, None, None, None).cached("features", ("train",), dict)  # type: ignore[arg-type]
    assert len(set(keys)) == 2
    assert keys[0] == (load_data(resolve(["plugin=vae"])).sha256, "train")  # as before
