"""Search spaces: which options of a model are searched, and over which values.

The default space of a model follows from its typed options, by rules that were reviewed for all models of the
zoo: learning rates, batch size, length of the EMA, and the model's own options that declare both bounds or a
list of values. `REVIEWED` and `LEFT_OUT` are the exceptions.
"""

from __future__ import annotations

import hashlib
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from zoo_core.config import RunConfig, canonical, comma_list, flatten, options, strict_yaml
from zoo_core.errors import Mistakes, UsageError, ZooError, guess
from zoo_core.registry.resolution import plain, resolve
from zoo_core.results.result import canonical_json

RATE_FACTOR = 8.0
"""Learning rates are searched from the default over this factor to the default times it."""
BATCH_FACTOR = 2
"""Batch sizes are the default, and the default over and times this factor."""
EMA_FACTOR = 4.0
"""Lengths of the EMA, 1 / (1 - decay), are the default, and the default over and times this factor."""

REVIEWED: Mapping[str, tuple[float, float]] = {
    "dropout": (0.0, 0.5),
    "cond_dropout": (0.0, 0.3),
    "augment_prob": (0.0, 0.3),
    "mixing": (0.0, 0.9),
    "ada_target": (0.4, 0.9),
    "restart": (0.0, 0.5),
    "share": (0.4, 0.8),
    "autoencoder_share": (0.2, 0.6),
    "reflow": (0.0, 0.5),
}
"""Last part of an option's name -> the part of its bounds that is worth searching."""

LEFT_OUT: Mapping[str, str] = {
    **dict.fromkeys(("decoder", "clip_x0", "dequantize", "alpha"), "decides what a likelihood is of"),
    **dict.fromkeys(("T", "L", "grid", "levels", "beta_1", "beta_T", "offset"), "the process, not its fit"),
    **dict.fromkeys(("net", "version", "fold", "halvings", "resample", "pyramid"), "another architecture"),
    **dict.fromkeys(("attend_up", "skip_scale", "time", "init"), "a detail of one architecture"),
    **dict.fromkeys(("classifier", "text_weight"), "a part that most tasks do not use"),
    **dict.fromkeys(("kl_warmup", "anneal"), "a fraction of the run: no trial could be trained further"),
}
"""Last part of an option's name -> why the default space has no such option; it can be stated."""

BASE = frozenset(RunConfig.model_fields)
"""Sections that every run has: none of their options is searched by its bounds alone."""


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included.

    Attributes:
        log: whether the logarithm is uniform.
        whole: whether only whole numbers count.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}{':log' if self.log else ''}"

    @property
    def ends(self) -> tuple[float, float]:
        """Low and high, as whole numbers where only those count."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def has(self, value: Any) -> bool:
        """Return whether a value is in the range."""
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choices:
    """One of a few values: texts, numbers, booleans or None."""

    values: tuple[str | int | float | bool | None, ...]

    def __str__(self) -> str:
        return ",".join(map(_text, self.values))

    def has(self, value: Any) -> bool:
        """Return whether a value is among them."""
        return value in self.values


Dimension = Range | Choices
Space = Mapping[str, Dimension]
"""Dotted name of an option -> what is searched."""


def _text(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else f"{value}"


def default_space(config: RunConfig, given: Iterable[str] = ()) -> dict[str, Dimension]:
    """Return the reviewed space of a model.

    Args:
        config: resolved; its values are the defaults that ranges lie around.
        given: options that the user has fixed: they are not searched.
    """
    fixed = {canonical(type(config), key, "") for key in given}
    values = flatten(plain(config))
    found: dict[str, Dimension] = {}
    for key, info in options(type(config)):
        if key not in fixed and key in values:
            one = _dimension(key, info, values[key], values)
            if one is not None:
                found[key] = one
    return found


def _dimension(key: str, info: FieldInfo, value: Any, values: Mapping[str, Any]) -> Dimension | None:
    section, _, rest = key.partition(".")
    last = key.rpartition(".")[2]
    if section == "optim":
        unused = rest == "classifier.lr" and not values.get("model.classifier")
        return _around(value, RATE_FACTOR, info) if last == "lr" and not unused else None
    if key == "train.batch_size":
        sizes = (value // BATCH_FACTOR, value, value * BATCH_FACTOR)
        return Choices(tuple(size for size in sizes if size > 0))
    if key == "train.ema.decay" and value > 0:
        lengths = (1 / EMA_FACTOR, 1.0, EMA_FACTOR)
        decays = (float(f"{1 - (1 - value) / length:.6g}") if length != 1 else value for length in lengths)
        return Choices(tuple(decay for decay in decays if 0 < decay < 1))
    if key == "train.ema.half_life" and value > 0:
        return _around(value, EMA_FACTOR, info)
    if not rest or section in BASE or last in LEFT_OUT:
        return None
    return _declared(last, info)


def _around(value: float, factor: float, info: FieldInfo) -> Range:
    low, high = bounds(info)
    return Range(
        max(low, float(f"{value / factor:.4g}")), min(high, float(f"{value * factor:.4g}")), log=True
    )


def _declared(last: str, info: FieldInfo) -> Dimension | None:
    """Return the dimension that an option's type declares; None where it has no two bounds, or one value."""
    kind = info.annotation
    if kind is bool:
        return Choices((False, True))
    if typing.get_origin(kind) is Literal:
        values = typing.get_args(kind)
        return Choices(values) if len(values) > 1 else None
    if kind not in (int, float):
        return None
    low, high = bounds(info)
    if not math.isfinite(low) or not math.isfinite(high) or low >= high:
        return None
    least, most = REVIEWED.get(last, (low, high))
    return Range(max(low, least), min(high, most), whole=kind is int)


