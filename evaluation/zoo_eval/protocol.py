"""A protocol: everything that moves a figure besides the model, in one object with one hash.

Two results share a ranked column only where their protocols' hashes agree. What belongs to the entry
(sampler, steps, guidance, precision, seeds) stands beside its figures instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from zoo_core.config import EvalConfig
from zoo_core.data.loading import Dataset
from zoo_core.errors import UsageError, nearest
from zoo_core.interfaces import Extractor

METRICS_VERSION = 1
"""Of this package's own arithmetic; raised when a figure would change on the same pictures."""


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
        resize: how pictures are brought to the network's size, and whether antialiased.
        quantiser: how floats become pixel levels.
        weights: "ema" or "raw".
        labels: of conditional samples: drawn from the training split's frequencies.
        precision_k: neighbours of precision and recall.
        density_k: neighbours of density and coverage.
        neighbours_n: pictures on each side of precision, recall, density and coverage.
        is_splits: parts that the Inception Score is averaged over.
        kid_subsets, kid_subset_size: random subsets that the kernel distance is averaged over.
        likelihood_split, likelihood_n, iwae_k: examples of the likelihood, and importance samples.
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
    neighbours_n: int
    is_splits: int
    kid_subsets: int
    kid_subset_size: int
    likelihood_n: int
    iwae_k: int
    reference: str = "train"
    quantiser: str = "clamp, then round"
    labels: str = "training frequencies"
    likelihood_split: str = "test"
    metrics_version: int = METRICS_VERSION

    @property
    def fields(self) -> dict[str, Any]:
        """All of it as plain data."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of the sha256 of all fields."""
        return fields_hash(self.fields)


def fields_hash(fields: Mapping[str, Any]) -> str:
    """Return the hash of a protocol's fields: 12 hexadecimal digits of their canonical JSON's sha256."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Plan:
    """A named protocol before its data and extractor are known; sizes are cut to what the data allow."""

    version: int
    n_generated: int
    neighbours_n: int
    kid_subsets: int
    kid_subset_size: int
    likelihood_n: int


PLANS: Mapping[str, Plan] = {
    "quick": Plan(1, 2_000, 2_000, 20, 500, 1_000),
    "standard": Plan(1, 10_000, 10_000, 50, 1_000, 10_000),
    "paper": Plan(1, 50_000, 10_000, 100, 1_000, 1_000_000),
}
"""quick: a laptop's minute. standard: differences of a few per cent. paper: as the literature counts."""

SMALLEST = 20
"""Examples that each split must have: with fewer, neighbours and covariances say nothing."""


def plan(name: str) -> Plan:
    """Return a named plan.

    Raises:
        UsageError: for a name that is none.
    """
    if name in PLANS:
        return PLANS[name]
    match = nearest(name, PLANS)
    raise UsageError(
        f"no protocol {name!r}",
        f"did you mean: eval.protocol={match}" if match else "",
        f"protocols: {', '.join(PLANS)}, and none, which skips scoring",
    )


def make_protocol(config: EvalConfig, dataset: Dataset, extractor: Extractor) -> Protocol:
    """Return the protocol that a config asks for on a dataset.

    Raises:
        UsageError: for an unknown name, or data with too few examples.
    """
    chosen = plan(config.protocol)
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
        neighbours_n=min(chosen.neighbours_n, chosen.n_generated, n_reference),
        is_splits=10,
        kid_subsets=chosen.kid_subsets,
        kid_subset_size=min(chosen.kid_subset_size, chosen.n_generated, n_reference),
        likelihood_n=min(chosen.likelihood_n, len(dataset.test)),
        iwae_k=config.iwae_k,
    )
