"""An oracle as a dataset: its draws are the data, and its probabilities their law."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from zoo_core.config import DataConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.splits import resident
from zoo_core.data.table import Resident
from zoo_core.types import DataInfo
from zoo_oracle.files import SHA256, check_model, folder_of, read_draws, read_law
from zoo_oracle.oracle import Lazy, opened


class OracleConfig(DataConfig):
    """Options of an oracle distribution."""

    name: str = "oracle-digits"
    """Registered name."""
    draw: int = Field(0, ge=0)
    """0: the images that come with the oracle, the same everywhere. k: as many new ones, drawn when the run
    starts from seed k; both splits are new."""


def load(config: OracleConfig) -> Dataset:
    """Return images of an oracle, uint8 levels, with its law as their density.

    Raises:
        NotFoundError: where the weights package is not installed.
        MachineError: where its files are damaged.
    """
    folder = folder_of(config.name)
    law = read_law(folder, SHA256.get(config.name))
    image, label = read_draws(folder, law)
    lazy = Lazy(lambda: opened(check_model(folder, law)))
    if config.draw:
        image, label = lazy.oracle.draw(len(image), config.draw)
    rows = slice(law.train), slice(law.train, None)
    train, test = (Resident(image[part], None if label is None else label[part]) for part in rows)
    info = DataInfo(config.name, tuple(image.shape[1:]), levels=law.levels, classes=law.classes)
    names = tuple(str(k) for k in range(law.classes))
    made = resident(info, train, test, density=lazy, class_names=names)
    return replace(made, stack_of=law.resembles)
