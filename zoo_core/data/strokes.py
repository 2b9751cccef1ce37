"""Captions of handwritten digits, computed from class, stroke width and slant.

"a three", "a thick eight", "an eight", "a thin slanted seven": the class is always named; width and slant
only where an image differs from most of its class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_core.data.captions import Tokenizer
from zoo_core.data.table import Table

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = Tokenizer(("a", "an", "thick", "thin", "slanted", "backslanted", *NUMERALS), length=4)
"""The words of these captions, and the longest there can be."""
THICK = 1.1
"""Ink beyond this multiple of the class's median is thick, below its inverse thin."""
SLANTED = 0.1
"""A shear this far beyond the class's median is slanted, as far below it backslanted."""


def ink_and_shear(x: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Return the mean ink of images, in [0, 1], and how far their strokes lean to the right, (n,) each.

    The shear is -mu_11 / mu_20 of the ink's central moments, columns to the right for each row up: 1 is a
    lean of 45 degrees. Ink that lies in one row, or none, has none.

    Args:
        x: uint8 levels (n, 1, H, W), light ink on a dark ground.
        levels: L.
    """
    height, width = x.shape[2:]
    row = torch.arange(height, dtype=torch.float64).repeat_interleave(width)
    column = torch.arange(width, dtype=torch.float64).repeat(height)
    powers = torch.stack((torch.ones_like(row), row, column, row * row, row * column), 1)
    sums = torch.cat([part.flatten(1).double() @ powers for part in x.split(8192)])
    i, j, ii, ij = (sums[:, 1:] / sums[:, :1].clamp_min(1)).unbind(1)
    spread = ii - i * i
    flat = spread < 1e-9
    shear = ((i * j - ij) / spread.masked_fill(flat, 1)).masked_fill(flat, 0)
    return sums[:, 0] / ((levels - 1) * height * width), shear


def captioned(train: Table, test: Table, levels: int) -> tuple[Table, Table]:
    """Return two splits of labeled handwritten digits with captions, tokens of `WORDS`, (n, 4) each.

    "thick" or "thin", and "slanted" (to the right) or "backslanted", are said of images that stand out of
    their class; what is usual of a class is measured on the training split.
    """
    ink, shear = ink_and_shear(train.x, levels)
    members = [train.label == c for c in range(len(NUMERALS))]
    usual_ink, usual_shear = (torch.stack([v[rows].median() for rows in members]) for v in (ink, shear))

    def describe(split: Table) -> Table:
        label = split.label
        assert label is not None
        ink, shear = ink_and_shear(split.x, levels)
        weight, lean = ink / usual_ink[label], shear - usual_shear[label]
        thickness = _pick(weight > THICK, "thick", weight < 1 / THICK, "thin")
        slant = _pick(lean > SLANTED, "slanted", lean < -SLANTED, "backslanted")
        before_vowel = (thickness + slant == 0) & (label == NUMERALS.index("eight"))
        words = (_pick(~before_vowel, "a", before_vowel, "an"), thickness, slant, label + _token("zero"))
        tokens = torch.stack(words, 1)
        return split.having(caption=tokens.gather(1, (tokens == 0).long().argsort(dim=1, stable=True)))

    return describe(train), describe(test)


def _token(word: str) -> int:
    return WORDS.words.index(word) + 1


def _pick(first: Tensor, word: str, second: Tensor, other: str) -> Tensor:
    """Return the token of `word` where `first`, of `other` where `second`, and 0 elsewhere, (n,) int64."""
    return first.long() * _token(word) + second.long() * _token(other)
