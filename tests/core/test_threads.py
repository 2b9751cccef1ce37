"""Threads of runs side by side: each takes its share of the cores, and OMP_NUM_THREADS overrides it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from zoo_core.machine import threads


@pytest.fixture(autouse=True)
def four_cores(monkeypatch, tmp_path):
    """A machine of four cores on which no run is at work, and torch with all of them."""
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(threads, "_folder", lambda: tmp_path / "runs")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("processes", "expected"), [(1, 4), (2, 2), (3, 1), (4, 1), (9, 1)])
def test_share_divides_the_cores(processes, expected):
    """Catches a share of zero threads, and one that together with the others exceeds the cores."""
    assert threads.share(processes) == expected


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1)]
)
def test_cores_respect_the_quota_of_a_container(monkeypatch, tmp_path, quota, expected):
    """Catches a container limited to one core that is taken for the whole machine."""
    monkeypatch.undo()
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "missing")
    whole = threads.cores()
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    assert threads.cores() == (expected or whole)


def test_a_run_beside_another_takes_half(tmp_path):
    """Catches a second run that takes all cores, and one that keeps its limit after its end."""
    script = (
        "import pathlib, sys\nfrom zoo_core.machine import threads\n"
        f"threads._folder = lambda: pathlib.Path({str(tmp_path / 'runs')!r})\n"
        "with threads.shared(1):\n    print('at work', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"at work\n"
        with threads.shared(1) as line:
            assert torch.get_num_threads() == 2
            assert "2 runs at work" in line
        assert torch.get_num_threads() == 4
        other.stdin.close()
        other.wait()
    with threads.shared(1) as line:
        assert (line, torch.get_num_threads()) == ("", 4)


def test_the_file_of_a_dead_run_does_not_count(tmp_path):
    """Catches runs that were killed and reduce the threads of every later run."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "1").touch()
    with threads.shared(1) as line:
        assert (line, torch.get_num_threads()) == ("", 4)
    assert not list((tmp_path / "runs").iterdir())


def test_processes_of_torchrun_divide_the_cores(monkeypatch):
    """Catches torchrun's default of one thread a process, which leaves cores idle."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with threads.shared(2) as line:
        assert torch.get_num_threads() == 2
        assert "2 processes of this run" in line


@pytest.mark.parametrize("named", ["1", "3"])
def test_the_variable_decides_where_it_is_set(monkeypatch, named):
    """Catches a number of threads that a person asked for and did not get."""
    monkeypatch.setenv("OMP_NUM_THREADS", named)
    with threads.shared(1) as line:
        assert (line, torch.get_num_threads()) == ("", 4)


def test_a_run_inside_a_run_changes_nothing():
    """Catches baselines or a calibration, run in the same process, that halve its threads."""
    with threads.shared(1), threads.shared(1) as line:
        assert (line, torch.get_num_threads()) == ("", 4)
