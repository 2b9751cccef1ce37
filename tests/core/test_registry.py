"""Plugins load one by one; a broken one is told and never stops the others."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from zoo_core.cli import invoke
from zoo_core.errors import Mistakes, NotFoundError, PluginError, UsageError
from zoo_core.registry.hookspecs import HOOKS
from zoo_core.registry.index import Index, IndexEntry, load_index
from zoo_core.registry.index_check import disagreements
from zoo_core.registry.manager import KINDS, Manager, load_entry, manager
from zoo_core.registry.spec import load_target

HEAD = """
import pluggy
from zoo_core.registry.spec import PluginSpec
hookimpl = pluggy.HookimplMarker("zoo")
"""
GOOD = (
    HEAD
    + """
@hookimpl
def zoo_plugins():
    return [PluginSpec("{name}", "gan", "x:Y", "x:Z", "a model")]
"""
)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write modules and return a function that makes their entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(**sources: str) -> list[EntryPoint]:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
            sys.modules.pop(name, None)
        return [EntryPoint(name, name, "zoo") for name in sources]

    return make


def test_a_name_that_two_claim_is_an_error_that_names_both(modules: Any) -> None:
    here = Manager(modules(first=GOOD.format(name="same"), second=GOOD.format(name="same")))
    with pytest.raises(PluginError, match="claimed by two"):
        here.find("plugin", "same")
    assert any("claimed" in failure.reason for failure in here.failures)


def test_an_unknown_name_tells_the_nearest_and_what_failed(modules: Any) -> None:
    here = Manager(modules(good_two=GOOD.format(name="wgan"), broken_two="import no_such_module_anywhere"))
    with pytest.raises(NotFoundError) as caught:
        here.find("plugin", "wgn")
    assert "did you mean: plugin=wgan" in str(caught.value)
    assert "no_such_module_anywhere" in str(caught.value)


def test_a_target_that_fails_to_import_names_its_distribution(modules: Any) -> None:
    here = Manager(modules(good_three=GOOD.format(name="hollow")))
    with pytest.raises(PluginError, match="hollow"):
        load_entry("plugin", here.find("plugin", "hollow"))


def test_the_environment_chooses_plugins(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = modules(one=GOOD.format(name="one"), two=GOOD.format(name="two"))
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", "one")
    assert [e.spec.name for e in Manager(found).entries("plugin")] == ["two"]
    monkeypatch.delenv("ZOO_DISABLE_PLUGINS")
    monkeypatch.setenv("ZOO_LOAD_PLUGINS", "one")
    assert [e.spec.name for e in Manager(found).entries("plugin")] == ["one"]


@pytest.mark.parametrize("kind", KINDS)
def test_everything_registered_names_code_that_is_there(kind: str) -> None:
    here = manager()
    assert here.failures == []
    for entry in here.entries(kind):
        assert callable(load_target(entry.spec.target)) or kind == "command"
        for field in ("config", "grid"):
            if getattr(entry.spec, field, ""):
                assert callable(load_target(getattr(entry.spec, field)))


def test_listings_import_no_torch_and_no_pydantic() -> None:
    code = (
        "import sys; from zoo_core.cli import invoke\n"
        "for words in (['list'], ['plugins'], ['samplers'], ['datasets'], ['--help'], ['list', '--json']):\n"
        "    assert invoke(words) == 0\n"
        "heavy = {'torch', 'pydantic', 'numpy', 'sklearn', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_a_models_module_costs_torch_and_nothing_heavier() -> None:
    """Catches a model whose import brings in what only some runs need; the message names its module."""
    modules = sorted({entry.spec.target.partition(":")[0] for entry in manager().entries("plugin")})
    code = (
        f"import importlib, sys\nfor module in {modules}:\n"
        "    importlib.import_module(module)\n"
        "    heavy = {'torchvision', 'timm', 'torchmetrics', 'sklearn', 'wandb', 'PIL'} & set(sys.modules)\n"
        "    assert not heavy, (module, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert len(modules) > 20
    assert done.returncode == 0, done.stderr


def test_registry_yaml_and_the_installed_specs_agree() -> None:
    assert disagreements(load_index(), manager()) == []


def entry(**fields: Any) -> dict[str, Any]:
    """Return an entry of ours, changed."""
    return {"name": "x", "family": "f", "package": "genzoo", "summary": "s", "license": "MIT"} | fields


THIRD_PARTY = {"name": "x", "family": "f", "package": "zoo-plugin-x", "summary": "s", "license": "MIT"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "wgan", "family": "vae"}, "family is 'vae' here and 'gan'"),
        ({"name": "wgan", "family": "gan", "tasks": ["class"]}, "tasks"),
        ({"name": "no-such-model"}, "provides no such plugin"),
        (THIRD_PARTY | {"name": "wgan", "source": "./x"}, "provided by genzoo"),
    ],
)
def test_an_entry_that_contradicts_the_code_is_told(fields: dict[str, Any], reason: str) -> None:
    index = Index.model_validate({"schema": 1, "plugins": [entry(**fields)]})
    assert any(reason in str(wrong) for wrong in disagreements(index, manager()))


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({}, False),
        ({"version": "1.0"}, False),
        ({"version": "1.0", "sha256": "0" * 64}, True),
        ({"source": "./examples/zoo-plugin-x"}, True),
        ({"source": "git+https://example.org/x@main"}, False),
        ({"source": f"git+https://example.org/x@{'a' * 40}"}, True),
        ({"source": "; rm -rf /"}, False),
        ({"source": "./x", "version": "1.0", "sha256": "0" * 64}, False),
        ({"source": "./x", "family": ""}, False),
        ({"source": "./x", "family": "", "kind": "sampler"}, True),
    ],
)
def test_a_third_party_entry_says_where_it_is_installed_from(fields: dict[str, Any], good: bool) -> None:
    if good:
        made = IndexEntry.model_validate(THIRD_PARTY | fields)
        assert made.how_to_install.startswith("pip install ")
    else:
        with pytest.raises(ValueError):
            IndexEntry.model_validate(THIRD_PARTY | fields)


def test_the_verb_checks_a_file_offline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("schema: 1\nplugins: []\n")
    assert invoke(["registry", "check", str(path)]) == 2
    assert "plugin 'wgan' of genzoo has no entry" in capsys.readouterr().err
    assert invoke(["registry", "check"]) == 0
    assert "are well-formed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("schema: 1\nplugins: [{name: x}]", "summary"),
        ("schema: 2\nplugins: []", "schema"),
        ("schema: 1\nplugins: []\nmore: 1", "more"),
        ("schema: 1\nplugins: 3", "plugins"),
        (
            "schema: 1\nplugins:\n"
            + 2 * "  - {name: x, family: f, package: genzoo, summary: s, license: MIT}\n",
            "more than one entry",
        ),
        (
            "schema: 1\nplugins:\n  - {name: x, family: f, package: p, summary: s, license: MIT, "
            "weights: [{uri: 'file:///etc/passwd', sha256: abc, data: mnist}]}\n",
            "uri",
        ),
    ],
)
def test_a_bad_index_is_told_by_its_place(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(text)
    with pytest.raises((Mistakes, UsageError), match=reason):
        load_index(path)


def test_every_hook_has_a_sentence() -> None:
    from zoo_core.registry import hookspecs

    for name in HOOKS:
        doc = getattr(hookspecs, name).__doc__
        assert doc
        assert doc.strip().endswith(".")


def test_a_checkout_names_its_commit() -> None:
    """Catches results that don't say which commit made them."""
    from zoo_core.results.provenance import git

    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert git()["commit"] == head
