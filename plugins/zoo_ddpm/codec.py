"""Any registered autoencoder as a frozen pair of maps between examples and codes of unit variance.

The registry finds it by name. Rombach et al. 2022, arXiv:2112.10752,
section 3.1 and appendix G.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.config import RunConfig
from zoo_core.data.loading import TrainData
from zoo_core.errors import UsageError, ZooError
from zoo_core.home import OURS
from zoo_core.interfaces import HasCodebook, HasDenoiser, HasEncoder
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.registry.presets import preset_key
from zoo_core.registry.resolution import resolve
from zoo_core.training.recipe import Recipe, Stage
from zoo_core.types import DataInfo

CODES = 10_000
"""Most training examples whose codes the scale is computed from."""
INNER = "codec.recipe"
"""Where a recipe of this kind holds its autoencoder."""
PRESET = "latent"
"""An autoencoder's own preset for this use: informative codes, far from the prior."""


def build_autoencoder(
    name: str, options: Mapping[str, Any], dataset: str, data: DataInfo, provider: str = ""
) -> Recipe:
    """Return a registered autoencoder, not trained, unconditional.

    Args:
        name: registered.
        options: its own, nested, laid over its preset `latent` where it has one.
        dataset: registered name, by which its presets are chosen.
        data: shape, levels and classes of the examples; its presets also depend on the side.
        provider: distribution that provides the dataset, where several have one of this name.

    Raises:
        NotFoundError: for a name that nothing is registered under.
        UsageError: for a model that has no encoder and decoder, or an option that is the run's own.
    """
    entry = _entry(name)
    make = load_entry("plugin", entry)
    if not _encodes(make):
        raise UsageError(
            f"model.autoencoder={name} was asked for, which has no encoder and decoder of its own",
            f"models that have: {', '.join(autoencoders())}",
        )
    for key in options:
        if key in RunConfig.model_fields and key != "preset":
            raise UsageError(
                f"autoencoder.{key} was given, and {key} is the run's own",
                f"next: {key}.NAME=VALUE; model.autoencoder_share says how the steps are divided",
            )
    # Of a dataset whose side is an option, resolve knows only the default; presets depend on the side.
    side = max(data.shape[1:], default=None)
    fields = load_entry("dataset", manager().find("dataset", dataset, provider), "config").model_fields
    sized = {"data.size": side} if "size" in fields and side else {}
    presets = load_entry("plugin", entry, "config").PRESETS
    preset = {"preset": PRESET} if preset_key(presets, PRESET, dataset, side) else {}
    full = f"{entry.distribution}:{entry.spec.name}"
    chosen = {"plugin": full, "data": dataset, "providers.data": provider}
    config = resolve({**chosen, **sized, **preset, **options})
    recipe: Recipe = make(config, replace(data, task="unconditional"))
    return recipe


def recorded_name(name: str) -> str:
    """Return the name of a registered model as a config keeps it: "distribution:name" where it isn't ours.

    A model of the same name that is installed later then doesn't take its place. A name that nothing is
    registered under is returned as it is: `build_autoencoder` reports it.
    """
    try:
        entry = _entry(name)
    except ZooError:
        return name
    return entry.spec.name if entry.distribution == OURS else f"{entry.distribution}:{entry.spec.name}"


def _entry(name: str) -> Entry:
    """Return the model that a config's name means; one without a distribution is ours where we have it."""
    ours = [e for e in manager().entries("plugin") if (e.distribution, e.spec.name) == (OURS, name)]
    return ours[0] if ours else manager().find("plugin", name)


def _encodes(target: Any) -> bool:
    """Return whether a plugin's target encodes data itself, not by an autoencoder that it contains."""
    return isinstance(target, type) and issubclass(target, HasEncoder) and not issubclass(target, HasDenoiser)


def autoencoders() -> list[str]:
    """Return the names of the registered models that encode and decode."""
    entries = manager().entries("plugin")
    return [entry.spec.name for entry in entries if _encodes(load_entry("plugin", entry))]


