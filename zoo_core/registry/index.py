"""registry.yaml: the curated index of models, ours and strangers', with papers, figures and checkpoints.

It is data, never code: read with safe types only, checked against a schema, and shipped in the wheel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from zoo_core import strict_yaml
from zoo_core.config import Config
from zoo_core.errors import Mistakes, UsageError


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


class Published(Config):
    """A figure someone else published: shown beside ours as a reference row, never ranked with them."""

    data: str
    """Dataset."""
    metric: str
    """fid, is, bits_per_dim, nats."""
    value: float
    """The figure."""
    protocol: str
    """How many samples, which reference, best or last checkpoint."""
    source: str
    """Where it stands."""
    read: bool
    """Whether the source itself was read; False for a figure passed on."""


class Weights(Config):
    """A checkpoint to download."""

    uri: str = Field(pattern=r"^(https|hf)://")
    """Address at a pinned revision."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the file."""
    data: str
    """What it was trained on."""


class IndexEntry(Config):
    """One model of the index."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    """Registered name."""
    family: str
    """As in its spec."""
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Distribution that brings it."""
    version: str = ""
    """Of a stranger's distribution."""
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    """Of a stranger's wheel."""
    summary: str
    """One line."""
    paper: Paper | None = None
    """None for a baseline."""
    tasks: list[str] = ["unconditional"]
    """What data it can learn from."""
    license: str
    """SPDX name."""
    published: list[Published] = []
    """Reference rows."""
    weights: list[Weights] = []
    """Checkpoints."""


class Index(Config):
    """The whole of registry.yaml."""

    schema_: Literal[1] = Field(alias="schema")
    """Version of this schema."""
    plugins: list[IndexEntry]
    """Entries; names are unique."""

    def entry(self, name: str) -> IndexEntry | None:
        """Return the entry under a name, or None."""
        return next((entry for entry in self.plugins if entry.name == name), None)


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
    document = strict_yaml.read(path)
    try:
        index = Index.model_validate(document)
    except ValidationError as error:
        raise Mistakes([_mistake(path, problem) for problem in error.errors()]) from error
    names = [entry.name for entry in index.plugins]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Mistakes([UsageError(f"{path}: {name!r} has more than one entry") for name in twice])
    return index


def _mistake(path: Path, problem: Any) -> UsageError:
    where = ".".join(map(str, problem["loc"]))
    return UsageError(f"{path}: {where}: {problem['msg']}", f"given: {problem['input']!r}"[:200])
