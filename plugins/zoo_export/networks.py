"""The network of a trained run as a plain module: tensors in, one tensor out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser, HasEncoder
from zoo_core.runs import Run
from zoo_core.types import Cond

Part = Literal["denoiser", "generator", "decoder"]
PARTS: tuple[Part, ...] = ("denoiser", "generator", "decoder")
"""Parts that a run may have, in the order in which one is chosen."""
CONDITIONS = {"class": "label", "text": "tokens", "paired": "image"}
"""Task -> the field of `Cond` that is an input of the network."""


class DenoiserModule(nn.Module):
    """denoiser(x, sigma[, cond]): E[x0 | x0 + sigma eps], x (n, *shape) and sigma (n,).

    Args:
        denoise: a `Denoiser` of networks and schedules, which become submodules.
        condition: field of `Cond` that the third input is; "" for none.
    """

    def __init__(self, denoise: Any, condition: str) -> None:
        super().__init__()
        for name, value in vars(denoise).items():
            if isinstance(value, nn.Module):
                self.add_module(name, value)
        self.call = denoise
        self.condition = condition

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        given = None if cond is None else Cond(**{self.condition: cond})
        result: Tensor = self.call(x, sigma, given)
        return result


class GeneratorModule(nn.Module):
    """generator(z[, cond]): latents (n, *latent_shape) to samples (n, *shape)."""

    def __init__(self, generator: nn.Module, condition: str) -> None:
        super().__init__()
        self.generator = generator
        self.condition = condition

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        given = None if cond is None else Cond(**{self.condition: cond})
        result: Tensor = self.generator(z, given)
        return result


class DecoderModule(nn.Module):
    """decoder(z): codes to the mean of p(x | z), (n, *shape).

    Args:
        recipe: has `decode`; a copy of it is kept, without the networks that `decode` does not use.
        z: example codes.
    """

    def __init__(self, recipe: nn.Module, z: Tensor) -> None:
        super().__init__()
        self.recipe = deepcopy(recipe).cpu().eval()
        used = _used_children(self.recipe, z)
        for name in [name for name, _ in self.recipe.named_children() if name not in used]:
            setattr(self.recipe, name, None)

    def forward(self, z: Tensor) -> Tensor:
        result: Tensor = self.recipe.decode(z)  # type: ignore[operator]
        return result


@dataclass(frozen=True)
class Network:
    """A part of a run, ready to export.

    Attributes:
        part: which.
        module: in evaluation mode, called with the tensors of `inputs`.
        inputs: name -> example with two rows.
        facts: what a sampler needs to know: shape, and of a denoiser sigma_min, sigma_max and prior_std.
    """

    part: Part
    module: nn.Module
    inputs: dict[str, Tensor]
    facts: dict[str, Any]

    def batch(self, n: int) -> tuple[Tensor, ...]:
        """Return inputs with n rows, drawn from the seed n; conditions repeat those of the example."""
        rng = torch.Generator().manual_seed(n)
        rows = torch.arange(n) % 2

        def drawn(name: str, example: Tensor) -> Tensor:
            if name in ("x", "z") and example.is_floating_point():
                return torch.randn((n, *example.shape[1:]), generator=rng)
            return example[rows].clone()

        return tuple(drawn(name, example) for name, example in self.inputs.items())

    def probes(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield inputs of 1, 2 and 7 rows; of a denoiser, each at three noise levels."""
        for n in (1, 2, 7):
            given = self.batch(n)
            if self.part != "denoiser":
                yield given
                continue
            low, high = self.facts["sigma_min"], self.facts["sigma_max"]
            for sigma in (low, (low * high) ** 0.5, high):
                yield given[0] * max(1.0, sigma), torch.full((n,), sigma), *given[2:]

    def canceled(self, given: tuple[Tensor, ...]) -> float:
        """Return max |x| of a denoiser's inputs, the size of the terms of x0 = x - sigma eps; else 0."""
        return float(given[0].abs().max()) if self.part == "denoiser" else 0.0


