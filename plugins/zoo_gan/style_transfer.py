"""Arbitrary style transfer by AdaIN (Huang and Belongie 2017, arXiv:1703.06868).

A frozen encoder f gives the maps of a content image c and of a style image s; AdaIN gives the content's
maps the mean and deviation of the style's, channel by channel, and a decoder g paints what has these maps:

    t = AdaIN(f(c), f(s)),    L = E |f(g(t)) - t|^2 + lambda sum_i E |mu_i(g(t)) - mu_i(s)|^2
                                                               + E |sigma_i(g(t)) - sigma_i(s)|^2,

with mu_i and sigma_i those of the encoder's i-th map (Eq. 8 and 11 to 13; the norms are mean squares, as in
the paper's code). There is no critic. Only the decoder is trained; it mirrors the encoder.

Content is drawn from the domain translated from, styles from the domain translated to. By default both are
halves of one dataset. The encoder is the dataset's default extractor, in whose features its Frechet distance
is measured too: effnet-lite0 for color images, the shipped classifier for digits. The paper's is VGG-19
(model.encoder=timm:vgg19), for natural images, if its weights are available. Samples are held-out images in
another style: their distances do not measure novelty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from zoo_core.config import (
    DEFAULTS,
    Config,
    DataConfig,
    EmaConfig,
    EvalConfig,
    OptimizerConfig,
    Preset,
    RunConfig,
    SampleConfig,
    TrainConfig,
)
from zoo_core.data.loading import TrainData
from zoo_core.errors import UsageError, ZooError
from zoo_core.interfaces import HasLayers
from zoo_core.nn.adain import adain, statistics
from zoo_core.registry.manager import load_entry, manager
from zoo_core.seeds import Seeds, generator
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.training.stated import adam, ema
from zoo_core.types import Batch, Context, DataInfo, Loss, SampleRequest, Samples

VGG = "timm:vgg19"


class StyleTransferModel(Config):
    """The encoder, and the terms of the decoder's loss."""

    encoder: str = ""
    """Frozen encoder: timm:vgg19, or another registered extractor that exposes its layers; empty for the
    default extractor of the dataset."""
    encoder_path: str | None = None
    """File with the weights of the encoder, if they are not in the cache."""
    layers: int = Field(2, ge=1)
    """Maximum number of encoder layers that are compared; AdaIN is applied to the last. The fourth of VGG-19
    is relu4_1. In the third of the digits classifier AdaIN leaves digits illegible."""
    style_weight: float = Field(10.0, ge=0)
    """Weight lambda of the style loss."""
    gallery: int = Field(256, ge=1)
    """Number of training images that are kept as styles for sampling."""


class StyleTransferOptim(Config):
    """The optimizer."""

    decoder: OptimizerConfig = OptimizerConfig(lr=2e-3, schedule="cosine")
    """Optimizer of the decoder."""


class StyleTransferSample(SampleConfig):
    """How samples are drawn."""

    alpha: float = Field(0.75, ge=0, le=1)
    """Strength of the style: the decoder receives (1 - alpha) f(c) + alpha AdaIN(f(c), f(s)); 0 reconstructs
    the content."""


class StyleTransferConfig(RunConfig):
    """Style transfer by AdaIN."""

    PRESETS = {
        "paper": Preset(
            {
                "model.encoder": VGG,
                "model.layers": 4,
                "model.style_weight": 10.0,
                "model.gallery": 64,
                **adam("optim.decoder", lr=1e-4, betas=(0.9, 0.999)),
                "train.batch_size": 8,
                "train.steps": 160_000,
                **ema(),
                "sample.alpha": 1.0,
            },
            "Huang and Belongie 2017, section 6, and its code, for images of 256x256: data=folder "
            "data.pairs=folders data.size=256, content in A and styles in B",
        ),
        "tiny": Preset(
            {
                "model.gallery": 16,
                "train.steps": 20,
                "train.batch_size": 16,
                "train.log_every": 5,
                "train.ema.decay": 0.9,
            },
            "a few seconds, for tests",
        ),
        "default@image<=16": DEFAULTS,
        "default@image<=48": Preset(
            {"train.steps": 2300}, "for 28x28 and 32x32: sized for eight minutes of one core"
        ),
    }

    data: DataConfig = DataConfig(source="itself")
    """Data."""
    model: StyleTransferModel = StyleTransferModel()
    """Networks and losses."""
    optim: StyleTransferOptim = StyleTransferOptim()
    """Optimizers."""
    sample: StyleTransferSample = StyleTransferSample()
    """Sampling."""
    train: TrainConfig = TrainConfig(steps=1000, batch_size=64, ema=EmaConfig(decay=0.99))
    """Training."""


class FrozenEncoder(nn.Module):
    """A feature network's maps, with gradients by the image and none by its weights.

    It stays in evaluation mode whatever the recipe is in: a batch norm in it keeps its statistics.

    Args:
        parts: in order, each ending where a map is taken.
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenEncoder:
        return super().train(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps of images (n, C, H, W), one for each part."""
        maps = []
        for part in self.parts:
            x = part(x)
            maps.append(x)
        return maps


