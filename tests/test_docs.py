"""Documents are executed: the tutorial's plugin trains, the hooks' table is theirs, every verb exists."""

from __future__ import annotations

import inspect
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from zoo_core.cli import VERBS, invoke
from zoo_core.registry import hookspecs, manager

DOCS = CHECKOUT / "docs"


def blocks(page: Path) -> dict[str, str]:
    """Return file name -> text of a page's code blocks that begin with `# name`."""
    found = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", page.read_text(), re.DOTALL)
    return dict(found)


def test_the_tutorials_plugin_installs_trains_and_is_listed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = blocks(DOCS / "plugins.md")
    assert set(files) == {"pyproject.toml", "zoo_tiny_gan/__init__.py", "zoo_tiny_gan/model.py"}
    for name, text in files.items():
        (tmp_path / "plugin" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plugin" / name).write_text(text)
    import tomllib

    declared = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]["zoo"]
    monkeypatch.syspath_prepend(str(tmp_path / "plugin"))
    here = manager.manager()
    ours = [EntryPoint(s.entry_point, s.module.__name__, "zoo") for s in here.sources]
    theirs = [EntryPoint(name, value, "zoo") for name, value in declared.items()]
    there = manager.Manager([*ours, *theirs])
    assert there.failures == []
    for module in [m for m in sys.modules.values() if getattr(m, "manager", None) is manager.manager]:
        monkeypatch.setattr(module, "manager", lambda: there)
    words = ["run", "plugin=tiny-gan", "preset=tiny", "eval.baselines=false", "track.wandb=off"]
    assert invoke(words) == 0
    assert "FD[digits]" in capsys.readouterr().out
    assert invoke([*words, "data=ring"]) == 0
    assert invoke(["show", "tiny-gan"]) == 0


def test_every_hook_and_each_of_its_arguments_is_in_the_table() -> None:
    table = re.findall(r"\| `(zoo_\w+)\(([^)]*)\)` \|", (DOCS / "plugins.md").read_text())
    written = {name: [a.strip() for a in arguments.split(",") if a.strip()] for name, arguments in table}
    assert written == {
        name: list(inspect.signature(getattr(hookspecs, name)).parameters) for name in hookspecs.HOOKS
    }


def test_every_verb_in_the_documents_is_a_verb() -> None:
    known = set(VERBS) | {entry.spec.name for entry in manager.manager().entries("command")}
    for page in [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *DOCS.glob("*.md")]:
        for verb in re.findall(r"^ {4}zoo (\w+)", page.read_text(), re.MULTILINE):
            assert verb in known, (page.name, verb)


def test_every_field_of_a_phase_and_a_stage_is_explained() -> None:
    from dataclasses import fields

    from zoo_core.training.recipe import Phase, Stage

    page = (DOCS / "plugins.md").read_text()
    for field in [*fields(Phase), *fields(Stage)]:
        assert field.name == "name" or f"`{field.name}`" in page, field.name
