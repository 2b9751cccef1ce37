"""Results read strictly, grouped by protocol, and ranked no further than they can be told apart."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from zoo_eval.board import as_json, fitting, plain, printable, show_rich, variants
from zoo_eval.results import Bad, Stored, collect, parse, read

from tests.eval.fakes import protocol
from zoo_core.errors import UsageError
from zoo_core.registry.index import Index
from zoo_eval.cli import leaderboard
from zoo_eval.leaderboard import protocol_differences, rank, tables
from zoo_eval.published import references
from zoo_eval.statistics.student import mean_interval, welch


def result(plugin="wgan", fd=5.0, seed=0, *, memorises=False, floor=0.05, likelihood=(), **changes):
    how = protocol(**changes)
    return {
        "schema": 1,
        "plugin": plugin,
        "family": "gan",
        "data": how.data,
        "seed": seed,
        "config_hash": f"{plugin}-hash",
        "protocol": {"name": how.name, "version": how.version, "hash": how.hash, "fields": how.fields},
        "metrics": {
            "FD[digits]": {"value": fd, "better": "lower"},
            "IS[digits]": {"value": 3.0, "better": ""},
            "recall[digits]": {"value": 1 / (1 + fd), "better": "higher"},
        },
        "likelihood": list(likelihood),
        "memorisation": {"memorises": memorises},
        "floor": {"value": floor},
        "cost": {"train_seconds": 12.5, "images_seen": 64000, "nfe": 1, "parameters": 1000, "updates": {}},
    }


def stored(*results):
    return [Stored(Path(f"{k}.json"), one) for k, one in enumerate(results)]


def ranks(table):
    return [(r.row.plugin, r.rank, r.mark) for r in table.rows]


def seeds(plugin, values, **changes):
    return [result(plugin, value, k, **changes) for k, value in enumerate(values)]


# -- Student


def test_welch_and_the_interval_agree_with_scipy():
    # catches equal variances assumed, n for n - 1
    from scipy import stats

    a, b = [1.0, 1.4, 0.8, 1.1], [1.9, 2.6, 1.2]
    assert welch(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-6)
    mean, width = mean_interval(a)
    low, high = stats.t.interval(0.95, 3, loc=mean, scale=stats.sem(a))
    assert (mean - width, mean + width) == pytest.approx((low, high), rel=1e-6)
    assert mean_interval([2.0]) == (2.0, None)
    assert welch([1.0], b) is None
    assert welch([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert welch([1.0, 1.0], [2.0, 2.0]) == 0.0


# -- ranking


def test_different_protocols_never_share_a_table():
    # catches 2,000 samples ranked with 50,000, and one extractor's distances with another's
    made = tables(
        stored(
            result("a", 1.0),
            result("b", 2.0, n_generated=50_000),
            result("c", 3.0, extractor_sha256="c" * 64),
            result("d", 0.5, data="mnist"),
            result("e", 4.0),
        )
    )
    assert sorted([r.row.plugin for r in table.rows] for table in made) == [["a", "e"], ["b"], ["c"], ["d"]]
    assert len({(table.data, table.protocol["hash"]) for table in made}) == 4


def test_seeds_of_one_config_make_one_row_and_configs_stay_apart():
    # catches the best seed shown for the mean, and two configs averaged
    other = result("wgan", 9.0, 5) | {"config_hash": "other"}
    (table,) = tables(stored(*seeds("wgan", [1.0, 2.0, 3.0]), other))
    assert [(r.row.config_hash, r.row.seeds, r.mean) for r in table.rows] == [
        ("wgan-hash", (0, 1, 2), 2.0),
        ("other", (5,), 9.0),
    ]
    assert table.rows[0].width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)


def test_neighbours_that_can_not_be_told_apart_share_a_rank():
    # catches a rank read off noise
    (table,) = tables(
        stored(
            *seeds("first", [1.0, 1.1, 0.9]),
            *seeds("second", [1.05, 1.2, 0.95]),
            *seeds("third", [5.0, 5.1, 4.9]),
            *seeds("fourth", [9.0]),
        )
    )
    assert ranks(table) == [("first", 1, ""), ("second", 1, "="), ("third", 3, ""), ("fourth", 4, "?")]


def test_a_chain_of_small_differences_is_not_one_rank():
    # catches a last row on the first's rank because each can't be told from the one above
    values = {"a": [1.0, 1.2, 0.8], "b": [1.3, 1.5, 1.1], "c": [1.6, 1.8, 1.4], "d": [1.9, 2.1, 1.7]}
    (table,) = tables(stored(*(one for name, three in values.items() for one in seeds(name, three))))
    assert welch(values["a"], values["b"]) > 0.05
    assert welch(values["b"], values["c"]) > 0.05
    assert welch(values["a"], values["c"]) < 0.05
    assert ranks(table) == [("a", 1, ""), ("b", 1, "="), ("c", 3, ""), ("d", 3, "=")]


def test_two_configs_of_a_plugin_are_told_apart_by_their_options(tmp_path):
    # catches hashes that say nothing, and options that have no part in the samples
    def one(plugin, hash_, seed, **options):
        config = {"plugin": plugin, "seed": seed, "track": {"wandb": f"w{seed}"}, "train": {"steps": seed}}
        (tmp_path / hash_).mkdir()
        whole = result(plugin, 1.0, seed) | {"config_hash": hash_, "config": config | options}
        (tmp_path / hash_ / "result.json").write_text(json.dumps(whole))

    one("wgan", "aaaaaa1", 0, data={"task": "class"}, sample={"guidance": 0.5}, train={"steps": 9})
    one("wgan", "bbbbbb2", 1, data={"task": ""}, sample={"guidance": 0.0}, train={"steps": 9})
    one("gan", "cccccc3", 2)
    one("vae", "dddddd4", 3, train="none")
    one("vae", "eeeeee5", 4, evil="\x1b[31m" + 999 * "x")
    found, bad = collect([tmp_path])
    assert not bad
    plain_vae, evil, *wgan = variants(tables(found)[0])
    assert wgan == ["wgan/aaaaaa: data.task=class sample.guidance=0.5", "wgan/bbbbbb: sample.guidance=0.0"]
    assert plain_vae == "vae/dddddd: train=none"
    assert "\x1b" not in evil
    assert len(evil) <= 240


def test_higher_is_better_where_it_is():
    # catches a leaderboard upside down
    (table,) = tables(stored(result("low", 9.0), result("high", 1.0)), metric="recall")
    assert table.better == "higher"
    assert [r.row.plugin for r in table.rows] == ["high", "low"]


def test_what_memorises_is_shown_and_not_ranked():
    # catches the training set as the best generative model
    (table,) = tables(stored(result("copycat", 0.001, memorises=True), result("wgan", 5.0)))
    assert ranks(table) == [("wgan", 1, ""), ("copycat", None, "memorises")]


def test_below_twice_the_floor_all_are_tied():
    # catches a ranking by what real pictures would differ by
    (table,) = tables(
        stored(
            *seeds("a", [0.06, 0.061, 0.059]),
            *seeds("b", [0.09, 0.091, 0.089]),
            *seeds("c", [0.3, 0.31, 0.29]),
        )
    )
    assert ranks(table) == [("a", 1, "floor"), ("b", 1, "floor"), ("c", 3, "")]


def test_the_inception_score_is_shown_and_never_ranks():
    # catches a ranking by a score that a copy of one picture a class maximises
    with pytest.raises(UsageError, match="never ranked"):
        tables(stored(result()), metric="IS")
    with pytest.raises(UsageError, match="no column 'recal'") as error:
        tables(stored(result()), metric="recal")
    assert "recall[digits]" in str(error.value)


def test_likelihoods_rank_within_their_kind_only():
    # catches a bound ranked with an exact figure
    def record(name, bits, bound):
        return {"name": name, "bits_per_dim": bits, "se": 0.01, "bound": bound}

    (table,) = tables(
        stored(
            result("vae", 5.0, likelihood=[record("elbo", 2.0, True), record("iwae-64", 1.9, True)]),
            result("hist", 6.0, likelihood=[record("exact", 2.4, False)]),
            result("ddpm", 4.0, likelihood=[record("elbo", 1.5, True)]),
        ),
        metric="elbo",
    )
    assert ranks(table) == [("ddpm", 1, ""), ("vae", 2, "?"), ("hist", None, "n/a")]
    text = "\n".join(plain(table))
    assert "<=1.900 iwae-64" in text
    assert "2.400 exact" in text


def test_a_singular_covariance_never_ranks():
    # catches FID of fewer pictures than features: the next column that may, ranks
    one, other = result("a", 1.0), result("b", 2.0)
    one["metrics"]["FD[digits]"]["better"] = ""
    (table,) = tables(stored(one, other))
    assert table.metric == "recall[digits]"


def test_filters_and_what_there_is():
    # catches an empty board without a word
    both = stored(result("a"), result("b", data="mnist", name="standard"))
    assert [t.data for t in tables(both, data="mnist")] == ["mnist"]
    assert [t.data for t in tables(both, protocol="quick-1")] == ["digits"]
    assert [t.data for t in tables(both, protocol=protocol().hash[:6])] == ["digits"]
    with pytest.raises(UsageError, match="there are: digits quick"):
        tables(both, data="cifar10")
    assert tables([]) == []


def test_one_table_for_two_protocols_is_refused_with_what_differs():
    # catches 2,000 and 50,000 samples in one column because somebody asked for it
    both = stored(result("a"), result("b", n_generated=50_000, extractor_sha256="c" * 64))
    hashes = ",".join(one.result["protocol"]["hash"] for one in both)
    for asked in (hashes, "quick,quick-1"):
        with pytest.raises(UsageError, match="different protocols") as error:
            tables(both, protocol=asked)
        assert re.search("n_generated: (2000 and 50000|50000 and 2000)", str(error.value))
        assert re.search(r"extractor_sha256: (b{12}|c{12})\.\.\. and (b{12}|c{12})\.\.\.", str(error.value))
        assert "neighbours_n" not in str(error.value)
    (table,) = tables(both, protocol=f"{both[0].result['protocol']['hash']},standard")
    assert ranks(table) == [("a", 1, "")]
    with pytest.raises(UsageError, match="no results"):
        tables(both, protocol=",")


def test_a_field_that_one_protocol_lacks_is_told():
    # catches a difference that a missing key hides
    assert protocol_differences({"a": 1, "b": 2}, {"b": 2, "c": 3}) == [
        "a: 1 and (absent)",
        "c: (absent) and 3",
    ]


def test_baselines_recorded_beside_a_result_are_rows():
    # catches a table of one submission without anything to hold it against
    host = result("wgan", 5.0)
    keep = ("plugin", "protocol", "metrics", "likelihood", "memorisation")
    noise, gaussian = (
        {k: result(name, fd)[k] for k in keep} for name, fd in (("noise", 30.0), ("gaussian", 6.0))
    )
    elsewhere = {k: result("histogram", 1.0, n_generated=10)[k] for k in keep}
    broken = {"plugin": "copycat", "protocol": host["protocol"], "metrics": "none"}
    host["baselines"] = [noise, gaussian, elsewhere, broken]
    (table,) = tables(stored(host, result("noise", 29.0)))
    assert [(r.row.plugin, r.mean) for r in table.rows] == [("wgan", 5.0), ("gaussian", 6.0), ("noise", 29.0)]
    assert table.rows[1].row.family == "baseline"
    assert "gaussian" in "\n".join(plain(table))


def test_a_single_runs_own_interval_is_shown_as_such():
    # catches the spread of samples sold as the spread of trainings
    one, two, three = result("a", 5.0), result("b", 7.0), result("b", 7.5, 1)
    for each in (one, two, three):
        each["metrics"]["FD[digits]"] |= {"low": 4.75, "high": 5.25}
    (table,) = tables(stored(one, two, three))
    text = "\n".join(plain(table, 100))
    assert "5 [4.75, 5.25]" in text
    assert "nothing of other training seeds" in text
    assert table.rows[1].row.within == {}
    assert "7.25 ±" in text


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
                        "protocol": f"p-{m}",
                        "source": "s",
                        "read": m == "is",
                    }
                    for m, v in (("fid", 3.17), ("is", 9.46), ("bits_per_dim", 3.75))
                ],
            }
        ],
    }
)


@pytest.mark.parametrize(
    ("data", "column", "unit", "values"),
    [
        ("cifar10", "FID", "", [3.17]),
        ("cifar10", "IS", "", [9.46]),
        ("cifar10", "elbo", "bits_per_dim", [3.75]),
        ("cifar10", "FD[timm]", "", []),
        ("cifar10", "FD[inception-0123]", "", []),
        ("cifar10", "exact", "nats", []),
        ("digits", "FID", "", []),
    ],
)
def test_published_figures_stand_beside_the_same_quantity_only(data, column, unit, values):
    # catches the literature's FID beside a distance in another network's features
    assert [one.value for one in references(data, column, unit, INDEX)] == values


def test_published_figures_are_shown_and_never_ranked(monkeypatch):
    # catches a paper's figure with a rank, or without its source and protocol
    monkeypatch.setattr("zoo_eval.published._index", lambda: INDEX)
    one = result("wgan", 9.0, data="cifar10", extractor="inception")
    one["metrics"] = {"FID": {"value": 9.0, "better": "lower"}}
    (table,) = tables(stored(one))
    assert [r.row.plugin for r in table.rows] == ["wgan"]
    lines = plain(table, 80)
    (place,) = [k for k, line in enumerate(lines) if "not ranked" in line and "published" in line]
    assert lines[place + 1].strip() == "ddpm 3.17: p-fid (s; unverified)"
    shown = as_json([table], [])["tables"][0]
    assert [row["plugin"] for row in shown["rows"]] == ["wgan"]
    assert shown["references"][0]["source"] == "s"


# -- the store


def dump(path, one):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(one if isinstance(one, str) else json.dumps(one))


def changed(**changes):
    return {**result(), **changes}


def forged(column, value):
    one = copy.deepcopy(result())
    one["metrics"][column]["value"] = value
    return one


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "no JSON object"),
        (json.dumps(result()).replace('"value": 5.0', '"value": NaN'), "NaN is no JSON number"),
        (json.dumps(result()).replace('"value": 5.0', '"value": -Infinity'), "-Infinity is no JSON number"),
        (json.dumps(result()).replace('"value": 5.0', '"value": 1e999'), "no finite value"),
        (forged("FD[digits]", -0.1), "below 0"),
        (forged("FD[digits]", True), "no finite value"),
        (forged("FD[digits]", "5"), "no finite value"),
        (forged("IS[digits]", 0.5), "below 1"),
        (changed(schema=2), "schema 2"),
        (changed(seed="0"), "no 'seed'"),
        (changed(plugin=""), "no 'plugin'"),
        (changed(data="mnist"), "other data"),
        (changed(memorisation={}), "no verdict"),
        (changed(floor={"value": None}), "floor"),
        (changed(likelihood=[{"name": "exact"}]), "no finite value"),
        ({k: v for k, v in result().items() if k != "metrics"}, "not scored"),
        (changed(protocol={**result()["protocol"], "hash": "0" * 12}), "its fields give"),
        (json.dumps(changed(plugin="x" * (1 << 20))), "bytes"),
    ],
)
def test_a_bad_file_is_listed_with_its_reason(tmp_path, content, reason):
    # catches a forged or broken file on the board, or one that takes the others with it
    dump(tmp_path / "bad" / "result.json", content)
    dump(tmp_path / "good" / "result.json", result())
    found, bad = collect([tmp_path])
    assert [one.result["plugin"] for one in found] == ["wgan"]
    assert len(bad) == 1
    assert reason in bad[0].reason
    assert "\n" not in bad[0].reason


def test_files_that_can_not_be_read_are_listed(tmp_path):
    # catches a traceback on a folder or on bytes that are no text
    (tmp_path / "result.json").write_bytes(b"\xff\xfe\x00")
    assert isinstance(read(tmp_path / "result.json"), Bad)
    assert isinstance(read(tmp_path / "none.json"), Bad)
    (tmp_path / "folder" / "result.json").mkdir(parents=True)
    assert isinstance(read(tmp_path / "folder" / "result.json"), Bad)


def test_the_same_run_in_two_folders_is_one_seed(tmp_path):
    # catches an interval that shrinks because a file was copied
    dump(tmp_path / "runs" / "a" / "result.json", result())
    dump(tmp_path / "results" / "a" / "result.json", result())
    dump(tmp_path / "results" / "a" / "result-more.json", result(n_generated=50_000))
    found, bad = collect([tmp_path / "runs", tmp_path / "results"])
    assert len(found) == 2
    assert bad == []
    assert parse(json.dumps(result())) == result()


# -- shown


def crowd():
    return stored(
        *seeds("a-plugin-with-a-name", [10.123, 10.5, 10.9]),
        *seeds("wgan", [5.0, 5.2, 5.1]),
        result("copycat", 0.01, memorises=True, likelihood=[]),
        result(
            "ddpm", 0.06, likelihood=[{"name": "vlb-1000", "bits_per_dim": 3.21, "se": 0.1, "bound": True}]
        ),
    )


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_table_fits_its_terminal(width):
    # catches lines that wrap; what was left out comes back where there is room
    (table,) = tables(crowd())
    lines = plain(table, width)
    assert max(map(len, lines)) <= width
    headings = [column.heading for column in fitting(table, width)]
    assert headings[:4] == ["#", "model", "FD[digits]", "seeds"]
    assert ("images" in headings) == (width == 200)


def test_a_table_says_its_protocol_and_its_marks():
    # catches a number without its protocol, and a mark without its meaning
    (table,) = tables(crowd())
    text = "\n".join(plain(table, 100))
    assert f"digits, protocol quick-1 ({protocol().hash})" in text
    assert "2000 samples against 1437" in text
    assert "~ within twice the floor of 0.05" in text
    assert "- memorises its training set" in text
    assert "±" in text
    assert "<=3.210 vlb-1000" in text


def test_a_strangers_text_can_not_drive_the_terminal(capsys):
    # catches escape sequences and rich's markup in a submitted name
    (table,) = tables(stored(result("\x1b[2J[red]evil[/red]")))
    assert "\x1b" not in "\n".join(plain(table))
    show_rich(table, 80)
    assert "[red]evil[/red]" in capsys.readouterr().out
    assert printable("a\x07b\nc") == "a?b?c"


def test_the_command_lists_ranks_and_bad_files(tmp_path, home):
    # catches a verb that is wired to nothing
    for k, one in enumerate((result("wgan", 5.0), result("vae", 7.0))):
        dump(home / "runs" / str(k) / "result.json", one)
    dump(home / "runs" / "bad" / "result.json", "{}")
    shown = CliRunner().invoke(leaderboard, [])
    assert shown.exit_code == 0
    assert shown.stdout.index("wgan") < shown.stdout.index("vae")
    assert "left out" in shown.stderr
    as_json = CliRunner().invoke(leaderboard, ["--json", "--data", "digits", str(home / "runs")])
    read_back = json.loads(as_json.stdout)
    assert [row["plugin"] for row in read_back["tables"][0]["rows"]] == ["wgan", "vae"]
    assert read_back["bad"][0]["reason"].startswith("schema None")
    empty = CliRunner().invoke(leaderboard, [str(tmp_path / "home" / "runs" / "bad")])
    assert "no results" in empty.stdout
    missing = CliRunner().invoke(leaderboard, ["nowhere"])
    assert isinstance(missing.exception, UsageError)


def test_ranking_nothing_is_nothing():
    # catches an index error on an empty group
    assert rank([], "FD[digits]", "lower") == []
