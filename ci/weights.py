"""Make the weights package from the runs behind the committed results, and check it.

    python ci/weights.py --make digits       # the first seed of every model of a board, from its run
    python ci/weights.py --make emoji --models dcgan,edm
    python ci/weights.py --list              # write the entries into registry.yaml
    python ci/weights.py                     # check: files, sizes, and registry.yaml lists exactly these

A bundle is kept where its samples are as good as those of the full weights: drawn from the same noise, the
difference of their Frechet distances has an interval that ends below a hundredth of the distance, and the
likelihoods differ by less than 0.001 bits per dimension. What is refused is printed with the reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "ci" / "studies"))
PACKAGE = ROOT / "weights" / "genzoo_weights"
REGISTRY = ROOT / "registry.yaml"
ENTRY_MB, PACKAGE_MB = 2.2, 60.0
"""Sizes that an entry and the package may have: 43 models on digits take 40 MB; the rest is for emoji."""
HOLD_TRAINING_DATA = ("copycat", "style-transfer")
"""Models whose weights hold training images."""
DIFFERENCE, BITS = 0.01, 1e-3
SAMPLES, LIKELIHOODS = 1000, 128


def silent(line: str) -> None:
    """Say nothing."""


def entry_name(config: Any) -> str:
    """Return the name of a run's entry: its model, and its task where that is not the model's first."""
    return f"{config.plugin}-{config.data.task}" if config.data.task else str(config.plugin)


def first_runs(board: str) -> Iterator[tuple[str, Path]]:
    """Yield (name, folder) of the first seed of every model of a board, where its run is on this machine.

    Of runs that differ in options of sampling alone, the one with the model's own number of steps is taken.
    """
    from zoo_core.home import runs_root
    from zoo_core.runs import saved_config

    results = sorted((ROOT / "results" / board).glob("*/*-s0"))
    runs = [runs_root() / board / result.parent.name / result.name for result in results]
    done = [run for run in runs if (run / "result.json").is_file() and (run / "checkpoints").is_dir()]
    there = [(saved_config(run), run) for run in done]
    found: dict[str, Path] = {}
    for config, run in sorted(there, key=lambda pair: pair[0].sample.steps is not None):
        found.setdefault(entry_name(config), run)
    yield from sorted(found.items())


def features(rows: Tensor, run: Any) -> Tensor:
    """Return the features of stored rows that the run is ranked by: (n, D) float64."""
    from zoo_eval.pipeline import choose_extractor

    info = run.data.info
    return choose_extractor(run.config, info.name, "cpu")(rows, info)[0].double()


def make(board: str, chosen: Collection[str]) -> None:
    """Write an entry for every model of a board, or for those that are chosen."""
    for name, run in first_runs(board):
        if chosen and name not in chosen:
            continue
        if name in HOLD_TRAINING_DATA:
            print(f"{name}: not shipped: its weights hold training images")
            continue
        reason = write(run, PACKAGE / board / name)
        print(f"{name}: {reason or 'written'}", flush=True)


def write(run: Path, target: Path) -> str:
    """Write a run's entry and return "", or return why it is refused."""
    import zoo_core
    from zoo_core.runs.exchange import pull, push
    from zoo_core.runs.needed import compaction

    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("float16", "float32"):
            bundle = Path(scratch) / kind
            kept = compaction(run, kind, silent)
            push(run, str(bundle), license_="Apache-2.0", compact=kept, say=silent)
            size = sum(path.stat().st_size for path in bundle.iterdir()) / 1e6
            if size > ENTRY_MB:
                return f"{size:.1f} MB in {kind}; at most {ENTRY_MB} MB"
            there = pull(str(bundle), Path(scratch) / f"run-{kind}")
            reason = compared(*(zoo_core.load(folder, say=silent) for folder in (run, there)))
            if not reason:
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(bundle, target)
                return ""
            print(f"{target.name}: not in {kind}: {reason}")
        return reason


