"""registry.yaml: the index of models, ours and third-party, with papers, published scores and checkpoints.

It is data, never code: read with safe types only, checked against a schema, and shipped in the wheel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from zoo_core.config import Config, strict_yaml
from zoo_core.errors import Mistakes, UsageError
from zoo_core.home import OURS
from zoo_core.registry.ledger import Published

NODES = 40_000
"""Most values, keys and collections in the file: about thirty for each published score."""


class Paper(Config):
    """Where a model was first described."""

    title: str
    """Title."""
    arxiv: str = Field("", pattern=r"^(\d{4}\.\d{4,5})?$")
    """arXiv identifier, quoted so that it stays a text."""
    doi: str = ""
    """DOI, where there is no arXiv identifier."""
    year: int = Field(ge=1900, le=2100)
    """Of publication."""


class Weights(Config):
    """A checkpoint to download, or one of the package genzoo-weights."""

    uri: str = Field(pattern=r"^(https|hf|zoo)://")
    """Address: at a pinned revision, or zoo://data/name."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the file."""
    data: str
    """What it was trained on."""
    scores: dict[str, float] = {}
    """Scores of the run that it comes from, by column."""


class IndexEntry(Config):
    """One entry of the index: a model, or a sampler, dataset, extractor or metric that others may want.

    Both have one form. A third-party entry says where it is installed from: a released `version` of
    `package` with its wheel's `sha256`, or a `source` that pip takes.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    """Registered name."""
    kind: Literal["plugin", "sampler", "dataset", "extractor", "metric"] = "plugin"
    """What it is; a model is a plugin."""
    family: str = ""
    """Of a model, as in its spec."""
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Distribution that provides it."""
    version: str = Field("", pattern=r"^([0-9][A-Za-z0-9.+!-]*)?$")
    """Version of a third-party distribution that is released."""
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    """Hash of the third-party wheel at that version."""
    source: str = Field("", pattern=r"^(|\./[\w./-]+|git\+https://\S+@[0-9a-f]{40}|https://\S+\.whl)$")
    """Where there is no release: a folder of this repository, a repository at a commit, a wheel's address."""
    summary: str
    """One line."""
    paper: Paper | None = None
    """None for a baseline."""
    tasks: list[str] = ["unconditional"]
    """What data a model can learn from."""
    license: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+ ()-]*$")
    """SPDX name."""
    published: list[Published] = []
    """Reference rows."""
    weights: list[Weights] = []
    """Checkpoints."""

    @model_validator(mode="after")
    def _can_be_installed(self) -> IndexEntry:
        if self.kind == "plugin" and not self.family:
            raise ValueError("a model needs a family")
        if self.package == OURS:
            if self.version or self.sha256 or self.source:
                raise ValueError(f"what {OURS} provides needs no version, sha256 or source")
        elif bool(self.source) == bool(self.version):
            raise ValueError("expected: a version and the sha256 of its wheel, or a source, and not both")
        elif self.version and not self.sha256:
            raise ValueError("a version needs the sha256 of its wheel")
        return self

    @property
    def how_to_install(self) -> str:
        """The command that installs the distribution."""
        if self.source or self.package == OURS:
            return f"pip install {self.source or OURS}"
        return f"pip install {self.package}=={self.version}"


class Cited(Config):
    """A model that no known distribution provides: its published scores are reference rows all the same."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    """Short name; no plugin of the index has it."""
    paper: Paper
    """Where it was first described."""
    published: list[Published]
    """Reference rows."""


class Index(Config):
    """The whole of registry.yaml."""

    schema_: Literal[1] = Field(alias="schema")
    """Version of this schema."""
    plugins: list[IndexEntry]
    """Entries; names are unique within a kind."""
    literature: list[Cited] = []
    """Models that are not provided, for their published scores."""

    @property
    def scores(self) -> tuple[tuple[str, Published], ...]:
        """Every published score with the name of its model, models of plugins first."""
        known: list[IndexEntry | Cited] = [*self.plugins, *self.literature]
        return tuple((entry.name, score) for entry in known for score in entry.published)

    def entry(self, name: str, kind: str = "plugin") -> IndexEntry | None:
        """Return the entry under a name, or None."""
        return next((entry for entry in self.plugins if (entry.kind, entry.name) == (kind, name)), None)


def index_path() -> Path:
    """Return the registry.yaml of the wheel, or of the checkout."""
    packaged = Path(__file__).resolve().parent.parent / "registry.yaml"
    return packaged if packaged.exists() else packaged.parent.parent / "registry.yaml"


def load_index(path: Path | None = None) -> Index:
    """Return the checked index.

    Raises:
        Mistakes: everything that is wrong with the file.
    """
    path = path or index_path()
    document = strict_yaml.read(path, NODES)
    try:
        index = Index.model_validate(document)
    except ValidationError as error:
        raise Mistakes([_mistake(path, problem) for problem in error.errors()]) from error
    names = [(entry.kind, entry.name) for entry in index.plugins]
    names += [("plugin", cited.name) for cited in index.literature]
    twice = sorted({pair for pair in names if names.count(pair) > 1})
    if twice:
        raise Mistakes(
            [UsageError(f"{path}: {kind} {name!r} has more than one entry") for kind, name in twice]
        )
    return index


def _mistake(path: Path, problem: Any) -> UsageError:
    where = ".".join(map(str, problem["loc"]))
    return UsageError(f"{path}: {where}: {problem['msg']}", f"given: {problem['input']!r}"[:200])
