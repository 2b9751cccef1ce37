"""Binary images drawn from gray ones: a pixel is 1 with the probability that its gray value gives.

Dynamic binarization as used on MNIST (Salakhutdinov and Murray 2008; Burda et al. 2016, arXiv:1509.00519,
section 5): training draws each image anew at every step, and the test split is drawn once with a fixed seed.
Thresholding at one half gives another, easier data set.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from zoo_core.config import DataConfig
from zoo_core.data import benchmarks
from zoo_core.data.dataset import Dataset
from zoo_core.data.splits import digests, fingerprint, replace_digests
from zoo_core.data.table import Table
from zoo_core.data.transforms import Binarize, binarize
from zoo_core.seeds import generator

GRAY = {"mnist-binarized": "mnist"}
"""The data set that each binary one is drawn from."""


def drawn(table: Table, levels: int, rng: torch.Generator) -> Table:
    """Return the table of binary images drawn from gray ones: a fixed draw, and a transform that redraws it.

    Args:
        table: of gray images.
        levels: their number of gray levels.
        rng: of the fixed draw.
    """
    gray = table.examples(torch.arange(len(table)))
    image = torch.cat(
        [binarize(part, levels, torch.rand(part.shape, generator=rng)) for part in gray.split(1000)]
    )
    return replace_digests(table.having(image=image, gray=gray), digests(image)).then(Binarize(levels))


def load(config: DataConfig) -> Dataset:
    """Return a binary data set by its name, uint8 values 0 and 1; its sha256 is of the fixed draw.

    Raises:
        UsageError, MachineError: as the gray data set does.
    """
    source = benchmarks.load(config.model_copy(update={"name": GRAY[config.name]}))
    assert source.info.levels is not None
    train, test = (
        drawn(table, source.info.levels, generator(0, config.name, name))
        for name, table in (("train", source.train), ("test", source.test))
    )
    info = replace(source.info, name=config.name, levels=2)
    return replace(source, info=info, train=train, test=test, sha256=fingerprint(train, test))
