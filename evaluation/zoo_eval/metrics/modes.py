"""Number of classes or modes in the samples, their balance, and the accuracy of conditional samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zoo_core.interfaces import EvalContext
from zoo_core.results import Interval, NotApplicable, Value
from zoo_eval.statistics.intervals import RESAMPLES, TAIL, fraction, interval

LEAST = 0.1
"""Of a mode's frequency in the training split: with less it does not count as drawn."""


# -- as a registered metric


def modes(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the columns modes (how many are drawn), balance (1 - total variation from the training split's
    frequencies) and, for points, on-modes (fraction within three standard deviations of a mode).
    """
    real, fake = ctx.train.modes, ctx.generated.modes
    if real is None or fake is None:
        why = NotApplicable(reason="no classifier ships for these data, and their density is unknown")
        return {"modes": why, "balance": why}
    name, index, count = fake.name, fake.index, fake.count
    n = len(index)
    expected = _frequencies(real.index, count)
    drawn = _frequencies(index, count)
    columns: dict[str, Value | NotApplicable] = {}
    seen = int(_seen(drawn, expected))
    low, high = _seen_again(index, expected)
    ends = Interval(low=min(low, seen), high=max(high, seen))
    columns[f"modes[{name}]"] = Value(value=seen, interval=ends, n=n, note=f"of {count}")
    value, towards = balance(real.index, index, count)
    columns[f"balance[{name}]"] = interval(value, towards[index], least=0.0, most=1.0)
    if (real.index < 0).any():
        columns[f"on-modes[{name}]"] = fraction(index >= 0)
    return columns


def class_accuracy(ctx: EvalContext) -> dict[str, Value | NotApplicable]:
    """Return the fraction of conditional samples in which the classifier sees the requested class.

    The note gives the classifier's own accuracy on real images that it was not trained on.
    """
    fake, label = ctx.generated.modes, ctx.label
    if fake is None or label is None:
        why = "no classifier ships for these data, and their density is unknown"
        return {"accuracy": NotApplicable(reason=why)}
    value = fraction(fake.index == label.cpu())
    if fake.accuracy is not None:
        value = value.noted(f"on held-out real images {fake.accuracy:.3f}")
    return {f"accuracy[{fake.name}]": value}


def balance(real: Tensor, fake: Tensor, count: int) -> tuple[float, Tensor]:
    """Return 1 - the total variation between the frequencies of modes in two sets, and its influences.

    Points on no mode count as one more mode, of which real data have some too. Frequencies of finite sets
    differ by chance: a difference within two of its standard errors is lowered by its expectation under equal
    frequencies, sqrt(2 / pi) standard errors, so that perfect samples have 1 within noise, not 1 minus noise.

    Args:
        real, fake: (m,) and (n,) int64 in [0, count), -1 for none.
        count: number of modes.

    Returns:
        The balance, in [0, 1], and (count + 1,) what a sample of each mode moves it by, times n; the last
        is of samples on no mode, as an index of -1 finds it.
    """
    expected, drawn = (
        torch.bincount(x % (count + 1), minlength=count + 1).double() / len(x) for x in (real, fake)
    )
    difference = drawn - expected
    pooled = (len(real) * expected + len(fake) * drawn) / (len(real) + len(fake))
    error = (pooled * (1 - pooled) * (1 / len(real) + 1 / len(fake))).sqrt()
    chance = torch.where(difference.abs() < 2 * error, (2 / torch.pi) ** 0.5 * error, 0.0)
    variation = float((difference.abs() - chance).sum()) / 2
    return min(1.0, 1 - variation), -difference.sign() / 2


def _frequencies(index: Tensor, count: int) -> Tensor:
    return torch.bincount(index[index >= 0], minlength=count).double() / len(index)


def _seen(frequencies: Tensor, expected: Tensor) -> Tensor:
    return ((frequencies >= LEAST * expected) & (frequencies > 0)).sum(-1)


def _seen_again(index: Tensor, expected: Tensor) -> tuple[int, int]:
    """Return the 95 % interval of the number of modes seen, by the bootstrap of their counts."""
    n, count = len(index), len(expected)
    counts = torch.bincount(index + 1, minlength=count + 1)
    drawn = np.random.default_rng(0).multinomial(n, (counts.double() / n).numpy(), size=RESAMPLES)
    found = _seen(torch.from_numpy(drawn[:, 1:]).double() / n, expected).double()
    # a sample drawn again misses rare modes that the first one saw: only the spread of its counts is used
    seen = float(_seen(counts[1:].double() / n, expected))
    ends = torch.quantile(found - found.mean(), torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64))
    low, high = (seen + ends).clamp(0, count).tolist()
    return round(low), round(high)
