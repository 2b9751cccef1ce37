"""Any network of timm as a feature network: `eval.extractor=timm:NAME`, printed `FD[timm:NAME]`.

`timm:NAME@SIDE` brings images to SIDE x SIDE pixels instead of the side that the network was trained with,
and is printed `FD[timm:NAME@SIDE]`. Weights come from the local cache or from `eval.extractor_path`; scoring
never downloads, because without a network the attempt takes a minute of retries. `zoo fetch timm:NAME` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.config import EvalConfig
from zoo_core.errors import MachineError, UsageError, guess
from zoo_core.machine.files import sha256_of
from zoo_core.machine.readback import ahead
from zoo_core.types import DataInfo
from zoo_eval.extractors.classifiers import after_each
from zoo_eval.extractors.fetching import reachable, read_weights
from zoo_eval.extractors.inception import to_rgb_bytes

_FILES = ("model.safetensors", "pytorch_model.bin")
SIDES = range(16, 2049)
"""Sides that may be asked for."""


def split_side(name: str) -> tuple[str, int | None]:
    """Return timm's name of NAME or NAME@SIDE, and the side in pixels; None for the network's own.

    Raises:
        UsageError: for a side that is not a number in SIDES.
    """
    bare, at, side = name.partition("@")
    if not at:
        return bare, None
    if not (side.isascii() and side.isdigit()) or int(side) not in SIDES:
        raise UsageError(
            f"timm:{name} has the side {side!r}",
            f"expected: a number of pixels from {SIDES[0]} to {SIDES[-1]}, as in timm:{bare}@224",
        )
    return bare, int(side)


def _at_side(net: Any, name: str, side: int) -> None:
    """Set the side of the images that a network takes, which a convolutional one need not be told.

    Raises:
        UsageError: where a network of patches has no whole number of them, or can't change its side.
    """
    if not hasattr(net, "set_input_size"):
        if net.pretrained_cfg.get("fixed_input_size", False):
            raise UsageError(f"timm's {name!r} takes images of one side", f"next: eval.extractor=timm:{name}")
        return
    patch = max(getattr(getattr(net, "patch_embed", None), "patch_size", (1,)))
    if side % patch:
        near = max(patch, round(side / patch) * patch)
        raise UsageError(
            f"timm's {name!r} has patches of {patch}x{patch} pixels, and {side} is not a multiple of {patch}",
            f"next: eval.extractor=timm:{name}@{near}",
        )
    net.set_input_size(img_size=(side, side))


def pretrained_config(name: str) -> Any:
    """Return timm's record of a model's weights, inputs and source.

    Raises:
        UsageError: for a name that timm does not know.
    """
    import timm

    bare, _, tag = name.partition(".")
    if not timm.is_model(bare):
        raise UsageError(
            f"timm has no model {bare!r}",
            guess(bare, timm.list_models(), "eval.extractor=timm:{}"),
            "see: python -c 'import timm; print(timm.list_models(\"*PART*\"))'",
        )
    tags = timm.list_pretrained(f"{bare}.*")
    if tag and name not in tags:
        raise UsageError(f"timm has no weights {name!r}", f"weights of {bare}: {', '.join(tags) or 'none'}")
    return timm.get_pretrained_cfg(name)


def cached_weights(name: str) -> Path | None:
    """Return the file of a model's weights where an earlier download left it; None where there is none."""
    from huggingface_hub import try_to_load_from_cache

    found = pretrained_config(name)
    if not found.hf_hub_id:
        return None
    for file in (found.hf_hub_filename, *_FILES):
        path = try_to_load_from_cache(found.hf_hub_id, file) if file else None
        if isinstance(path, str):
            return Path(path)
    return None


def load(name: str, path: Path) -> Any:
    """Return a model without its classifier, all its weights from a file.

    Raises:
        UsageError: where the file lacks some of them, or is of another shape.
    """
    import timm

    weights = read_weights(path)

    def made(seed: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            overlay = {"state_dict": dict(weights)}
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0)

    try:
        net, other = made(0), made(1)
    except (RuntimeError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1].strip()[:200]
        raise UsageError(f"{path} holds other weights than timm's {name!r}", f"reason: {reason}") from error
    # timm leaves what a file lacks at its random start, with a log line: what the file gave does not depend
    # on the seed.
    pairs = zip(net.named_parameters(), other.parameters(), strict=True)
    missing = [key for (key, one), two in pairs if not torch.equal(one, two)]
    if missing:
        raise UsageError(
            f"{path} holds other weights than timm's {name!r}",
            f"it lacks {len(missing)} tensors, such as {missing[0]}",
        )
    return net


