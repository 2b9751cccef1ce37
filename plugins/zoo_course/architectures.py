"""From DCGAN to StyleGAN: sizes, overlaps and receptive fields of convolutions, and truncation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.nn.dcgan import DCGANCritic, DCGANGenerator
from zoo_core.viz.style import COLORS, GRAY
from zoo_course.folder import Folder, make_figure
from zoo_course.oracle import normals
from zoo_course.topic import Exercise, Slip, Topic

Layer = tuple[int, int]
"""Kernel and stride."""


def transposed_side(side: int, kernel: int, stride: int, padding: int) -> int:
    """Return the side of a transposed convolution's output: (side - 1) stride - 2 padding + kernel."""
    return (side - 1) * stride - 2 * padding + kernel


def contributions(side: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Return how many inputs reach each output of a transposed convolution, (side', side')."""
    ones = torch.ones(1, 1, side, side)
    return F.conv_transpose2d(ones, torch.ones(1, 1, kernel, kernel), stride=stride, padding=padding)[0, 0]


def receptive_field(layers: Sequence[Layer]) -> int:
    """Return the side of the input that one output sees: 1 + sum of (kernel - 1) times the strides before."""
    side, jump = 1, 1
    for kernel, stride in layers:
        side += (kernel - 1) * jump
        jump *= stride
    return side


def sides(net: nn.Module, x: Tensor) -> list[tuple[int, int]]:
    """Return (channels, side) after each convolution of a sequence of layers."""
    found = []
    for layer in net.children():
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            found.append((x.shape[1], x.shape[2]))
    return found


def truncated(w: Tensor, psi: float) -> Tensor:
    """Return latents moved towards their mean, like w: mean + psi (w - mean)."""
    mean = w.mean(0, keepdim=True)
    return mean + psi * (w - mean)


def _dcgan() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        generator = DCGANGenerator(100, (3, 64, 64), width=128).eval()
        critic = DCGANCritic((3, 64, 64), width=64).eval()
        bottom = generator.project(torch.zeros(1, 100)).unflatten(1, (1024, 4, 4))
        return [(1024, 4), *sides(generator.net, bottom)], [
            (3, 64),
            *sides(critic.net, torch.zeros(1, 3, 64, 64)),
        ]


def _figure(out: Folder) -> Sequence[str]:
    up, down = _dcgan()
    figure = make_figure(12, 3.6)
    axes = figure.subplots(1, 4)
    for place, (kernel, padding) in enumerate(((3, 1), (4, 1))):
        count = contributions(8, kernel, 2, padding)
        axes[place].imshow(count, cmap="viridis", vmin=0, vmax=4)
        axes[place].set(title=f"kernel {kernel}, stride 2:\ninputs per output", xticks=[], yticks=[])
    for stack, name in ((up, "generator"), (down, "critic")):
        axes[2].plot([side for _, side in stack], [channels for channels, _ in stack], marker="o", label=name)
    axes[2].set(
        xscale="log", yscale="log", xlabel="side of the map", ylabel="channels", title="DCGAN at 64 x 64"
    )
    axes[2].set_xticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
    axes[2].minorticks_off()
    axes[2].legend(fontsize=8)
    w = normals(1500, 2, seed=0) @ torch.tensor([[1.0, 0.6], [0.0, 0.5]], dtype=torch.float64) + 1
    for psi, color in ((1.0, GRAY), (0.5, COLORS[0]), (0.0, COLORS[1])):
        moved = truncated(w, psi)
        axes[3].scatter(moved[:, 0], moved[:, 1], s=3 if psi else 30, color=color, label=f"psi = {psi}")
    axes[3].set(title="truncation of w", aspect="equal")
    axes[3].legend(fontsize=8)
    out.plot(figure, "layers")
    out.table({"channels": [c for c, _ in up], "side": [s for _, s in up]}, "generator")
    return [
        f"generator: {', '.join(f'{c} x {s} x {s}' for c, s in up)}",
        f"critic: {', '.join(f'{c} x {s} x {s}' for c, s in down)}",
        f"inputs per inner output: kernel 4 "
        f"{contributions(8, 4, 2, 1)[1:-1, 1:-1].unique().int().tolist()}, kernel 3 "
        f"{contributions(8, 3, 2, 1)[1:-1, 1:-1].unique().int().tolist()}",
    ]


TOPIC = Topic(
    question="which layers turn a latent into an image, and what did StyleGAN change?",
    look=(
        "With kernel 3 and stride 2 neighboring pixels receive 1, 2 or 4 inputs: a checkerboard. With "
        "kernel 4 all get 4.",
        "Each layer of DCGAN doubles the side and halves the channels; the critic mirrors it.",
        "Truncation shrinks the distribution of w around its mean: at psi = 0 there is one image.",
    ),
    figure=_figure,
    exercises=(
        Exercise(
            question="A critic has four convolutions with kernel 4 and stride 2. How many pixels wide "
            "is the receptive "
            "field of one output?",
            answer=lambda: receptive_field([(4, 2)] * 4),
            tolerance=0.1,
            hint="1 + 3 (1 + 2 + 4 + 8): each layer adds kernel - 1 steps of the strides before it.",
            slips=(
                Slip(
                    lambda: 64.0, "This is kernel^3 or the whole image; overlapping kernels see fewer pixels."
                ),
                Slip(lambda: 13.0, "The strides are missing: this is for stride 1."),
            ),
        ),
        Exercise(
            question="Truncation with psi = 0.7 multiplies the variance of w by which factor?",
            answer=lambda: 0.7**2,
            tolerance=5e-3,
            hint="w' - mean = psi (w - mean).",
            slips=(Slip(lambda: 0.7, "This is the factor of the standard deviation."),),
        ),
    ),
)
