"""InceptionV3 as the literature's FID has it: the network and weights of 2015, through torch-fidelity.

Images are brought to 299x299 by TensorFlow 1's bilinear grid without antialiasing, as published figures
were; one pass gives the 2,048 pooled features and the 1,008 logits without bias of the Inception Score.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from zoo_core.config import EvalConfig
from zoo_core.errors import UsageError
from zoo_core.machine.files import sha256_of
from zoo_core.machine.readback import ahead
from zoo_core.types import DataInfo
from zoo_eval.extractors.classifiers import SPATIAL
from zoo_eval.extractors.fetching import INCEPTION, read_weights, require


def to_rgb_bytes(levels: Tensor, info: DataInfo) -> Tensor:
    """Return integer levels as uint8 RGB, (n, 3, H, W): L levels spread over 0 to 255, gray repeated.

    Raises:
        UsageError: for points, or images that have neither 1 nor 3 channels.
    """
    if info.levels is None or levels.shape[1] not in (1, 3):
        raise UsageError(
            f"a network of photographs can't see {info.name!r}: shape {tuple(levels.shape[1:])}",
            "expected: images of 1 or 3 channels",
            "next: eval.extractor=raw",
        )
    if info.levels != 256:
        levels = (levels.double() * (255 / (info.levels - 1))).round()
    return levels.to(torch.uint8).expand(-1, 3, -1, -1)


class Inception:
    """The network as an `interfaces.Extractor`; named "inception" only with the published weights."""

    dim = 2048
    spatial = "Mixed_6d.branch1x1, the first 7 channels of 17x17"
    resize = "TensorFlow 1 bilinear to 299x299, not antialiased"

    def __init__(self, path: Path, sha256: str, device: torch.device | str) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        read_weights(path)  # refuses code in the file, which torch-fidelity's own reader would run
        try:
            net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(path))
        except RuntimeError as error:
            raise UsageError(
                f"{path} holds other weights than this InceptionV3's",
                f"reason: {str(error).strip().splitlines()[-1].strip()[:200]}",
                "expected: a state dict in torch-fidelity's format; zoo fetch inception",
            ) from error
        for module in net.modules():  # a frozen normalization is a factor of the weights before it
            if hasattr(module, "conv") and hasattr(module, "bn"):
                module.conv = nn.utils.fuse_conv_bn_eval(module.conv.eval(), module.bn.eval())
                module.bn = nn.Identity()
        # A quarter less time than with channels first.
        self.net = net.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
        self.device = torch.device(device)
        self.sha256 = sha256
        self.name = "inception" if sha256 == INCEPTION.sha256 else f"inception-{sha256[:8]}"
        self._map: list[Tensor] = []
        net.Mixed_6d.branch1x1.register_forward_hook(lambda module, given, found: self._keep(found))

    def _keep(self, found: Tensor) -> None:
        self._map = [found[:, :SPATIAL].flatten(1)]

    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        """Return (features (n, 2048), logits (n, 1008)), float32, of integer levels (n, 1 or 3, H, W).

        Raises:
            UsageError: for points or another number of channels.
        """
        features, logits, _ = self.with_spatial(levels, info)
        return features, logits

    def with_spatial(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same and spatial features (n, 2023), of one pass."""
        features, logits = self.net(to_rgb_bytes(ahead(levels, self.device), info).to(self.device))
        return features, logits, self._map.pop()


def inception(config: EvalConfig, device: torch.device | str) -> Inception:
    """Return InceptionV3 with the published weights, or with those of `eval.extractor_path`.

    Raises:
        UsageError, MachineError: where the weights are missing, damaged or another network's.
    """
    if config.extractor_path is None:
        return Inception(require(INCEPTION, "inception"), INCEPTION.sha256, device)
    path = Path(config.extractor_path).expanduser()
    if not path.is_file():
        raise UsageError(
            f"no file {str(path)!r}", "expected: eval.extractor_path=FILE with InceptionV3's weights"
        )
    return Inception(path, sha256_of(path), device)