def parts_of(run: Run) -> list[Part]:
    """Return the parts that a run has, in the order of `PARTS`."""
    recipe: Any = run.recipe
    found: dict[Part, bool] = {
        "denoiser": isinstance(recipe, HasDenoiser),
        "generator": isinstance(getattr(recipe, "generator", None), nn.Module)
        and hasattr(recipe, "latent_shape"),
        "decoder": isinstance(recipe, HasEncoder),
    }
    return [part for part in PARTS if found[part]]


@contextmanager
def network(run: Run, part: str = "") -> Iterator[Network]:
    """Provide a part of a run as a plain module on the CPU, with the weights that are scored, in the block.

    Args:
        run: a trained run on the CPU.
        part: one of `PARTS`; "" for the first that the run has.

    Raises:
        UsageError: where the run does not have it, or its output is random.
    """
    here = parts_of(run)
    plugin = run.config.plugin
    if not here:
        raise UsageError(
            f"{plugin} has no single network to export",
            f"expected: a model with one of {', '.join(PARTS)}",
        )
    if part and part not in here:
        raise UsageError(f"{plugin} has no {part}", f"expected: --part {' or '.join(here)}")
    chosen = next(one for one in here if one == (part or here[0]))
    with run.inference():
        made = _built(run, chosen)
        made = replace(made, module=deepcopy(made.module).cpu().eval())
        given = made.batch(2)
        if not torch.equal(made.module(*given), made.module(*given)):
            raise UsageError(
                f"the {chosen} of {plugin} draws random numbers in the network",
                "expected: a network whose output depends on its inputs only",
                "next: sample with zoo_core.load(RUN).sample(n)",
            )
        yield made


def _built(run: Run, part: Part) -> Network:
    recipe: Any = run.recipe
    field = CONDITIONS.get(run.data.info.task, "")
    cond: dict[str, Tensor] = {}
    if field and part != "decoder":
        value = getattr(run.request(range(2)).cond, field)
        if value is not None:
            cond = {"cond": value.cpu()}
    facts: dict[str, Any] = {"part": part, "plugin": run.config.plugin, "shape": list(run.data.info.shape)}
    if part == "denoiser":
        denoise = recipe.denoiser()
        shape = run.data.info.shape if denoise.space == "data" else tuple(_codes(run).shape[1:])
        facts |= {
            "shape": list(shape),
            "space": denoise.space,
            "sigma_min": float(denoise.sigma_min),
            "sigma_max": float(denoise.sigma_max),
            "prior_std": float(denoise.prior_std),
        }
        inputs = {"x": torch.zeros(2, *shape), "sigma": torch.full((2,), float(denoise.sigma_max)), **cond}
        return Network(part, DenoiserModule(denoise, field), inputs, facts)
    if part == "generator":
        z = torch.zeros(2, *recipe.latent_shape)
        facts["latent_shape"] = list(recipe.latent_shape)
        return Network(part, GeneratorModule(recipe.generator, field), {"z": z, **cond}, facts)
    z = _codes(run)
    facts["latent_shape"] = list(z.shape[1:])
    return Network(part, DecoderModule(recipe, z), {"z": z}, facts)


def _codes(run: Run) -> Tensor:
    recipe: Any = run.recipe
    z: Tensor = recipe.encode(run.to_model(run.data.train.examples(torch.arange(2))))
    return z.cpu()


def _used_children(recipe: Any, z: Tensor) -> set[str]:
    """Return the names of the direct children of a recipe that `decode` calls or whose weights it uses."""
    used: set[str] = set()
    hooks = [
        part.register_forward_pre_hook(lambda *_, name=name: used.add(name))
        for name, child in recipe.named_children()
        for part in child.modules()
    ]
    recipe.requires_grad_(True)
    try:
        with torch.enable_grad():
            recipe.decode(z).sum().backward()
    finally:
        for hook in hooks:
            hook.remove()
        recipe.requires_grad_(False)
    for name, child in recipe.named_children():
        if any(parameter.grad is not None for parameter in child.parameters()):
            used.add(name)
    recipe.zero_grad(set_to_none=True)
    return used
