"""Evaluation: protocols, extractors, metrics, likelihoods, and the leaderboard of their results.

Everything is registered through the hooks that any plugin has; importing this package does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pluggy

from zoo_core.registry.spec import CommandSpec, ExtractorSpec, MetricSpec

if TYPE_CHECKING:
    from zoo_core.config import RunConfig
    from zoo_core.interfaces import EvaluatedRun
    from zoo_core.results import Result, RunResult

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_extractors() -> list[ExtractorSpec]:
    here = "zoo_eval.extractors"
    return [
        ExtractorSpec("digits", f"{here}.classifiers:digits", "classifier of the 8x8 digits, shipped"),
        ExtractorSpec("mnist", f"{here}.classifiers:mnist", "classifier of MNIST, shipped"),
        ExtractorSpec("raw", f"{here}.raw:raw", "values as they are: points, or small images"),
        ExtractorSpec("inception", f"{here}.inception:inception", "InceptionV3 of the literature's FID"),
        ExtractorSpec(
            "effnet-lite0",
            f"{here}.effnet:effnet_lite0",
            "EfficientNet-Lite0 of ImageNet, no download: effnet-lite0@96 up to 48 pixels, else @224",
        ),
        ExtractorSpec(
            "timm",
            f"{here}.timm_models:timm_model",
            "any timm model: eval.extractor=timm:NAME, or timm:NAME@SIDE",
            parts=True,
        ),
        ExtractorSpec("dinov2", f"{here}.dinov2:dinov2", "DINOv2 ViT-L/14 as dgm-eval has it"),
    ]


def _with_inception(columns: Mapping[str, str]) -> dict[str, str]:
    """Return columns with the names that they have with Inception features: FID and KID."""
    return {
        name: better
        for base, better in columns.items()
        for name in dict.fromkeys((base, base.replace("FD", "FID").replace("KD", "KID")))
    }


@hookimpl
def zoo_metrics() -> list[MetricSpec]:
    here = "zoo_eval.metrics"
    both, features = _with_inception, ("features", "reference")
    likelihoods = {
        "bits_per_dim": "lower",
        "bits_per_token": "lower",
        "nats": "higher",
        "KL": "",
        "active": "",
    }
    prdc = dict.fromkeys(("precision", "recall", "density", "coverage"), "higher")
    pairs = {"L1": "lower", "PSNR": "higher", "SSIM": "higher", "LPIPS": "lower", "effnet distance": "lower"}
    pairs |= dict.fromkeys(("trivial L1", "trivial PSNR", "trivial SSIM"), "")
    modes = dict.fromkeys(("modes", "balance", "on-modes"), "higher")
    return [
        MetricSpec(
            "frechet", f"{here}.frechet:frechet", features,
            columns=both({"FD": "lower", "FD-inf": "lower", "FD-full": "lower"}),
            summary="Frechet distance: FD, FID, and its limit for infinitely many samples",
        ),
        MetricSpec(
            "frechet-test", f"{here}.frechet:to_test", features,
            columns={**both({"FD to test": "", "FD to train part": ""}), "generalization gap": ""},
            summary="Frechet distance to the test split, and how much nearer the training split is",
        ),
        MetricSpec(
            "spatial", f"{here}.frechet:spatial", features, columns=both({"sFD": "lower"}),
            summary="Frechet distance of spatial features",
        ),
        MetricSpec(
            "kernel", f"{here}.kernel:kernel", features, columns=both({"KD": "lower"}),
            summary="kernel distance of features: KD, KID",
        ),
        MetricSpec(
            "inception-score", f"{here}.inception_score:inception", ("features",), columns={"IS": ""},
            summary="Inception Score",
        ),
        MetricSpec(
            "prdc", f"{here}.prdc:neighborhoods", features, columns=prdc,
            summary="precision, recall, density, coverage of features",
        ),
        MetricSpec(
            "modes", f"{here}.modes:modes", features, columns=modes,
            summary="number of classes or modes in the samples, and their balance",
        ),
        MetricSpec(
            "class-accuracy", f"{here}.modes:class_accuracy", ("features", "labels"),
            columns={"accuracy": "higher"}, summary="samples of the class that was asked for",
        ),
        MetricSpec(
            "by-class", f"{here}.by_class:by_class", (*features, "labels"), columns=both({"FD by class": ""}),
            summary="Frechet distance of each class",
        ),
        MetricSpec(
            "retrieval", f"{here}.retrieval:retrieval", (*features, "samples"),
            columns={"retrieval": "higher", "caption rank": "lower"},
            summary="rank of a sample's caption among 100, in another artist's drawings",
        ),
        MetricSpec(
            "new-captions", f"{here}.retrieval:new_captions", (*features, "model"),
            columns={"new caption rank": "lower"},
            summary="the same of captions that are new combinations of known words",
        ),
        MetricSpec(
            "points", f"{here}.points:points", features, columns={"SW": "lower", "MMD": "lower"},
            summary="sliced Wasserstein distance and MMD of points",
        ),
        MetricSpec(
            "memorization", f"{here}.memorization:memorization", (*features, "samples"),
            columns={"memorization": "", "authenticity": ""},
            summary="samples closer to the training split than new examples are",
        ),
        MetricSpec(
            "captions", f"{here}.captions:drawn", ("samples", "captions"),
            columns={"copied captions": "", "memorization": ""},
            summary="captions drawn: how many are captions of the training split",
        ),
        MetricSpec(
            "captioning", f"{here}.captions:captioning", (*features, "model", "captions"),
            columns={
                "captioning": "higher", "captioning rank": "lower",
                "neighbor captioning": "", "neighbor captioning rank": "",
            },
            summary="rank of an image's own caption among held-out ones, beside a nearest-neighbor captioner",
        ),
        MetricSpec(
            "likelihood", f"{here}.likelihood:likelihood", ("model",), columns=likelihoods,
            summary="likelihoods of the test split, exact and bounds",
        ),
        MetricSpec(
            "likelihood-given-image", f"{here}.captions:given_image", ("model", "captions"),
            columns={"bits_per_token": "lower"}, summary="likelihood of test captions given their images",
        ),
        MetricSpec(
            "truth", f"{here}.truth:truth", ("density",),
            columns={"true density": "", "sample bits": "", "implausible": ""},
            summary="likelihood of the test split, and of images drawn, under the known law of the data",
        ),
        MetricSpec(
            "log-likelihood-error", f"{here}.truth:log_likelihood_error", ("model", "density"),
            columns={"log-likelihood error": "lower", "KL from truth": "lower"},
            summary="distance to the true log-likelihood",
        ),
        MetricSpec(
            "score-error", f"{here}.density:score_error_columns", ("model", "density"),
            columns={"score error": "lower"}, summary="error of the score against the known density",
        ),
        MetricSpec(
            "translation", f"{here}.translation:pairs", ("samples", "source"), columns=pairs,
            summary="translations against their targets",
        ),
        MetricSpec(
            "cycle", f"{here}.translation:cycle", (*features, "model", "source"),
            columns=both({"cycle": "", "FD to source": "lower"}), summary="translation there and back",
        ),
        MetricSpec(
            "reconstruction", f"{here}.reconstruction:reconstruction", (*features, "model"),
            columns=both({"reconstruction FD": ""}), summary="test split to its own reconstructions",
        ),
        MetricSpec(
            "noise-floor", f"{here}.frechet:noise_floor", ("reference",), columns={"noise floor": ""},
            summary="expected Frechet distance of as many new real examples",
        ),
        MetricSpec(
            "operations", f"{here}.cost:operations", ("model",),
            columns={"train_flops": "", "sample_flops": ""}, summary="floating-point operations",
        ),
    ]  # fmt: skip


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec("eval", "zoo_eval.cli:evaluate", "Score a run again", group="run"),
        CommandSpec("score", "zoo_eval.cli:score", "Score samples from any program", group="run"),
        CommandSpec(
            "stats", "zoo_eval.cli:stats", "Compute and cache the reference of a dataset", group="run"
        ),
        CommandSpec(
            "audit",
            "zoo_eval.cli:audit",
            "Sanity-check the metrics: noise floor, known damage, agreement",
            group="extend",
        ),
        CommandSpec(
            "leaderboard", "zoo_eval.cli:leaderboard", "Rank results, with intervals and cost", group="look"
        ),
        CommandSpec(
            "submit", "zoo_eval.cli:submit", "Write the result of a run for submission", group="share"
        ),
        CommandSpec("verify", "zoo_eval.cli:verify", "Check a submitted result and repeat it", group="share"),
        CommandSpec(
            "fetch", "zoo_eval.cli:fetch", "Download the weights of a feature network", group="extend"
        ),
    ]


@hookimpl
def zoo_score(run: EvaluatedRun) -> Result | None:
    from zoo_eval.rescoring import score

    return score(run)


@hookimpl
def zoo_validate(run: EvaluatedRun) -> Mapping[str, float]:
    from zoo_eval.validation import validate

    return validate(run)


@hookimpl
def zoo_baselines(config: RunConfig) -> Sequence[Result] | None:
    if config.eval.protocol == "none" or not config.eval.baselines:
        return None
    from zoo_eval.baselines import baselines

    return baselines(config)


@hookimpl
def zoo_preflight(run: EvaluatedRun) -> None:
    if run.config.eval.every:
        from zoo_eval.pipeline import prepare
        from zoo_eval.validation import validation_source

        prepare(validation_source(run))
    if run.config.eval.protocol != "none":
        from zoo_eval.metrics.likelihood import check_ode
        from zoo_eval.pipeline import examine
        from zoo_eval.sampling import source_of

        examine(source_of(run))
        check_ode(run.config.eval, run.recipe, run.data.info, run.config.plugin)


@hookimpl
def zoo_comparison(results: Sequence[RunResult]) -> list[list[str]] | None:
    from zoo_eval.comparison import comparison

    return comparison(results)


@hookimpl
def zoo_summary(result: RunResult) -> list[str] | None:
    if result.result is None:
        return None
    from zoo_core.machine.terminal import terminal_width
    from zoo_eval.summary import summary_lines

    return summary_lines(result.result, result.baselines, terminal_width())
