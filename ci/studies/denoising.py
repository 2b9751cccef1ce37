"""How well a network denoises held-out emoji after equal time of one core, by optimizer and by network.

    OMP_NUM_THREADS=1 python ci/studies/denoising.py [--seconds 60] [plugin=edm] [KEY=VALUE ...]

Each setting is trained once for a few steps, for its speed, and then for as many steps as fit into the time
asked for, with the learning rate's whole schedule. Printed: the root mean square error of the estimate of a
held-out image in [-1, 1], by noise level, with EMA weights.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch

import zoo_core
from zoo_core.registry.resolution import parse_words

LEVELS = (0.05, 0.15, 0.4, 1.0, 2.5)
IMAGES = 128
FIRST = 30
"""Steps of the shorter of two runs whose difference tells the speed."""
QUIET = {"eval.protocol": "none", "track.wandb": "off", "track.progress": False, "track.plots": False}
ADAM = {"optim.net.kind": "adam", "optim.net.momentum": 0.0}
FOLDED = {"model.channels": 16, "model.mult": (1, 2, 4), "model.fold": 2, "model.refine": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "preset": {},
    "preset with Adam, 0.003": {**ADAM, "optim.net.lr": 0.003},
    "preset with Adam, 0.001": {**ADAM, "optim.net.lr": 0.001},
    "preset without refinement": {"model.refine": 0},
    "16 channels, folded by 2": FOLDED,
    "16 channels, folded by 2, Adam, 0.001, batch of 32": {
        **FOLDED,
        **ADAM,
        "optim.net.lr": 0.001,
        "train.batch_size": 32,
    },
}


def trained(words: Mapping[str, Any], steps: int, folder: Path) -> Any:
    """Return the finished run of so many steps."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        zoo_core.run({**words, **QUIET, "run_dir": str(folder), "train.steps": steps})
        return zoo_core.load(folder)


def errors(run: Any) -> list[float]:
    """Return the root mean square error of the estimate of held-out images at each level."""
    x = run.to_model(run.data.validation.x[:IMAGES])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    denoise, found = run.recipe.denoiser(), []
    with torch.no_grad():
        for level in LEVELS:
            sigma = torch.tensor(level)
            found.append(float((denoise(x + sigma * noise, sigma) - x).square().mean().sqrt()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    common = {"plugin": "edm", "data": "emoji", "data.validation": 0.1, "seed": 11, "device": "cpu"}
    common |= parse_words(asked.words)
    print(f"{'':52}{'steps':>6}" + "".join(f"{f'sigma {level:g}':>12}" for level in LEVELS))
    for name, words in SETTINGS.items():
        with tempfile.TemporaryDirectory(dir=".", prefix=".study-") as folder:
            options, place = {**common, **words}, Path(folder)
            short, longer = (
                trained(options, steps, place / str(steps)).cost["train_seconds"]
                for steps in (FIRST, 3 * FIRST)
            )
            steps = int(asked.seconds * 2 * FIRST / (longer - short))
            run = trained(options, steps, place / "whole")
            print(f"{name:52}{steps:6}" + "".join(f"{one:12.4f}" for one in errors(run)), flush=True)


if __name__ == "__main__":
    main()
