"""The path of one sample through evaluation: the modules of zoo_eval between `evaluate` and `Result`.

The call stack is taken where the sample is drawn, where its features are extracted, where a score is made of
them, and where the result is made of the scores.
"""

from __future__ import annotations

import itertools
import sys
import tomllib
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from tests.eval.fakes import FakeRun, identity
from zoo_core.data.loading import Dataset
from zoo_core.interfaces import EvalContext
from zoo_core.results import Result, Value
from zoo_eval.extractors.raw import Raw
from zoo_eval.pipeline import evaluate, prepare

MOST = 8
"""Modules that a reader follows one sample through."""
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def station(frame: FrameType) -> str:
    """Return which station of a sample a frame is; "" for none."""
    if frame.f_code is FakeRun.draw.__code__:
        return "sample"
    if frame.f_code is Raw.__call__.__code__:
        return "features"
    if frame.f_code is BaseModel.__init__.__code__:
        made = type(frame.f_locals["self"])
        return {Value: "score", Result: "result"}.get(made, "")
    return ""


def stack(frame: FrameType | None) -> list[tuple[str, str]]:
    """Return (module, function) of zoo_eval of each frame up to `evaluate`, the outermost first."""
    found: list[tuple[str, str]] = []
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] == "zoo_eval":
            found.insert(0, (name, frame.f_code.co_qualname))
        if frame.f_code is evaluate.__code__:
            break
        frame = frame.f_back
    return found


def stacks(metric: str, data: Dataset, folder: Path | None) -> dict[str, list[list[tuple[str, str]]]]:
    """Return the call stacks at each station while samples are scored by one metric."""
    run = FakeRun(data, data.train.examples(torch.arange(400)), metrics=[metric], extractor="raw")
    run.dir = folder
    source = run.source
    setup = prepare(source)
    found: dict[str, list[list[tuple[str, str]]]] = {}

    def look(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and (name := station(frame)):
            found.setdefault(name, []).append(stack(frame))

    sys.setprofile(look)
    try:
        evaluate(source, identity(), setup)
    finally:
        sys.setprofile(None)
    return found


def layers() -> dict[str, int]:
    """Return the layer of each module and package of zoo_eval as lint-imports has it, 0 for the top."""
    contracts = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]
    (own,) = (one for one in contracts if one.get("containers") == ["zoo_eval"])
    return {name.strip(): k for k, line in enumerate(own["layers"]) for name in line.split("|")}


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("metric", ["frechet", "kernel", "prdc", "modes"])
def test_a_sample_passes_few_modules_and_no_call_leads_upward(
    metric: str, attached: bool, digits: Dataset, tmp_path: Path
) -> None:
    """Catches a layer that only passes a sample on, and a module that reaches into one above it.

    A metric may call the context that it is given, by the methods of `EvalContext`, which is below both; and
    a function that is handed down (`<locals>`) may be called where it was handed to.
    """
    found = stacks(metric, digits, tmp_path if attached else None)
    assert {"sample", "score", "result"} <= found.keys()
    every = [one for several in found.values() for one in several]
    modules = {name for one in every for name, _ in one}
    assert len(modules) <= MOST, sorted(modules)
    place = layers()
    upward = {
        (caller, called, function)
        for one in every
        for (caller, _), (called, function) in itertools.pairwise(one)
        if place[called.split(".")[1]] < place[caller.split(".")[1]]
    }
    asked = {f"Context.{name}" for name in dir(EvalContext)}
    assert not {one for one in upward if one[2] not in asked and "<locals>" not in one[2]}
