"""Everything registered is tested because it is registered: the conformance kit over all that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT
from tests.families.test_icons import PARTS
from zoo_core.errors import UsageError
from zoo_core.registry.manager import Entry, manager
from zoo_core.testing import checks, perform, subjects
from zoo_core.testing.kit import MODULES
from zoo_core.testing.subject import DATA


def _depends(entry: Entry) -> tuple[str, ...]:
    """Return what the checks of an entry run: the core, its package, and the models that it is made of."""
    package = entry.spec.target.partition(".")[0]
    own = {"zoo_core": "zoo_core", "zoo_eval": "evaluation"}.get(package, f"plugins/{package}")
    if not (CHECKOUT / own).is_dir():  # installed from elsewhere
        own = "examples"
    return ("zoo_core", own, *PARTS.get(entry.spec.name, ()))


def _cases() -> list[Any]:
    return [
        pytest.param(
            kind,
            entry.spec.name,
            place,
            id="-".join(filter(None, (kind, entry.spec.name, place))),
            marks=pytest.mark.slow(depends=_depends(entry)),
        )
        for kind in MODULES
        for entry in manager().entries(kind)
        for place in (DATA if kind == "plugin" else ("",))
    ]


@pytest.mark.parametrize(("kind", "name", "place"), _cases())
def test_it_passes_the_conformance_kit(kind: str, name: str, place: str, home: Path) -> None:
    """A model is checked on images and on points apart, each with every task that it declares there."""
    try:
        its = [subject for subject in subjects(kind, name) if subject.case.startswith(place)]
    except UsageError as error:
        pytest.skip(str(error))
    if not its:
        pytest.skip(f"{name} refuses {place}")
    results = [perform(check, subject) for subject in its for check in checks(kind)]
    failed = [f"{r.case}: {r.check}: {r.what}\n    do: {r.do}" for r in results if r.state == "failed"]
    assert not failed, "\n".join(failed)
    if not any(result.state == "passed" for result in results):
        pytest.skip(results[0].what)
