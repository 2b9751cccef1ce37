"""Small classifiers that ship with the zoo: feature networks and mode classifiers for images that ImageNet
features do not suit.

A feature network gives the 64 features of the Frechet and kernel distances, and the logits of the Inception
Score. A second classifier, of another architecture and another seed, assigns classes to samples: class
accuracy and distances do not share a network. For color images it is a linear head on effnet-lite0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.config import EvalConfig
from zoo_core.data.loading import to_unit
from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.readback import ahead
from zoo_core.registry.spec import load_target
from zoo_core.types import DataInfo

WEIGHTS = Path(__file__).parent / "weights"
EFFNET = "zoo_eval.extractors.effnet:EffNetLite0"
"""By name, because its module imports this one."""
SPATIAL = 7
"""Channels of a map that spatial features are taken of, as in Nash et al. 2021 (arXiv:2103.03841)."""


class FeatureNet(nn.Module):
    """Convolutions with batch normalization, an embedding of `dim` features, and a linear classifier on it.

    Args:
        size: images are (channels, size, size).
        widths, strides: of the 3x3 convolutions.
        dim: number of features; on real images their mean square is 1.
    """

    def __init__(
        self, channels: int, size: int, widths: list[int], strides: list[int], dim: int, classes: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.last = widths[-1]
        for width, stride in zip(widths, strides, strict=True):
            layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels, size = width, -(-size // stride)
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.embedding = nn.Linear(channels * size * size, dim)
        self.classifier = nn.Linear(dim, classes)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (features (n, dim), logits (n, classes)) of images in [-1, 1]."""
        features, logits, _ = self.with_maps(x)
        return features, logits

    def with_maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, logits, and the last convolution's maps (n, width, places)."""
        maps = self.convolutions(x)
        features = nn.functional.gelu(self.embedding(maps)) * self.scale
        return features, self.classifier(features), maps.unflatten(1, (self.last, -1))


