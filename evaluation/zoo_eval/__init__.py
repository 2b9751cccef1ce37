"""Evaluation: protocols, extractors, metrics, likelihoods, and the leaderboard that their results make.

It reaches the zoo through the hooks that any plugin has; importing it costs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from zoo_core.registry.spec import CommandSpec, ExtractorSpec, MetricSpec

if TYPE_CHECKING:
    from zoo_core.runs import Run

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_extractors() -> list[ExtractorSpec]:
    return [
        ExtractorSpec(
            "digits", "zoo_eval.extractors.classifiers:digits", "a classifier of the 8x8 digits, shipped"
        ),
        ExtractorSpec("mnist", "zoo_eval.extractors.classifiers:mnist", "a classifier of MNIST, shipped"),
        ExtractorSpec("raw", "zoo_eval.extractors.raw:raw", "values as they are: points, or small pictures"),
        ExtractorSpec(
            "inception", "zoo_eval.extractors.inception:inception", "InceptionV3 of the literature's FID"
        ),
        ExtractorSpec(
            "timm",
            "zoo_eval.extractors.timm_models:timm_model",
            "any timm model: eval.extractor=timm:NAME",
            parts=True,
        ),
    ]


@hookimpl
def zoo_metrics() -> list[MetricSpec]:
    return [
        MetricSpec(
            "frechet", "zoo_eval.metrics.frechet:frechet", "lower", "Frechet distance: FD, FID, and its limit"
        ),
        MetricSpec(
            "kernel", "zoo_eval.metrics.kernel:kernel", "lower", "kernel distance of features: KD, KID"
        ),
        MetricSpec(
            "inception-score",
            "zoo_eval.metrics.inception_score:inception",
            "",
            "Inception Score, shown, never ranked",
        ),
        MetricSpec(
            "neighbourhoods",
            "zoo_eval.metrics.prdc:neighbourhoods",
            "higher",
            "precision, recall, density, coverage of features",
        ),
        MetricSpec(
            "spatial", "zoo_eval.metrics.frechet:spatial", "lower", "Frechet distance of spatial features"
        ),
        MetricSpec(
            "modes", "zoo_eval.metrics.modes:modes", "higher", "classes or modes drawn, and their balance"
        ),
        MetricSpec(
            "planar", "zoo_eval.metrics.points:planar", "lower", "sliced Wasserstein and MMD of points"
        ),
    ]


@hookimpl
def zoo_commands() -> list[CommandSpec]:
    return [
        CommandSpec("eval", "zoo_eval.cli:evaluate", "score a run again"),
        CommandSpec("score", "zoo_eval.cli:score", "score samples that any program made"),
        CommandSpec("stats", "zoo_eval.cli:stats", "compute and keep a dataset's reference"),
        CommandSpec("audit", "zoo_eval.cli:audit", "measure the measure: floor, known damage, agreement"),
        CommandSpec("leaderboard", "zoo_eval.cli:leaderboard", "rank results, with intervals and cost"),
        CommandSpec("submit", "zoo_eval.cli:submit", "write a run's result as one file to hand in"),
        CommandSpec("verify", "zoo_eval.cli:verify", "check a submitted result, and repeat it"),
        CommandSpec("fetch", "zoo_eval.cli:fetch", "download the weights of a feature network"),
    ]


@hookimpl
def zoo_score(run: Run) -> Mapping[str, Any] | None:
    from zoo_eval.baselines import baselines
    from zoo_eval.scoring import score

    result = score(run)
    return {**result, "baselines": baselines(run)} if run.config.eval.baselines else result


@hookimpl
def zoo_preflight(run: Run) -> None:
    if run.config.eval.protocol != "none":
        from zoo_eval.scoring import examine

        examine(run)


@hookimpl
def zoo_summary(result: Mapping[str, Any]) -> list[str] | None:
    from zoo_eval.summary import summary_lines

    return summary_lines(result, result.get("baselines") or ())