def compared(full: Any, compact: Any) -> str:
    """Return in what the compact weights are worse than the full ones; "" where in nothing."""
    from fast_paths import differences

    from zoo_core.seeds import Seeds
    from zoo_eval.metrics.frechet import distance, moments

    a, b = (features(torch.cat([d.rows for d in run.draw(SAMPLES, seed=7)]), full) for run in (full, compact))
    train = full.data.train
    real = moments(features(train.examples(torch.arange(min(SAMPLES, len(train)))), full))
    changes = differences(real, a, b, torch.Generator().manual_seed(0), paired=True)
    upper, whole = float(changes.quantile(0.975)), distance(real, moments(a))
    if upper > DIFFERENCE * whole:
        return f"the Frechet distance grows by up to {upper / whole:.2%}"
    x = full.harness.data.batch(torch.arange(LIKELIHOODS)).x
    found = (
        run.likelihoods(x, noise=Seeds(0, range(LIKELIHOODS), run.device), k=4) for run in (full, compact)
    )
    pairs = zip(*found, strict=True)
    for one, other in pairs:
        nats = float((one.log_prob - other.log_prob).mean())
        bits = abs(nats) / x[0].numel() / math.log(2)
        if bits > BITS:
            return f"the likelihood ({one.kind}) differs by {bits:.4f} bits per dimension"
    return ""


def entries() -> Iterator[tuple[str, Path]]:
    """Yield (address, folder) of every entry of the package."""
    for manifest in sorted(PACKAGE.glob("*/*/manifest.json")):
        folder = manifest.parent
        yield f"zoo://{folder.parent.name}/{folder.name}", folder


def record(address: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Return (model, what registry.yaml says of an entry)."""
    manifest = json.loads((folder / "manifest.json").read_text())
    result = json.loads((folder / "result.json").read_text())
    ranked = re.compile(r"(FI?D\[[^]]+\]|L1\[[^]]+\]|bits_per_dim\[(exact|iwae|elbo|vlb|ode)[^]]*\])")
    scores = {
        name: float(f"{value['value']:.5g}")
        for name, value in result["metrics"].items()
        if ranked.fullmatch(name) and isinstance(value, dict)
    }
    return manifest["plugin"], {
        "uri": address,
        "sha256": manifest["files"]["weights.safetensors"]["sha256"],
        "data": folder.parent.name,
        "scores": scores,
    }


def listed(text: str) -> str:
    """Return registry.yaml with the package's entries in the place of those that it lists."""
    found: dict[str, list[str]] = {}
    for address, folder in entries():
        model, facts = record(address, folder)
        found.setdefault(model, []).append(f"      - {json.dumps(facts)}\n")
    text = re.sub(r"      - \{\"uri\": \"zoo://[^\n]*\n", "", text)
    text = re.sub(r"    weights:\n(?!      - )", "", text)  # where no other address is left
    for model, its in found.items():
        block = re.search(rf"^  - name: {re.escape(model)}\n(?:    .*\n)*", text, re.MULTILINE)
        if block is None:
            raise SystemExit(f"registry.yaml has no model {model}")
        before, _, others = block[0].partition("    weights:\n")  # addresses elsewhere stay below ours
        changed = f"{before}    weights:\n{''.join(its)}{others}"
        text = text[: block.start()] + changed + text[block.end() :]
    return text


def faults() -> Iterator[str]:
    """Yield what is wrong with the package, one line each."""
    total = 0.0
    for address, folder in entries():
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        total += size
        if size > ENTRY_MB:
            yield f"{address} has {size:.1f} MB; at most {ENTRY_MB}"
        for name, file in json.loads((folder / "manifest.json").read_text())["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != file["sha256"]:
                yield f"{address}: {name} differs from its sha256"
    total += sum(path.stat().st_size for path in (PACKAGE / "oracles").rglob("*") if path.is_file()) / 1e6
    if total > PACKAGE_MB:
        yield f"the package has {total:.1f} MB; at most {PACKAGE_MB}"
    if listed(REGISTRY.read_text()) != REGISTRY.read_text():
        yield "registry.yaml lists other weights; next: python ci/weights.py --list"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--make", metavar="BOARD", help="write the entries of a board")
    parser.add_argument("--models", default="", metavar="NAME,NAME", help="of the board; default: all")
    parser.add_argument("--list", action="store_true", help="write the entries into registry.yaml")
    args = parser.parse_args()
    if args.make:
        make(args.make, list(filter(None, args.models.split(","))))
    if args.list:
        REGISTRY.write_text(listed(REGISTRY.read_text()))
    found = list(faults())
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
