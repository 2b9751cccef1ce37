"""Conformance of an operator: whether it is what its spec says, for ours and for those of third parties."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from zoo_core.errors import PluginError
from zoo_core.registry.spec import load_target
from zoo_core.testing.results import Failed, NotApplicable, Result, perform
from zoo_core.types import DataInfo
from zoo_restore.operator import Operator
from zoo_restore.registry import operator, options_of
from zoo_restore.spec import OperatorSpec

COLOR = DataInfo("color", (3, 16, 16), 256)
"""Images that an operator is checked on unless others are given."""
CLOSE = 1e-8
"""Largest difference of numbers in float64 that should be equal, relative to the largest magnitude."""
SLOPE = 1e-5
"""Largest relative difference of a gradient from a finite difference."""
STEP = 1e-6
"""Of a finite difference."""


class OperatorSubject:
    """An operator on images of one shape.

    Args:
        spec: of the operator.
        data: what the images are.
        options: texts of its options, without "operator.".

    Raises:
        PluginError: where its target can't be loaded.
        Mistakes, UsageError: for options or images that it refuses.
    """

    kind = "operator"

    def __init__(self, spec: OperatorSpec, data: DataInfo = COLOR, **options: str) -> None:
        self.spec = spec
        self.data = data
        self.case = "x".join(map(str, data.shape))
        made = load_target(spec.target)(options_of(spec, options), data)
        if not isinstance(made, Operator):
            raise PluginError(
                f"{spec.target} built a {type(made).__name__}", "expected: a zoo_restore.operator.Operator"
            )
        self.degrade: Operator = made

    @cached_property
    def images(self) -> Tensor:
        """Four rough and four smooth images, (8, *shape) float64 in [-1, 1]."""
        rng = torch.Generator().manual_seed(0)
        rough = torch.rand(4, *self.data.shape, generator=rng, dtype=torch.float64) * 2 - 1
        return torch.cat((rough, torch.nn.functional.avg_pool2d(rough, 5, 1, 2)))

    @cached_property
    def measured(self) -> Tensor:
        """Measurements of the images."""
        return self.degrade(self.images)

    def needs(self, capability: str) -> None:
        """Raise NotApplicable where the spec does not state a capability."""
        if not getattr(self.spec, capability):
            raise NotApplicable(f"its spec does not say {capability}=True")


def _same(found: Tensor, expected: Tensor, what: str, do: str) -> None:
    """Raise Failed where two tensors differ by more than `CLOSE`."""
    if found.shape != expected.shape:
        raise Failed(f"{what}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}", do)
    gap = float((found - expected).abs().max())
    if not gap <= CLOSE * max(1.0, float(expected.abs().max())):
        raise Failed(f"{what}: they differ by {gap:.3g}", do)


def measurements_depend_on_their_image_alone(subject: OperatorSubject) -> None:
    """Two calls are equal, each image alone gives its own measurement, and the dtype is the images'."""
    degrade, x, y = subject.degrade, subject.images, subject.measured
    if y.dtype != x.dtype or len(y) != len(x):
        raise Failed(
            f"of {len(x)} images in {x.dtype} it made {len(y)} measurements in {y.dtype}",
            "return one measurement for each image; bring tables to x with .to(x)",
        )
    if not torch.equal(y, degrade(x)):
        raise Failed("two calls on the same images differ", "draw no random numbers in __call__")
    for k in range(len(x)):
        _same(
            degrade(x[k : k + 1]),
            y[k : k + 1],
            "an image alone and in a batch",
            "use nothing of the batch's other images",
        )


def measurements_can_be_seen_and_read(subject: OperatorSubject) -> None:
    """`view` returns an image of each measurement, and `read` the measurement of each degraded image."""
    degrade, x, y = subject.degrade, subject.images, subject.measured
    shown, read = degrade.view(y), degrade.read(x)
    if shown.ndim != 4 or len(shown) != len(x):
        raise Failed(f"view returned shape {tuple(shown.shape)}", "return images (n, C', H', W')")
    if read.shape != y.shape:
        raise Failed(
            f"read returned shape {tuple(read.shape)}, and measurements have {tuple(y.shape)}",
            "return the measurements that degraded images stand for",
        )


def a_linear_operator_is_linear(subject: OperatorSubject) -> None:
    """A(2 a - 3 b) is 2 A(a) - 3 A(b), and A(0) is 0."""
    subject.needs("linear")
    degrade, (a, b) = subject.degrade, subject.images.chunk(2)
    do = "leave linear=True out of the spec, or add no constant and nothing that is not linear"
    _same(degrade(2 * a - 3 * b), 2 * degrade(a) - 3 * degrade(b), "A(2 a - 3 b) and 2 A(a) - 3 A(b)", do)
    if bool((degrade(torch.zeros_like(a)) != 0).any()):
        raise Failed("A(0) is not 0", do)


