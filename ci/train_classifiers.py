"""Train the classifiers that ship with the zoo and write them into the package.

    python ci/train_classifiers.py digits digits-classifier
    python ci/train_classifiers.py mnist mnist-classifier --root FOLDER

Seeds are fixed and one thread is used. Every published figure is measured with these weights: training them
again changes their sha256, so every protocol's hash, and asks for every result to be measured again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from zoo_core.config import DataConfig
from zoo_core.data.loading import Dataset, TrainData, to_unit
from zoo_core.data.specs import DATASETS
from zoo_core.registry.spec import load_target
from zoo_eval.extractors.classifiers import ARCHITECTURES, WEIGHTS, FeatureNet, digest


class Plan(NamedTuple):
    """How one classifier is trained: data, network, seed, and the augmentation's largest shift in pixels."""

    data: str
    architecture: str
    options: Mapping[str, Any]
    seed: int
    steps: int
    batch_size: int
    lr: float
    shift: float


PLANS = {
    "digits": Plan(
        data="digits",
        architecture="FeatureNet",
        options={
            "channels": 1,
            "size": 8,
            "widths": [32, 64, 64],
            "strides": [1, 1, 2],
            "dim": 64,
            "classes": 10,
        },
        seed=1,
        steps=1200,
        batch_size=64,
        lr=2e-3,
        shift=0.75,
    ),
    "digits-classifier": Plan(
        data="digits",
        architecture="ConvNet",
        options={"channels": 1, "size": 8, "widths": [32, 64], "hidden": 128, "classes": 10},
        seed=2,
        steps=2500,
        batch_size=64,
        lr=1.5e-3,
        shift=0.75,
    ),
    "mnist": Plan(
        data="mnist",
        architecture="FeatureNet",
        options={
            "channels": 1,
            "size": 28,
            "widths": [16, 32, 64, 64],
            "strides": [1, 2, 2, 2],
            "dim": 64,
            "classes": 10,
        },
        seed=1,
        steps=1800,
        batch_size=128,
        lr=3e-3,
        shift=2.0,
    ),
    "mnist-classifier": Plan(
        data="mnist",
        architecture="ConvNet",
        options={"channels": 1, "size": 28, "widths": [12, 24], "hidden": 96, "classes": 10},
        seed=2,
        steps=2400,
        batch_size=96,
        lr=1.5e-3,
        shift=2.0,
    ),
}


def augment(x: Tensor, shift: float, rng: torch.Generator) -> Tensor:
    """Return images turned by up to 10 degrees, scaled by up to 8 % and moved by up to `shift` pixels."""
    turn, scale, right, down = torch.rand(4, len(x), generator=rng).mul(2).sub(1)
    angle = turn * math.radians(10)
    zoom = 1 + 0.08 * scale
    move = 2 * shift / x.shape[-1]
    rows = (
        torch.stack((zoom * angle.cos(), -zoom * angle.sin(), right * move), 1),
        torch.stack((zoom * angle.sin(), zoom * angle.cos(), down * move), 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1  # paper is -1, and what is moved in is paper


def logits_of(output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Return the logits of either kind of network."""
    return output if isinstance(output, Tensor) else output[1]


def train(plan: Plan, dataset: Dataset) -> torch.nn.Module:
    """Return the network after `plan.steps` of Adam with a one-cycle rate on the training split."""
    torch.manual_seed(plan.seed)
    rng = torch.Generator().manual_seed(plan.seed)
    net = ARCHITECTURES[plan.architecture](**plan.options)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.lr, total_steps=plan.steps)
    batches = TrainData(dataset.train, dataset.info, plan.seed)
    for _ in range(plan.steps):
        batch = batches.next(plan.batch_size)
        assert batch.cond.label is not None
        logits = logits_of(net(augment(batch.x, plan.shift, rng)))
        loss = F.cross_entropy(logits, batch.cond.label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return net.eval()


@torch.no_grad()
def set_scale(net: FeatureNet, dataset: Dataset) -> None:
    """Bring the features' mean square on training images (10,000 at most) to 1; logits stay as they are."""
    assert dataset.info.levels is not None
    rows = torch.arange(min(len(dataset.train), 10_000))
    features, _ = net(to_unit(dataset.train.examples(rows), dataset.info.levels))
    net.scale.copy_(features.square().mean().rsqrt())
    net.classifier.weight.div_(net.scale)


@torch.no_grad()
def accuracy(net: torch.nn.Module, dataset: Dataset, name: str) -> float:
    """Return the share of a split that the network names rightly."""
    split = getattr(dataset, name)
    right = 0
    assert dataset.info.levels is not None
    for rows in torch.arange(len(split)).split(1000):
        x = to_unit(split.examples(rows), dataset.info.levels)
        right += int((logits_of(net(x)).argmax(1) == split.label[rows]).sum())
    return right / len(split)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="+", choices=list(PLANS))
    parser.add_argument("--root", help="folder that holds the downloaded data")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    specs = {spec.name: spec for spec in DATASETS}
    for name in arguments.names:
        plan = PLANS[name]
        dataset = load_target(specs[plan.data].target)(DataConfig(name=plan.data, root=arguments.root))
        net = train(plan, dataset)
        if isinstance(net, FeatureNet):
            set_scale(net, dataset)
        weights = {key: value.contiguous() for key, value in net.state_dict().items()}
        path = WEIGHTS / f"{name}.safetensors"
        path.write_bytes(save(weights))
        about = {
            "name": name,
            "architecture": plan.architecture,
            "options": plan.options,
            "shape": list(dataset.info.shape),
            "data": plan.data,
            "data_sha256": dataset.sha256,
            "sha256": digest(path),
            "train_accuracy": round(accuracy(net, dataset, "train"), 4),
            "test_accuracy": round(accuracy(net, dataset, "test"), 4),
            "trained_on": f"the training split, {len(dataset.train)} images, shifted and turned a little",
            "command": f"python ci/train_classifiers.py {name}"
            + (" --root FOLDER" if arguments.root else ""),
        }
        (WEIGHTS / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")
        print(f"{name}: test accuracy {about['test_accuracy']}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
