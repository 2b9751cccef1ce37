"""Results grouped by data, task and protocol, and ranked only as far as they differ significantly."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.eval.made_results import fields, result, seeds, sha256_of, write
from zoo_core.errors import UsageError
from zoo_core.registry.index import Index
from zoo_core.registry.manager import Entry, Manager
from zoo_core.registry.spec import DatasetSpec
from zoo_core.results.result import fields_hash
from zoo_eval.cli import leaderboard
from zoo_eval.leaderboard.export import as_json
from zoo_eval.leaderboard.facts import Column, Facts, installed, protocol_title
from zoo_eval.leaderboard.page.plain_data import group_data
from zoo_eval.leaderboard.ranks import rank
from zoo_eval.leaderboard.rows import Row
from zoo_eval.leaderboard.table import Choice, choose_column, make_groups, make_table, protocol_differences
from zoo_eval.leaderboard.tasks import task_of
from zoo_eval.leaderboard.text import (
    column_notation,
    fitting,
    names,
    plain,
    printable,
    score_text,
    text_columns,
    variants,
)
from zoo_eval.metrics.frechet import limit_cell
from zoo_eval.published import references
from zoo_eval.store import STATES, Verdict, collect
from zoo_eval.store.limits import LIMITS
from zoo_eval.store.states import record


@pytest.fixture
def groups(tmp_path):
    """Write results into one folder and return their groups."""

    def make(*results, facts=None):
        folder = tmp_path / "results"
        write(folder, *results)
        found, bad = collect([folder])
        assert bad == []
        return make_groups(found, facts or installed())

    return make


@pytest.fixture
def table(groups):
    """Write results into one folder and return their one table."""

    def make(*results, metric=None):
        (group,) = groups(*results)
        return make_table(group, metric)

    return make


def ranks(table):
    return [(r.row.plugin, r.rank, r.mark) for r in table.rows]


def first_words(table, count):
    """Return the first words of the first rows of a table as text."""
    lines = plain(table)
    (head,) = (place for place, line in enumerate(lines) if line.lstrip().startswith("#"))
    return [line.split()[0] for line in lines[head + 1 : head + 1 + count]]


def reproduced(*paths, state="reproduced"):
    for path in paths:
        record(Verdict(state, (), False, sha256_of(path), ""))


# -- what shares a table


def test_different_protocols_data_and_tasks_never_share_a_table(groups):
    # catches 2,000 samples ranked with 50,000, and a translation ranked with unconditional samples
    made = groups(
        result("a", 1.0),
        result("b", 2.0, protocol={"n_generated": 50_000}),
        result("c", 3.0, protocol={"extractor_sha256": "c" * 64}),
        result("d", 0.5, protocol={"data": "mnist"}),
        result("e", 4.0),
        result("f", 0.1, task="class"),
        result("g", 0.1, data={**result()["data"], "task": "image", "source": "edges"}),
        result("h", 0.1, data={**result()["data"], "task": "image", "source": "gray"}),
    )
    found = sorted(sorted(row.plugin for row in group.rows) for group in made)
    assert found == [["a", "e"], ["b"], ["c"], ["d"], ["f"], ["g"], ["h"]]
    assert len({group.title for group in made}) == 7


def test_the_largest_task_is_the_default_and_the_others_are_named(groups):
    # catches tables of tasks mixed, or left out without a word
    made = groups(result("a"), result("b", task="class"), result("c", task="class"), result("d", task="text"))
    shown, others = Choice().of(made)
    assert [group.task for group in shown] == ["class"]
    assert sorted(group.task for group in others) == ["text", "unconditional"]
    assert len(Choice(task="all").of(made)[0]) == 3
    assert [group.task for group in Choice(task="text").of(made)[0]] == ["text"]


def test_a_row_that_is_given_something_says_so(groups):
    # catches a translation of held-out real images, or samples of given labels, taken for unconditional ones
    image = {**result()["data"], "task": "paired", "source": "edges"}
    made = groups(result("a"), result("b", task="class"), result("c", task="text"), result("d", data=image))
    given = {"a": "", "b": "class label", "c": "caption", "d": "held-out real image (edges)"}
    for group in made:
        (name,) = (row.plugin for row in group.rows)
        table = make_table(group)
        shown = as_json([table])["tables"][0]
        assert shown["given"] == given[name]
        lines = plain(table, 100)
        (row,) = (line for line in lines if line.split()[1:2] == [name])
        assert (given[name] in row) if given[name] else ("given" not in "".join(lines))
        assert lines[1] == task_of(group.data).about


def test_a_translation_ranks_by_its_targets(table):
    # catches the same default column for every task
    image = {**result()["data"], "task": "paired", "source": "edges"}
    metrics = {"L1[edges]": {"value": 0.1}, "PSNR[edges]": {"value": 20.0}}
    assert table(result("a", data=image, metrics=metrics)).column.name == "L1[edges]"


@pytest.mark.parametrize("task", ["class", "text", "unpaired"])
def test_a_conditional_task_ranks_by_the_distance_of_all_samples(table, task):
    # catches a board of captions ranked by its accuracy, which one image of each class maximizes
    others = {"accuracy[digits-classifier]": {"value": 0.9}, "FD to source[digits]": {"value": 1.0}}
    assert table(result("a", task=task, metrics=others)).column.name == "FD[digits]"


def test_filters_and_what_there_is(groups):
    # catches an empty board without a word
    both = groups(result("a"), result("b", protocol={"data": "mnist"}))
    of = fields_hash(fields())
    assert [g.data.name for g in Choice(data="mnist").of(both)[0]] == ["mnist"]
    for wanted in ("quick", "quick-1"):
        assert len(Choice(protocol=wanted).of(both)[0]) == 2
    assert [g.data.name for g in Choice(protocol=of[:6]).of(both)[0]] == ["digits"]
    with pytest.raises(UsageError, match="there are: digits, unconditional, protocol quick"):
        Choice(data="cifar10").of(both)
    assert Choice(data="cifar10").of([]) == ([], [])


def test_a_label_stands_for_the_data_in_every_table(groups):
    # catches "folder" as the title of every folder, and two labels of one folder in two tables
    own = {"data": "folder"}
    of = {"name": "folder", "sha256": result()["data"]["sha256"]}
    made = groups(
        result("a", protocol=own, data=of),
        result("b", protocol=own, data={**of, "label": "cifar10-jpeg"}),
    )
    (group,) = made
    assert len(group.rows) == 2
    assert group.title.startswith("cifar10-jpeg, unconditional, protocol quick")
    assert group_data(group)[0]["data"] == "cifar10-jpeg"
    assert as_json([make_table(group)])["tables"][0]["label"] == "cifar10-jpeg"
    for wanted in ("cifar10-jpeg", "folder"):
        assert Choice(data=wanted).of(made)[0] == [group]
    (bare,) = groups(result("c", protocol={**own, "data_sha256": "c" * 64}, data={**of, "sha256": "c" * 64}))[
        1:
    ]
    assert bare.title.startswith("folder, ")


@pytest.mark.parametrize("name", ["digits", "celeba"])
def test_data_that_are_known_by_name_take_no_label(groups, name):
    # catches a file that gives the board of a known dataset a title of its own
    data = {"name": name, "sha256": result()["data"]["sha256"], "label": "mine"}
    (group,) = groups(result("a", protocol={"data": name}, data=data))
    assert group.title.startswith(f"{name}, ")


def test_the_label_that_most_files_have_is_the_tables(groups):
    # catches the label of whichever file is read first
    of = {"name": "folder", "sha256": result()["data"]["sha256"]}
    labels = {"a": "zebra", "b": "icons", "c": "icons", "d": ""}
    (group,) = groups(
        *(result(k, protocol={"data": "folder"}, data={**of, "label": v}) for k, v in labels.items())
    )
    assert group.title.startswith("icons, ")


def test_a_board_reads_the_options_of_no_plugins_dataset(monkeypatch):
    # catches a plugin whose import ends or blocks `zoo leaderboard`
    entries = [Entry(DatasetSpec("theirs", "their_module:load", "their_module:Config"), "theirs")]
    monkeypatch.setattr(Manager, "entries", lambda self, kind: entries if kind == "dataset" else [])
    assert installed().labeled == frozenset()


def test_rows_that_share_a_file_have_keys_of_their_own(tmp_path):
    # catches two rows that are one on the page and in its address
    mine = write(tmp_path / "a", result(seed=0), result(seed=1))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "result-copy.json").write_bytes(mine[0].read_bytes())
    write(tmp_path / "b", result(seed=2))
    (group,) = make_groups(collect([tmp_path / "a", tmp_path / "b"]).entries, installed())
    assert [row.seeds for row in group.rows] in ([(0, 1), (0, 2)], [(0, 2), (0, 1)])
    assert len({row.key for row in group.rows}) == 2


def test_one_table_for_two_protocols_is_refused_with_what_differs(groups):
    # catches 2,000 and 50,000 samples in one column because somebody asked for it
    both = groups(result("a"), result("b", protocol={"metrics_version": 4, "extractor_sha256": "c" * 64}))
    hashes = ",".join(group.protocol.hash for group in both)
    for asked in (hashes, "quick,quick-1"):
        with pytest.raises(UsageError, match="can't share a table") as error:
            Choice(protocol=asked).of(both)
        assert re.search("metrics_version: (3 and 4|4 and 3)", str(error.value))
        assert re.search(r"extractor_sha256: (b{12}|c{12})\.\.\. and (b{12}|c{12})\.\.\.", str(error.value))
        assert "neighbors_n" not in str(error.value)
    with pytest.raises(UsageError, match="no results"):
        Choice(protocol=",").of(both)
    assert protocol_differences({"a": 1, "b": 2}, {"b": 2, "c": 3}) == [
        "a: 1 and (absent)",
        "c: (absent) and 3",
    ]


def test_a_title_comes_from_the_known_plans(groups):
    # catches a table that a file titles
    one = result("a")
    one["protocol"] |= {"name": "paper", "version": 9}
    (group,) = groups(one)
    assert protocol_title(group.protocol) == f"quick-1 ({fields_hash(fields())})"
    changes = ({"n_generated": 5}, {"version": 7}, {"name": "official"})
    titles = {protocol_title(made.protocol) for made in groups(*(result("b", protocol=c) for c in changes))}
    assert sorted(title.partition(" ")[0] for title in titles) == ["custom", "custom", "custom", "quick-1"]


# -- ranking


def test_seeds_of_one_config_make_one_row_and_configs_stay_apart(table):
    # catches the best seed shown for the mean, and two configs averaged
    other = result("wgan", 9.0, 5, config_hash="0" * 12)
    made = table(*seeds("wgan", [1.0, 2.0, 3.0]), other)
    assert [r.row.seeds for r in made.rows] == [(0, 1, 2), (5,)]
    row = as_json([made])["tables"][0]["rows"][0]
    assert row["metrics"]["FD[digits]"]["mean"] == 2.0
    assert row["metrics"]["FD[digits]"]["half_width"] == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)


def test_rows_that_do_not_differ_significantly_share_a_rank(table):
    # catches a rank read off noise, and a tie that only the lower row shows
    made = table(
        *seeds("first", [1.0, 1.1, 0.9]),
        *seeds("second", [1.05, 1.2, 0.95]),
        *seeds("third", [5.0, 5.1, 4.9]),
        *seeds("fourth", [9.0]),
    )
    assert ranks(made) == [("first", 1, "="), ("second", 1, "="), ("third", 3, ""), ("fourth", None, "?")]
    assert made.rows[0].p is None
    assert made.rows[1].p > 0.05 > made.rows[2].p
    assert first_words(made, 4) == ["=1", "=1", "3", "?"]


def test_baselines_are_not_tested(table):
    # catches a deterministic row with a spread of zero that differs from everything
    made = table(
        *seeds("gaussian", [6.0, 6.0, 6.0]), *seeds("vae", [6.1, 6.6, 5.5]), *seeds("gan", [9, 8, 7])
    )
    assert ("gaussian", None, "?") in ranks(made)
    assert [rank for _, rank, _ in ranks(made) if rank] in ([1, 2], [1, 1])
    assert made.tiers[0].pairs == 1


def test_rows_that_are_not_tested_have_no_rank_anywhere_and_change_none(table, tmp_path):
    # catches a place from one seed that reads like a rank, and one that is counted in the ranks below it
    tested = [*seeds("a", [2.0, 2.1, 2.2]), *seeds("b", [5.0, 5.5, 4.6])]
    alone = table(*tested)
    made = table(result("one", 0.3), *seeds("gaussian", [3.0, 3.0, 3.0]), result("two", 9.0))
    assert ranks(alone) == [("a", 1, ""), ("b", 2, "")]
    expected = [("one", None), ("a", 1), ("gaussian", None), ("b", 2), ("two", None)]
    assert [(name, rank) for name, rank, _ in ranks(made)] == expected
    assert first_words(made, 5) == ["?", "1", "?", "2", "?"]
    assert [row["rank"] for row in as_json([made])["tables"][0]["rows"]] == [None, 1, None, 2, None]
    shown = group_data(made.group, "FD[digits]")[0]["rankings"]["FD[digits]"]
    assert [shown["rank"][k] for k in shown["order"]] == [None, 1, None, 2, None]
    assert "? not ranked, because not tested" in "\n".join(plain(made, 200))


def test_a_row_with_nothing_to_test_against_has_no_rank(table):
    # catches "1" for the only row of several seeds, below rows of one seed
    made = table(*seeds("vae", [6.1, 6.6, 5.5]), result("wgan", 5.0))
    assert ranks(made) == [("wgan", None, "?"), ("vae", None, "?")]


def test_the_board_prints_the_smallest_ratio_it_separates(table):
    # catches a table whose ties can't be told from a lack of seeds
    made = table(*seeds("a", [1.0, 1.1, 0.9]), *seeds("b", [5.0, 5.5, 4.6]))
    ratio = made.tiers[0].separable
    assert 1 < ratio < 5
    assert f"smallest significant ratio: {ratio:.3g} (5 % over 1 pair)" in plain(made, 200)
    assert as_json([made])["tables"][0]["separable"] == {"reported": ratio}


def test_higher_is_better_where_it_is(table):
    # catches a leaderboard upside down
    made = table(result("low", 9.0), result("high", 1.0), metric="recall")
    assert made.column.better == "higher"
    assert [r.row.plugin for r in made.rows] == ["high", "low"]


def test_scores_that_may_be_negative_are_compared_as_differences(table):
    # catches the logarithm of a kernel distance below zero
    def kernel(name, values):
        return [result(name, 5.0, k, metrics={"KD[digits]": {"value": v}}) for k, v in enumerate(values)]

    made = table(*kernel("a", [-1e-4, 1e-4, 0.0]), *kernel("b", [0.5, 0.51, 0.49]), metric="KD")
    assert ranks(made) == [("a", 1, ""), ("b", 2, "")]
    assert made.column.scale == "linear"


@pytest.mark.parametrize("excess", [0.11, 0.9])
def test_what_memorizes_is_shown_and_not_ranked(table, excess):
    # catches the training set as the best generative model
    copied = {"memorization[pixels]": {"value": 0.0}, "memorization[digits]": {"value": excess}}
    made = table(result("copycat", 0.3, metrics=copied), result("wgan", 5.0))
    assert ranks(made) == [("wgan", None, "?"), ("copycat", None, "memorizes")]
    assert "memorization detected" in "\n".join(plain(made))


def test_what_was_not_checked_for_memorization_at_each_seed_is_not_ranked(table):
    """Catches a ranked row whose copies nobody looked for, at one of its seeds or at all."""
    unchecked = {"memorization[pixels]": None}
    never = seeds("copycat", [0.1, 0.11, 0.12], metrics=unchecked)
    once = [*seeds("vae", [0.2, 0.21]), result("vae", 0.22, 2, metrics=unchecked)]
    made = table(*never, *once, *seeds("wgan", [5.0, 5.1, 5.2]), *seeds("gan", [9.0, 9.1, 9.2]))
    assert ranks(made) == [
        ("wgan", 1, ""),
        ("gan", 2, ""),
        ("copycat", None, "unchecked"),
        ("vae", None, "unchecked"),
    ]
    assert "memorization not checked at every seed" in "\n".join(plain(made))


def test_below_twice_the_noise_floor_all_are_tied(table):
    # catches a ranking by what real images would differ by
    made = table(
        *seeds("a", [0.06, 0.061, 0.059]),
        *seeds("b", [0.09, 0.091, 0.089]),
        *seeds("c", [0.3, 0.31, 0.29]),
    )
    assert ranks(made) == [("a", 1, "floor"), ("b", 1, "floor"), ("c", 3, "")]
    assert "~ within twice the noise floor of 0.05" in "\n".join(plain(made))


def test_what_new_real_data_do_not_reach_is_not_ranked(table):
    # catches a reported distance of 0 in the first place
    made = table(result("zero", 0.0), result("half", 0.024), result("good", 0.026), result("wgan", 5.0))
    assert ranks(made) == [
        ("good", None, "?"), ("wgan", None, "?"), ("half", None, "below"), ("zero", None, "below"),
    ]  # fmt: skip


def test_the_inception_score_is_shown_and_never_ranks(groups):
    # catches a ranking by a score that one copied image per class maximizes
    (group,) = groups(result())
    with pytest.raises(UsageError, match="never ranked"):
        choose_column(group, "IS")
    with pytest.raises(UsageError, match="no column 'recal'") as error:
        choose_column(group, "recal")
    assert "recall[digits]" in str(error.value)


def test_likelihoods_rank_within_their_kind_only(table):
    # catches a bound ranked with an exact value
    def bits(kind, value, bound):
        return {f"bits_per_dim[{kind}]": {"value": value, "standard_error": 0.01, "bound": bound}}

    made = table(
        result("vae", 5.0, metrics=bits("elbo", 2.0, "upper") | bits("iwae-64", 1.9, "upper")),
        result("hist", 6.0, metrics=bits("exact", 2.4, "exact")),
        result("ddpm", 4.0, metrics=bits("elbo", 1.5, "upper")),
        metric="elbo",
    )
    assert ranks(made) == [("ddpm", None, "?"), ("vae", None, "?"), ("hist", None, "n/a")]
    text = "\n".join(plain(made, 120))
    assert "<=2" in text
    assert "2.400 exact" in "\n".join(plain(make_table(made.group), 120))
    assert "<=1.900 iwae-64" in "\n".join(plain(make_table(made.group), 120))


def test_a_value_that_may_not_rank_leaves_the_default_to_the_next_column(table):
    # catches the distance of fewer images than features, ranked
    why = {"value": 1.0, "unranked": "fewer samples than features"}
    made = table(result("a", metrics={"FD[digits]": why}), result("b", metrics={"FD[digits]": why}))
    assert made.column.name == "recall[digits]"
    assert ranks(make_table(made.group, "FD")) == [("a", None, "unranked"), ("b", None, "unranked")]


def test_a_limit_from_too_few_samples_is_shown_with_the_reason_and_has_no_rank(table, rng):
    # catches FD-inf of fewer than 30 samples per feature among the ranks
    real = torch.randn(500, 4, generator=rng).double()
    cells = {
        n: limit_cell(real, 1.5 * torch.randn(n, 4, generator=rng).double()).model_dump(exclude_defaults=True)
        for n in (119, 120)
    }
    rows = [result(f"m{n}", metrics={"FD-inf[digits]": cell}) for n, cell in cells.items()]
    made = table(*rows, *seeds("few", [1, 2], metrics={"FD-inf[digits]": cells[119]}), metric="FD-inf")
    assert ranks(made) == [("m120", None, "?"), ("few", None, "unranked"), ("m119", None, "unranked")]
    text = " ".join(" ".join(plain(made, 200)).split())
    why = "119 samples for 4 features: the extrapolation is biased below 120 samples, 30 per feature"
    assert f"- this value is shown and not ranked: {why}" in text
    assert as_json([made])["tables"][0]["rows"][1]["unranked"] == {"FD-inf[digits]": why}


def test_ranking_nothing_is_nothing():
    # catches an index error on an empty group
    column = Facts({"FD": "lower"}, {}).column("FD[digits]")
    assert rank([], column).rows == ()


# -- states and sources


def test_better_verified_rows_come_first_and_are_tested_among_themselves(tmp_path, home):
    # catches a reported score above reproduced ones
    good = write(tmp_path / "good", *seeds("wgan", [5.0, 5.2, 5.1]), *seeds("vae", [7.0, 7.4, 7.1]))
    reproduced(*good)
    alone = make_table(make_groups(collect([tmp_path]).entries, installed())[0])
    write(tmp_path / "other", *seeds("claim", [1.0, 1.1, 0.9]), result("one", 0.5))
    both = make_table(make_groups(collect([tmp_path]).entries, installed())[0])
    assert [r.row.plugin for r in both.rows] == ["wgan", "vae", "one", "claim"]
    assert [(r.rank, r.mark, r.p) for r in both.rows[:2]] == [(r.rank, r.mark, r.p) for r in alone.rows]
    assert [tier.state for tier in both.tiers] == ["reproduced", "reported"]
    text = "\n".join(plain(both, 150))
    assert "smallest significant ratio among reproduced rows: " in text
    assert "rows of a better verified state come first" in text


@pytest.mark.parametrize("above", ["consistent", "audited"])
def test_an_audit_lifts_no_row_over_one_with_a_better_score(tmp_path, home, above):
    # catches tiers by every state, and tests, floors and the column of a tier without the reproduced rows
    best, audited, worst = (
        write(tmp_path / name, *seeds(name, values))
        for name, values in {"wgan": [5.0, 5.2, 5.1], "vae": [7.0, 7.4, 7.1], "gan": [9.0, 9.3, 9.1]}.items()
    )
    reproduced(*best, *audited, *worst)
    before = make_table(make_groups(collect([tmp_path]).entries, installed())[0])
    reproduced(*audited, state=above)
    write(tmp_path / "other", *seeds("claim", [1.0, 1.1, 0.9]))
    made = make_table(make_groups(collect([tmp_path]).entries, installed())[0])
    assert [(r.row.plugin, r.row.state) for r in made.rows] == [
        ("wgan", "reproduced"),
        ("vae", above),
        ("gan", "reproduced"),
        ("claim", "reported"),
    ]
    assert [(r.rank, r.mark, r.p) for r in made.rows[:3]] == [(r.rank, r.mark, r.p) for r in before.rows]
    assert [(tier.state, tier.pairs) for tier in made.tiers] == [("reproduced", 3), ("reported", 6)]
    assert "ranked among the reproduced rows" in " ".join("\n".join(plain(made, 150)).split())


def test_all_pairs_of_the_table_are_corrected_for(tmp_path, home):
    # catches reported rows tested as if the reproduced ones were in no table with them, and the reverse
    good = write(tmp_path / "good", *seeds("wgan", [5.0, 5.2, 5.1]), *seeds("vae", [7.0, 7.4, 7.1]))
    reproduced(*good)
    write(tmp_path / "other", *seeds("a", [1.0, 1.1, 0.9]), *seeds("b", [2.0, 2.1, 2.2]), result("one", 0.5))
    made = make_table(make_groups(collect([tmp_path]).entries, installed())[0])
    assert [(tier.state, tier.pairs) for tier in made.tiers] == [("reproduced", 1), ("reported", 6)]
    assert ranks(made) == [("wgan", 1, ""), ("vae", 2, ""), ("one", None, "?"), ("a", 3, ""), ("b", 4, "")]
    assert "among reported rows: " in "\n".join(plain(made, 200))
    assert "(5 % over 6 pairs)" in "\n".join(plain(made, 200))


def test_identical_models_of_two_states_seldom_get_two_ranks_in_one():
    # catches 5 % for each state: 4.5 standard errors above 5 % of 300 tables
    rng = np.random.default_rng(5)
    bad = 0
    for _ in range(300):
        scores = np.exp(0.2 * rng.standard_normal((20, 3))).tolist()
        rows = [
            Row(f"m{k}", "gan", f"{k}", "", ("reproduced", "reported")[k % 2], (Mock(sha256=f"{k}"),),
                {"FD": tuple(row)}, {}, {}, {}, {}, None)
            for k, row in enumerate(scores)
        ]  # fmt: skip
        found = rank(rows, Column("FD", "lower", "log")).rows
        ranks_of = {state: {r.rank for r in found if r.row.state == state} for state in STATES}
        bad += any(len(places) > 1 for places in ranks_of.values())
    assert bad / 300 < 0.05 + 4.5 * (0.05 * 0.95 / 300) ** 0.5


def test_claims_of_two_sources_are_two_rows_with_names_of_their_own(tmp_path, home):
    # catches an extra seed from elsewhere in a row's mean
    write(tmp_path / "a", *seeds("wgan", [5.0, 5.2, 5.1]))
    write(tmp_path / "b", result("wgan", 50.0, 3))
    (group,) = make_groups(collect([tmp_path]).entries, installed())
    made = make_table(group)
    assert [r.row.seeds for r in made.rows] == [(0, 1, 2), (3,)]
    assert len(set(names(made.rows))) == 2
    (conflict,) = group.conflicts
    assert "claimed 2 times" in conflict.reason
    assert as_json([made])["tables"][0]["conflicts"][0]["reason"] == conflict.reason


# -- published scores


INDEX = Index.model_validate(
    {
        "schema": 1,
        "plugins": [
            {
                "name": "ddpm",
                "family": "diffusion",
                "package": "genzoo",
                "summary": "",
                "license": "Apache-2.0",
                "published": [
                    {
                        "data": "cifar10",
                        "metric": m,
                        "value": v,
                        "setting": f"p-{m}",
                        "condition": "unconditional",
                        "samples": None,
                        "reference": None,
                        "guidance": None,
                        "weights": "ema",
                        "checkpoint": None,
                        "nfe": None,
                        "source": "s",
                        "read": m == "is",
                    }
                    for m, v in (("fid", 3.17), ("is", 9.46), ("bits_per_dim", 3.75), ("fid", 13.51))
                ],
            }
        ],
    }
)


@pytest.mark.parametrize(
    ("data", "column", "values"),
    [
        ("cifar10", "FID", [3.17, 13.51]),
        ("cifar10", "IS", [9.46]),
        ("cifar10", "bits_per_dim[elbo]", [3.75]),
        ("cifar10", "FD[timm]", []),
        ("cifar10", "FD[inception-0123]", []),
        ("cifar10", "nats[exact]", []),
        ("digits", "FID", []),
    ],
)
def test_published_scores_stand_beside_the_same_quantity_only(data, column, values):
    # catches the literature's FID beside a distance in another network's features
    assert [one.value for _, one in references(data, column, INDEX)] == values


def test_published_scores_are_shown_and_never_ranked(table, monkeypatch):
    # catches a paper's score with a rank, or without its source and protocol
    monkeypatch.setattr("zoo_eval.published._index", lambda: INDEX)
    how = {"data": "cifar10", "extractor": "inception"}
    made = table(result("wgan", 9.0, protocol=how, metrics={"FD[digits]": None, "FID": {"value": 9.0}}))
    assert [r.row.plugin for r in made.rows] == ["wgan"]
    lines = plain(made, 80)
    (place,) = [k for k, line in enumerate(lines) if "not ranked" in line and "published" in line]
    assert lines[place + 1].strip() == "ddpm 3.17: p-fid, unconditional, ema weights (s; unverified)"
    # One of each model: hundreds of published scores would hide the table.
    assert lines[place + 2].strip() == "all of them: zoo registry scores --data cifar10 --metric fid"
    shown = as_json([made])["tables"][0]
    assert [row["plugin"] for row in shown["rows"]] == ["wgan"]
    (shown_reference,) = shown["references"]
    assert shown_reference["source"] == "s"


# -- as text


def crowd():
    bound = {"bits_per_dim[vlb-1000]": {"value": 3.21, "standard_error": 0.1, "bound": "upper"}}
    return (
        *seeds("a-plugin-with-a-name", [10.123, 10.5, 10.9]),
        *seeds("wgan", [5.0, 5.2, 5.1]),
        result("copycat", 0.3, metrics={"memorization[pixels]": {"value": 0.9}}),
        result("ddpm", 0.06, metrics=bound),
    )


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_table_fits_its_terminal(table, width):
    # catches lines that wrap; what was left out comes back where it fits
    made = table(*crowd())
    assert max(map(len, plain(made, width))) <= width
    headings = [column.heading for column in fitting(made, width)]
    assert headings[:4] == ["#", "model", "FD[digits]", "seeds"]
    assert ("images" in headings) == (width == 200)


def test_a_table_says_its_protocol_and_its_marks(table):
    # catches a number without its protocol, and a mark without its meaning
    text = "\n".join(plain(table(*crowd()), 100))
    assert f"digits, unconditional, protocol quick-1 ({fields_hash(fields())})" in text
    assert "2000 samples against 1437" in text
    assert "± half of a 95 % interval over training seeds" in text
    assert "<=3.210 vlb-1000" in text


def test_a_value_beside_the_rank_has_no_more_digits_than_its_column(table):
    # catches 0.6762 under 0.745, because one row's interval is smaller
    values = {"a": (0.6761, 0.6762, 0.6763), "b": (0.74, 0.75, 0.76)}
    made = table(
        *(
            result(name, 1.0 + k / 10, k, metrics={"precision[digits]": {"value": value}})
            for name, found in values.items()
            for k, value in enumerate(found)
        )
    )
    (column,) = (one for one in text_columns(made)[1] if one.heading == "prec")
    assert sorted(column.cells) == ["0.676", "0.750"]


def test_counts_have_no_decimals(table):
    # catches 9.00 [8.00, 9.00] modes
    ends = {"interval": {"low": 8.0, "high": 9.0}}
    made = table(result("a", metrics={"modes[digits-classifier]": {"value": 9.0} | ends}))
    how = column_notation(made.rows, "modes[digits-classifier]")
    assert score_text(made.rows[0], "modes[digits-classifier]", how) == "9 [8, 9]"


def test_a_single_runs_own_interval_is_shown_as_such(table):
    # catches the spread of samples sold as the spread of trainings
    ends = {"interval": {"low": 4.75, "high": 5.25}}
    made = table(
        result("a", metrics={"FD[digits]": {"value": 5.0} | ends}),
        result("b", metrics={"FD[digits]": {"value": 5.0} | ends}),
        result("b", 7.5, 1),
    )
    text = "\n".join(plain(made, 100))
    assert "5.00 [4.75, 5.25]" in text
    assert "other training seeds differ by more" in text
    assert "6 ±16" in text  # 6.25, which its interval does not show


def test_two_configs_of_a_plugin_are_told_apart_by_their_options(table):
    # catches hashes that say nothing, and options that have no part in the samples
    def one(plugin, hash_, seed, **options):
        config = {"plugin": plugin, "seed": seed, "track.wandb": f"w{seed}", "train.steps": 9}
        return result(plugin, 1.0 + seed, seed, config_hash=hash_ * 12, config={**config, **options})

    made = table(
        one("wgan", "a", 0, **{"data.task": "class", "model.width": 64}),
        one("wgan", "b", 1, **{"model.width": 32}),
        one("gan", "c", 2),
        one("vae", "d", 3, **{"train.ema": "none"}),
        one("vae", "e", 4, evil="\x1b[31m" + 300 * "x"),
    )
    first, second, plain_vae, evil = variants(made)
    assert first == "wgan/aaaaaa: data.task=class model.width=64"
    assert second == "wgan/bbbbbb: model.width=32"
    assert plain_vae == "vae/dddddd: train.ema=none"
    assert "\x1b" not in evil
    assert len(evil) <= 240


def test_a_third_partys_text_can_not_control_the_terminal(table):
    # catches escape sequences and rich's markup in a submitted text
    evil = {"value": 1.0, "unranked": "\x1b[2J[red]evil[/red]"}
    other = {"config_hash": "0" * 12, "config": {"x": "[red]evil[/red]"}}
    made = table(
        result("wgan", config={"x": "\x1b[2J"}, metrics={"recall[digits]": evil}),
        result("wgan", 7.0, 1, **other),
    )
    assert "\x1b" not in "\n".join(plain(made))
    out = "\n".join(plain(made, 100, styled=True))
    assert "[red]evil[/red]" in out
    assert "\x1b[2J" not in out
    assert printable("a\x07b\nc") == "a?b?c"


# -- the command


def test_the_command_lists_ranks_and_bad_files(tmp_path, home):
    # catches a command that is wired to nothing
    write(home / "runs" / "a", result("wgan", 5.0), result("vae", 7.0), result("ddpm", 0.5, task="class"))
    bad = home / "runs" / "bad" / "result.json"
    bad.parent.mkdir()
    bad.write_text("{}")
    shown = CliRunner().invoke(leaderboard, [])
    assert shown.exit_code == 0, shown.exception
    assert shown.stdout.index("wgan") < shown.stdout.index("vae")
    assert "ddpm" not in shown.stdout
    assert "1 more table of other tasks (class); next: zoo leaderboard --task all" in shown.stdout
    assert "left out" in shown.stderr
    printed = CliRunner().invoke(leaderboard, ["--json", "--data", "digits", str(home / "runs")])
    read_back = json.loads(printed.stdout)
    assert [[row["plugin"] for row in made["rows"]] for made in read_back["tables"]] == [
        ["wgan", "vae"],
        ["ddpm"],
    ]
    assert [Path(one["path"]).parent.name for one in read_back["bad"]] == ["bad"]
    empty = CliRunner().invoke(leaderboard, [str(bad.parent)])
    assert "no results" in empty.stdout
    missing = CliRunner().invoke(leaderboard, ["nowhere"])
    assert isinstance(missing.exception, UsageError)


def test_files_of_an_old_schema_are_one_line(tmp_path, home):
    # catches a screen of lines after an upgrade
    for k in range(5):
        old = tmp_path / "old" / str(k) / "result.json"
        old.parent.mkdir(parents=True)
        old.write_text(json.dumps({"schema": 1, "curves": "x" * 30_000 * (k % 2)}))
    shown = CliRunner().invoke(leaderboard, [str(tmp_path / "old")])
    (line,) = shown.stderr.splitlines()
    assert "and 4 more files: schema 1: made by version 0.1" in line


def test_a_file_without_a_column_to_rank_hides_no_other_table(tmp_path):
    # catches one file by which no table is printed
    bare = {"FD[digits]": None, "recall[digits]": None, "noise floor[FD[digits]]": None}
    write(tmp_path, *seeds("wgan", [1.0, 1.1]), result("gan", 0.0, metrics=bare, task="class"))
    for words in ([], ["--json"]):
        done = CliRunner().invoke(leaderboard, [str(tmp_path), "--task", "all", *words])
        assert done.exit_code == 0, done.output
        assert "wgan" in done.stdout
        assert "left out" in done.stderr
        assert "class" in done.stderr


def test_no_file_moves_an_installed_model_to_another_family():
    # catches a baseline that a file makes a tested entry
    facts = installed()
    assert facts.family("gaussian", "outside") == facts.families["gaussian"]
    assert facts.family("nobodys", "outside") == "outside"


MAY_BE_NEGATIVE = {"KD", "KID", "MMD", "FD-inf", "FID-inf", "FLD"}


def test_every_distance_has_a_least_value():
    # catches a metric that is added without its range: a file could claim less than 0, and rank first
    lower = {base for base, better in installed().directions.items() if better == "lower"}
    assert {base for base in lower if base not in LIMITS} == MAY_BE_NEGATIVE