class TimmModel:
    """A pooled timm network as an `interfaces.Extractor`; it gives features and no logits.

    Args:
        name: timm's, with or without the weights' tag, and with or without @SIDE.
        path: file of its weights.
        device: where it runs.

    Raises:
        UsageError: for a name, a side or weights that do not fit.
    """

    def __init__(self, name: str, path: Path, device: torch.device | str) -> None:
        from timm.data import resolve_model_data_config

        bare, side = split_side(name)
        pretrained_config(bare)
        net = load(bare, path)
        inputs = resolve_model_data_config(net)
        if side is not None:
            _at_side(net, bare, side)
            inputs["input_size"] = (3, side, side)
        self.net = net.requires_grad_(False).eval().float().to(device)
        self.networks = (self.net,)
        self.device = torch.device(device)
        self.name = f"timm:{name}"
        self.sha256 = sha256_of(path)
        self.dim = int(net.num_features)
        self.size = tuple(inputs["input_size"][1:])
        self.mode = "bilinear" if inputs["interpolation"] == "bilinear" else "bicubic"
        self.mean = torch.tensor(inputs["mean"], device=device)[:, None, None]
        self.std = torch.tensor(inputs["std"], device=device)[:, None, None]
        self.resize = f"{self.mode} to {self.size[0]}x{self.size[1]}, antialiased"
        if side is not None:
            self._try(bare, side)

    def _try(self, name: str, side: int) -> None:
        """Pass one image through the network.

        Raises:
            UsageError: where its layers do not take images of this side.
        """
        try:
            with torch.no_grad():
                self._pooled(torch.zeros(1, 3, *self.size, device=self.device))
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error) else type(error).__name__
            raise UsageError(
                f"timm's {name!r} can't take images of {side}x{side} pixels",
                f"reason: {reason}",
                f"next: a larger side, or eval.extractor=timm:{name}",
            ) from error

    def __call__(self, levels: Tensor, info: DataInfo) -> tuple[Tensor, Tensor | None]:
        """Return (features (n, dim) float32, None) of integer levels (n, 1 or 3, H, W).

        Raises:
            UsageError: for points or another number of channels.
        """
        x = to_rgb_bytes(ahead(levels, self.device), info).to(self.device).float() / 255
        return self._pooled((self._resized(x) - self.mean) / self.std), None

    def _resized(self, x: Tensor) -> Tensor:
        """Return images in [0, 1] at the network's size."""
        return nn.functional.interpolate(
            x, self.size, mode=self.mode, antialias=True, align_corners=False
        ).clamp(0, 1)

    def _pooled(self, x: Tensor) -> Tensor:
        """Return features (n, dim) of the network's input."""
        features: Tensor = self.net(x)
        return features.flatten(2).mean(2) if features.ndim > 2 else features

    def layers(self, shape: tuple[int, ...]) -> list[nn.Module]:
        """Return the parts of a VGG, each ending in its resolution's first rectifier: relu1_1, relu2_1, ...

        Raises:
            UsageError: for a network that is not a sequence of convolutions, or images of neither 1 nor 3
                channels.
        """
        features = getattr(self.net, "features", None)
        if not isinstance(features, nn.Sequential) or not isinstance(features[0], nn.Conv2d):
            raise UsageError(
                f"{self.name} is not a sequence of convolutions",
                "expected: one of timm's vgg, e.g. timm:vgg19",
            )
        if shape[0] not in (1, 3):
            raise UsageError(f"{self.name} can't take images of {shape}", "expected: 1 or 3 channels")
        fresh = True

        def first_of_its_size(layer: nn.Module) -> bool:
            nonlocal fresh
            if isinstance(layer, nn.MaxPool2d):
                fresh = True
            ends = fresh and isinstance(layer, nn.ReLU)
            fresh = fresh and not ends
            return ends

        mean, std = self.mean.detach().clone(), self.std.detach().clone()
        return after_each([Colored(mean, std), *features], first_of_its_size)


class Colored(nn.Module):
    """Images (n, 1 or 3, H, W) in [-1, 1] to the input of a network of ImageNet, (n, 3, H, W)."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        return ((x + 1) / 2 - self.mean) / self.std  # one gray channel becomes three equal ones


def timm_model(config: EvalConfig, device: torch.device | str) -> TimmModel:
    """Return the network that `eval.extractor=timm:NAME` or `timm:NAME@SIDE` names.

    Raises:
        UsageError: for an unknown name, a side that it can't take, or weights that are neither cached nor
            given.
    """
    _, _, name = (config.extractor or "").partition(":")
    if not name:
        raise UsageError("eval.extractor=timm names no model", "expected: eval.extractor=timm:NAME")
    bare, _ = split_side(name)
    return TimmModel(name, weights_of(bare, config, f"timm:{bare}"), device)


def weights_of(name: str, config: EvalConfig, called: str) -> Path:
    """Return the file of a model's weights: the one that a config names, or the cached one.

    Args:
        called: what `zoo fetch` takes for it.

    Raises:
        UsageError: where there is neither, or for a name that timm does not know.
    """
    if config.extractor_path is not None:
        return Path(config.extractor_path).expanduser()
    path = cached_weights(name)
    if path is None:
        raise UsageError(
            f"the weights of timm's {name!r} are not here",
            f"next: zoo fetch {called}, with a network",
            "or: eval.extractor_path=FILE (.safetensors, or a PyTorch state dict)",
        )
    return path


def fetch(name: str) -> Path:
    """Download a timm model's weights into the Hugging Face cache and return their path.

    Args:
        name: as in `timm:NAME`, with or without @SIDE.

    Raises:
        UsageError: for an unknown name.
        MachineError: without a network.
    """
    name, _ = split_side(name)
    found = pretrained_config(name)
    kept = cached_weights(name)
    if kept is not None:
        return kept
    reason = reachable("huggingface.co")
    if reason is not None:
        raise MachineError(
            f"can't download timm's {name!r}: huggingface.co does not answer ({reason})",
            f"next: with a network, zoo fetch timm:{name}; or eval.extractor_path=FILE",
        )
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(found.hf_hub_id, found.hf_hub_filename or _FILES[0]))
    except Exception as error:  # the hub's client has a dozen kinds for "could not"
        raise MachineError(f"can't download timm's {name!r}: {type(error).__name__}: {error}") from error