def the_decomposition_is_of_the_operator(subject: OperatorSubject) -> None:
    """V and U keep lengths, U S V^T x is A x, U^T A x is S V^T x, and `inverse` is of least length."""
    subject.needs("linear")
    degrade, x, y = subject.degrade, subject.images, subject.measured
    s, do = degrade.spectrum, "correct `spectrum`, or leave it out: the base class computes it"
    if bool((s.singular < 0).any()):
        raise Failed("a singular value is negative", do)
    c = s.to_coefficients(x)
    _same(s.to_image(c), x, "V V^T x and x", do)
    _same(c.square().sum(1), x.flatten(1).square().sum(1), "the lengths of V^T x and x", do)
    _same(s.to_measurement(c * s.singular), y, "U S V^T x and A x", do)
    _same(s.measured(y), c * s.singular, "U^T A x and S V^T x", do)
    inverse = degrade.inverse(y)
    longest = float((inverse.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)).max())
    if longest > 1 + 1e-6:
        raise Failed(
            f"the pseudo-inverse of A x is {longest:.4g} times as long as x",
            "return the shortest image with that measurement, or leave `inverse` out",
        )


def the_inverse_gives_the_measurement_back(subject: OperatorSubject) -> None:
    """A(inverse(y)) is y of y = A(x), within the tolerance of the spec, and nearer to it than A(0)."""
    subject.needs("pseudo_inverse")
    degrade, x, y = subject.degrade, subject.images, subject.measured
    inverse = degrade.inverse(y)
    do = "correct `inverse`, state its tolerance in the spec, or leave pseudo_inverse=True out"
    if inverse.shape != x.shape:
        raise Failed(f"inverse returned shape {tuple(inverse.shape)}, images have {tuple(x.shape)}", do)
    gap = (degrade(inverse) - y).abs()
    if not float(gap.max()) <= subject.spec.tolerance:
        raise Failed(
            f"A(inverse(y)) differs from y by {float(gap.max()):.3g}, and the spec says at most"
            f" {subject.spec.tolerance:g}",
            do,
        )
    if not float(gap.mean()) < float((degrade(torch.zeros_like(x)) - y).abs().mean()):
        raise Failed("A(inverse(y)) is not nearer to y than A(0)", do)


def gradients_are_what_the_spec_says(subject: OperatorSubject) -> None:
    """They are those of a finite difference, or there are none where the spec does not say differentiable."""
    degrade, images = subject.degrade, subject.images
    x = images[:1].clone().requires_grad_(True)
    y = degrade(x)
    if not subject.spec.differentiable:
        if y.requires_grad:
            raise Failed(
                "gradients flow through it, and its spec does not say differentiable=True",
                "say so in the spec, or use x.detach()",
            )
        return
    if not y.requires_grad:
        raise Failed("no gradient flows through it", "leave differentiable=True out, or detach nothing")
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    direction = images[1:2]
    with torch.no_grad():
        ahead, behind = (degrade(x + sign * STEP * direction).square().sum() for sign in (1, -1))
    slope, found = float((ahead - behind) / (2 * STEP)), float((gradient * direction).sum())
    if not abs(found - slope) <= SLOPE * max(abs(slope), 1e-3):
        raise Failed(
            f"a directional derivative is {found:.6g}, and {slope:.6g} by a finite difference",
            "leave differentiable=True out of the spec, or correct the gradient",
        )


def a_mask_keeps_pixels(subject: OperatorSubject) -> None:
    """`kept` is a bool for each value of an image, and A(x) is x there and 0 elsewhere."""
    subject.needs("mask")
    kept = getattr(subject.degrade, "kept", None)
    do = "set `kept`, (C, H, W) bool, and return x * kept; or leave mask=True out of the spec"
    if not isinstance(kept, Tensor) or kept.dtype != torch.bool or tuple(kept.shape) != subject.data.shape:
        raise Failed("it has no attribute `kept` of bools of the shape of an image", do)
    if not torch.equal(subject.measured, subject.images * kept):
        raise Failed("A(x) is not x where `kept` is true and 0 elsewhere", do)


CHECKS: tuple[Callable[[OperatorSubject], None], ...] = (
    measurements_depend_on_their_image_alone,
    measurements_can_be_seen_and_read,
    a_linear_operator_is_linear,
    the_decomposition_is_of_the_operator,
    the_inverse_gives_the_measurement_back,
    gradients_are_what_the_spec_says,
    a_mask_keeps_pixels,
)


def check_operator(spec: OperatorSpec, data: DataInfo = COLOR, **options: str) -> None:
    """Check that an operator is what its spec says.

    Args:
        spec: of the operator; its target is loaded.
        data: images that it is checked on; random ones of that shape.
        options: texts of its options, without "operator.".

    Raises:
        Failed: with what is wrong, and what to do.
        PluginError, Mistakes, UsageError: where it can't be built.
    """
    subject = OperatorSubject(spec, data, **options)
    for check in CHECKS:
        try:
            check(subject)
        except NotApplicable:
            continue


def examine(name: str, data: DataInfo = COLOR) -> Iterator[Result]:
    """Yield the result of each check of an installed operator.

    Raises:
        NotFoundError: where there is none of that name.
        ZooError: where it can't be built.
    """
    subject = OperatorSubject(operator(name), data)
    for check in CHECKS:
        yield perform(check, subject)