class MirrorDecoder(nn.Module):
    """The encoder back to front: a convolution for each of its convolutions, doubling where it pools.

    Padding is by reflection, upsampling by the nearest pixel, and nothing is normalized (section 6).

    Args:
        encoder: in evaluation mode.
        shape: (C, H, W) of an image.
    """

    def __init__(self, encoder: FrozenEncoder, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.sides: list[tuple[int, int]] = []
        convolutions: list[nn.Module] = []

        def seen(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            _, channels, height, width = inputs[0].shape
            self.sides.append((height, width))
            if isinstance(layer, nn.Conv2d):
                outer = channels if len(convolutions) else shape[0]
                convolutions.append(nn.Conv2d(layer.out_channels, outer, 3))
            else:
                convolutions.append(nn.Identity())

        walked = [m for m in encoder.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
        hooks = [layer.register_forward_pre_hook(seen) for layer in walked]
        encoder(torch.zeros(1, *shape))
        for hook in hooks:
            hook.remove()
        self.sides.reverse()
        self.convolutions = nn.ModuleList(reversed(convolutions))

    def forward(self, maps: Tensor) -> Tensor:
        """Return images (n, *shape), unbounded, of the encoder's last maps."""
        last = len(self.sides) - 1
        for place, (layer, sides) in enumerate(zip(self.convolutions, self.sides, strict=True)):
            if isinstance(layer, nn.Conv2d):
                maps = layer(F.pad(maps, (1, 1, 1, 1), mode="reflect"))
                maps = maps if place == last else F.relu(maps)
            if tuple(maps.shape[2:]) != sides:
                maps = F.interpolate(maps, sides, mode="nearest")
        return maps


def find_encoder(model: StyleTransferModel, data: DataInfo) -> FrozenEncoder:
    """Return the encoder, up to the last layer whose maps are compared.

    Raises:
        UsageError: where it is not there, lacks its weights, gives no maps, or can't see such images.
    """
    here = manager()
    name = model.encoder or here.find("dataset", data.name).spec.extractor
    entry = here.find("extractor", name.partition(":")[0])
    asked = EvalConfig(extractor=name, extractor_path=model.encoder_path)
    try:
        network: Any = load_entry("extractor", entry)(asked, "cpu")
        if not isinstance(network, HasLayers):
            raise UsageError(f"{name} gives features and no maps", f"expected: model.encoder={VGG}")
        return FrozenEncoder(network.layers(data.shape)[: model.layers])
    except ZooError as error:
        notes = [note for note in error.notes if "eval.extractor" not in note]
        raise UsageError(
            f"no encoder for style transfer: {error.what}",
            *notes,
            "next: model.encoder_path=FILE with its weights, or data=digits, whose encoder is shipped",
        ) from error


def content_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Return the mean square of f(g(t)) - t (Eq. 12)."""
    return F.mse_loss(maps, target)


def style_loss(maps: Sequence[Tensor], style: Sequence[Tensor]) -> Tensor:
    """Return the mean squares of differences of means and deviations, added up over maps (Eq. 13)."""
    terms = []
    for ours, theirs in zip(maps, style, strict=True):
        pairs = zip(statistics(ours), statistics(theirs), strict=True)
        terms += [F.mse_loss(own, wanted) for own, wanted in pairs]
    return torch.stack(terms).sum()


class StyleTransfer(Recipe):
    """An encoder that stays as it is and a decoder.

    Raises:
        UsageError: as `find_encoder`, and for points.
    """

    gallery: Tensor

    def __init__(self, config: StyleTransferConfig, data: DataInfo) -> None:
        super().__init__()
        if not data.is_image:
            raise UsageError(f"style transfer is of images, and {data.name!r} has points")
        self.config = config
        self.encoder = find_encoder(config.model, data)
        self.decoder = MirrorDecoder(self.encoder, data.shape)
        self.channels = data.shape[0]
        self.register_buffer("gallery", torch.zeros(config.model.gallery, *data.shape))

    # -- training

    def stages(self) -> Sequence[Stage]:
        phase = Phase("decoder", self.decoder_phase, [self.decoder], "decoder")
        optimizers = {"decoder": self.config.optim.decoder}
        ema = {"decoder": self.config.train.ema}
        return [Stage("transfer", [phase], optimizers, ema=ema, begin=self.hang)]

    def hang(self, data: TrainData) -> None:
        """Keep training images of the styles' domain for sampling, drawn at random."""
        rows = torch.randperm(len(data.split), generator=generator(data.seed, "gallery"))
        chosen = rows[torch.arange(len(self.gallery)) % len(rows)]
        self.gallery.copy_(data.to_model(data.split.examples(chosen)))

    def decoder_phase(self, batch: Batch, context: Context) -> Loss:
        """Return the loss of the content's images in the styles of the others."""
        assert batch.second is not None
        with torch.no_grad():
            content, style = self.encoder(self.colored(batch.second))[-1], self.encoder(batch.x)
            target = adain(content, *statistics(style[-1]))
        maps = self.encoder(self.decoder(target))
        kept, styled = content_loss(maps[-1], target), style_loss(maps, style)
        log = {"content": kept.detach(), "style": styled.detach()}
        return Loss(kept + self.config.model.style_weight * styled, log=log)

    def colored(self, x: Tensor) -> Tensor:
        """Return images of as many channels as the data have: gray contents may be painted in color."""
        return x.expand(-1, self.channels, -1, -1)

    # -- sampling

    def stylize(self, content: Tensor, style: Tensor) -> Tensor:
        """Return images with the content of the first and the style of the second, (n, C, H, W)."""
        maps = self.encoder(self.colored(content))[-1]
        target = adain(maps, *statistics(self.encoder(style)[-1]))
        return self.decoder(torch.lerp(maps, target, self.config.sample.alpha))

    def translate(self, x: Tensor, *, noise: Seeds) -> Tensor:
        """Return images in styles that the noise draws from the gallery."""
        return self.stylize(x, self.gallery[noise.randint(len(self.gallery))])

    def sample(self, request: SampleRequest) -> Samples:
        """Stylize the requested images, each in a style from the gallery."""
        assert request.cond is not None
        assert request.cond.image is not None
        painted = self.translate(request.cond.image, noise=request.noise)
        return Samples(painted, calls=3)  # the encoder of content and of style, and the decoder