class Codec(nn.Module):
    """An autoencoder's codes as a diffusion model wants them: of unit variance, in a shape it has nets for.

    Codes (n, d) stay vectors and (n, C, H, W) images; the vectors at places, (n, M, d), become one.

    Args:
        recipe: the autoencoder, not trained.
        name: its own, for messages.
        example: two examples, (2, *shape), from which the codes' shape is computed.

    Attributes:
        shape: of one code, as the diffusion sees it.
        used: the modules that encoding and decoding call.

    Raises:
        UsageError: where codes are integers, or of another form.
    """

    scale: Tensor
    frozen: Tensor

    def __init__(self, recipe: Recipe, name: str, example: Tensor) -> None:
        super().__init__()
        self.recipe = recipe
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))
        recipe.eval()
        with torch.no_grad(), _calls(recipe) as self.used:
            z = self._autoencoder.encode(example)
            self._autoencoder.decode(z)
        recipe.train()
        if not z.is_floating_point() or z.ndim not in (2, 3, 4):
            raise UsageError(
                f"model.autoencoder={name} gives codes of {z.dtype}, {tuple(z.shape)}",
                "expected: floats of (n, d), (n, places, d) or (n, C, H, W)",
            )
        trained = {id(p) for stage in self._kept() for part in _updated(stage) for p in part.parameters()}
        for parameter in recipe.parameters():  # parameters of no stage stay frozen
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in trained)
        self.form = tuple(z.shape[1:])
        self.shape = self.form if z.ndim == 4 else (math.prod(self.form),)

    @property
    def _autoencoder(self) -> HasEncoder:
        assert isinstance(self.recipe, HasEncoder)
        return self.recipe

    def _kept(self) -> list[Stage]:
        every = self.recipe.stages()
        return [stage for stage in every if not stage.phases or _updated(stage) & self.used]

    def stages(self, share: float) -> list[Stage]:
        """Return the autoencoder's stages within `share` of a run's steps, with prefixed names.

        A stage that trains nothing of encoding and decoding, such as a codebook's own prior, is left out.
        """
        kept = self._kept()
        whole = sum(stage.fraction for stage in kept if stage.phases)
        return [_within(stage, share * stage.fraction / (whole or 1.0)) for stage in kept]

    def train(self, mode: bool = True) -> Codec:
        """Set the mode; once frozen the autoencoder stays in evaluation, without dropout."""
        super().train(mode)
        self.recipe.train(mode and not bool(self.frozen))
        return self

    @torch.no_grad()
    def freeze(self, data: TrainData) -> None:
        """Freeze the autoencoder and measure the scale at which training examples' codes have unit variance
        (appendix G of the paper)."""
        self.frozen.fill_(True)
        self.recipe.eval()
        rows = torch.arange(min(CODES, len(data)))
        codes = torch.cat([self._autoencoder.encode(data.batch(part).x) for part in rows.split(500)])
        self.scale.copy_(1 / codes.double().std(correction=0).clamp_min(1e-6))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return the scaled codes of examples, (n, *shape)."""
        return self.scale * self._autoencoder.encode(x).float().reshape(-1, *self.shape)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return the examples that scaled codes (n, *shape) stand for; of a codebook's codes, the nearest."""
        z = z.reshape(-1, *self.form) / self.scale
        if isinstance(self.recipe, HasCodebook):
            codebook = self.recipe.codebook
            z = codebook[torch.cdist(z, codebook).argmin(-1)]
        return self._autoencoder.decode(z)


def _updated(stage: Stage) -> set[nn.Module]:
    return {part for phase in stage.phases for module in phase.updates for part in module.modules()}


def _within(stage: Stage, fraction: float) -> Stage:
    """Return an autoencoder's stage as one of a recipe that holds it at `codec.recipe`."""
    optimizers = {
        name: one.model_copy(update={"lr_mult": {f"{INNER}.{part}": f for part, f in one.lr_mult.items()}})
        for name, one in stage.optimizers.items()
    }
    averages = {f"{INNER}.{part}": config for part, config in stage.ema.items()}
    name = f"autoencoder {stage.name}"
    return replace(stage, name=name, optimizers=optimizers, ema=averages, fraction=fraction)


@contextmanager
def _calls(recipe: nn.Module) -> Iterator[set[nn.Module]]:
    """Collect the modules that are called within the block."""
    called: set[nn.Module] = set()
    handles = [part.register_forward_pre_hook(lambda part, _: called.add(part)) for part in recipe.modules()]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()
