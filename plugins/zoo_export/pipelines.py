"""A pipeline of diffusers from a trained chain: a UNet2DModel with the same weights, and its scheduler.

A U-Net maps where diffusers can build the same one: all group norms have one number of groups, sides are
halved and doubled by convolutions, and time has sinusoids. Diffusers counts the levels of a chain from 0 and
this project counts them from 1, as the papers do; the first layer of the time embedding takes the difference,
because sines and cosines of t + 1 are a rotation of those of t.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.diffusion.schedule import DiscreteVP
from zoo_core.errors import MachineError, PluginError, UsageError
from zoo_core.nn.embedding import sinusoidal
from zoo_core.nn.unet import Block, Grow, ResidualBlock, SelfAttention, Shrink, UNet
from zoo_core.types import DataInfo

TOLERANCE = 1e-5
"""Largest difference of an output from the network's, relative to its largest magnitude."""
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
"""What a network predicts -> `prediction_type` of a scheduler."""
PLAIN = "plugin=ddpm model.channels=128 model.net=unet"
"""Options of a model that maps."""


def unfit(recipe: Any, data: DataInfo) -> list[str]:
    """Return the reasons why diffusers can't hold a model; empty where it can."""
    net = getattr(recipe, "net", None)
    if not isinstance(getattr(recipe, "schedule", None), DiscreteVP):
        return ["its noise schedule is not a variance-preserving chain"]
    if not isinstance(net, UNet):
        return ["its network is not a plain U-Net"]
    reasons = []
    if recipe.prediction not in PREDICTIONS:
        reasons.append(f"it predicts {recipe.prediction}")
    groups = sorted({norm.num_groups for norm in net.modules() if isinstance(norm, nn.GroupNorm)})
    if len(groups) > 1:
        reasons.append(
            f"its group norms have {', '.join(map(str, groups))} groups, and UNet2DModel has one number "
            "(model.channels=128 has 32 everywhere)"
        )
    if net.fold != 1:
        reasons.append(f"model.fold={net.fold}")
    if net.time.fourier is not None:
        reasons.append("model.time=fourier")
    if len(net.pyramid) or not all(isinstance(one, Block | Shrink) for one in net.down):
        reasons.append("model.resample or model.pyramid")
    if any(one.scale != 1 for one in net.modules() if isinstance(one, ResidualBlock | SelfAttention)):
        reasons.append("model.skip_scale")
    if net.image_channels or net.condition.vocabulary or net.condition.augment is not None:
        reasons.append("it is conditioned on an image, a caption or an augmentation")
    halvings = sum(isinstance(one, Shrink) for one in net.down)
    if any(side % 2**halvings for side in data.shape[1:]):
        reasons.append(f"sides of {data.shape[1]} x {data.shape[2]} pixels can't be halved {halvings} times")
    for layers in _levels(net.up, Grow):
        if len({isinstance(one.attention, SelfAttention) for one in layers}) > 1:
            reasons.append("model.attend_up=last")
            break
    return reasons


def _levels(layers: nn.ModuleList, end: type[nn.Module]) -> Iterator[list[Block]]:
    """Yield the blocks of each resolution, which a layer of type `end` separates."""
    found: list[Block] = []
    for layer in layers:
        if isinstance(layer, end):
            yield found
            found = []
        elif isinstance(layer, Block):
            found.append(layer)
    yield found


def unet_of(net: UNet, data: DataInfo) -> Any:
    """Return diffusers' UNet2DModel with the weights of a U-Net that maps, in evaluation mode."""
    from diffusers import UNet2DModel

    down, up = list(_levels(net.down, Shrink)), list(_levels(net.up, Grow))
    attend = [isinstance(blocks[0].attention, SelfAttention) for blocks in down]
    norm = net.norm
    made = UNet2DModel(
        sample_size=tuple(data.shape[1:]),
        in_channels=data.shape[0],
        out_channels=net.last.out_channels,
        freq_shift=1,
        flip_sin_to_cos=False,
        down_block_types=tuple("AttnDownBlock2D" if one else "DownBlock2D" for one in attend),
        up_block_types=tuple("AttnUpBlock2D" if one else "UpBlock2D" for one in attend[::-1]),
        block_out_channels=tuple(blocks[-1].residual.conv2.out_channels for blocks in down),
        layers_per_block=len(down[0]),
        attention_head_dim=None,
        norm_num_groups=norm.num_groups,
        norm_eps=norm.eps,
        num_class_embeds=net.condition.classes + 1 if net.condition.classes else None,
    )
    weights: dict[str, Tensor] = {}

    def put(name: str, module: nn.Module) -> None:
        weights.update({f"{name}.{key}": value for key, value in module.state_dict().items()})

    put("conv_in", net.first)
    put("conv_norm_out", norm)
    put("conv_out", net.last)
    put("time_embedding.linear_1", net.time.layers[0])
    put("time_embedding.linear_2", net.time.layers[2])
    weights["time_embedding.linear_1.weight"] = _from_zero(weights["time_embedding.linear_1.weight"])
    if net.condition.classes:
        put("class_embedding", net.condition.label)
    for side, levels, end in (("down", down, Shrink), ("up", up, Grow)):
        resizers = [one for one in getattr(net, side) if isinstance(one, end)]
        for level, blocks in enumerate(levels):
            for place, block in enumerate(blocks):
                weights |= _block(f"{side}_blocks.{level}", place, block)
            if level < len(resizers):
                put(f"{side}_blocks.{level}.{side}samplers.0.conv", resizers[level].conv)
    for place, middle in enumerate(net.middle):
        weights |= _block("mid_block", place, middle)
    made.load_state_dict(weights)
    return made.eval().requires_grad_(False)


