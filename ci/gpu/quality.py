"""Quality of fast sampling: few steps beside the converged ODE, and bfloat16 beside float32.

    python ci/gpu/quality.py [--device cuda] [--steps 3000] [--n 2048]

Trains `edm` on the 32x32 color emoji for some steps, and prints the record of ci/studies/fast_paths.py: the
paired differences of FD with their intervals, whose upper ends are to be at most 5 % of the FD for few steps
and 1 % for bfloat16.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "studies"))
from fast_paths import NFE, opened, study

import zoo_core


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=3000, help="of training")
    parser.add_argument("--n", type=int, default=2048, help="samples of each setting")
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    data, steps, n, nfe = {"data": "emoji"}, args.steps, args.n, NFE
    if args.smoke:
        data, steps, n, nfe = {"data": "digits", "preset": "tiny"}, 2, 80, 5
    with tempfile.TemporaryDirectory() as home:
        os.environ["ZOO_HOME"] = home
        options = {"train.steps": steps, "eval.protocol": "none", "track.wandb": "off", "track.plots": False}
        start = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            made = zoo_core.run({"plugin": "edm", "device": args.device, **data, **options})
        print(json.dumps({"train_seconds": round(time.perf_counter() - start, 1)}), flush=True)
        torch.set_grad_enabled(False)
        with contextlib.redirect_stdout(sys.stderr):
            found = study(opened(made.run_dir, args.device, protocol="quick"), n, nfe)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
