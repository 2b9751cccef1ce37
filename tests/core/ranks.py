"""Real processes that meet over gloo, as torchrun would start them, without its seconds of start-up."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import runpy
import socket
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["torch.distributed", "zoo_core.runs.job", "zoo_core.training.harness"])


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _work(place: dict[str, str], work: tuple[str, str], args: tuple[Any, ...], result: str) -> None:
    os.environ.update(place)
    torch.set_num_threads(1)
    module, name = work
    try:
        told = ("returned", getattr(importlib.import_module(module), name)(*args))
    except BaseException as error:
        told = ("raised", f"{type(error).__name__}: {error}")
    torch.save(told, f"{result}.part")
    os.replace(f"{result}.part", result)


def on_ranks(
    size: int, work: Callable[..., Any], *args: Any, folder: Path, seconds: float = 60
) -> list[tuple[str, Any] | None]:
    """Call `work(*args)` in `size` processes and return what each left, in rank order.

    ("returned", value), ("raised", "Class: message"), or None of a process that died before it could tell.
    How a process exits is not asked: gloo aborts some after their work is done.
    """
    port = str(free_port())
    results = [folder / f"rank-{rank}-{port}.pt" for rank in range(size)]
    children = []
    for rank, result in enumerate(results):
        place = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        given = {
            "place": place,
            "work": (work.__module__, work.__name__),
            "args": args,
            "result": str(result),
        }
        # Run by its path: a child can't import `tests`, which some installed package is called too.
        child = _server.Process(target=runpy.run_path, args=(__file__, {"GIVEN": given}, "__rank__"))
        child.start()
        children.append(child)
    deadline = time.monotonic() + seconds
    for child in children:
        child.join(max(0.1, deadline - time.monotonic()))
    hanging = [rank for rank, child in enumerate(children) if child.is_alive() and not results[rank].exists()]
    for child in children:
        child.kill()
    assert not hanging, f"still at work after {seconds} s: ranks {hanging}"
    return [torch.load(path, weights_only=False) if path.exists() else None for path in results]


def returned(told: list[tuple[str, Any] | None]) -> list[Any]:
    """Return the values, where every process returned one."""
    assert all(one is not None and one[0] == "returned" for one in told), told
    return [one[1] for one in told if one is not None]


if __name__ == "__rank__":
    tests = types.ModuleType("tests")
    tests.__path__ = [str(Path(__file__).parent.parent)]
    sys.modules["tests"] = tests
    _work(**globals()["GIVEN"])