class ConvNet(nn.Module):
    """Two 5x5 convolutions with max-pooling and a hidden layer, without normalization (LeNet's shape)."""

    def __init__(self, channels: int, size: int, widths: list[int], hidden: int, classes: int) -> None:
        super().__init__()
        first, second = widths
        self.layers = nn.Sequential(
            nn.Conv2d(channels, first, 5, padding=2),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5, padding=2),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * (size // 4) ** 2, hidden),
            nn.SiLU(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) of images in [-1, 1]."""
        return self.layers(x)


class EffNetHead(nn.Module):
    """A linear classifier of the 1,280 features of effnet-lite0, for color images.

    The frozen network is loaded at the first call; its weights are not among this module's.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1280, classes)
        self._network: Any = None

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) of images in [-1, 1]."""
        if self._network is None or self._network.device != x.device:
            self._network = load_target(EFFNET)(x.device)
        logits: Tensor = self.linear(self._network.embed((x + 1) / 2))
        return logits


ARCHITECTURES: Mapping[str, type[nn.Module]] = {
    "FeatureNet": FeatureNet,
    "ConvNet": ConvNet,
    "EffNetHead": EffNetHead,
}


def after_each(layers: Iterable[nn.Module], ends: Callable[[nn.Module], bool]) -> list[nn.Module]:
    """Return layers in parts, each ending with one that `ends`; what comes after the last is left out."""
    parts: list[list[nn.Module]] = [[]]
    for layer in layers:
        parts[-1].append(layer)
        if ends(layer):
            parts.append([])
    return [nn.Sequential(*part) for part in parts[:-1]]


def card(name: str) -> dict[str, Any]:
    """Return the card of a shipped classifier: architecture, sha256, accuracies, command.

    Raises:
        MachineError: where the installation lacks it.
    """
    try:
        return json.loads((WEIGHTS / f"{name}.json").read_text())
    except (OSError, ValueError) as error:
        raise MachineError(f"the classifier {name!r} of this installation can't be read: {error}") from error


def shipped(name: str, device: torch.device | str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """Return a shipped classifier, frozen and in evaluation mode, and its card.

    Raises:
        MachineError: where the file is missing or its sha256 is not the card's.
    """
    from safetensors.torch import load

    about = card(name)
    try:
        content = (WEIGHTS / f"{name}.safetensors").read_bytes()
    except OSError as error:
        raise MachineError(f"the weights of {name!r} can't be read: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != about["sha256"]:
        raise MachineError(
            f"the weights of {name!r} are damaged",
            f"sha256 is {found[:16]}..., expected {about['sha256'][:16]}...",
            "next: reinstall genzoo",
        )
    net = ARCHITECTURES[about["architecture"]](**about["options"])
    net.load_state_dict(load(content))
    return net.requires_grad_(False).eval().to(device), about


class ShippedExtractor:
    """A shipped FeatureNet as an `interfaces.Extractor`."""

    spatial = f"the last convolution, the first {SPATIAL} channels"

    def __init__(self, name: str, device: torch.device | str) -> None:
        self.name = name
        self.net, about = shipped(name, device)
        self.sha256: str = about["sha256"]
        self.dim: int = about["options"]["dim"]
        self.shape = tuple(about["shape"])
        self.device = torch.device(device)

    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        """Return (features (n, dim), logits (n, classes)), float32, of integer levels (n, *shape).

        Raises:
            UsageError: where the images have another shape than the network was trained on.
        """
        features, logits, _ = self.with_spatial(levels, info)
        return features, logits

    def with_spatial(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same and spatial features (n, s), of one pass."""
        net: Any = self.net
        x = as_images(ahead(levels, self.device), info, self.shape, self.name)
        features, logits, maps = net.with_maps(x.to(self.device))
        return features, logits, maps[:, :SPATIAL].flatten(1)

    def layers(self, shape: tuple[int, ...]) -> list[nn.Module]:
        """Return the convolutions, each with its normalization and rectifier.

        Raises:
            UsageError: where the images have another shape than the network was trained on.
        """
        if shape != self.shape:
            raise UsageError(
                f"the network {self.name!r} can't take images of {shape}", f"expected: {self.shape}"
            )
        net: Any = self.net
        return after_each(net.convolutions[:-1], lambda layer: isinstance(layer, nn.ReLU))


class Classifier:
    """A shipped ConvNet or EffNetHead: predicts the class of an image.

    Attributes:
        accuracy: on held-out real images.
    """

    def __init__(self, name: str, device: torch.device | str) -> None:
        self.name = name
        self.net, about = shipped(name, device)
        self.sha256: str = about["sha256"]
        self.accuracy: float = about["test_accuracy"]
        self.shape = tuple(about["shape"])
        self.device = torch.device(device)

    def __call__(self, levels: Tensor, info: DataInfo) -> Tensor:
        """Return the predicted class (n,) int64 of integer levels (n, *shape)."""
        x = as_images(ahead(levels, self.device), info, self.shape, self.name)
        return self.net(x.to(self.device)).argmax(1)


def as_images(levels: Tensor, info: DataInfo, shape: tuple[int, ...], name: str) -> Tensor:
    """Return integer levels as images in [-1, 1], once their shape is known to be the network's.

    Raises:
        UsageError: for points, or another shape.
    """
    if info.levels is None or tuple(levels.shape[1:]) != shape:
        raise UsageError(
            f"the extractor {name!r} can't take {info.name!r}: shape {tuple(levels.shape[1:])}",
            f"expected: images of {shape}",
            "next: eval.extractor=inception for images, eval.extractor=raw for anything",
        )
    return to_unit(levels, info.levels)


def digits(config: EvalConfig, device: torch.device | str) -> ShippedExtractor:
    """Return the feature network of the handwritten digits, 8x8."""
    return ShippedExtractor("digits", device)


def mnist(config: EvalConfig, device: torch.device | str) -> ShippedExtractor:
    """Return the feature network of MNIST, 28x28."""
    return ShippedExtractor("mnist", device)
