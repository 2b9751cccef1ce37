"""Pictures of two levels drawn from grey ones: a value is 1 with the probability that its grey level says.

The dynamic binarisation of the literature on MNIST (Salakhutdinov and Murray 2008; Burda et al. 2016,
arXiv:1509.00519, section 5): training draws each picture anew whenever it comes up, and the test split is
drawn once, with a fixed seed. Thresholding at one half is another, easier data set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoo_core.config import DataConfig
from zoo_core.data import benchmarks
from zoo_core.data.loading import Dataset, Resident, Split
from zoo_core.data.splits import digests, fingerprint
from zoo_core.seeds import generator

GREY = {"mnist-binarised": "mnist"}
"""The dataset that each binarised one is drawn from."""


def binarise(grey: Tensor, levels: int, u: Tensor) -> Tensor:
    """Return 1 where u < grey / (levels - 1) and 0 elsewhere, uint8.

    Args:
        grey: integer levels in [0, levels).
        u: uniform in [0, 1), like grey.
    """
    return (u * (levels - 1) < grey).to(torch.uint8)


@dataclass(kw_only=True)
class Binarised(Resident):
    """A split in memory that training draws anew; `x`, the rows, are one draw that stays.

    Attributes:
        grey: what it is drawn from, uint8 levels like x.
        levels: of grey.
    """

    grey: Tensor
    levels: int

    def redraw(self, index: Tensor, u: Tensor) -> Tensor:
        """Return the pictures of these rows drawn with the uniforms u, (n, C, H, W) uint8."""
        return binarise(self.grey[index], self.levels, u)

    def to(self, device: torch.device | str) -> Binarised:
        kept = super().to(device)
        return Binarised(
            x=kept.x, label=kept.label, tokens=kept.tokens, grey=self.grey.to(device), levels=self.levels
        )


def drawn(split: Split, levels: int, rng: torch.Generator) -> Binarised:
    """Return the binarised split of a grey one, with one draw of it by rng as its rows."""
    grey = split.rows(torch.arange(len(split)))
    x = torch.cat(
        [binarise(part, levels, torch.rand(part.shape, generator=rng)) for part in grey.split(1000)]
    )
    return Binarised(x=x, label=split.label, tokens=getattr(split, "tokens", None), grey=grey, levels=levels)


def load(config: DataConfig) -> Dataset:
    """Return a binarised dataset by its name, uint8 levels 0 and 1; its sha256 is of the draws that stay.

    Raises:
        UsageError, MachineError: as the grey dataset does.
    """
    source = benchmarks.load(config.model_copy(update={"name": GREY[config.name]}))
    assert source.info.levels is not None
    train, test = (
        drawn(getattr(source, name), source.info.levels, generator(0, config.name, name))
        for name in ("train", "test")
    )
    sha256 = fingerprint(*((digests(split.x), split.label) for split in (train, test)))
    info = replace(source.info, name=config.name, levels=2)
    return replace(source, info=info, train=train, test=test, sha256=sha256)
