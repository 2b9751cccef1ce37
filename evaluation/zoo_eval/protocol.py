"""A protocol: everything besides the model that changes a metric, in one object with one hash.

Two results share a ranked column only where their protocols' hashes agree. What belongs to the entry
(sampler, steps, guidance, precision, seeds) is recorded in `Result.sampling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from zoo_core.config import EvalConfig
from zoo_core.errors import UsageError, guess
from zoo_core.results import ProtocolRecord
from zoo_core.results.result import fields_hash

if TYPE_CHECKING:  # the leaderboard reads plans without torch
    from zoo_core.data.loading import Dataset
    from zoo_core.interfaces import Extractor
    from zoo_core.types import DataInfo

Probe = Literal["rademacher", "gaussian", "exact"]
"""Divergence estimator of the probability flow."""

METRICS_VERSION = 3
"""Version of the built-in metrics' arithmetic; raised when a metric would change on the same samples."""


@dataclass(frozen=True)
class Protocol:
    """How a model is scored.

    Attributes:
        name, version: of the plan it follows: "quick", 1.
        n_generated: samples drawn.
        data, data_sha256: what they are compared with.
        reference: split of the data; distances to the test split are shown beside.
        n_reference: examples in that split.
        extractor, extractor_sha256: the feature network and its weights.
        spatial: the features of the spatial distance, "none" where the network has none.
        projection: the axes on which Frechet distances are taken, "none" for all features.
        classifier: what assigns classes or modes to samples, with its weights' sha256; "none" where nothing
            does.
        resize: how images are brought to the network's size, and whether antialiased.
        quantizer: how floats become pixel levels.
        weights: "ema" or "raw".
        checkpoint: whose weights.
        labels: of conditional samples: drawn from the training split's frequencies.
        precision_k: neighbors of precision and recall.
        density_k: neighbors of density and coverage.
        neighbors_n: examples on each side of precision, recall, density and coverage.
        is_splits: parts that the Inception Score is averaged over.
        kid_subsets, kid_subset_size: random subsets that the kernel distance is averaged over.
        memorization_n: samples that are compared with their nearest neighbors; 0 for none.
        likelihood_split, likelihood_n, iwae_k: examples of the likelihood, and importance samples.
        ode_probe, ode_probes, ode_tolerance: of the likelihood by a probability flow, where there is one.
        metrics_version: METRICS_VERSION.
    """

    name: str
    version: int
    n_generated: int
    data: str
    data_sha256: str
    n_reference: int
    extractor: str
    extractor_sha256: str
    resize: str
    weights: str
    precision_k: int
    density_k: int
    neighbors_n: int
    is_splits: int
    kid_subsets: int
    kid_subset_size: int
    likelihood_n: int
    iwae_k: int
    reference: str = "train"
    quantizer: str = "clamp, then round"
    labels: str = "training frequencies"
    spatial: str = "none"
    projection: str = "none"
    classifier: str = "none"
    checkpoint: str = "last"
    memorization_n: int = 10_000
    likelihood_split: str = "test"
    ode_probe: Probe = "rademacher"
    ode_probes: int = 1
    ode_tolerance: float = 1e-3
    metrics_version: int = METRICS_VERSION

    @property
    def fields(self) -> dict[str, Any]:
        """All fields as plain data."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of the sha256 of all fields."""
        return fields_hash(self.fields)

    @property
    def record(self) -> ProtocolRecord:
        """The protocol as a result holds it."""
        return ProtocolRecord(name=self.name, version=self.version, hash=self.hash, fields=self.fields)


@dataclass(frozen=True)
class Plan:
    """A named protocol before its data and extractor are known; sizes are cut to what the data allow.

    Attributes:
        version: raised when a number below changes.
        n_generated, neighbors_n, kid_subsets, kid_subset_size, likelihood_n: as in `Protocol`.
        extractor: the one it stands for; "" for the dataset's own.
    """

    version: int
    n_generated: int
    neighbors_n: int
    kid_subsets: int
    kid_subset_size: int
    likelihood_n: int
    extractor: str = ""


PLANS: Mapping[str, Plan] = {
    "quick": Plan(1, 2_000, 2_000, 20, 500, 1_000),
    "standard": Plan(1, 10_000, 10_000, 50, 1_000, 10_000),
    "paper": Plan(2, 50_000, 10_000, 100, 1_000, 1_000_000, extractor="inception"),
    "fdd": Plan(1, 50_000, 10_000, 100, 1_000, 1_000_000, extractor="dinov2"),
}
"""quick: a laptop's minute. standard: differences of a few per cent. paper: as the literature counts. fdd: as
dgm-eval counts, in features of DINOv2."""

SMALLEST = 20
"""Examples that each split must have: with fewer, neighbors and covariances say nothing."""


def plan(name: str) -> Plan:
    """Return a named plan.

    Raises:
        UsageError: for a name that is none.
    """
    if name in PLANS:
        return PLANS[name]
    raise unknown_plan(name, *PLANS, "and none, which skips scoring")