def bounds(info: FieldInfo) -> tuple[float, float]:
    """Return the least and the largest value that an option's constraints allow; infinite for none.

    A bound that a number may not reach is moved inside by a millionth of the width, or of itself.
    """
    low, high, open_low, open_high = -math.inf, math.inf, False, False
    for one in info.metadata:
        match one:
            case Ge(ge=end):
                low, open_low = float(end), False  # type: ignore[arg-type]
            case Gt(gt=end):
                low, open_low = float(end), True  # type: ignore[arg-type]
            case Le(le=end):
                high, open_high = float(end), False  # type: ignore[arg-type]
            case Lt(lt=end):
                high, open_high = float(end), True  # type: ignore[arg-type]
    finite = [abs(end) for end in (low, high) if math.isfinite(end)]
    width = high - low if len(finite) == 2 else max([*finite, 1.0])
    inside = 1.0 if info.annotation is int else 1e-6 * width
    return low + inside * open_low, high - inside * open_high


def stated_space(config: RunConfig, words: Sequence[str], file: Path | None) -> dict[str, Dimension]:
    """Return what `--search` and `--space` state, once every option is one of the model's.

    Args:
        config: resolved.
        words: "option=low..high", "option=low..high:log" or "option=a,b,c".
        file: YAML: option -> the same as a text, or a list of values.

    Raises:
        Mistakes: for unknown options, values that can't be read, and values that the model refuses.
        NotFoundError, UsageError: for a file that can't be read.
    """
    given: dict[str, Any] = {}
    if file is not None:
        found = strict_yaml.read(file)
        if not isinstance(found, Mapping):
            raise UsageError(f"{file} states no search space", "expected: a mapping, option: low..high[:log]")
        given |= flatten(found)
    mistakes: list[ZooError] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key or not text:
            mistakes.append(UsageError(f"can't read --search {word!r}", f"expected: {EXPECTED}"))
        given[key] = text
    known = dict(options(type(config)))
    space: dict[str, Dimension] = {}
    for key, value in given.items():
        try:
            space[key] = _stated(key, value, known)
            _check(config, key, space[key])
        except Mistakes as error:
            mistakes += error.mistakes
        except ZooError as error:
            mistakes.append(error)
    if mistakes:
        raise Mistakes(mistakes)
    return space


EXPECTED = "option=low..high, option=low..high:log or option=a,b,c"


def _stated(key: str, value: Any, known: Mapping[str, FieldInfo]) -> Dimension:
    if key not in known:
        raise UsageError(f"no option {key!r} to search", guess(key, known))
    if isinstance(value, str) and ".." in value:
        ends, _, scale = value.partition(":")
        low, _, high = ends.partition("..")
        try:
            whole = known[key].annotation is int
            made = Range(float(low), float(high), scale == "log", whole)
        except ValueError:
            made = Range(1, 0)
        if scale not in ("", "log") or not made.low < made.high or (made.log and made.low <= 0):
            raise UsageError(
                f"can't search {key}={value}", "expected: low..high with low < high, and low > 0 for :log"
            )
        return made
    values = comma_list.split(value) if isinstance(value, str) else value
    scalars = (str, int, float, bool, type(None))
    if not isinstance(values, list) or not values or not all(isinstance(one, scalars) for one in values):
        raise UsageError(f"can't search {key}={value!r}", f"expected: {EXPECTED}")
    return Choices(tuple(values))


def _check(config: RunConfig, key: str, dimension: Dimension) -> None:
    """Raise where the model refuses an end of a range, or one of several values.

    Raises:
        Mistakes: as `resolve`.
    """
    ends: Sequence[Any] = dimension.values if isinstance(dimension, Choices) else dimension.ends
    for value in ends:
        resolve({**flatten(plain(config)), key: value})


def as_plain(space: Space) -> dict[str, str]:
    """Return a space as it is written in a file: option -> text, in the order of the names."""
    return {key: str(space[key]) for key in sorted(space)}


def space_hash(space: Space) -> str:
    """Return the sha256 of a space, in hex."""
    return hashlib.sha256(canonical_json(as_plain(space)).encode()).hexdigest()
