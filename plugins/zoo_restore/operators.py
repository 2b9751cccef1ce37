"""The operators of this distribution: inpaint, uncrop, lowres, blur, gray, jpeg."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from zoo_core.config import Config
from zoo_core.data.corruptions import SMALL, hole
from zoo_core.data.corruptions import jpeg as jpeg_levels
from zoo_core.data.levels import quantize, to_unit
from zoo_core.errors import UsageError
from zoo_core.seeds import generator
from zoo_core.types import DataInfo
from zoo_restore.operator import Operator
from zoo_restore.options import BlurConfig, InpaintConfig, LowresConfig
from zoo_restore.spectrum import KroneckerSpectrum, MaskSpectrum

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue: ITU-R BT.601."""
REACH = 4.0
"""Standard deviations at which a Gaussian kernel is cut off."""


class Masked(Operator):
    """Pixels of a mask are kept, the others are mid-gray (0)."""

    kept: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.kept.to(x)

    @cached_property
    def spectrum(self) -> MaskSpectrum:
        return MaskSpectrum(self.kept)


class Inpaint(Masked):
    """Some pixels are hidden.

    Raises:
        UsageError: for a mask that can't be read, or that hides nothing or everything.
    """

    def __init__(self, config: InpaintConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        _, height, width = data.shape
        hidden = torch.zeros(height, width, dtype=torch.bool)
        if config.mask == "center":
            hidden[hole(height, width)] = True
        elif config.mask == "random":
            hidden = torch.rand(height, width, generator=generator(0, "mask")) < config.fraction
        else:
            hidden = _read_mask(config.mask, height, width)
        if bool(hidden.all()) or not bool(hidden.any()):
            raise UsageError(
                f"operator.mask={config.mask} hides {int(hidden.sum())} of {hidden.numel()} pixels",
                "expected: some of them",
            )
        self.kept = ~hidden.expand(data.shape)


def _read_mask(path: str, height: int, width: int) -> Tensor:
    """Return the white pixels of an image file, (H, W) bool."""
    from PIL import Image

    try:
        with Image.open(Path(path).expanduser()) as image:
            gray = image.convert("L")
            size, values = gray.size, bytes(gray.tobytes())
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(
            f"can't read operator.mask={path}: {error}",
            "expected: center, random, or an image file whose white pixels are hidden",
        ) from error
    if size != (width, height):
        raise UsageError(
            f"operator.mask={path} is {size[0]}x{size[1]}, and images are {width}x{height}",
            "expected: a mask of the size of the images",
        )
    return torch.frombuffer(bytearray(values), dtype=torch.uint8).reshape(height, width) >= 128


class Uncrop(Masked):
    """Only the middle half of each side is kept."""

    def __init__(self, config: Config, data: DataInfo) -> None:
        super().__init__(config, data)
        self.kept = torch.zeros(data.shape, dtype=torch.bool)
        self.kept[(..., *hole(*data.shape[1:]))] = True


class Separable(Operator):
    """A matrix for each axis of an image.

    Args:
        matrices: for channels, rows and columns.
        threshold: singular values below this fraction of the largest are set to 0.
    """

    def __init__(
        self, config: Config, data: DataInfo, matrices: tuple[Tensor, Tensor, Tensor], threshold: float = 1e-9
    ) -> None:
        super().__init__(config, data)
        self.matrices = matrices
        self.threshold = threshold

    @cached_property
    def spectrum(self) -> KroneckerSpectrum:
        return KroneckerSpectrum(self.matrices, self.threshold)

    def __call__(self, x: Tensor) -> Tensor:
        found = self.spectrum
        return found.to_measurement(found.to_coefficients(x) * found.singular.to(x))


def _identity(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64)


class Lowres(Separable):
    """Blocks of pixels are averaged: (C, H, W) to (C, H / factor, W / factor).

    Raises:
        UsageError: for a side that the factor does not divide.
    """

    def __init__(self, config: LowresConfig, data: DataInfo) -> None:
        channels, height, width = data.shape
        factor = config.factor or (2 if min(height, width) < SMALL else 4)
        if height % factor or width % factor:
            raise UsageError(
                f"operator.factor={factor} does not divide the sides of images of {height}x{width}",
                "next: operator.factor=2, or another divisor of both",
            )
        self.factor = factor
        rows, columns = (
            _identity(side // factor).repeat_interleave(factor, 1) / factor for side in (height, width)
        )
        super().__init__(config, data, (_identity(channels), rows, columns))

    def view(self, y: Tensor) -> Tensor:
        """Return each value as a block of pixels, at full size."""
        return y.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)


class Blur(Separable):
    """A Gaussian blur; the border is replicated outwards."""

    def __init__(self, config: BlurConfig, data: DataInfo) -> None:
        channels, height, width = data.shape
        std = config.std or (1.0 if min(height, width) < SMALL else 2.0)
        kernels = (_blur_matrix(height, std), _blur_matrix(width, std))
        super().__init__(config, data, (_identity(channels), *kernels), config.threshold)

    def view(self, y: Tensor) -> Tensor:
        return y

    def read(self, image: Tensor) -> Tensor:
        return image


def _blur_matrix(size: int, std: float) -> Tensor:
    """Return the convolution with a normalized Gaussian kernel, (size, size) float64."""
    reach = max(1, round(REACH * std))
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-offsets.double().square() / (2 * std**2))
    places = (torch.arange(size)[:, None] + offsets).clamp(0, size - 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, places, (weights / weights.sum()).expand(size, -1))


class Gray(Separable):
    """The luminance of color images, (1, H, W).

    Raises:
        UsageError: for images of one channel.
    """

    def __init__(self, config: Config, data: DataInfo) -> None:
        channels, height, width = data.shape
        if channels != 3:
            raise UsageError(
                f"operator=gray needs color images, and those of {data.name!r} have {channels} channel",
                "next: another operator, such as lowres or inpaint",
            )
        weights = torch.tensor([LUMINANCE], dtype=torch.float64)
        super().__init__(config, data, (weights, _identity(height), _identity(width)))

    def view(self, y: Tensor) -> Tensor:
        return y


class JPEG(Operator):
    """JPEG of quality 10, rounded to the data's gray levels: neither linear nor differentiable.

    Raises:
        UsageError: for images of another number of channels than 1 or 3.
    """

    def __init__(self, config: Config, data: DataInfo) -> None:
        super().__init__(config, data)
        if data.shape[0] not in (1, 3):
            raise UsageError(f"JPEG of images with {data.shape[0]} channels", "expected: 1 or 3 channels")

    def __call__(self, x: Tensor) -> Tensor:
        count = self.data.levels or 256
        return to_unit(jpeg_levels(quantize(x.detach(), count), count), count).to(x)

    def inverse(self, y: Tensor) -> Tensor:
        """Return y: the decoded image is an image whose JPEG is nearly the same."""
        return y

    def read(self, image: Tensor) -> Tensor:
        return image
