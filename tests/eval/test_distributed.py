"""Any number of processes gives the same figures; one that dies ends the run with a message."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def start(case, size, folder):
    """Start the processes of one run; return them and the file that the first writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = folder / f"{case}-{size}.json"
    shared = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size),
        "OMP_NUM_THREADS": "1", "ZOO_HOME": str(folder / f"home-{case}-{size}"),
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    command = [sys.executable, "tests/eval/ranks.py", case, str(out)]
    processes = [
        subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env={**shared, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(size)
    ]
    return processes, out


def found(case, size, folder):
    """Return what the first process recorded; gloo may abort one that is exiting, after its work is done."""
    processes, out = start(case, size, folder)
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert out.exists(), "\n".join(errors)
    return json.loads(out.read_text())


def same(one, other, where="", **close):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f"{where}.{key}", **close)
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{where}[{k}]", **close)
    elif isinstance(one, float):
        assert other == pytest.approx(one, **close), where
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_one_two_and_three_processes_give_the_same_figures(folder):
    # catches padding to equal shares, rows out of order, an empty share that stops the others, and a
    # library's metric that gathers what every process already has
    alone = found("figures", 1, folder)
    for size in (2, 3):
        together = found("figures", size, folder)
        same(alone["features"], together["features"], f"{size} processes", rel=1e-9)
        same(alone["score"], together["score"], f"{size} processes", rel=1e-5, abs=1e-5)


@pytest.mark.slow(depends=("zoo_core/machine", "evaluation"))
def test_the_first_process_alone_has_all_and_computes_metrics(folder):
    # catches rows and features that every process gets, and metrics that each computes again
    found("held", 2, folder)
    first, second = (json.loads((folder / f"held-2.{rank}").read_text()) for rank in range(2))
    assert first["metrics"] == ["frechet", "likelihood", "prdc"]
    assert second["metrics"] == []
    assert (first["rows"], second["rows"]) == (2000, 1000)  # the others keep what they drew
    assert (first["features"], second["features"]) == (2000, 0)
    # of the samples and of the training split
    assert (first["passed"], second["passed"]) == (1000 + 718, 1000 + 719)
    assert first["cache"] > second["cache"] == 0
    assert (first["hashed"], second["hashed"]) == (1, 0)
    assert first["columns"] == second["columns"] > 5  # the result itself is told to all


@pytest.mark.slow(depends=("zoo_core/machine", "evaluation"))
def test_a_share_that_is_refused_is_told_by_the_first_process(folder):
    processes, out = start("refuses", 2, folder)
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 5]
    assert errors[0].strip() == "the second process can't draw"
    assert "rank 1 of 2: another rank could not do its share" in errors[1]
    assert not out.exists()


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_a_process_that_dies_ends_the_run_with_a_message(folder):
    # catches a hang: the others wait for rows that never come
    processes, out = start("dies", 2, folder)
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert processes[1].returncode == 9
    assert processes[0].returncode == 5
    assert re.search(r"rank 0 of 2: [\w-]+ failed; another rank exited", errors[0])
    assert "Traceback" not in errors[0]
    assert not out.exists()
