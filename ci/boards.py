#!/usr/bin/env python3
"""Make the committed results again: run, verify, copy into results/, and list what was verified.

    python ci/boards.py --list                # the commands
    python ci/boards.py digits ring           # these boards; what has finished is not done again
    python ci/boards.py digits --seeds 0,1,2,3,4
    python ci/boards.py --old COMMIT          # a table of the scores in results/ at a commit, beside today's
    python ci/boards.py --check               # are the results of the commands in results/?

Runs lie under ZOO_HOME/runs. A result is copied to results/<data>/<plugin>/<config hash>-s<seed>/ with its
sample grid and curves, then verified there: drawn and scored again from its run. `--old` reads result files
of any schema, because it reads only their scores.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"

BOARDS: dict[str, tuple[str, ...]] = {
    "digits": (
        "plugin=noise,histogram,gaussian,copycat data=digits",
        "plugin=vae,beta-vae,iwae,hvae,vq-vae,dvae,gtm data=digits",
        "plugin=gan,dcgan,lsgan,sngan,wgan,wgan-gp,r3gan,stylegan,cgan,text-gan,multiview-gan data=digits",
        "plugin=pix2pix,cyclegan,style-transfer,palette data=digits",
        "plugin=ddpm,iddpm,vdm,cold,ldm,ncsn,vp-sde,subvp-sde,ve-sde,edm data=digits",
        "plugin=flow-matching,ot-cfm,rectified-flow data=digits",
        "plugin=consistency,meanflow data=digits",
        "plugin=consistency,meanflow data=digits sample.steps=2",
        "plugin=pixelcnn,pixel-transformer,realnvp,nsf data=digits",
        "plugin=d3pm,mdlm data=digits",
        "plugin=ddpm data=digits data.task=class sample.guidance_scale=1.5",
    ),
    "ring": (
        "plugin=ddpm,iddpm,ncsn,vp-sde,subvp-sde,ve-sde,edm,flow-matching,ot-cfm,rectified-flow data=ring",
        "plugin=consistency,meanflow,r3gan data=ring",
        "plugin=realnvp,nsf data=ring",
        "plugin=d3pm data=ring",
    ),
    "mnist": (
        "plugin=gaussian,dcgan,wgan-gp,sngan,cgan data=mnist eval.protocol=quick",
        "plugin=vae data=mnist-binarized",
    ),
}
"""Options of `zoo run` by board; all else is at its default."""

SEEDS = {"mnist": "0"}
"""Of boards that don't have the three of the others: a MNIST run takes minutes."""

EXCEPTIONS: dict[str, str] = {
    "digits/meanflow": "not trained yet",
    "mnist/wgan-gp": "made with model.hidden=256 model.init=torch train.steps=1400, defaults before DCGAN's",
}
"""Models of a board whose committed results are not those of its command, with the reason; see `unmade`."""


def command(options: str, seeds: str, slots: int) -> list[str]:
    """Return the command that makes one line of a board."""
    return ["zoo", "run", *options.split(), f"seed={seeds}", "--launcher", "local", "--slots", str(slots)]