def _from_zero(weight: Tensor) -> Tensor:
    """Return weights (width, 2 half) for sines and cosines of t that act as these do on those of t + 1."""
    sin, cos = sinusoidal(torch.ones(1, device=weight.device), weight.shape[1]).double()[0].chunk(2)
    of_sin, of_cos = weight.detach().double().chunk(2, dim=1)
    return torch.cat((of_sin * cos - of_cos * sin, of_sin * sin + of_cos * cos), dim=1).to(weight)


def _block(prefix: str, place: int, block: Any) -> dict[str, Tensor]:
    """Return the weights of a residual block, and of the attention after it, by diffusers' names."""
    names = {
        "norm1": "norm1",
        "conv1": "conv1",
        "time": "time_emb_proj",
        "norm2": "norm2",
        "conv2": "conv2",
        "shortcut": "conv_shortcut",
    }
    found = {
        f"{prefix}.resnets.{place}.{theirs}.{key}": value
        for own, theirs in names.items()
        for key, value in getattr(block.residual, own).state_dict().items()
    }
    if isinstance(block.attention, SelfAttention):
        name = f"{prefix}.attentions.{place}"
        attention: Any = block.attention
        for key, value in attention.norm.state_dict().items():
            found[f"{name}.group_norm.{key}"] = value
        for part, weight, bias in zip(
            ("to_q", "to_k", "to_v"), attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True
        ):
            found |= {f"{name}.{part}.weight": weight[:, :, 0, 0], f"{name}.{part}.bias": bias}
        found[f"{name}.to_out.0.weight"] = attention.project.weight[:, :, 0, 0]
        found[f"{name}.to_out.0.bias"] = attention.project.bias
    return found


def scheduler_of(recipe: Any) -> Any:
    """Return the DDPMScheduler of a chain, with the variance beta-tilde of `sampler=ancestral`."""
    from diffusers import DDPMScheduler

    kept = recipe.schedule.alpha_bar
    return DDPMScheduler(
        num_train_timesteps=recipe.schedule.steps,
        trained_betas=(1 - kept[1:] / kept[:-1]).tolist(),
        prediction_type=PREDICTIONS[recipe.prediction],
        clip_sample=bool(recipe.denoiser().clip_x0),
        variance_type="fixed_small",
        timestep_spacing="trailing",
    )


def pipeline_of(recipe: Any, data: DataInfo) -> Any:
    """Return a DDPMPipeline of a trained chain.

    Args:
        recipe: on the CPU, with the weights to export.
        data: what it was trained on.

    Raises:
        MachineError: where diffusers is missing.
        UsageError: where diffusers can't build the same network.
        PluginError: where an output differs by more than `TOLERANCE`.
    """
    try:
        from diffusers import DDPMPipeline
    except ImportError as error:
        raise MachineError(
            f"--to diffusers needs {error.name}, which is not installed",
            "next: pip install 'genzoo[diffusers]'",
        ) from error
    reasons = unfit(recipe, data)
    if reasons:
        raise UsageError(
            "diffusers can't hold this model",
            *(f"reason: {reason}" for reason in reasons),
            f"expected: a model such as {PLAIN}; or --to state_dict, pt2 or onnx",
        )
    unet = unet_of(recipe.net, data)
    worst = difference(unet, recipe, data)
    if not worst <= TOLERANCE:
        raise PluginError(
            f"the network of diffusers differs by {worst:.2g}, relative", f"expected: at most {TOLERANCE:g}"
        )
    return DDPMPipeline(unet, scheduler_of(recipe))


@torch.no_grad()
def difference(unet: Any, recipe: Any, data: DataInfo) -> float:
    """Return the largest relative difference of outputs, at 1, 2 and 7 rows and three levels of the chain."""
    from zoo_core.types import Cond

    classes, worst = recipe.net.condition.classes, 0.0
    for n in (1, 2, 7):
        rng = torch.Generator().manual_seed(n)
        x = torch.randn((n, *data.shape), generator=rng)
        label = torch.arange(n) % (classes + 1) if classes else None
        for t in (1, (recipe.schedule.steps + 1) // 2, recipe.schedule.steps):
            own = recipe.net(x, torch.full((n,), t), None if label is None else Cond(label=label))
            theirs = unet(x, t - 1, class_labels=label).sample
            worst = max(worst, float((own - theirs).abs().max() / own.abs().max().clamp(min=1e-12)))
    return worst


def write(recipe: Any, data: DataInfo, folder: Path) -> float:
    """Write a pipeline into a folder, and return the largest relative difference of the network read back.

    Raises:
        MachineError, UsageError, PluginError: as `pipeline_of`.
    """
    recipe = deepcopy(recipe).cpu().eval()
    made = pipeline_of(recipe, data)
    made.save_pretrained(folder)
    read = type(made.unet).from_pretrained(folder / "unet").eval()
    worst = difference(read, recipe, data)
    if not worst <= TOLERANCE:
        raise PluginError(f"the pipeline in {folder} differs by {worst:.2g} from the network, relative")
    return worst
