"""A cache of decoded images that is the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ZOO_HOME in the test's own folder; it is made by what is written into it."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path.parent / f"{tmp_path.name}-home"))
