"""Conditions bound to a denoiser, and guidance: sharper adherence to them, at the price of variety."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from zoo_core.diffusion.denoiser import CountsCalls
from zoo_core.diffusion.levels import on_host
from zoo_core.diffusion.prediction import like
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, HasPosterior, coupling_of
from zoo_core.types import Cond

Classifier = Callable[[Tensor, Tensor], Tensor]
"""(x, sigma) -> (n, K) logits of noisy data, x = x0 + sigma eps."""


class _Wrapped:
    """A denoiser around another: the same levels and start, and its learned variance where it has one."""

    space: Literal["data", "latent"]
    log_var: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __init__(self, inner: Denoiser) -> None:
        self.inner = inner
        self.sigma_min = inner.sigma_min
        self.sigma_max = inner.sigma_max
        self.prior_std = inner.prior_std
        self.levels = inner.levels
        self.space = inner.space
        self.coupling = coupling_of(inner)
        self.calls = 0
        if isinstance(inner, HasPosterior):
            self.log_var = inner.log_var

    def alpha(self, sigma: Tensor) -> Tensor:
        """Return the signal's coefficient, as the inner denoiser has it."""
        return self.inner.alpha(sigma)


class Conditioned(_Wrapped):
    """A denoiser with its conditions bound, as samplers want it: one call of the network each.

    Args:
        inner: a conditional denoiser.
        cond: a row a sample.
    """

    def __init__(self, inner: Denoiser, cond: Cond | None) -> None:
        super().__init__(inner)
        self.cond = cond

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        self.calls += 1
        return self.inner(x, sigma, self.cond)


class ClassifierFree(_Wrapped):
    """Classifier-free guidance: s D(x; cond) + (1 - s) D(x; null).

    Each evaluation costs two of the network, in one batch of 2n rows. The scale s is diffusers': 1 is the
    conditional model, 0 the unconditional one. Ho and Salimans 2022, arXiv:2207.12598, Eq. 6, have s = 1 + w
    (linear in eps, so in x0 too).

    Args:
        inner: a conditional denoiser that was trained on the null condition too.
        cond: a row a sample.
        classes: the null label.
        scale: s.
        clip_x0: clamp the result to [-1, 1], the range of images: beyond s = 1 it leaves it.
    """

    def __init__(
        self, inner: Denoiser, cond: Cond, classes: int, scale: float, *, clip_x0: bool = False
    ) -> None:
        super().__init__(inner)
        null = cond.drop(torch.ones(_rows(cond), dtype=torch.bool, device=_device(cond)), classes)
        self.both = null.followed_by(cond)
        self.scale = scale
        self.clip_x0 = clip_x0

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        self.calls += 2
        levels = sigma if sigma.ndim == 0 else torch.cat((sigma, sigma))
        without, with_cond = self.inner(torch.cat((x, x)), levels, self.both).chunk(2)
        x0 = self.scale * with_cond - (self.scale - 1) * without
        return x0.clamp(-1, 1) if self.clip_x0 else x0


class ClassifierGuided(_Wrapped):
    """Guidance by a classifier of noisy data: x0 + (s - 1) sigma^2 grad log p(label | x).

    It adds (s - 1) grad log p(label | x) to the score, so that s = 1 is the model without guidance. Dhariwal
    and Nichol 2021, arXiv:2105.05233, section 4.1.

    Args:
        inner: a denoiser; given the label too where it is conditional.
        classifier: of noisy data.
        cond: labels, a row a sample.
        scale: s.
        clip_x0: clamp the result to [-1, 1].

    Raises:
        UsageError: where there are no labels to guide by, or no score to add to.
    """

    def __init__(
        self, inner: Denoiser, classifier: Classifier, cond: Cond, scale: float, *, clip_x0: bool = False
    ) -> None:
        super().__init__(inner)
        if cond.label is None:
            raise UsageError("classifier guidance without labels", "expected: cond=CLASS")
        if self.coupling == "dependent":
            raise UsageError(
                "sample.guide=classifier adds to the score, and a model trained on dependent pairs of noise "
                "and data has none",
                "next: sample.guide=free",
            )
        self.classifier = classifier
        self.label = cond.label
        self.cond = cond
        self.scale = scale
        self.clip_x0 = clip_x0

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        self.calls += 2
        x0 = self.inner(x, sigma, self.cond)
        with torch.enable_grad():
            at = x.detach().requires_grad_(True)
            chosen = self.classifier(at, sigma).log_softmax(1).gather(1, self.label[:, None])
            (grad,) = torch.autograd.grad(chosen.sum(), at)
        x0 = x0 + (self.scale - 1) * like(sigma**2, x) * grad
        return x0.clamp(-1, 1) if self.clip_x0 else x0


class AutoGuided(_Wrapped):
    """Autoguidance: s D(x) + (1 - s) W(x), with W a weaker model of the same data.

    Where the two differ, W is the one that errs more, so that s > 1 leads away from its errors; variety is
    not lost to a condition. Each evaluation costs one of either network. Karras et al. 2024, "Guiding a
    Diffusion Model with a Bad Version of Itself", arXiv:2406.02507, Eq. 3.

    Args:
        inner: D.
        weak: W, of the same conditions.
        cond: a row a sample; None for an unconditional model.
        scale: s.
        clip_x0: clamp the result to [-1, 1].
    """

    def __init__(
        self, inner: Denoiser, weak: Denoiser, cond: Cond | None, scale: float, *, clip_x0: bool = False
    ) -> None:
        super().__init__(inner)
        self.weak = weak
        self.cond = cond
        self.scale = scale
        self.clip_x0 = clip_x0

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        self.calls += 2
        weak = self.weak(x, sigma, self.cond)
        x0 = self.scale * self.inner(x, sigma, self.cond) - (self.scale - 1) * weak
        return x0.clamp(-1, 1) if self.clip_x0 else x0


class IntervalGuided(_Wrapped):
    """Guidance at noise levels from low to high, both included, and none at others.

    At high levels guidance takes away variety, at low ones it has little effect: Kynkaanniemi et al. 2024,
    "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models",
    arXiv:2404.07724, Eq. 5. A level without guidance costs the calls of the plain model alone.

    Args:
        guided: the denoiser with guidance.
        plain: the same denoiser without.
        low, high: levels, low < high; high may be infinite.
    """

    def __init__(self, guided: Denoiser, plain: Denoiser, low: float, high: float) -> None:
        super().__init__(plain)
        self.guided = guided
        self.low = low
        self.high = high

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        level = on_host(sigma)
        within = (level >= self.low) & (level <= self.high)
        if bool(within.all()):
            return self._counted(self.guided, x, sigma)
        plain = self._counted(self.inner, x, sigma)
        if not bool(within.any()):
            return plain
        return torch.where(like(within, plain) > 0, self._counted(self.guided, x, sigma), plain)

    def _counted(self, denoise: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
        before = denoise.calls if isinstance(denoise, CountsCalls) else 0
        x0 = denoise(x, sigma)
        self.calls += denoise.calls - before if isinstance(denoise, CountsCalls) else 1
        return x0


def _rows(cond: Cond) -> int:
    return next(len(value) for value in vars(cond).values() if value is not None)


def _device(cond: Cond) -> torch.device:
    return next(value.device for value in vars(cond).values() if value is not None)