def unknown_plan(name: str, *expected: str) -> UsageError:
    """Return the error for a name that is not a plan's, with what is expected instead."""
    return UsageError(
        f"no protocol {name!r}",
        guess(name, PLANS, "eval.protocol={}"),
        f"protocols: {', '.join(expected)}",
    )


def with_protocol(words: Mapping[str, str]) -> dict[str, str]:
    """Return options in which `protocol=`, short for `eval.protocol=`, has its whole name.

    Raises:
        UsageError: where both are given.
    """
    given = dict(words)
    if "protocol" not in given:
        return given
    if "eval.protocol" in given:
        raise UsageError("protocol= and eval.protocol= were both given", "expected: one of them")
    return {"eval.protocol" if key == "protocol" else key: text for key, text in given.items()}


def check_plan(config: EvalConfig, info: DataInfo) -> None:
    """Raise where a protocol that stands for the literature's count is asked to count otherwise.

    Raises:
        UsageError: for another extractor, raw weights, or points, under a plan that names its extractor.
    """
    wanted, instead = plan(config.protocol).extractor, "next: eval.protocol=standard"
    if not wanted:
        return
    what = f"eval.protocol={config.protocol} counts as the literature does"
    if info.levels is None:
        raise UsageError(f"{what}, through {wanted}, and {info.name!r} are points", instead)
    if config.extractor not in (None, wanted):
        raise UsageError(
            f"{what}, through {wanted}; eval.extractor={config.extractor} was asked for", instead
        )
    if config.weights != "ema":
        raise UsageError(f"{what}, with EMA weights; eval.weights={config.weights} was asked for", instead)


def probe_of(config: EvalConfig, info: DataInfo) -> Probe:
    """Return how a flow's divergence is had: as asked, or exactly where there are few dimensions."""
    if config.ode_probe != "auto":
        return config.ode_probe
    return "rademacher" if info.is_image else "exact"


def make_protocol(
    config: EvalConfig, dataset: Dataset, extractor: Extractor, classifier: str = "none"
) -> Protocol:
    """Return the protocol that a config asks for on a dataset.

    Args:
        classifier: as in `Protocol`.

    Raises:
        UsageError: for an unknown name, data with too few examples, or a plan asked to be another.
    """
    chosen = plan(config.protocol)
    check_plan(config, dataset.info)
    for split, size in (("training", len(dataset.train)), ("test", len(dataset.test))):
        if size < SMALLEST:
            raise UsageError(
                f"{dataset.info.name!r} has {size} {split} examples: too few to score a model against",
                f"expected: at least {SMALLEST}",
                "next: add data, or eval.protocol=none",
            )
    n_reference = len(dataset.train)
    return Protocol(
        name=config.protocol,
        version=chosen.version,
        n_generated=chosen.n_generated,
        data=dataset.info.name,
        data_sha256=dataset.sha256,
        n_reference=n_reference,
        extractor=extractor.name,
        extractor_sha256=extractor.sha256,
        resize=getattr(extractor, "resize", "none"),
        weights=config.weights,
        precision_k=3,
        density_k=5,
        neighbors_n=min(chosen.neighbors_n, chosen.n_generated, n_reference),
        is_splits=10,
        kid_subsets=chosen.kid_subsets,
        kid_subset_size=min(chosen.kid_subset_size, chosen.n_generated, n_reference),
        likelihood_n=min(config.likelihood_n or chosen.likelihood_n, len(dataset.test)),
        iwae_k=config.iwae_k,
        ode_probe=probe_of(config, dataset.info),
        ode_probes=config.ode_probes,
        ode_tolerance=config.ode_tolerance,
        spatial=getattr(extractor, "spatial", "none"),
        projection=getattr(extractor, "projection", "none"),
        classifier=classifier,
        memorization_n=min(
            10_000 if config.memorization_n is None else config.memorization_n, chosen.n_generated
        ),
    )


def doubts(protocol: Protocol, features: int, info: DataInfo) -> list[str]:
    """Return what a protocol can't say on these data, and what to do about it, a line each; none for most.

    Args:
        features: dimensions of the extractor's.
        info: of the data.
    """
    lines = []
    for n, what, fix in (
        (protocol.n_generated, "samples", "eval.protocol=standard, or an extractor of fewer features"),
        (protocol.n_reference, "training examples", "an extractor of fewer features"),
    ):
        if n <= features:
            lines.append(
                f"{n:,} {what} for {features:,} features: the Frechet distance is shown and never ranked; "
                f"next: {fix}"
            )
    wanted = plan(protocol.name).kid_subset_size
    if protocol.kid_subset_size < wanted:
        lines.append(
            f"{protocol.n_reference:,} training examples: the kernel distance's subsets are cut from "
            f"{wanted:,} to {protocol.kid_subset_size:,}; compare it with results on the same data only"
        )
    if info.classes == 1:
        lines.append(f"{info.name!r} has one class: mode coverage and class balance say nothing")
    return lines
