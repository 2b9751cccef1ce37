"""A run scored from end to end, on samples that are known."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.eval.fakes import FakeRun, identity, score, values
from zoo_core.config import DataConfig
from zoo_core.data.loading import Dataset, Resident
from zoo_core.data.toy import load as load_points
from zoo_core.errors import NotFoundError, PluginError, UsageError
from zoo_core.registry.manager import Entry, manager
from zoo_core.registry.metrics import direction
from zoo_core.registry.spec import MetricSpec
from zoo_core.results import NotApplicable, Value, read_result, write_result
from zoo_core.types import DataInfo, Likelihood
from zoo_eval import zoo_metrics
from zoo_eval.metrics.frechet import expected_floor
from zoo_eval.metrics.likelihood import check
from zoo_eval.pipeline import COSTS, evaluate, examine, prepare
from zoo_eval.summary import posterior_gap, summary_lines
from zoo_eval.verdicts import memorizes


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


def test_a_result_is_written_and_read_back_the_same(scored, tmp_path):
    # catches a tensor, a NaN or a tuple on its way into result.json, and a field that is lost in the file
    for result in scored.values():
        write_result(result, tmp_path / "result.json")
        assert (tmp_path / "result.json").stat().st_size < 8_000
        read = read_result(tmp_path / "result.json")
        assert read.model_copy(update={"content_sha256": None}) == result
        assert read.cost.nfe == 7
        assert read.cost.train_seconds == 1.0
        assert read.sampling.clipped == pytest.approx(0.25)


def test_columns_carry_their_extractor(scored):
    # catches a number without its feature network
    names = set(scored["copycat"].metrics)
    assert names == {
        "FD[digits]",
        "FD to test[digits]",
        "FD to train part[digits]",
        "generalization gap[digits]",
        "noise floor[FD[digits]]",
        "memorization[pixels]",
        "memorization[digits]",
        "bits_per_dim[exact]",
        "bits_per_dim[iwae-64]",
        "KD[digits]",
        "IS[digits]",
        "FD-inf[digits]",
        "sFD[digits]",
        "authenticity[digits]",
        "modes[digits-classifier]",
        "balance[digits-classifier]",
        *(f"{name}[digits]" for name in ("precision", "recall", "density", "coverage")),
    }


def test_better_samples_score_better(scored):
    # catches real and generated exchanged, or a metric fed with the wrong set
    def value(name, column):
        return scored[name].metrics[column].value

    assert (
        value("copycat", "FD[digits]") < value("held out", "FD[digits]") < value("noise", "FD[digits]") / 50
    )
    assert value("held out", "FD to test[digits]") < value("copycat", "FD to test[digits]")
    gaps = [value(name, "generalization gap[digits]") for name in ("held out", "noise", "copycat")]
    assert gaps[0] < 0 < gaps[2]
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
    ranked = [column for column in gaussian.metrics if direction(column)]
    assert len(ranked) > 8
    for column in ranked:
        other, noise = gaussian.metrics[column].value, scored["noise"].metrics[column].value
        assert (other < noise) == (direction(column) == "lower"), column
    assert not memorizes(gaussian)


def test_one_digit_has_precision_and_neither_recall_nor_modes(digits):
    # catches precision and recall exchanged, and modes counted on the real side
    of_one = values(score(FakeRun(digits, digits.test.x[digits.test.label == 3])))
    assert of_one["precision[digits]"] > 0.8 > 0.2 > of_one["recall[digits]"]
    assert of_one["modes[digits-classifier]"] == 1
    assert of_one["balance[digits-classifier]"] < 0.15


def test_every_ranked_figure_has_its_interval(scored):
    # catches a figure without one, an end on the wrong side, an interval of nothing
    for result in scored.values():
        for column, cell in result.metrics.items():
            if direction(column) and "bits_per_dim" not in column:
                assert cell.interval.low <= cell.value <= cell.interval.high, column
    cell = scored["noise"].metrics["FD[digits]"]
    assert 0 < cell.interval.high - cell.interval.low < cell.value / 5
    assert scored["noise"].metrics["bits_per_dim[iwae-64]"].standard_error > 0


def test_what_can_not_be_had_says_why(digits):
    # catches a column that silently is not there
    result = score(FakeRun(digits, digits.test.x, extractor="raw"))
    reasons = {name: why.reason for name, why in result.not_applicable.items()}
    assert (
        reasons.items()
        >= {
            "IS[raw]": "raw is not a classifier",
            "sFD[raw]": "raw has no spatial features",
            "bits_per_dim": "the model has no likelihood",
            "by-class": "the samples were not asked for by class",
            "truth": "the density of the data is unknown",
            "translation": "the task is not a translation",
        }.items()
    )
    lines = summary_lines(result)
    assert "n/a         sFD[raw]: raw has no spatial features" in lines
    assert not any("translation" in line or "examples are not captions" in line for line in lines)


def test_the_floor_is_what_new_real_images_would_score(scored, digits):
    # catches a floor of another number of samples: c (1/n + 1/m), with c from 360 test images
    floor = scored["noise"].metrics["noise floor[FD[digits]]"]
    measured = float(floor.note.rpartition(" ")[2])
    assert measured * (1 / 2000 + 1 / 1437) / (1 / 360 + 1 / 1437) == pytest.approx(floor.value, rel=1e-5)
    assert scored["held out"].metrics["FD[digits]"].value == pytest.approx(measured, rel=0.05)


def test_the_floor_does_not_scale_a_shift_of_the_test_split(rng):
    # catches a true difference between the splits multiplied by 1/n: it is no bias of few samples
    train, test = torch.randn(2, 4000, 4, generator=rng).double()
    found = expected_floor(train, test + 0.5, 400)
    assert found.value == pytest.approx(4 * 0.5**2, rel=0.25)


def test_memorization_is_part_of_it(scored):
    # catches distances to the test split
    assert memorizes(scored["copycat"])
    assert not memorizes(scored["held out"])
    assert not memorizes(scored["noise"])


def test_likelihood_is_of_the_test_split_in_bits(scored):
    # catches another constant or another base: uniform over 17 levels is log2 17
    exact, bound = (scored["copycat"].metrics[f"bits_per_dim[{kind}]"] for kind in ("exact", "iwae-64"))
    assert exact.value == pytest.approx(math.log2(17), abs=1e-12)
    assert (exact.bound, exact.n) == ("exact", 360)
    assert bound.bound == "upper"
    assert bound.standard_error > 0
    assert not any("bits_per_dim" in column for column in scored["held out"].metrics)


def test_likelihood_noise_does_not_depend_on_the_batch(scored):
    # catches a test example's noise that moves with the batch it is in
    one, other = (scored[name].metrics["bits_per_dim[iwae-64]"].value for name in ("copycat", "noise"))
    assert one == pytest.approx(other, abs=1e-12)


def test_samples_are_known_by_their_hash(scored, digits):
    # catches a hash of something else than what was scored
    rows = digits.train.x[torch.arange(2000) % 1437]
    assert scored["copycat"].samples_sha256 == hashlib.sha256(rows.numpy().tobytes()).hexdigest()


def test_batch_sizes_do_not_move_a_figure(digits, scored):
    # catches figures that depend on how the images were dealt out
    run = FakeRun(digits, digits.train.x, Uniform(), batch_size=33)
    again = score(run)
    assert again.protocol.hash == scored["copycat"].protocol.hash
    for column, cell in scored["copycat"].metrics.items():
        assert again.metrics[column].value == pytest.approx(cell.value, rel=1e-4, abs=1e-5), column


def test_real_features_are_computed_once(digits):
    # catches the training split passing the network again for each of a matrix's runs
    first, second = (FakeRun(digits, digits.test.x) for _ in range(2))
    score(first)
    score(second)
    assert any("features of the train split" in line for line in first.said)
    assert not any("features of" in line for line in second.said)


def test_points_of_the_plane_are_scored_on_their_values():
    # catches points quantized, or seen by a network of images; nats beside the true density's
    data = load_points(DataConfig(name="two-gaussians"))

    class True_:
        def likelihoods(self, x, *, noise, k):
            return [Likelihood(data.density.log_prob(x.double()), "exact")]

    result = score(FakeRun(data, data.test.examples(torch.arange(2000)), True_()))
    found = values(result)
    assert not any(name.startswith("IS") for name in found)
    assert found["nats[exact]"] == pytest.approx(found["true density[nats]"], rel=1e-6)
    assert found["log-likelihood error[exact]"] == pytest.approx(0, abs=1e-6)
    assert not memorizes(result)
    assert found["FD[raw]"] < 3 * found["noise floor[FD[raw]]"]
    assert {"SW", "MMD", "modes[density]", "balance[density]", "on-modes[density]"} <= set(found)
    assert found["modes[density]"] == 2


def test_conditional_samples_are_evaluated_by_their_class(digits):
    # catches labels that are not those that were asked for
    info = DataInfo("digits", (1, 8, 8), 17, classes=10, task="class")
    data = Dataset(info, digits.train, digits.test, digits.sha256)

    class Obedient(FakeRun):
        def draw(self, n, *, start=0, seed=None, cond=None):
            by_class = [self.data.train.x[self.data.train.label == c][0] for c in range(10)]
            self.rows = torch.stack([by_class[int(c)] for c in cond.label])
            yield from super().draw(n, cond=cond)

    result = score(Obedient(data, digits.train.x))
    assert values(result)["accuracy[digits-classifier]"] > 0.95
    frequencies = torch.bincount(digits.train.label).double() / len(digits.train)
    run = FakeRun(data, digits.train.x)
    wrong = score(run)
    assert values(wrong)["accuracy[digits-classifier]"] < 0.2
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
        ({"extractor": "mnist"}, "can't take"),
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
        prepare(FakeRun(digits, digits.test.x, **options).source)
    assert message in str(error.value)


def test_too_little_data_are_refused_before_training(digits):
    # catches three images where neighbors are counted
    tiny = Dataset(digits.info, Resident(digits.train.x[:3]), digits.test, "x")
    with pytest.raises(UsageError, match="too few"):
        prepare(FakeRun(tiny, digits.test.x).source)


def test_data_out_of_range_are_refused_before_training(digits):
    # catches a level that only the 1,000th image holds, found after an hour
    x = digits.train.x.clone()
    x[1000, 0, 3, 3] = 17
    with pytest.raises(UsageError, match="number 1000"):
        examine(FakeRun(Dataset(digits.info, Resident(x), digits.test, "x"), digits.test.x).source)


def test_a_protocol_that_can_not_mean_much_says_so_before_training(digits):
    # catches FD of fewer images than features, told only in a note after training
    few = FakeRun(Dataset(digits.info, Resident(digits.train.x[:50]), digits.test, "x"), digits.test.x)
    examine(few.source)
    said = "\n".join(few.said)
    assert "50 training examples for 64 features: the Frechet distance is shown and never ranked" in said
    assert "subsets are cut from 500 to 50" in said
    plain = FakeRun(digits, digits.test.x)
    examine(plain.source)
    assert plain.said == []


def test_the_gap_between_two_bounds_is_told():
    # catches ELBO minus IWAE in bits, which is the other way round in nats
    def of(**kinds):
        return SimpleNamespace(metrics={name: Value(value=value) for name, value in kinds.items()})

    bits = of(**{"bits_per_dim[elbo]": 2.5, "bits_per_dim[iwae-64]": 2.2, "bits_per_dim[iwae-8]": 2.4})
    assert posterior_gap(bits).startswith("0.300 bits/dim between iwae-64 and elbo")
    nats = of(**{"nats[elbo]": -2.5, "nats[iwae-64]": -2.2})
    assert posterior_gap(nats).startswith("0.300 nats")
    assert posterior_gap(of(**{"nats[elbo]": -2.5, "nats[iwae-64]": -2.6})).startswith("-0.100 nats")
    assert posterior_gap(of(**{"bits_per_dim[elbo]": 2.5})) is None


def test_the_summary_shows_scores_beside_the_baselines(scored):
    # catches a value without its protocol, a bound without its <=, a baseline of another protocol
    def result(name, plugin):
        return scored[name].model_copy(update={"plugin": plugin})

    other = result("noise", "gaussian")
    hashed = other.protocol.model_copy(update={"hash": "0" * 12})
    mismatched = result("noise", "histogram").model_copy(update={"protocol": hashed})
    lines = summary_lines(result("copycat", "wgan"), [other, mismatched])
    text = "\n".join(lines)
    assert "2,000 samples" in lines[0]
    assert scored["copycat"].protocol.hash in lines[0]
    assert "FD[digits] ↓" in text
    assert "times the gaussian's FD[digits]" in text
    assert "<= 4.0" in text
    assert "memorization DETECTED" in text
    assert "25.00% of values were outside [-1, 1]" in text
    assert "histogram" not in text
    assert "bits_per_dim: the model has no likelihood" in "\n".join(summary_lines(result("held out", "wgan")))


# -- the contract of metrics


@pytest.fixture
def with_metric(digits):
    """Return a function that scores held-out digits with one more metric."""

    def run(function, needs=("samples",), columns=None, metrics=("extra",)):
        globals()["extra"] = function
        spec = MetricSpec("extra", f"{__name__}:extra", needs, "lower", columns)
        with manager().brought("metric", Entry(spec, "somebody")):
            return score(FakeRun(digits, digits.test.x, metrics=list(metrics)))

    return run


def test_a_metric_sees_the_samples_and_is_timed(with_metric, digits):
    # catches metrics that run although they were not asked for, and one that is not recorded
    result = with_metric(lambda ctx: {"extra[mean]": Value(value=float(ctx.rows.double().mean()))})
    rows = digits.test.x[torch.arange(2000) % 360].double()
    assert values(result) == {"extra[mean]": pytest.approx(float(rows.mean()))}
    assert set(result.cost.metric_seconds) == {"extra"}
    assert result.cost.metric_device == {"extra": "cpu"}


def test_a_need_that_is_not_met_is_recorded_and_the_metric_not_called(with_metric):
    # catches a metric that is called without what it needs
    def fails(ctx):
        raise AssertionError

    result = with_metric(fails, needs=("samples", "density"))
    assert result.metrics == {}
    assert result.not_applicable["extra"].reason == "the density of the data is unknown"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0], "returned list"),
        ({"extra": 1.0}, "returned float as 'extra'"),
        ({"other[x]": Value(value=1.0)}, "does not declare"),
        ({"extra[\N{CYRILLIC SMALL LETTER A}]": Value(value=1.0)}, "returned a column named"),
    ],
)
def test_what_a_metric_may_not_return_names_it(with_metric, returned, message):
    # catches a float, a tensor or an undeclared column on its way into the result
    with pytest.raises(PluginError, match=message) as error:
        with_metric(lambda ctx: returned)
    assert "metric 'extra' of somebody" in str(error.value)


def test_a_metric_that_fails_or_is_not_finite_names_it(with_metric):
    # catches a NaN in result.json, and a traceback that blames the pipeline
    with pytest.raises(PluginError, match="metric 'extra' of somebody returned a value that is not one"):
        with_metric(lambda ctx: {"extra": Value(value=math.nan)})
    with pytest.raises(PluginError, match="metric 'extra' of somebody failed: ZeroDivisionError"):
        with_metric(lambda ctx: {"extra": Value(value=1 / 0)})


@pytest.mark.parametrize("value", [1e16, -1e16])
def test_a_value_too_large_to_be_kept_costs_no_other(with_metric, capsys, value):
    # catches a run that is trained, whose samples lie far from the data, and that gets no result at all
    result = with_metric(lambda ctx: {"extra": Value(value=value)}, metrics=("extra", "frechet"))
    assert "beyond 1e+15" in result.not_applicable["extra"].reason
    assert "FD[digits]" in result.metrics
    with pytest.raises(PluginError, match="a value that is not one"):
        with_metric(lambda ctx: {"extra": Value(value=0.0, n=-1)})


def test_a_column_of_cost_is_recorded_as_cost(with_metric):
    # catches operations ranked as a metric
    result = with_metric(lambda ctx: {"train_flops": Value(value=5.0)}, columns={"train_flops": ""})
    assert (result.metrics, result.cost.train_flops) == ({}, 5.0)


def test_a_column_of_another_metric_is_refused(with_metric):
    # catches a plugin that replaces the ranked distance by its own
    def same(ctx):
        return {"FD[digits]": Value(value=0.0)}

    with pytest.raises(PluginError, match=r"'FD\[digits\]', which another metric returned"):
        with_metric(same, columns={"FD": "lower"}, metrics=("frechet", "extra"))


def test_a_metric_writes_no_field_of_cost_but_operations(with_metric):
    # catches a plugin that overwrites the number of parameters of a model
    result = with_metric(lambda ctx: {"parameters": Value(value=5.0)}, columns={"parameters": ""})
    assert result.cost.parameters is None
    assert "parameters" in result.metrics


def test_a_result_without_columns_has_a_summary(with_metric):
    # catches the widest of no names
    result = with_metric(lambda ctx: {"extra": NotApplicable(reason="there is nothing")})
    assert "extra: there is nothing" in "\n".join(summary_lines(result))


def test_an_unknown_metric_is_refused_before_training(digits):
    # catches a misspelled name that selects nothing
    with pytest.raises(NotFoundError, match="frechet"):
        examine(FakeRun(digits, digits.test.x, metrics=["frechett"]).source)


def test_the_pipeline_names_no_metric():
    # catches a metric wired into the pipeline instead of registered
    import inspect

    from zoo_eval import pipeline

    source = inspect.getsource(pipeline)
    specs = zoo_metrics()
    bases = {base for spec in specs for base in spec.directions} - COSTS - {"modes", "active"}
    for name in {spec.name for spec in specs if spec.name not in ("modes", "likelihood")} | bases:
        assert f'"{name}"' not in source
        assert f"'{name}'" not in source


def test_memorization_can_be_bounded_and_switched_off(digits):
    # catches an option that is not read, and a bound that leaves the protocol's hash as it was
    runs = [
        FakeRun(digits, digits.train.x, metrics=["memorization"], memorization_n=n) for n in (None, 50, 0)
    ]
    whole, some, none = (score(run) for run in runs)
    assert [r.metrics["memorization[pixels]"].n for r in (whole, some)] == [2000, 50]
    assert none.metrics == {}
    assert none.not_applicable["memorization"].reason == "eval.memorization_n=0"
    assert len({r.protocol.hash for r in (whole, some, none)}) == 3


def test_samples_alone_have_no_model(digits):
    # catches a likelihood asked of samples from outside
    run = FakeRun(digits, digits.test.x, metrics=["likelihood", "prdc"])
    alone = evaluate(replace(run.source, run=None), identity())
    assert alone.not_applicable == {
        "likelihood": NotApplicable(reason="needs the model; these are samples alone")
    }
    assert (alone.cost.nfe, "precision[digits]" in alone.metrics) == (None, True)


# -- likelihoods that are not


def found(nats, kind="exact", dequantization="none"):
    return Likelihood(torch.tensor(nats, dtype=torch.float64), kind, dequantization=dequantization)


IMAGES, POINTS = DataInfo("digits", (1, 8, 8), 17), DataInfo("moons", (2,), None)


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        (found([-1.0, 0.5]), "probability of levels above 1"),
        (found([3.0, 1.0], "elbo"), "probability of levels above 1"),
        (found([3.0, 1.0], "ode", "uniform"), "probability of levels above 1"),
        (found([-1.0, -1.0], "guess"), "kind 'guess'"),
        (found([-1.0, -1.0], "exact", "variational"), "dequantization 'variational'"),
        (found([-1.0]), "not one finite number per example"),
    ],
)
def test_a_likelihood_that_can_not_be_one_is_the_plugins_fault(likelihood, message):
    # catches a density passed off as probabilities of levels, which would rank first
    with pytest.raises(PluginError, match=message):
        check(likelihood, 2, IMAGES, "Model")


def test_estimates_and_densities_may_exceed_what_probabilities_may_not():
    # catches a refusal of one lucky draw of a bound, of float32 rounding, and of densities of points
    check(found([-3.0, 0.5], "elbo"), 2, IMAGES, "Model")
    check(found([1e-7, -1.0]), 2, IMAGES, "Model")
    check(found([5.0, 3.0]), 2, POINTS, "Model")


def test_a_dequantized_bound_has_a_column_of_its_own():
    # catches a bound ranked with exact probabilities
    from zoo_eval.metrics.likelihood import columns_of

    (exact,) = columns_of(found([-9.0, -8.0]), IMAGES)
    (column,) = (columns := columns_of(found([-9.0, -8.0], "exact", "uniform"), IMAGES))
    assert (exact, column) == ("bits_per_dim[exact]", "bits_per_dim[exact, dequantized]")
    assert columns[column].bound == "upper"
