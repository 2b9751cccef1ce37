"""The conformance kit as tests: `pytest --zoo-plugin NAME`. It imports nothing of the zoo unless asked to."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("zoo")
    group.addoption(
        "--zoo-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="run the zoo's conformance kit on a registered model, sampler, dataset, extractor or metric, or "
        "on all that a distribution brings",
    )
    group.addoption(
        "--zoo-data", action="append", default=[], metavar="NAME", help="check models on this dataset"
    )


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    for name in session.config.getoption("--zoo-plugin"):
        items += _Kit.from_parent(session, name=name, nodeid=f"zoo-plugin[{name}]").collect()


class _Kit(pytest.Collector):
    """The checks of what is registered under one name."""

    def collect(self) -> list[pytest.Item]:
        from zoo_core.errors import ZooError
        from zoo_core.testing import checks, subjects
        from zoo_core.testing.kit import named
        from zoo_core.testing.results import title

        data = self.config.getoption("--zoo-data")
        try:
            found = [(kind, one, subjects(kind, one, data)) for kind, one in named(self.name)]
        except ZooError as error:
            raise pytest.UsageError(str(error)) from None
        return [
            _Item.from_parent(
                self, name=f"{kind} {one} [{subject.case}] {title(check)}", check=check, subject=subject
            )
            for kind, one, its in found
            for subject in its
            for check in checks(kind)
        ]


class _Item(pytest.Item):
    """One check of one subject."""

    def __init__(self, *, check: Any, subject: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check
        self.subject = subject

    def runtest(self) -> None:
        from zoo_core.testing import perform

        result = perform(self.check, self.subject)
        if result.state == "not applicable":
            pytest.skip(result.what)
        if result.state == "failed":
            pytest.fail(f"{result.what}\n    do: {result.do}", pytrace=False)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, self.name
