"""Hostile inputs for every parser: mutations of valid files, seeded and bounded.

    ci/fuzz --count 20000             all parsers, on two cores
    ci/fuzz --parser "npz arrays"     one of them
    ci/fuzz --seed 0 --case 1234      one input again, with the traceback

A case fails where a parser raises anything but a `ZooError`, uses more than 5 s of processor time, waits for
5 s, dies, or runs code, opens a connection or writes outside its folder. The exit status is 1 if any failed.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

MEMORY = 12 << 30
"""Bytes of address space of a worker: an absurd allocation raises MemoryError, which is a fault."""
DEAD_S = 60
"""A worker without an answer for so long is stuck in native code."""
SPECIAL = ("pipe", "socket", "folder", "device", "dangling", "loop", "sparse", "empty")


def main() -> int:
    """Run the cases in worker processes, and print the faults and a table."""
    words = argparse.ArgumentParser(prog="ci/fuzz", description=__doc__.splitlines()[0])
    words.add_argument("--count", type=int, default=2000, help="inputs in all")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="worker processes")
    words.add_argument("--parser", help="only the parser of this name")
    words.add_argument("--case", type=int, help="only this case")
    words.add_argument("--worker", nargs=2, type=int, metavar=("FIRST", "STRIDE"), help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.worker:
        return _work(given)
    started = time.monotonic()
    reports: list[dict[str, Any]] = []
    jobs = 1 if given.case is not None else given.jobs
    workers = [_Worker(given, k if given.case is None else given.case, jobs) for k in range(jobs)]
    while any(worker.process for worker in workers):
        for worker in workers:
            reports += worker.collect()
        time.sleep(0.05)
    return _tell(reports, given, time.monotonic() - started)


def _tell(reports: list[dict[str, Any]], given: argparse.Namespace, seconds: float) -> int:
    faults = [report for report in reports if report["fault"]]
    shown: Counter[str] = Counter()
    for report in faults:
        signature = f"{report['parser']}: {report['fault']}: {report['where']}"
        shown[signature] += 1
        if shown[signature] == 1:
            print(
                f"FAULT {signature}\n  again: ci/fuzz --seed {given.seed} --case {report['case']}\n"
                f"  {report['what']}\n"
            )
    for signature, times in shown.items():
        print(f"{times:5}  {signature}")
    total: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for report in reports:
        total[report["parser"]] += 1
        accepted[report["parser"]] += report["accepted"]
        refused[report["parser"]] += not report["accepted"] and not report["fault"]
    slowest = {name: max(r["seconds"] for r in reports if r["parser"] == name) for name in total}
    print(f"{'parser':26}{'inputs':>8}{'accepted':>10}{'refused':>9}{'slowest':>9}")
    for name in total:
        print(f"{name:26}{total[name]:8}{accepted[name]:10}{refused[name]:9}{slowest[name]:8.2f}s")
    kinds = Counter(report["fault"] for report in faults)
    print(
        f"{len(reports)} inputs in {seconds:.0f} s, seed {given.seed}: {kinds['traceback']} tracebacks, "
        f"{kinds['hang']} hangs over 5 s, {kinds['execution']} executions"
    )
    expected = 1 if given.case is not None else given.count
    if len(reports) < expected:
        print(f"only {len(reports)} of {expected} inputs were tried: a worker failed to start")
    return int(bool(faults) or len(reports) < expected)


class _Worker:
    """A process that tries every STRIDE-th case; one that dies is replaced after the case that ended it."""

    def __init__(self, given: argparse.Namespace, first: int, stride: int) -> None:
        self.given, self.stride = given, stride
        self.process: subprocess.Popen[bytes] | None = None
        self._start(first)

    def _start(self, first: int) -> None:
        self.at, self.ready = first, False
        self._rest, self._time = b"", time.monotonic()
        if first >= self.given.count and self.given.case is None:
            self.process = None
            return
        words = [
            sys.executable,
            os.path.dirname(__file__),
            *sys.argv[1:],
            "--worker",
            str(first),
            str(self.stride),
        ]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def collect(self) -> list[dict[str, Any]]:
        """Return the reports that have arrived."""
        if self.process is None:
            return []
        assert self.process.stdout is not None
        ended = self.process.poll() is not None
        new = self.process.stdout.read() or b""
        *lines, self._rest = (self._rest + new).split(b"\n")
        reports = [json.loads(line) for line in lines if line.startswith(b"{")]
        for report in reports:
            self.ready, self._time = True, time.monotonic()
            self.at = report["case"] + self.stride if "fault" in report else self.at
        reports = [report for report in reports if "fault" in report]
        if not ended and self.ready and time.monotonic() - self._time > DEAD_S:
            self.process.kill()
            self.process.wait()
            ended = True
        if ended:
            code = self.process.returncode
            self.process.stdout.close()
            self.process = None
            if code and self.ready:
                fault = "hang" if code == -9 else "traceback"
                what = f"the process ended with status {code}"
                reports.append(_report(self.at, "(died)", fault, what, "native code", DEAD_S))
                if self.given.case is None:
                    self._start(self.at + self.stride)
        return reports


def _report(
    case: int, parser: str, fault: str, what: str, where: str, seconds: float, accepted: bool = False
) -> Any:
    return {"case": case, "parser": parser, "fault": fault, "what": what, "where": where, "seconds": seconds,
            "accepted": accepted}  # fmt: skip


def _work(given: argparse.Namespace) -> int:
    """Try cases in this process and print a report of each as a line of JSON."""
    import resource
    import warnings

    from parsers import table
    from watch import Hang, Watch

    warnings.simplefilter("ignore")  # zipfile's, about the names that a mutation uses twice
    with tempfile.TemporaryDirectory(prefix="zoo-fuzz-") as temporary:
        workspace = Path(temporary).resolve()
        os.environ |= {"ZOO_HOME": str(workspace / "home"), "WANDB_MODE": "disabled", "HOME": str(workspace)}
        os.chdir(workspace)
        out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)  # what a parser prints is no report
        parsers = table(workspace)
        chosen = [parser for parser in parsers if given.parser in (None, parser.name)]
        if not chosen:
            raise SystemExit(f"no parser {given.parser!r}; there are: {', '.join(p.name for p in parsers)}")
        for parser in chosen:
            _fill(parser, workspace / "case")
            parser.sign(workspace / "case")
            parser.read(workspace / "case")  # a valid input must be accepted, or the mutations test nothing
            shutil.rmtree(workspace / "case")
            shutil.rmtree(workspace / "pulled", ignore_errors=True)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
        watch = Watch(workspace)
        first, stride = given.worker
        print(json.dumps({"ready": True}), file=out)
        for case in range(first, first + 1 if given.case is not None else given.count, stride):
            faulthandler.dump_traceback_later(DEAD_S - 10, exit=True)
            report = _try(chosen, case, given, workspace, watch, Hang)
            print(json.dumps(report), file=out)
        faulthandler.cancel_dump_traceback_later()
    return 0


def _fill(parser: Any, folder: Path, rng: random.Random | None = None) -> None:
    folder.mkdir()
    for name, seeds in parser.seeds.items():
        (folder / name).write_bytes(rng.choice(seeds) if rng else seeds[0])


def _try(
    parsers: list[Any], case: int, given: argparse.Namespace, workspace: Path, watch: Any, hang: Any
) -> Any:
    from zoo_core.errors import ZooError

    rng = random.Random(f"{given.seed}/{case}")
    parser = rng.choices(parsers, [parser.weight for parser in parsers])[0]
    folder = workspace / "case"
    _fill(parser, folder, rng)
    target = folder / rng.choice(list(parser.mutated))
    if parser.special and rng.random() < 0.02:
        _replace(target, rng.choice(SPECIAL))
    else:
        target.write_bytes(parser.mutated[target.name](rng, target.read_bytes()))
    parser.sign(folder)
    fault, what, where, accepted = "", "", "", False
    started = time.process_time()
    with watch.case() as events:
        try:
            parser.read(folder)
            accepted = True
        except ZooError as error:
            if len(str(error)) > 20_000:
                fault, what, where = (
                    "traceback",
                    f"a message of {len(str(error)):,} characters",
                    type(error).__name__,
                )
        except hang as error:
            fault, what = "hang", "".join(traceback.format_tb(error.__traceback__)[-3:])
            where = _place(error)
        except BaseException as error:
            fault, what = "traceback", f"{type(error).__name__}: {error}"[:300]
            where = f"{type(error).__name__} at {_place(error)}"
            if given.case is not None:
                traceback.print_exc()
    seconds = time.process_time() - started
    if events:
        fault, what, where = "execution", "; ".join(events[:3]), events[0].split(" ")[0]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(workspace / "pulled", ignore_errors=True)
    return _report(case, parser.name, fault, what, where, seconds, accepted)


def _place(error: BaseException) -> str:
    """Return the last line of our own code in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "zoo_" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _replace(path: Path, kind: str) -> None:
    """Put something else in the place of a file."""
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(1 << 40)
    else:
        path.touch()


if __name__ == "__main__":
    sys.exit(main())
