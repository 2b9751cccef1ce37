"""Make the oracle distributions of the weights package, and check them.

    python ci/oracles.py --train oracle-digits            # fit the model that will be the law
    python ci/oracles.py --make oracle-digits RUN         # its bundle, draws and entropy, from its run
    python ci/oracles.py                                  # check: files, sums and sizes

The law is the model as it is shipped, with weights in float16: draws and entropy are of those. The entropy is

    H(X) = H(Y) + H(X | Y) - H(Y | X),

where H(X | Y) needs one evaluation an image, and H(Y | X), which is small, one a class.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "weights" / "genzoo_weights" / "oracles"
ORACLE_MB = 3.0
TRAIN, TEST = 10_000, 10_000
DRAWS, CONDITIONED = 120_000, 10_000
"""Images behind H(X | Y), for a standard error of 3e-4 bits per dimension, and behind H(Y | X)."""
CHUNK = 10_000
"""Images drawn at once: memory is flat in their number."""
ORACLES: Mapping[str, Mapping[str, Any]] = {
    "oracle-digits": {"plugin": "pixelcnn", "model": {"width": 40}, "train": {"steps": 1600}},
    "oracle-digits-columns": {
        "plugin": "pixelcnn",
        "model": {"width": 40, "order": "columns"},
        "train": {"steps": 1600},
    },
    "oracle-digits-mixture": {"plugin": "gtm", "train": {"steps": 600}},
}
"""Options of the run that is the law, by dataset."""
SHARED: Mapping[str, Any] = {
    "data": {"name": "digits", "task": "class"},
    "eval": {"baselines": False},
    "track": {"wandb": "off"},
}


def train(name: str) -> None:
    """Train the model of an oracle with the options above."""
    import zoo_core

    done = zoo_core.run(**{**SHARED, **ORACLES[name]})
    print(f"next: python ci/oracles.py --make {name} {done.run_dir}")


def code_lengths(oracle: Any, rows: Tensor, label: Tensor, log_prob: Tensor) -> Tensor:
    """Return numbers whose mean over draws is H(X | Y), (n,) nats.

    They are entropies of the next value where the model has them, which vary less, else -log p(x | y).
    """
    from zoo_core.data.loading import to_unit

    run = oracle.run
    if not hasattr(run.recipe, "conditional_entropies"):
        return -log_prob
    with run.inference():
        found: Tensor = run.recipe.conditional_entropies(to_unit(rows, run.data.info.levels), label)
    return found


def log_given(oracle: Any, rows: Tensor, label: Tensor) -> Tensor:
    """Return log p(x | y) of images under their classes, (n,) float64 nats."""
    from zoo_core.data.loading import to_unit

    run = oracle.run
    with run.inference(), torch.no_grad():
        found: Tensor = run.recipe.log_prob(to_unit(rows, run.data.info.levels), label)
    return found.double()


def stratified(values: Tensor, label: Tensor, frequencies: Tensor) -> tuple[float, float]:
    """Return the mean of values over the classes with their frequencies, and the variance of that mean.

    Most of the spread of code lengths is between classes, whose frequencies are known.
    """
    mean, variance = 0.0, 0.0
    for y, p in enumerate(frequencies.tolist()):
        own = values[label == y]
        if p:
            mean += p * float(own.mean())
            variance += p**2 * float(own.var()) / len(own)
    return mean, variance


def entropy(oracle: Any, draws: int, conditioned: int, seed: int) -> tuple[float, float]:
    """Return the entropy of an oracle and its standard error, bits per dimension."""
    given, posterior, labels, start = [], [], [], time.monotonic()
    p = oracle.frequencies
    for k in range(math.ceil(draws / CHUNK)):
        rows, label = oracle.draw(min(CHUNK, draws - k * CHUNK), seed + k)
        of_class = log_given(oracle, rows, label)
        given.append(code_lengths(oracle, rows, label, of_class))
        labels.append(label)
        part = slice(0, max(0, conditioned - k * CHUNK))
        if part.stop:
            joint = of_class[part] + p.log()[label[part]]
            posterior.append(oracle.log_prob(rows[part]) - joint)
        print(f"entropy: {(k + 1) * CHUNK:,} draws, {time.monotonic() - start:.0f} s", flush=True)
    label = torch.cat(labels)
    (x_given_y, one), (y_given_x, other) = (
        stratified(torch.cat(part), label[: sum(map(len, part))], p) for part in (given, posterior)
    )
    nats, scale = x_given_y - y_given_x - float(torch.xlogy(p, p).sum()), math.log(2)
    scale *= math.prod(oracle.run.data.info.shape)
    return nats / scale, math.sqrt(one + other) / scale


def make(name: str, run: Path, target: Path, *, train: int, test: int, draws: int, conditioned: int) -> str:
    """Write the files of an oracle and return the sha256 of its law.json.

    Args:
        run: folder of the trained run.
        target: folder that is replaced.
        train, test: images that are shipped.
        draws, conditioned: images behind the entropy.
    """
    from zoo_core.machine.terminal import untold
    from zoo_core.runs.exchange import pull, push
    from zoo_core.runs.needed import compaction
    from zoo_oracle.files import DRAWS as DRAWN
    from zoo_oracle.files import LAW, MODEL, LawFile, sha256_of
    from zoo_oracle.oracle import opened

    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / name
        made.mkdir()
        kept = compaction(run, "float16", untold)
        push(run, str(made / MODEL), license_="Apache-2.0", compact=kept, say=untold)
        oracle = opened(pull(str(made / MODEL), Path(scratch) / "run"))
        rows, label = oracle.draw(train + test, 0)
        assert label is not None
        content = io.BytesIO()
        np.savez_compressed(content, image=rows.numpy(), label=label.numpy().astype(np.uint8))
        (made / DRAWN).write_bytes(content.getvalue())
        bits, error = entropy(oracle, draws, conditioned, seed=1_000_000)
        law = LawFile(
            train=train,
            resembles=oracle.run.data.info.name,
            levels=oracle.run.data.info.levels,
            classes=oracle.classes,
            manifest_sha256=sha256_of(made / MODEL / "manifest.json"),
            draws_sha256=sha256_of(made / DRAWN),
            entropy=round(bits, 6),
            entropy_error=round(error, 6),
            entropy_draws=draws,
        )
        (made / LAW).write_text(json.dumps(law.model_dump(mode="json"), indent=1) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    print(f"{name}: entropy {bits:.5f} bits/dim, standard error {error:.2g}")
    return sha256_of(target / LAW)


def faults() -> Iterator[str]:
    """Yield what is wrong with the oracles, one line each."""
    from zoo_core.errors import ZooError
    from zoo_core.hub.bundle import read_manifest
    from zoo_oracle.files import SHA256, check_model, read_draws, read_law, sha256_of

    for name in ORACLES:
        folder = PACKAGE / name
        try:
            law = read_law(folder, SHA256.get(name, ""))
            read_draws(folder, law)
            model = check_model(folder, law)
            for file, known in read_manifest(model).files.items():
                if sha256_of(model / file) != known.sha256:
                    yield f"{name}: {file} differs from its sha256"
        except (OSError, ZooError) as error:
            yield f"{name}: {error}"
            continue
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        if size > ORACLE_MB:
            yield f"{name} has {size:.1f} MB; at most {ORACLE_MB}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", metavar="NAME", choices=ORACLES, help="fit the model of an oracle")
    parser.add_argument("--make", nargs=2, metavar=("NAME", "RUN"), help="write the files of an oracle")
    parser.add_argument("--draws", type=int, default=DRAWS, help="images behind the entropy")
    asked = parser.parse_args()
    if asked.train:
        train(asked.train)
    elif asked.make:
        name, run = asked.make
        counts = {"train": TRAIN, "test": TEST, "draws": asked.draws, "conditioned": CONDITIONED}
        sha256 = make(name, Path(run), PACKAGE / name, **counts)
        print(f"next: plugins/zoo_oracle/files.py, SHA256[{name!r}] = {sha256!r}")
    else:
        found = list(faults())
        print("\n".join(found) or f"{len(ORACLES)} oracles are what the code expects")
        return 1 if found else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
