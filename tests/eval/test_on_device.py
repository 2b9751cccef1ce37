"""Metrics are computed where features are: nothing that is computed from them meets a tensor of the host.

There need be no GPU: a dispatch mode follows what is computed from the features, and finds operations that
mix it with tensors that were made on the host, which a GPU refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from zoo_eval.features import arithmetic_device
from zoo_eval.metrics import by_class, frechet, kernel, points, prdc, translation, trivial
from zoo_eval.metrics.inception_score import divergences, inception_score
from zoo_eval.statistics import intervals
from zoo_eval.statistics.intervals import interval, means_by_counts, resampled_means

aten = torch.ops.aten
INDEXING = (aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default)
"""Operations whose indices may be on the host."""
UNSEEN = (aten.masked_fill.Scalar,)
"""In `quantile`, of probabilities that `new_tensor` has put on the device, which no mode sees."""


class OneDevice(TorchDispatchMode):
    """Follows tensors, and lists the operations that mix them with others of at least one dimension."""

    def __init__(self, *tensors: Tensor) -> None:
        super().__init__()
        self.there = {id(t): t for t in tensors}
        self.mixed: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [t for t in tree_flatten((args, kwargs or {}))[0] if isinstance(t, Tensor)]
        there = [t for t in given if id(t) in self.there]
        here = [t for t in given if id(t) not in self.there and t.ndim]
        if there and here and func not in UNSEEN and not (func in INDEXING and id(args[0]) in self.there):
            self.mixed.append(str(func))
        made = func(*args, **(kwargs or {}))
        if there:
            self.there |= {id(t): t for t in tree_flatten(made)[0] if isinstance(t, Tensor)}
        return made


def features(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distances(real: Tensor, fake: Tensor) -> object:
    moments = frechet.moments(real), frechet.moments(fake)
    return (
        frechet.distance(*moments),
        frechet.influence(*moments, fake),
        frechet.at_infinity(moments[0], fake),
    )


def kernels(real: Tensor, fake: Tensor) -> object:
    within, across = kernel.polynomial_kernel(fake, fake), kernel.polynomial_kernel(fake, real)
    return interval(0.0, kernel.kernel_influence(within, across), n=500)


def scores(real: Tensor, fake: Tensor) -> object:
    return inception_score(fake, splits=2), interval(1.0, divergences(fake))


def classes(real: Tensor, fake: Tensor) -> object:
    """The labels are on the host, as data have them."""
    labels = torch.arange(len(real)) % 3, torch.arange(len(fake)) % 3
    return by_class.class_distances(real, labels[0], fake, labels[1])


def of_points(real: Tensor, fake: Tensor) -> object:
    return points.transport(real, fake), points.squared_mmd(real, fake, points.bandwidth(real))


def images(real: Tensor, fake: Tensor) -> object:
    """Too small for the structural similarity, whose window is made where the images are."""
    made, target = (x[:80].float().view(40, 1, 4, 4) for x in (fake, real))
    makes = trivial.translations(zip(made.split(15), target.split(15), strict=True), "lowres")
    pairs = zip(made.split(7), target.split(7), strict=True)
    return [translation.compared(make(a), b) for a, b in pairs for make in makes.values()]


WORK: dict[str, Callable[[Tensor, Tensor], object]] = {
    "distance": distances,
    "few samples": lambda real, fake: distances(real[:6], fake[:6]),
    "checked": lambda real, fake: frechet.check_pair(real, fake),
    "kernel": kernels,
    "neighborhoods": prdc.values,
    "scores": scores,
    "classes": classes,
    "points": of_points,
    "translations": images,
}


@pytest.mark.parametrize("name", WORK)
def test_nothing_meets_a_tensor_of_the_host(name: str) -> None:
    real, fake = features(90, 8, 0), features(80, 8, 1)
    with OneDevice(real, fake) as watch:
        WORK[name](real, fake)
    assert watch.mixed == []
    assert len(watch.there) > 2


def test_what_mixes_is_found() -> None:
    """The check itself: arithmetic, a write into a tensor of the host; an index of the host is allowed."""
    x = features(4, 2, 0)
    with OneDevice(x) as watch:
        x[torch.tensor([1, 0])].sum()
        assert watch.mixed == []
        x + torch.ones(2, dtype=torch.float64)
        torch.zeros(4, dtype=torch.float64)[torch.arange(4)] = x[:, 0]
    assert len(watch.mixed) >= 2


@pytest.mark.parametrize(("m", "n"), [(50, 50), (40, 700), (3, 2000)])
def test_the_bootstrap_by_counts_is_the_bootstrap(m: int, n: int) -> None:
    """Catches other samples on a GPU than on a CPU; with three numbers a count exceeds a byte."""
    values = features(m, 1, 2)[:, 0]
    torch.testing.assert_close(means_by_counts(values, n), resampled_means(values, n), rtol=1e-12, atol=1e-14)
    assert (int(intervals._counts(m, n).max()) == 255) == (m == 3)


def test_the_distance_on_a_gpu_is_that_of_torchmetrics() -> None:
    real, fake = features(300, 8, 0), features(200, 8, 1) * 1.3
    ours = frechet.distance(frechet.moments(real), frechet.moments(fake))
    assert ours == pytest.approx(frechet.frechet_distance(real, fake), rel=1e-9)


def test_a_device_without_float64_leaves_arithmetic_to_the_cpu() -> None:
    assert arithmetic_device("mps") == torch.device("cpu")
    assert arithmetic_device("cuda:1") == torch.device("cuda:1")
    assert arithmetic_device("cpu") == torch.device("cpu")
