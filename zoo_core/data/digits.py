"""Real handwritten digits that need no download: scikit-learn's copy of UCI's test set, 8x8, 17 levels.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998:
each pixel counts the ink in a 4x4 block of a 32x32 bitmap, so its levels are 0 to 16.
"""

from __future__ import annotations

import torch

from zoo_core.config import DataConfig
from zoo_core.data.loading import Dataset, Resident
from zoo_core.data.splits import resident, stratified
from zoo_core.data.strokes import WORDS, captioned
from zoo_core.types import DataInfo

TEST = 360


def load(config: DataConfig) -> Dataset:
    """Return the digits: 1,437 to train on and 360 to test on, uint8 levels 0 to 16, (1, 8, 8), captioned."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    levels = torch.from_numpy(x).to(torch.uint8).reshape(-1, 1, 8, 8)
    label = torch.from_numpy(y).to(torch.int64)
    train, test = (Resident(levels[rows], label[rows]) for rows in stratified(label, TEST))
    train, test = captioned(train, test, levels=17)
    info = DataInfo("digits", (1, 8, 8), 17, 10, WORDS.vocabulary, WORDS.length)
    return resident(info, train, test, class_names=tuple("0123456789"), tokenizer=WORDS)
