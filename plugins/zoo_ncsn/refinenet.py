"""The network of the first NCSN: refinement blocks over dilated convolutions, norms for each noise level.

Song and Ermon 2019, arXiv:1907.05600, appendix A; the cascade is RefineNet's (Lin et al. 2017,
arXiv:1611.06612). On the way down there are four stages of residual blocks, of which only the second halves
the side and the last two look further by dilation; on the way up each is fused with the deeper ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.types import Cond


class LevelNorm(nn.Module):
    """Instance normalization with weights for each level, which keeps the differences between channel means.

        gamma_i ((x - mu) / s + alpha_i (mu - m) / v) + beta_i

    mu and s are of a channel over its pixels, m and v the mean and standard deviation of mu over channels.
    Appendix A.1 of the paper, "CondInstanceNorm++".

    Args:
        features: channels.
        levels: of the schedule.
    """

    def __init__(self, features: int, levels: int) -> None:
        super().__init__()
        self.table = nn.Embedding(levels, 3 * features)
        nn.init.normal_(self.table.weight[:, : 2 * features], 1.0, 0.02)
        nn.init.zeros_(self.table.weight[:, 2 * features :])

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        gamma, alpha, beta = self.table(level)[:, :, None, None].chunk(3, 1)
        mean = x.mean((2, 3), keepdim=True)
        between = (mean - mean.mean(1, keepdim=True)) * (mean.var(1, keepdim=True) + 1e-5).rsqrt()
        return gamma * (F.instance_norm(x) + alpha * between) + beta


class NormConv(nn.Module):
    """A norm, what comes between, and a 3x3 convolution.

    Args:
        features, out: channels before and after.
        levels: of the schedule.
        between: activation, ELU by default.
        dilation: of the convolution.
        bias: whether the convolution has one.
    """

    def __init__(
        self,
        features: int,
        out: int,
        levels: int,
        between: nn.Module | None = None,
        *,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.norm = LevelNorm(features, levels)
        self.between = nn.ELU() if between is None else between
        self.conv = nn.Conv2d(features, out, 3, padding=dilation, dilation=dilation, bias=bias)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.conv(self.between(self.norm(x, level)))


class Residual(nn.Module):
    """Two convolutions beside a shortcut; their sum is then pooled.

    Args:
        features, out: channels before and after.
        levels: of the schedule.
        shortcut: from the one to the other.
        pool: pooling of the sum.
        dilation: of the convolutions.
    """

    def __init__(
        self, features: int, out: int, levels: int, shortcut: nn.Module, pool: nn.Module, dilation: int
    ) -> None:
        super().__init__()
        self.first = NormConv(features, features, levels, dilation=dilation)
        self.second = NormConv(features, out, levels, dilation=dilation)
        self.shortcut = shortcut
        self.pool = pool

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.pool(self.shortcut(x) + self.second(self.first(x, level), level))


class Units(nn.Module):
    """Residual units of two convolutions without biases."""

    def __init__(self, features: int, count: int, levels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            NormConv(features, features, levels, bias=False) for _ in range(2 * count)
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = x + second(first(x, level), level)
        return x


class Refinement(nn.Module):
    """Fuses a stage with what lies deeper, at the stage's side, and pools over ever wider neighborhoods.

    Args:
        features: channels of each input, the stage's own first.
        out: channels.
        levels: of the schedule.
        units: residual units at the end.
    """

    def __init__(self, features: Sequence[int], out: int, levels: int, units: int = 1) -> None:
        super().__init__()
        self.adapt = nn.ModuleList(Units(each, 2, levels) for each in features)
        fused = features if len(features) > 1 else ()
        self.fuse = nn.ModuleList(NormConv(each, out, levels, nn.Identity()) for each in fused)
        self.chain = nn.ModuleList(
            NormConv(out, out, levels, nn.AvgPool2d(5, stride=1, padding=2), bias=False) for _ in range(2)
        )
        self.last = Units(out, units, levels)

    def forward(self, xs: Sequence[Tensor], level: Tensor) -> Tensor:
        side = xs[0].shape[2:]
        hs = [adapt(x, level) for adapt, x in zip(self.adapt, xs, strict=True)]
        if self.fuse:
            fused = [fuse(h, level) for fuse, h in zip(self.fuse, hs, strict=True)]
            hs = [F.interpolate(h, side, mode="bilinear", align_corners=True) for h in fused]
        path = x = F.elu(torch.stack(hs).sum(0))
        for pooled in self.chain:
            path = pooled(path, level)
            x = x + path
        return self.last(x, level)


class RefineNet(nn.Module):
    """Images to images, at one noise level of a schedule.

    Args:
        channels: of the images.
        features: of the first stage; the others have twice as many. The paper's 128 and 10 levels make
            30,117,635 parameters for images in color.
        levels: of the schedule.
    """

    def __init__(self, channels: int, features: int, levels: int) -> None:
        super().__init__()
        one, two = features, 2 * features

        def stage(
            given: int, out: int, shortcut: nn.Module, pool: nn.Module, dilation: int
        ) -> list[Residual]:
            enter = Residual(given, out, levels, shortcut, pool, dilation)
            return [enter, Residual(out, out, levels, nn.Identity(), nn.Identity(), dilation)]

        def dilated(by: int) -> nn.Module:
            return nn.Conv2d(two, two, 3, padding=by, dilation=by)

        self.first = nn.Conv2d(channels, one, 3, padding=1)
        self.blocks = nn.ModuleList(
            [
                *stage(one, one, nn.Identity(), nn.Identity(), 1),
                *stage(one, two, nn.Conv2d(one, two, 1), nn.AvgPool2d(2, ceil_mode=True), 1),
                *stage(two, two, dilated(2), nn.Identity(), 2),
                *stage(two, two, dilated(4), nn.Identity(), 4),
            ]
        )
        self.refinements = nn.ModuleList(
            [
                Refinement((two,), two, levels),
                Refinement((two, two), two, levels),
                Refinement((two, two), one, levels),
                Refinement((one, one), one, levels, units=3),
            ]
        )
        self.last = NormConv(one, channels, levels)

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the output, like x: x (n, C, H, W) at levels t, (n,) in 1..levels; no condition is read."""
        level = t.long() - 1
        h = self.first(x)
        found = []
        for enter, stay in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            h = stay(enter(h, level), level)
            found.append(h)
        deeper: list[Tensor] = []
        for refinement in self.refinements:
            deeper = [refinement([found.pop(), *deeper], level)]
        return self.last(deeper[0], level)
