"""Metrics of fidelity, variety and generalization that are computed on request: `eval.metrics=[NAME]`.

They come through the hooks that a third party has. What they share with the metrics of `zoo_eval` (distances
in blocks, nearest neighbors, intervals) is imported from there.
"""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import MetricSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_metrics() -> list[MetricSpec]:
    return [
        MetricSpec(
            "clipped-density", "zoo_fidelity.clipped:density_column", better="higher", optional=True,
            summary="density of features with clipped radii and contributions: fraction of good samples",
        ),
        MetricSpec(
            "clipped-coverage", "zoo_fidelity.clipped:coverage_column", better="higher", optional=True,
            summary="coverage of features as the fraction of good samples that reaches it",
        ),
        MetricSpec(
            "vendi", "zoo_fidelity.vendi:vendi_column", optional=True,
            summary="effective number of different samples, by the cosine of their features",
        ),
        MetricSpec(
            "fld", "zoo_fidelity.fld:fld_column", columns={"FLD": "lower"}, optional=True,
            summary="likelihood of test features under a mixture around the samples",
        ),
        MetricSpec(
            "copying-test", "zoo_fidelity.copying:copying_column", columns={"C_T": ""}, optional=True,
            summary="test of whether samples are closer to the training split than test examples are",
        ),
    ]  # fmt: skip
