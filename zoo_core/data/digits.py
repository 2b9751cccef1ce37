"""Real handwritten digits that need no download: scikit-learn's copy of UCI's test set, 8x8, 17 levels.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998:
each pixel counts the ink in a 4x4 block of a 32x32 bitmap, so its levels are 0 to 16.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from zoo_core.config import DataConfig
from zoo_core.data.dataset import Dataset
from zoo_core.data.splits import resident, stratified
from zoo_core.data.strokes import WORDS, captioned
from zoo_core.data.table import Resident, Table
from zoo_core.seeds import generator
from zoo_core.types import DataInfo

TEST = 360
STACKS = {"train": 20, "test": 2}
"""Of each of the thousand classes."""
CHANNELS = 3


def load(config: DataConfig) -> Dataset:
    """Return the digits: 1,437 for training and 360 for testing, uint8 0 to 16, (1, 8, 8), with captions."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    levels = torch.from_numpy(x).to(torch.uint8).reshape(-1, 1, 8, 8)
    label = torch.from_numpy(y).to(torch.int64)
    first, second = (Resident(levels[rows], label[rows]) for rows in stratified(label, TEST))
    train, test = captioned(first, second, levels=17)
    info = DataInfo("digits", (1, 8, 8), 17, 10, WORDS.vocabulary, WORDS.length)
    return resident(info, train, test, class_names=tuple("0123456789"), tokenizer=WORDS)


def load_stacked(config: DataConfig) -> Dataset:
    """Return three digits an image, one a channel, uint8 (3, 8, 8): 1,000 classes, as many modes to miss.

    After Che et al. 2017 (arXiv:1612.02136) and Metz et al. 2017 (arXiv:1611.02163), who stack MNIST. Every
    class is as frequent; the digits of a split's stacks are drawn from the digits' own split.
    """
    digits = load(config)
    classes = 10**CHANNELS
    place = 10 ** torch.arange(CHANNELS - 1, -1, -1)

    def stacked(name: str, times: int) -> Resident:
        single: Table = getattr(digits, name)
        images = single.column("image")
        assert images is not None
        assert single.label is not None
        label = torch.arange(classes).repeat(times)
        shown = label[:, None] // place % 10
        counts = single.label.bincount()
        start = counts.cumsum(0) - counts
        drawn = torch.rand(shown.shape, dtype=torch.float64, generator=generator(0, "stacked-digits", name))
        by_class = single.label.argsort(stable=True)
        rows = by_class[start[shown] + (drawn * counts[shown]).long()]
        return Resident(images[rows].squeeze(2), label)

    info = DataInfo("stacked-digits", (CHANNELS, 8, 8), 17, classes)
    train, test = (stacked(name, times) for name, times in STACKS.items())
    names = tuple(f"{k:0{CHANNELS}d}" for k in range(classes))
    return replace(resident(info, train, test, class_names=names), stack_of="digits")