def zoo(words: Sequence[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """Run the zoo of this environment."""
    return subprocess.run([sys.executable, "-m", "zoo_core", *words], cwd=ROOT, text=True, **how)


def runs_of(options: str, seeds: str) -> Iterator[Path]:
    """Yield the folders of a matrix of runs, in its order."""
    from zoo_core.registry.resolution import resolve_matrix
    from zoo_core.runs import default_dir

    for config in resolve_matrix([*options.split(), f"seed={seeds}"]):
        yield default_dir(config, None)


def unmade(boards: Mapping[str, Sequence[str]], results: Path, exceptions: Mapping[str, str]) -> list[str]:
    """Return a line for each run of a board that has no result, and for each exception that has all.

    Args:
        boards: options of `zoo run` by board.
        results: folder of <data>/<plugin>/<config hash>-s<seed>/result.json.
        exceptions: <data>/<plugin> -> why results are missing.
    """
    lines, missing = [], set()
    for board, commands in boards.items():
        for options in commands:
            seeds = SEEDS.get(board, "0,1,2").split(",")
            runs = (Path(*run.parts[-3:]) for run in runs_of(options, "0"))
            for name in (run.with_name(run.name[:-1] + seed) for run in runs for seed in seeds):
                if not (results / name / "result.json").is_file():
                    missing.add(str(name.parent))
                    if str(name.parent) not in exceptions:
                        lines.append(f"results/{name}: none, which `zoo run {options}` makes")
    return lines + [f"{name}: made; take it out of EXCEPTIONS" for name in exceptions if name not in missing]


def keep(run: Path) -> str:
    """Copy a finished run's result and attachments into results/, verify the copy, and return its state."""
    source = run / "result.json"
    if not source.is_file():
        return "no result"
    target = RESULTS.joinpath(*run.parts[-3:])
    content = source.read_bytes()
    if (target / "result.json").is_file() and (target / "result.json").read_bytes() == content:
        state = "kept before"
    else:
        target.mkdir(parents=True, exist_ok=True)
        for attachment in json.loads(content)["attachments"].values():
            shutil.copyfile(run / attachment["file"], target / attachment["file"])
        (target / "result.json").write_bytes(content)
        state = "kept"
    from zoo_eval.store.states import recorded_states

    known = recorded_states().get(hashlib.sha256(content).hexdigest())
    if known is None:
        done = zoo(["verify", str(target / "result.json"), "--run", str(run)], capture_output=True)
        known = done.stdout.strip().partition("\n")[0] or done.stderr.strip().partition("\n")[0]
    return f"{state}; {known}"


def make(board: str, seeds: str, slots: int) -> int:
    """Run a board's commands, keep and verify their results; return how many runs have none."""
    missing = 0
    for options in BOARDS[board]:
        print("$", *command(options, seeds, slots), flush=True)
        zoo(command(options, seeds, slots)[1:])
        runs = list(runs_of(options, seeds))
        with ThreadPoolExecutor(slots) as pool:
            for run, state in zip(runs, pool.map(keep, runs), strict=True):
                missing += state == "no result"
                print(f"{Path(*run.parts[-3:])}: {state}", flush=True)
    return missing


class Score(NamedTuple):
    """A ranked score of one run, with its interval over samples."""

    value: float
    low: float
    high: float


def scores(files: Iterator[tuple[str, bytes]]) -> dict[tuple[str, str, str], list[Score]]:
    """Return (data, plugin and task if it was asked for, column) -> the ranked distance of every seed."""
    found: dict[tuple[str, str, str], list[Score]] = defaultdict(list)
    for name, content in files:
        data, plugin = Path(name).parts[-4:-2]
        data = data.replace("binarised", "binarized")
        result = json.loads(content)
        config = result["config"]
        task = config["data.task"] if "data.task" in config else config["data"]["task"]
        for column, value in result.get("metrics", {}).items():
            if re.fullmatch(r"FI?D\[[^]]+\]", column):
                ends = value.get("interval", value)
                score = Score(value["value"], ends["low"], ends["high"])
                found[data, f"{plugin} {task}".strip(), column].append(score)
    return found


def committed(commit: str) -> Iterator[tuple[str, bytes]]:
    """Yield the result files of results/ at a commit."""
    archive = subprocess.check_output(["git", "archive", commit, "results"], cwd=ROOT)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened:
            content = opened.extractfile(member)
            if member.name.endswith("/result.json") and content is not None:
                yield member.name, content.read()


def interval(values: Sequence[Score]) -> Score:
    """Return the mean with its 95 % interval: over seeds, or over samples where seeds change nothing."""
    from zoo_eval.statistics.student import mean_interval

    mean, half = mean_interval([score.value for score in values])
    return Score(mean, mean - half, mean + half) if half and half > 1e-9 * mean else values[0]


def compare(commit: str) -> None:
    """Print the scores at a commit beside today's; "*" marks a mean that is outside the old interval."""
    before = scores(committed(commit))
    now = scores((str(path), path.read_bytes()) for path in sorted(RESULTS.rglob("result.json")))
    for key in sorted(before.keys() | now.keys()):
        sides = [interval(found[key]) if key in found else None for found in (before, now)]
        texts = [
            "-" if one is None else f"{one.value:.3g} ({one.low:.3g} to {one.high:.3g})" for one in sides
        ]
        old, new = sides
        outside = old is not None and new is not None and not old.low <= new.value <= old.high
        print(" ".join(key).ljust(38), texts[0].ljust(30), texts[1].ljust(30), "*" if outside else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("boards", nargs="*", help="of " + ", ".join(BOARDS))
    parser.add_argument("--seeds", help="comma list; the default is 0,1,2, of mnist 0")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the commands")
    parser.add_argument("--old", metavar="COMMIT", help="print the scores at a commit beside today's")
    parser.add_argument(
        "--check", action="store_true", help="check that the results of each command are there"
    )
    given = parser.parse_args()
    boards = given.boards or list(BOARDS)
    if unknown := set(boards) - BOARDS.keys():
        parser.error(f"no board {', '.join(sorted(unknown))}; there are {', '.join(BOARDS)}")
    if given.old:
        compare(given.old)
        return 0
    if given.check:
        wrong = unmade(BOARDS, RESULTS, EXCEPTIONS)
        for line in wrong:
            print(line, file=sys.stderr)
        return 1 if wrong else 0
    if given.list:
        for board in boards:
            for options in BOARDS[board]:
                print(*command(options, given.seeds or SEEDS.get(board, "0,1,2"), given.slots))
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    missing = sum(make(board, given.seeds or SEEDS.get(board, "0,1,2"), given.slots) for board in boards)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
