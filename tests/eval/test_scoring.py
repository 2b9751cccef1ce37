"""A run scored from end to end, on samples that are known."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
import torch

from tests.eval.fakes import FakeRun, protocol
from zoo_core.config import DataConfig
from zoo_core.data.loading import Dataset, Resident
from zoo_core.data.toy import load as load_points
from zoo_core.errors import PluginError, UsageError
from zoo_core.types import DataInfo, Likelihood
from zoo_eval import zoo_summary
from zoo_eval.features import Features
from zoo_eval.results import fault
from zoo_eval.scoring import examine, floor, preflight, refuse_non_finite, score
from zoo_eval.summary import posterior_gap

FACTS = {
    "schema": 1,
    "plugin": "fake",
    "family": "test",
    "data": "digits",
    "seed": 0,
    "config_hash": "0" * 12,
}


class Uniform:
    """A model that gives every level of every pixel the same probability."""

    def likelihoods(self, x, *, noise, k):
        nats = torch.full((len(x),), -x[0].numel() * math.log(17), dtype=torch.float64)
        return [Likelihood(nats, "exact"), Likelihood(nats + noise.rand(())[:, None].mean(1), "iwae", k=k)]


@pytest.fixture(scope="module")
def scored(digits, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
    results = {
        "copycat": score(FakeRun(digits, digits.train.x, Uniform())),
        "held out": score(FakeRun(digits, digits.test.x)),
        "noise": score(
            FakeRun(
                digits, torch.randint(0, 17, (2000, 1, 8, 8), dtype=torch.uint8), Uniform(), batch_size=64
            )
        ),
    }
    patch.undo()
    return results


def test_a_result_is_strict_json_that_the_store_accepts(scored):
    # catches a tensor, a NaN or a tuple on its way into result.json
    for result in scored.values():
        read = json.loads(json.dumps(FACTS | result, allow_nan=False))
        assert fault(read) is None
        assert read["cost"]["nfe"] == 7
        assert read["cost"]["train_seconds"] == 1.0
        assert read["entry"]["clipped"] == pytest.approx(0.25)


def test_columns_carry_their_extractor(scored):
    # catches a number without its feature network
    names = set(scored["copycat"]["metrics"])
    assert names == {
        "FD[digits]",
        "FD[digits] to test",
        "KD[digits]",
        "IS[digits]",
        "FD-inf[digits]",
        "sFD[digits]",
        "authenticity[digits]",
        "modes[digits-judge]",
        "balance[digits-judge]",
        *(f"{name}[digits]" for name in ("precision", "recall", "density", "coverage")),
    }


def test_better_samples_score_better(scored):
    # catches real and generated exchanged, or a metric fed with the wrong set
    def value(name, column):
        return scored[name]["metrics"][column]["value"]

    assert (
        value("copycat", "FD[digits]") < value("held out", "FD[digits]") < value("noise", "FD[digits]") / 50
    )
    assert value("held out", "FD[digits] to test") < value("copycat", "FD[digits] to test")
    assert value("held out", "KD[digits]") < value("noise", "KD[digits]") / 20
    assert value("held out", "IS[digits]") > 8 > value("noise", "IS[digits]")
    assert value("held out", "precision[digits]") > 0.8 > 0.2 > value("noise", "precision[digits]")


def test_noise_loses_to_a_gaussian_on_every_column(scored, digits):
    # catches a column that rewards what is far from all data, and a direction the wrong way round
    flat = digits.train.x.flatten(1).double()
    root = torch.linalg.cholesky(torch.cov(flat.T) + 1e-6 * torch.eye(64))
    rng = torch.Generator().manual_seed(0)
    drawn = torch.randn(2000, 64, generator=rng).double() @ root.T + flat.mean(0)
    gaussian = score(FakeRun(digits, drawn.round().clamp(0, 16).to(torch.uint8).view(-1, 1, 8, 8)))
    for column, cell in scored["noise"]["metrics"].items():
        other = gaussian["metrics"][column]["value"]
        if cell["better"]:
            assert (other < cell["value"]) == (cell["better"] == "lower"), column
    assert not gaussian["memorisation"]["memorises"]


def test_one_digit_has_precision_and_neither_recall_nor_modes(digits):
    # catches precision and recall exchanged, and modes counted on the real side
    of_one = score(FakeRun(digits, digits.test.x[digits.test.label == 3]))["metrics"]
    assert of_one["precision[digits]"]["value"] > 0.8 > 0.2 > of_one["recall[digits]"]["value"]
    assert of_one["modes[digits-judge]"]["value"] == 1
    assert of_one["balance[digits-judge]"]["value"] < 0.15


def test_every_ranked_figure_has_its_interval(scored):
    # catches a figure without one, an end on the wrong side, an interval of nothing
    for result in scored.values():
        for column, cell in result["metrics"].items():
            assert cell["low"] <= cell["value"] <= cell["high"], column
    cell = scored["noise"]["metrics"]["FD[digits]"]
    assert 0 < cell["high"] - cell["low"] < cell["value"] / 5


def test_what_can_not_be_had_says_why(digits):
    # catches a column that silently is not there
    result = score(FakeRun(digits, digits.test.x, extractor="raw"))
    assert result["absent"] == {
        "IS[raw]": "raw is no classifier",
        "sFD[raw]": "raw has no spatial features",
    }
    assert "n/a         sFD[raw]: raw has no spatial features" in zoo_summary(FACTS | result)


def test_the_floor_is_what_new_real_pictures_would_score(scored, digits):
    # catches a floor of another number of samples: c (1/n + 1/m), with c from 360 test pictures
    floor = scored["noise"]["floor"]
    assert floor["test_vs_train"] * (1 / 2000 + 1 / 1437) / (1 / 360 + 1 / 1437) == pytest.approx(
        floor["value"]
    )
    assert scored["held out"]["metrics"]["FD[digits]"]["value"] == pytest.approx(
        floor["test_vs_train"], rel=0.05
    )


def test_the_floor_does_not_scale_a_shift_of_the_test_split(rng):
    # catches a true difference between the splits multiplied by 1/n: it is no bias of few samples
    train, test = torch.randn(2, 4000, 4, generator=rng).double()
    settings = protocol()
    found = floor(Features(train, None, settings), Features(test + 0.5, None, settings), 400)
    assert found["value"] == pytest.approx(4 * 0.5**2, rel=0.25)


def test_memorisation_is_part_of_it(scored):
    # catches distances to the test split
    assert scored["copycat"]["memorisation"]["memorises"]
    assert not scored["held out"]["memorisation"]["memorises"]
    assert not scored["noise"]["memorisation"]["memorises"]


def test_likelihood_is_of_the_test_split_in_bits(scored):
    # catches another constant or another base: uniform over 17 levels is log2 17
    exact, bound = scored["copycat"]["likelihood"]
    assert exact["bits_per_dim"] == pytest.approx(math.log2(17), abs=1e-12)
    assert (exact["name"], exact["bound"], exact["n"]) == ("exact", False, 360)
    assert (bound["name"], bound["bound"]) == ("iwae-64", True)
    assert bound["se"] > 0
    assert scored["held out"]["likelihood"] == []


def test_likelihood_noise_does_not_depend_on_the_batch(scored):
    # catches a test example's noise that moves with the batch it is in
    one, other = (scored[name]["likelihood"][1]["bits_per_dim"] for name in ("copycat", "noise"))
    assert one == pytest.approx(other, abs=1e-12)


def test_samples_are_known_by_their_hash(scored, digits):
    # catches a hash of something else than what was scored
    rows = digits.train.x[torch.arange(2000) % 1437]
    assert scored["copycat"]["samples_sha256"] == hashlib.sha256(rows.numpy().tobytes()).hexdigest()


def test_batch_sizes_do_not_move_a_figure(digits, scored):
    # catches figures that depend on how the pictures were dealt out
    run = FakeRun(digits, digits.train.x, Uniform(), batch_size=33)
    again = score(run)
    assert again["protocol"]["hash"] == scored["copycat"]["protocol"]["hash"]
    for column, cell in scored["copycat"]["metrics"].items():
        assert again["metrics"][column]["value"] == pytest.approx(cell["value"], rel=1e-4, abs=1e-5), column


def test_real_features_are_computed_once(digits):
    # catches the training split passing the network again for each of a matrix's runs
    first, second = (FakeRun(digits, digits.test.x) for _ in range(2))
    score(first)
    score(second)
    assert any("features of the train split" in line for line in first.said)
    assert not any("features of" in line for line in second.said)


def test_points_of_the_plane_are_scored_on_their_values():
    # catches points quantised, or seen by a network of pictures; nats beside the true density's
    data = load_points(DataConfig(name="two-gaussians"))

    class True_:
        def likelihoods(self, x, *, noise, k):
            return [Likelihood(data.density.log_prob(x.double()), "exact")]

    result = score(FakeRun(data, data.test.examples(torch.arange(2000)), True_()))
    assert "FD[raw]" in result["metrics"]
    assert not any(name.startswith("IS") for name in result["metrics"])
    assert result["likelihood"][0]["nats"] == pytest.approx(result["truth"]["nats"], rel=1e-6)
    assert not result["memorisation"]["memorises"]
    assert result["metrics"]["FD[raw]"]["value"] < 3 * result["floor"]["value"]
    assert {"SW", "MMD", "modes[density]", "balance[density]", "on-modes[density]"} <= set(result["metrics"])
    assert result["metrics"]["modes[density]"]["value"] == 2


def test_conditional_samples_are_judged_by_their_class(digits):
    # catches labels that are not those that were asked for
    info = DataInfo("digits", (1, 8, 8), 17, classes=10, task="class")
    data = Dataset(info, digits.train, digits.test, digits.sha256)

    class Obedient(FakeRun):
        def draw(self, n, *, start=0, seed=None, cond=None):
            by_class = [self.data.train.x[self.data.train.label == c][0] for c in range(10)]
            self.rows = torch.stack([by_class[int(c)] for c in cond.label])
            yield from super().draw(n, cond=cond)

    result = score(Obedient(data, digits.train.x))
    assert result["metrics"]["accuracy[digits-judge]"]["value"] > 0.95
    frequencies = torch.bincount(digits.train.label).double() / len(digits.train)
    run = FakeRun(data, digits.train.x)
    wrong = score(run)
    assert wrong["metrics"]["accuracy[digits-judge]"]["value"] < 0.2
    asked = torch.bincount(run.asked.label, minlength=10).double() / 2000
    assert torch.allclose(asked, frequencies, atol=4.5 * (0.1 * 0.9 / 2000) ** 0.5)


def test_likelihoods_that_are_not_finite_are_the_plugins_fault(digits):
    # catches a mean that one infinity has swallowed
    class Broken(Uniform):
        def likelihoods(self, x, *, noise, k):
            return [Likelihood(torch.full((len(x),), -torch.inf), "exact")]

    with pytest.raises(PluginError, match="not one finite number"):
        score(FakeRun(digits, digits.test.x, Broken()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "quik"}, "no protocol"),
        ({"extractor": "mnist"}, "can't see"),
        ({"extractor": "inception"}, "zoo fetch inception"),
        ({"extractor": "timm:nosuch"}, "timm has no model"),
        ({"extractor": "incepton"}, "eval.extractor=inception"),
        ({"protocol": "paper"}, "zoo fetch inception"),
        ({"protocol": "paper", "extractor": "digits"}, "through inception; eval.extractor=digits"),
        ({"protocol": "paper", "weights": "raw"}, "eval.weights=raw was asked for"),
    ],
)
def test_what_can_not_be_scored_is_said_before_training(digits, options, message):
    # catches an hour of training that ends in a usage error
    with pytest.raises(UsageError) as error:
        preflight(FakeRun(digits, digits.test.x, **options))
    assert message in str(error.value)


def test_too_little_data_are_refused_before_training(digits):
    # catches three pictures where neighbours are counted
    tiny = Dataset(digits.info, Resident(digits.train.x[:3]), digits.test, "x")
    with pytest.raises(UsageError, match="too few"):
        preflight(FakeRun(tiny, digits.test.x))


def test_data_out_of_range_are_refused_before_training(digits):
    # catches a level that only the 1,000th picture holds, found after an hour
    x = digits.train.x.clone()
    x[1000, 0, 3, 3] = 17
    with pytest.raises(UsageError, match="number 1000"):
        examine(FakeRun(Dataset(digits.info, Resident(x), digits.test, "x"), digits.test.x))


def test_a_protocol_that_can_not_mean_much_says_so_before_training(digits):
    # catches FD of fewer pictures than features, told only in a note after training
    few = FakeRun(Dataset(digits.info, Resident(digits.train.x[:50]), digits.test, "x"), digits.test.x)
    examine(few)
    said = "\n".join(few.said)
    assert "50 training examples for 64 features: the Frechet distance is shown and never ranked" in said
    assert "subsets are cut from 500 to 50" in said
    plain = FakeRun(digits, digits.test.x)
    examine(plain)
    assert plain.said == []


def test_the_gap_between_two_bounds_is_told():
    # catches ELBO minus IWAE in bits, which is the other way round in nats
    elbo, iwae = (
        {"name": name, "kind": kind, "k": k, "bits_per_dim": bits}
        for name, kind, k, bits in (("elbo", "elbo", 1, 2.5), ("iwae-64", "iwae", 64, 2.2))
    )
    assert posterior_gap([elbo, iwae]).startswith("0.300 bits/dim between iwae-64 and elbo")
    points = [
        {"name": r["name"], "kind": r["kind"], "k": r["k"], "nats": -r["bits_per_dim"]} for r in (elbo, iwae)
    ]
    assert posterior_gap(points).startswith("0.300 nats")
    assert posterior_gap([elbo]) is None


def test_a_figure_that_is_not_finite_is_named():
    # catches a NaN in result.json
    with pytest.raises(UsageError, match=r"result.metrics.FD.value is nan"):
        refuse_non_finite({"metrics": {"FD": {"value": math.nan}}, "list": [1.0, "x"]})
    with pytest.raises(UsageError, match=r"list\[1\] is inf"):
        refuse_non_finite({"list": [1.0, math.inf]})


def test_the_summary_shows_scores_beside_the_baselines(scored):
    # catches a figure without its protocol, a bound without its <=, a baseline of another protocol
    def result(name, plugin):
        return FACTS | scored[name] | {"plugin": plugin}

    other = result("noise", "gaussian")
    mismatched = result("noise", "histogram") | {"protocol": other["protocol"] | {"hash": "another"}}
    lines = zoo_summary(result("copycat", "wgan") | {"baselines": [other, mismatched]})
    text = "\n".join(lines)
    assert "2,000 samples" in lines[0]
    assert scored["copycat"]["protocol"]["hash"] in lines[0]
    assert "FD[digits] ↓" in text
    assert "times the gaussian's FD[digits]" in text
    assert "<= 4.0" in text
    assert "MEMORISES" in text
    assert "histogram" not in text
    plain = "\n".join(zoo_summary(result("held out", "wgan")))
    assert "n/a: this model has none" in plain
    assert zoo_summary(dict(FACTS)) == []
