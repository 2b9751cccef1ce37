"""Train the classifiers that ship with the zoo and write them into the package.

    python ci/train_classifiers.py digits digits-classifier
    python ci/train_classifiers.py mnist mnist-classifier --root FOLDER
    python ci/train_classifiers.py emoji-classifier
    python ci/train_classifiers.py cifar10-classifier --archive cifar10-jpeg.tar.xz

Seeds are fixed and one thread is used. Every published figure is measured with these weights: training them
again changes their sha256, so every protocol's hash, and asks for every result to be measured again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fit_projection import archived_images, features
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from zoo_core.config import DataConfig
from zoo_core.data.emoji import EmojiConfig
from zoo_core.data.loading import Dataset, TrainData, to_unit
from zoo_core.data.specs import DATASETS
from zoo_core.machine.files import sha256_of
from zoo_core.registry.spec import DatasetSpec, load_target
from zoo_eval.extractors.classifiers import ARCHITECTURES, WEIGHTS, EffNetHead, FeatureNet
from zoo_eval.extractors.effnet import EffNetLite0


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


class HeadPlan(NamedTuple):
    """How a linear classifier of effnet-lite0's features is fitted, by L-BFGS.

    The penalty, of the squared weights, was chosen on a part of the training images.
    """

    data: str
    classes: int
    penalty: float
    iterations: int


HEADS = {
    "emoji-classifier": HeadPlan("emoji", classes=9, penalty=1e-2, iterations=60),
    "cifar10-classifier": HeadPlan("cifar10", classes=10, penalty=0.01, iterations=60),
}
TRAINED, HELD_OUT = 20_000, 2_000
"""Images of the CIFAR-10 archive's two splits, as many of each class."""


def fit_head(plan: HeadPlan, values: Tensor, label: Tensor) -> EffNetHead:
    """Return the minimizer of cross-entropy + penalty |W|^2 on standardized features (n, 1280)."""
    mean, std = values.double().mean(0), values.double().std(0).clamp_min(1e-6)
    z = ((values.double() - mean) / std).float()
    weight = torch.zeros(plan.classes, z.shape[1], requires_grad=True)
    bias = torch.zeros(plan.classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=plan.iterations, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(z @ weight.T + bias, label) + plan.penalty * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    head = EffNetHead(plan.classes)
    with torch.no_grad():
        scaled = weight.double() / std
        head.linear.weight.copy_(scaled)
        head.linear.bias.copy_(bias.double() - scaled @ mean)
    return head.half().float().eval()  # as it ships


def head_accuracy(head: EffNetHead, values: Tensor, label: Tensor) -> float:
    """Return the fraction of features whose label the head predicts."""
    with torch.no_grad():
        return float((head.linear(values.float()).argmax(1) == label).double().mean())


def head_data(plan: HeadPlan, archive: Path | None) -> tuple[Tensor, Tensor, Tensor, Tensor, str]:
    """Return images and labels of the training and the test split, and the sha256 of the data."""
    if plan.data == "emoji":
        data = load_target(specs()[plan.data].target)(EmojiConfig(name="emoji"))
        parts = [(t.examples(torch.arange(len(t))), t.label) for t in (data.train, data.test)]
        return *parts[0], *parts[1], data.sha256
    assert archive is not None, "--archive names the file of CIFAR-10 as JPEG"
    images = [
        archived_images(archive, count, split) for split, count in (("train", TRAINED), ("test", HELD_OUT))
    ]
    label = [torch.arange(10).repeat_interleave(len(x) // 10) for x in images]
    return images[0], label[0], images[1], label[1], sha256_of(archive)


def write_head(name: str, archive: Path | None) -> None:
    """Fit one head and write its weights and its card."""
    plan = HEADS[name]
    train, label, test, test_label, sha256 = head_data(plan, archive)
    network = EffNetLite0("cpu")
    values, held_out = features(train, network), features(test, network)
    record_head(name, fit_head(plan, values, label), (values, label), (held_out, test_label), sha256)


def record_head(
    name: str, head: EffNetHead, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], sha256: str
) -> None:
    """Write a head's float16 weights and its card.

    Args:
        train, test: features and labels of the splits.
        sha256: of the data.
    """
    plan, path = HEADS[name], WEIGHTS / f"{name}.safetensors"
    path.write_bytes(save({key: value.half().contiguous() for key, value in head.state_dict().items()}))
    about = {
        "name": name,
        "architecture": "EffNetHead",
        "options": {"classes": plan.classes},
        "shape": [3, 32, 32],
        "data": plan.data,
        "data_sha256": sha256,
        "sha256": sha256_of(path),
        "train_accuracy": round(head_accuracy(head, *train), 4),
        "test_accuracy": round(head_accuracy(head, *test), 4),
        "trained_on": f"features of {len(train[1])} training images; tested on {len(test[1])}",
        "command": f"python ci/train_classifiers.py {name}"
        + (" --archive cifar10-jpeg.tar.xz" if plan.data == "cifar10" else ""),
    }
    (WEIGHTS / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")
    print(f"{name}: test accuracy {about['test_accuracy']}, {path.stat().st_size} bytes")


def specs() -> Mapping[str, DatasetSpec]:
    """Return the registered datasets by name."""
    return {spec.name: spec for spec in DATASETS}


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
    parser.add_argument("names", nargs="+", choices=[*PLANS, *HEADS])
    parser.add_argument("--archive", type=Path, help="CIFAR-10 as JPEG: train/<class>/NNNN.jpg, test/...")
    parser.add_argument("--root", help="folder that holds the downloaded data")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names:
        if name in HEADS:
            write_head(name, arguments.archive)
            continue
        plan = PLANS[name]
        dataset = load_target(specs()[plan.data].target)(DataConfig(name=plan.data, root=arguments.root))
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
            "sha256": sha256_of(path),
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
