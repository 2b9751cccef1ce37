"""How long to train a model of pixels and with how much dropout, by bits/dim of a validation part.

Run from the checkout:

    python ci/studies/pixel_models.py pixelcnn train.steps=600,1200 model.dropout=0.1,0.3

A tenth of the training split is held out (`data.validation=0.1`, whole groups of duplicates); the test split
is not read. An option with several values, separated by commas, is tried at each of them. Printed for every
combination: bits/dim of the examples trained on, of the validation part, and seconds of training.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import torch

import zoo_core
from zoo_core.data.likelihood import bits_per_dim
from zoo_core.data.loading import to_unit
from zoo_core.seeds import Seeds

BATCH = 200


def code_length(run: Any, table: Any) -> float:
    """Return the mean bits/dim of a table of images under a run's exact likelihood."""
    parts = []
    with run.harness.quiet():
        for index in torch.arange(len(table)).split(BATCH):
            x = to_unit(table.examples(index), run.data.info.levels).to(run.device)
            (found,) = run.recipe.likelihoods(x, noise=Seeds(0, index.tolist(), run.device), k=1)
            parts.append(bits_per_dim(found.log_prob, run.data.info.dims))
    return float(torch.cat(parts).mean())


def main() -> None:
    """Train every combination and print its code lengths."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plugin", help="pixelcnn or pixel-transformer")
    parser.add_argument("words", nargs="*", help="options of the run, a.b=c or a.b=c,d")
    given = parser.parse_args()
    options = {key: values.split(",") for key, values in (word.split("=", 1) for word in given.words)}
    fixed = {"plugin": given.plugin, "eval.protocol": "none", "track.wandb": "off", "track.progress": False}
    print(f"{'options':50s}  {'train':>6s}  {'val.':>6s}  seconds", flush=True)
    for values in itertools.product(*options.values()):
        chosen = dict(zip(options, values, strict=True))
        result = zoo_core.run({"data.validation": 0.1, **fixed, "track.plots": False, **chosen})
        run = zoo_core.load(result.run_dir)
        train, validation = run.data.train, run.data.validation
        if validation is None:
            raise SystemExit("the data have no validation part; expected data.validation above 0")
        named = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in chosen.items())
        bits = f"{code_length(run, train):6.3f}  {code_length(run, validation):6.3f}"
        print(f"{named:50s}  {bits}  {result.cost.train_seconds:7.0f}", flush=True)


if __name__ == "__main__":
    main()
