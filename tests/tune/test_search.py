"""The search, with a trainer whose scores are a formula."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from zoo_core.errors import Interrupted, MachineError, UsageError
from zoo_tune.metrics import metric_of
from zoo_tune.search import Failure, Limits, Measured, Planned, Search
from zoo_tune.space import Choices, Range
from zoo_tune.study import Adviser, require_optuna
from zoo_tune.trials import MILESTONES, Record, Score, State, Trial, best, read_record

SPACE = {"x": Range(0.0, 1.0), "n": Choices((1, 2, 4))}


class Formula:
    """Scores (x - 0.3)^2 + 1/steps; 1 s of training a hundred steps, 0.5 s of scoring."""

    def __init__(self, slots: int = 1, stop_after: int | None = None) -> None:
        self.slots, self.left = slots, stop_after
        self.calls: list[tuple[int, int]] = []
        self.budgets: list[float | None] = []

    def plan(self, trials: Sequence[Trial], seconds: float | None) -> list[Planned | Failure]:
        self.budgets.append(seconds)
        return [Planned(90, 0.25) for _ in trials]

    def advance(self, trials: Sequence[Trial], steps: Sequence[int]) -> list[Measured | Failure]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Interrupted(2, "interrupted")
        self.calls += [(trial.number, n) for trial, n in zip(trials, steps, strict=True)]
        return [self.one(trial, n) for trial, n in zip(trials, steps, strict=True)]

    def one(self, trial: Trial, steps: int) -> Measured | Failure:
        value = (trial.options["x"] - 0.3) ** 2 + 1 / steps
        return Measured("FD[digits]", value, 0.0, (steps - trial.steps_done) / 100, 0.5)

    def clean(self, trial: Trial) -> None:
        pass


def search(path: Path, limits: Limits, seed: int = 0, first: dict[str, object] | None = None) -> Search:
    return Search(path / "search.json", SPACE, metric_of("FD"), limits, seed, first, say=lambda line: None)


def test_the_first_trial_has_the_defaults_and_every_option_lies_in_the_space(tmp_path: Path) -> None:
    record = search(tmp_path, Limits(15), first={"x": 0.9, "n": 4}).run(Formula())
    assert record.trials[0].options == {"x": 0.9, "n": 4}
    assert all(0 <= t.options["x"] <= 1 and t.options["n"] in (1, 2, 4) for t in record.trials)
    assert len({t.options["x"] for t in record.trials}) == 15
    assert record.space == {"x": "0..1", "n": "1,2,4"}


def test_the_search_finds_the_minimum(tmp_path: Path) -> None:
    winner = best(search(tmp_path, Limits(30)).run(Formula()).trials)
    assert winner is not None
    assert abs(winner.options["x"] - 0.3) < 0.05
    assert winner.state == "done"


def test_successive_halving_stops_the_trials_that_its_rule_stops(tmp_path: Path) -> None:
    """An independent rule (Li et al. 2020, arXiv:1810.05934): on while among the best third."""
    record = search(tmp_path, Limits(25)).run(Formula())
    seen: dict[int, list[float]] = {milestone: [] for milestone in range(len(MILESTONES))}
    for trial in record.trials:
        for milestone, score in enumerate(trial.scores):
            assert score.steps == 90 * MILESTONES[milestone] // 9
            seen[milestone].append(score.loss)
            last = milestone + 1 == len(MILESTONES)
            better = sum(loss < score.loss for loss in seen[milestone])
            goes_on = better < max(1, len(seen[milestone]) // 3)
            assert (len(trial.scores) > milestone + 1) == (goes_on and not last), (trial.number, milestone)
    assert record.count("stopped") > 10


@pytest.mark.parametrize("stop", range(0, 12, 3))
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path, stop: int) -> None:
    whole = search(tmp_path / "a", Limits(10)).run(Formula())
    with pytest.raises(Interrupted):
        search(tmp_path / "b", Limits(10)).run(Formula(stop_after=stop))
    again = Formula()
    assert search(tmp_path / "b", Limits(10)).run(again) == whole
    assert read_record(tmp_path / "b" / "search.json") == whole
    assert search(tmp_path / "b", Limits(10)).run(Formula(stop_after=0)) == whole  # nothing is left to do


def test_more_trials_go_on_where_fewer_ended_and_another_seed_is_another_search(tmp_path: Path) -> None:
    few = search(tmp_path / "a", Limits(4)).run(Formula())
    more = search(tmp_path / "a", Limits(9)).run(Formula())
    assert more.trials[:4] == few.trials
    assert more == search(tmp_path / "b", Limits(9)).run(Formula())
    other = search(tmp_path / "c", Limits(9), seed=1).run(Formula())
    assert [t.options for t in other.trials] != [t.options for t in more.trials]


def test_several_slots_train_several_trials_at_a_time(tmp_path: Path) -> None:
    trainer = Formula(slots=3)
    record = search(tmp_path, Limits(7)).run(trainer)
    assert [number for number, steps in trainer.calls[:3]] == [0, 1, 2]
    assert {steps for _, steps in trainer.calls[:3]} == {10}
    assert len(record.trials) == 7
    assert record == search(tmp_path / "again", Limits(7)).run(Formula(slots=3))


def test_the_budget_ends_the_search_and_counts_every_second(tmp_path: Path) -> None:
    record = search(tmp_path, Limits(100, seconds=6.0, each=3.0)).run(Formula())
    spent = sum(
        t.plan_seconds + sum(s.train_seconds + s.score_seconds for s in t.scores) for t in record.trials
    )
    assert record.seconds == pytest.approx(spent)
    assert 6.0 <= record.seconds < 6.0 + 0.6 + 0.5  # at most one milestone over
    assert len(record.trials) < 10


def test_a_trial_trains_for_what_scoring_leaves_of_its_budget(tmp_path: Path) -> None:
    trainer = Formula()
    search(tmp_path, Limits(2, each=3.0)).run(trainer)
    assert trainer.budgets == [pytest.approx(2.0), pytest.approx(3.0 - 3 * 0.5)]


class Memorizing(Formula):
    """The best score is that of a trial which memorizes."""

    def one(self, trial: Trial, steps: int) -> Measured | Failure:
        copies = trial.options["n"] == 4
        value = 0.0 if copies else (trial.options["x"] - 0.3) ** 2 + 1 / steps
        return Measured("FD[digits]", value, 0.9 if copies else 0.02, 0.1, 0.1)


def test_a_trial_that_memorizes_is_not_selected(tmp_path: Path) -> None:
    record = search(tmp_path, Limits(20)).run(Memorizing())
    copies = [trial for trial in record.trials if trial.options["n"] == 4]
    assert copies
    assert all(trial.state == "memorizes" and len(trial.scores) == 1 for trial in copies)
    winner = best(record.trials)
    assert winner is not None
    assert winner.options["n"] != 4
    assert winner.scores[-1].loss > min(trial.scores[-1].loss for trial in copies)
    assert len(copies) < 10  # the sampler avoids what counts as the worst
    assert search(tmp_path, Limits(20)).run(Formula(stop_after=0)) == record  # replayed


class Failing(Formula):
    def one(self, trial: Trial, steps: int) -> Measured | Failure:
        return Failure("loss is not finite", 0.2) if trial.number % 3 == 1 else super().one(trial, steps)


def test_failed_trials_are_counted_and_cost_what_they_took(tmp_path: Path) -> None:
    record = search(tmp_path, Limits(6)).run(Failing())
    failed = [trial for trial in record.trials if trial.state == "failed"]
    assert [trial.number for trial in failed] == [1, 4]
    assert all(trial.reason == "loss is not finite" and trial.seconds == 0.45 for trial in failed)
    assert best(failed) is None


def test_a_column_that_differs_between_trials_fails_the_trial(tmp_path: Path) -> None:
    class Other(Formula):
        def one(self, trial: Trial, steps: int) -> Measured | Failure:
            found = super().one(trial, steps)
            assert isinstance(found, Measured)
            column = "FD[raw]" if trial.number == 1 else found.column
            return Measured(column, found.value, 0.0, 0.1, 0.1)

    record = search(tmp_path, Limits(3)).run(Other())
    assert record.trials[1].state == "failed"
    assert "FD[raw]" in record.trials[1].reason


def test_higher_is_better_for_a_likelihood_in_nats() -> None:
    assert metric_of("nats").loss(3.0) < metric_of("nats").loss(2.0)
    assert metric_of("FD").loss(3.0) > metric_of("FD").loss(2.0)
    with pytest.raises(UsageError, match="can't be selected by 'precision'"):
        metric_of("precision")


def test_the_winner_is_among_those_that_got_furthest() -> None:
    def trial(number: int, *losses: float, state: str = "done") -> Trial:
        scores = [Score(9 * k + 9, loss, loss, 0.0, 1.0, 1.0) for k, loss in enumerate(losses)]
        return Trial(number, {}, 90, 0.0, scores, state)  # type: ignore[arg-type]

    trials = [trial(0, 1.0, 0.9, 0.8), trial(1, 0.1, state="stopped"), trial(2, 0.5, 0.4, 0.7)]
    assert best(trials) is trials[2]
    assert best(trials[1:2]) is trials[1]
    assert best([trial(0, 0.1, 0.1, 0.1, state="memorizes")]) is None
    assert math.isclose(Record(trials=trials).seconds, 14.0)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text('{"schema": 1, "trials": [3]}')
    with pytest.raises(UsageError, match="is not the record of a search"):
        search(tmp_path, Limits(3))


def test_without_optuna_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MachineError) as caught:
        require_optuna()
    assert "pip install 'genzoo[tune]'" in str(caught.value)


def test_a_trial_that_fails_after_a_good_score_counts_as_the_worst() -> None:
    good = Score(10, 0.1, 0.1, 0.0, 1.0, 1.0)
    states: tuple[State, ...] = ("stopped", "failed")
    trials = [Trial(k, {"x": 0.5, "n": 1}, 90, 0.0, [good], state) for k, state in enumerate(states)]
    told = Adviser(SPACE, 0, trials)._study.trials
    assert [one.value for one in told] == [0.1, math.inf]
