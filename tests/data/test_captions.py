"""Captions: words to tokens and back, and words that are true of the image they are said of."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from zoo_core.config import DataConfig
from zoo_core.data.benchmarks import load as load_benchmark
from zoo_core.data.captions import Tokenizer
from zoo_core.data.digits import load as load_digits
from zoo_core.data.loading import Resident, TrainData
from zoo_core.data.splits import resident
from zoo_core.data.strokes import NUMERALS, SLANTED, THICK, WORDS, captioned, ink_and_shear
from zoo_core.errors import UsageError


@pytest.fixture(scope="module")
def digits():
    return load_digits(DataConfig())


def strokes(shear: float, thickness: int = 1, size: int = 21) -> torch.Tensor:
    """Return a straight stroke, `shear` columns to the right for each row up, (1, 1, size, size)."""
    x = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    for row in range(3, size - 3):
        column = size // 2 + round(shear * (size // 2 - row))
        x[0, 0, row, column : column + thickness] = 16
    return x


def test_words_and_tokens_are_one_to_one():
    # catches an offset of one, padding that is a word, and a vocabulary that does not count the padding
    tokenizer = Tokenizer(("a", "thick", "three"), length=4)
    assert tokenizer.encode("A  Thick three") == [1, 2, 3, 0]
    assert tokenizer.decode([1, 2, 3, 0]) == "a thick three"
    assert tokenizer.vocabulary == 4
    for k, word in enumerate(WORDS.words):
        assert WORDS.encode(word) == [k + 1, 0, 0, 0]
        assert WORDS.decode([k + 1, 0]) == word


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a thre", ["thre", "did you mean: three for thre", "words: a, an,"]),
        ("a wibbly thrree", ["wibbly, thrree", "did you mean: three for thrree"]),
        ("", ["0 words", "1 to 4"]),
        ("a thick thin slanted three", ["5 words", "1 to 4"]),
    ],
)
def test_a_caption_that_can_not_be_read_is_told_in_full(text, told):
    # catches the first unknown word told alone, and a long caption cut without a word
    with pytest.raises(UsageError) as error:
        WORDS.encode(text)
    assert all(part in str(error.value) for part in told)


def test_a_token_of_no_word_is_refused():
    with pytest.raises(UsageError, match=f"0 to {len(WORDS.words)}"):
        WORDS.decode([1, len(WORDS.words) + 1])


def test_the_tokenizer_costs_no_torch():
    code = "import sys, zoo_core.data.captions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("shear", [-0.5, 0.0, 0.25, 0.5])
def test_shear_is_the_slope_of_a_stroke(shear):
    # catches a mirrored sign (rows count downwards), a slope of rows over columns, raw moments for central
    found = ink_and_shear(strokes(shear), 17)[1]
    assert float(found) == pytest.approx(shear, abs=0.04)  # the stroke is drawn in whole columns


def test_shear_and_ink_against_a_loop_over_pixels(digits):
    x = digits.test.x[:20]
    ink, shear = ink_and_shear(x, 17)
    for k, image in enumerate(x[:, 0].tolist()):
        pixels = [(i, j, image[i][j]) for i in range(8) for j in range(8)]
        mass = sum(v for *_, v in pixels)
        row, column = (sum(p[axis] * p[2] for p in pixels) / mass for axis in (0, 1))
        mu11 = sum((i - row) * (j - column) * v for i, j, v in pixels)
        mu20 = sum((i - row) ** 2 * v for i, _, v in pixels)
        assert float(ink[k]) == pytest.approx(mass / (16 * 64), rel=1e-9)
        assert float(shear[k]) == pytest.approx(-mu11 / mu20, rel=1e-6, abs=1e-9)


def test_shear_does_not_depend_on_place_or_ink():
    # catches moments about the corner, and moments that are not divided by the mass
    x = strokes(0.4)
    moved = torch.roll(x, (2, 3), (2, 3)) // 2
    torch.testing.assert_close(ink_and_shear(x, 17)[1], ink_and_shear(moved, 17)[1])


def test_a_image_without_a_stroke_has_no_shear():
    # catches a division by zero
    empty, row = torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    row[0, 0, 4, 1:7] = 9
    assert ink_and_shear(torch.cat((empty, row)), 17)[1].tolist() == [0, 0]


def test_captions_of_drawn_strokes_say_what_was_drawn():
    # catches thick and thin, or the two slants, changed about; medians of all classes together; "a eight"
    plain = [strokes(0.0, 2)] * 5
    odd = [strokes(0.0, 4), strokes(0.0, 1), strokes(0.3, 2), strokes(-0.3, 2), strokes(0.3, 1)]
    fat = [strokes(0.3, 5)] * 5  # what is usual of another class is not usual of this one
    x = torch.cat([*plain, *odd, *fat])
    label = torch.tensor([8] * 10 + [3] * 5)
    # Classes that have no example here borrow a plain stroke: every class has a median.
    rest = torch.tensor([c for c in range(10) if c not in (3, 8)])
    train = Resident(torch.cat((x, strokes(0.0, 2).expand(len(rest), -1, -1, -1))), torch.cat((label, rest)))
    test = Resident(strokes(-0.3, 1), torch.tensor([8]))
    said, said_of_test = captioned(train, test, 17)
    words = [WORDS.decode(row.tolist()) for row in said.tokens]
    assert words[:5] == ["an eight"] * 5
    assert words[5:10] == [
        "a thick eight",
        "a thin eight",
        "a slanted eight",
        "a backslanted eight",
        "a thin slanted eight",
    ]
    assert words[10:15] == ["a three"] * 5
    assert WORDS.decode(said_of_test.tokens[0].tolist()) == "a thin backslanted eight"


def test_every_digit_is_named_and_described_as_measured(digits):
    # catches rows out of order between splits, and medians that include the test split
    ink, shear = ink_and_shear(digits.train.x, 17)
    for split in (digits.train, digits.test):
        assert split.tokens.shape == (len(split), WORDS.length)
        assert split.tokens.dtype == torch.int64
        own_ink, own_shear = ink_and_shear(split.x, 17)
        for k in range(0, len(split), 7):
            label = int(split.label[k])
            words = WORDS.decode(split.tokens[k].tolist()).split()
            of_class = digits.train.label == label
            weight = float(own_ink[k] / ink[of_class].median())
            lean = float(own_shear[k] - shear[of_class].median())
            assert words[-1] == NUMERALS[label]
            assert words[0] == ("an" if words[1] == "eight" else "a")
            assert ("thick" in words, "thin" in words) == (weight > THICK, weight < 1 / THICK)
            assert ("slanted" in words, "backslanted" in words) == (lean > SLANTED, lean < -SLANTED)
            assert 0 not in split.tokens[k][: len(words)]
    said = {WORDS.decode(row.tolist()) for row in digits.train.tokens}
    assert {f"a {name}" for name in NUMERALS if name != "eight"} | {"an eight"} <= said


def test_captions_change_no_fingerprint_and_reach_the_batch(digits):
    # catches a data hash that moves, and captions of other rows than the images
    bare = resident(digits.info, *(Resident(s.x, s.label) for s in (digits.train, digits.test)))
    assert digits.sha256 == bare.sha256
    assert (digits.info.vocabulary, digits.info.caption_length) == (len(WORDS.words) + 1, 4)
    batch = TrainData(digits.train, digits.info, 0).next(16)
    assert torch.equal(batch.cond.tokens, digits.train.tokens[batch.index])
    assert torch.equal(batch.cond.label, digits.train.label[batch.index])
    assert torch.equal(batch.cond[torch.tensor([3])].tokens, batch.cond.tokens[3:4])


def test_real_mnist_is_captioned(shared_data):
    # catches levels or a polarity that hold for the digits alone
    found = load_benchmark(DataConfig(name="mnist", root=str(shared_data / "mnist")))
    said = [WORDS.decode(row.tolist()).split() for row in found.test.tokens[:500]]
    assert [words[-1] for words in said] == [NUMERALS[k] for k in found.test.label[:500]]
    ink = ink_and_shear(found.test.x[:500], 256)[0]
    thick, thin = (
        torch.tensor([word in words for words in said]) & (found.test.label[:500] == 0)
        for word in ("thick", "thin")
    )
    assert float(ink[thick].min()) > float(ink[thin].max())
    assert not math.isnan(float(ink.mean()))
