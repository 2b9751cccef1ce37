"""ci/slow: which changes make a slow test run again."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType

import pytest

from tests.conftest import CHECKOUT


@pytest.fixture
def slow() -> ModuleType:
    loader = SourceFileLoader("slow", str(CHECKOUT / "ci" / "slow"))
    spec = spec_from_loader("slow", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


LIST = "evaluation/zoo_eval/store/verified.json"


@pytest.mark.parametrize(("place", "again"), [("evaluation", False), (LIST, True)])
def test_a_new_verified_result_runs_only_what_names_the_list(
    slow: ModuleType, place: str, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LIST in slow.tracked()
    before, of = slow.dependency_hash([place]), slow.file_hash
    monkeypatch.setattr(slow, "file_hash", lambda name: "other" if name == LIST else of(name))
    assert (slow.dependency_hash([place]) != before) == again
