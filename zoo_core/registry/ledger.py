"""The ledger of published scores: what was run, how it was measured, who says so, and what contradicts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

from pydantic import Field

from zoo_core.config import Config

RUN = ("condition", "guidance", "weights", "nfe")
"""Fields that say, with the model's name and `setting`, what was run."""
MEASURED = ("samples", "reference", "checkpoint")
"""Fields that say how it was measured."""
FIELDS = ("setting", *RUN, *MEASURED)
"""Protocol fields: each entry has all of them; null where the source is silent or it does not apply."""
UNVERIFIED = "unverified: known from a citation"
"""What is shown beside a score whose own source was not read."""


class Published(Config):
    """A score published by others: shown as a reference row, never ranked."""

    data: str
    """Dataset; of a size that it does not have here, with the size: stl10-48."""
    metric: str
    """fid, kid, is, bits_per_dim, nats."""
    value: float
    """The score."""
    setting: str
    """Network, objective and sampler, as far as the source names them; "" where the model says it all."""
    condition: Literal["unconditional", "class", "text", "image"] | None
    """What a sample is conditioned on."""
    samples: int | None = Field(ge=1)
    """Generated samples."""
    reference: Literal["train", "validation", "test", "unlabeled", "all"] | None
    """Split of the real images of a distance; of a likelihood, the split that it is averaged over."""
    guidance: str | None = Field(pattern=r"^(unguided|(classifier|classifier-free)( [0-9.]+)?)$")
    """unguided, classifier or classifier-free, with the scale where it is known."""
    weights: Literal["ema", "raw"] | None
    """Averaged (EMA) or raw weights."""
    checkpoint: Literal["best", "last"] | None
    """Chosen by the metric itself, or the last one of training."""
    nfe: int | None = Field(ge=1)
    """Network evaluations per sample."""
    protocol: str = ""
    """What the fields do not say: spread, number of real images, feature network."""
    source: str
    """Paper or repository, and the table in it; of a citation, both."""
    read: bool
    """Whether the table in the source itself was read; False for a score that is known from a citation."""
    explained: str = ""
    """Why the score differs from another of the same model and data."""

    @property
    def conditions(self) -> str:
        """What was run and how it was measured, in words."""
        words = [
            self.setting,
            f"{self.condition}-conditional"
            if self.condition in ("class", "text", "image")
            else self.condition,
            "" if self.guidance in (None, "unguided") else f"{self.guidance} guidance",
            f"{self.samples:,} samples" if self.samples else "",
            f"{self.reference} reference" if self.reference else "",
            f"{self.weights} weights" if self.weights else "",
            f"{self.checkpoint} checkpoint" if self.checkpoint else "",
            f"NFE {self.nfe}" if self.nfe else "",
            self.protocol,
        ]
        return ", ".join(filter(None, words))

    @property
    def origin(self) -> str:
        """The source, and whether it was read."""
        return self.source if self.read else f"{self.source}; {UNVERIFIED}"

    def __str__(self) -> str:
        where = "; ".join(filter(None, (self.conditions, self.origin)))
        return f"{self.metric} {self.value:.10g} on {self.data} ({where})"


class Contradiction(NamedTuple):
    """Two entries of one model, dataset and metric that do not fit together.

    Attributes:
        model: registered name.
        kind: "value", where one run has two values; "conditions", where two runs have one value.
        first, second: the entries, in the ledger's order.
        differs: fields in which both say something and say different things.
        explained: the reason that the ledger gives, "" where it gives none.
    """

    model: str
    kind: Literal["value", "conditions"]
    first: Published
    second: Published
    differs: tuple[str, ...]
    explained: str

    @property
    def open(self) -> bool:
        """Whether nothing explains it: no reason is given, and nothing was measured differently."""
        return not self.explained and not self.differs

    @property
    def reason(self) -> str:
        """The given reason, else the fields that differ."""
        if self.explained:
            return self.explained
        said = [
            f"{name} {getattr(self.first, name)} and {getattr(self.second, name)}" for name in self.differs
        ]
        return f"measured or run differently: {', '.join(said)}" if said else "not explained"


def contradictions(scores: Iterable[tuple[str, Published]]) -> list[Contradiction]:
    """Return the pairs of entries that disagree, in the order of the scores.

    Two entries of the same model, dataset, metric and setting are the same run where no field of `RUN` has
    different values; null agrees with everything. The same run with another value is a contradiction,
    whatever `MEASURED` says: what differs there is its explanation. So is the same value from two sources
    under different settings or fields: one may have copied the other's number to the wrong row. Values are
    compared at the lesser of their numbers of decimals.

    Args:
        scores: name of the model and entry.
    """
    found = []
    for (model, first), (name, second) in combinations(tuple(scores), 2):
        if (model, first.data, first.metric) != (name, second.data, second.metric):
            continue
        run = tuple(field for field in ("setting", *RUN) if _differ(first, second, field))
        measured = tuple(field for field in MEASURED if _differ(first, second, field))
        explained = second.explained or first.explained
        same = _equal(first.value, second.value)
        if not run and not same:
            found.append(Contradiction(model, "value", first, second, measured, explained))
        elif run and same and _who(first) != _who(second):
            found.append(Contradiction(model, "conditions", first, second, (*run, *measured), explained))
    return found


def headlines(scores: Iterable[Published]) -> list[Published]:
    """Return the first score of each dataset and metric; entries begin with what the paper is known for."""
    first: dict[tuple[str, str], Published] = {}
    for one in scores:
        first.setdefault((one.data, one.metric), one)
    return list(first.values())


def tally(scores: Sequence[tuple[str, Published]]) -> str:
    """Return in words how many scores there are, how many were read, and from how many sources."""
    read = sum(one.read for _, one in scores)
    sources = len(Counter(_who(one) for _, one in scores))
    return (
        f"{len(scores)} published score{'s' * (len(scores) != 1)} of {sources} source{'s' * (sources != 1)}, "
        f"{read} read and {len(scores) - read} unverified"
    )


def _differ(first: Published, second: Published, field: str) -> bool:
    values = (getattr(first, field), getattr(second, field))
    return None not in values and values[0] != values[1]


def _equal(first: float, second: float) -> bool:
    decimals = min(_decimals(first), _decimals(second))
    return round(first, decimals) == round(second, decimals)


def _decimals(value: float) -> int:
    return len(repr(value).partition(".")[2])


def _who(score: Published) -> str:
    """Return the paper or repository that a score was taken from: of a citation, the citing one."""
    return score.source.rpartition(", as ")[2].removesuffix(" gives it").partition(",")[0]
