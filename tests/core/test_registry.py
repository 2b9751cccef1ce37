"""Plugins load one by one; a broken one is told and never stops the others."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from zoo_core.errors import Mistakes, NotFoundError, PluginError, UsageError
from zoo_core.registry.hookspecs import HOOKS
from zoo_core.registry.index import load_index
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
BROKEN = {
    "missing_import": ("import no_such_module_anywhere", "ModuleNotFoundError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit"),
    "syntax": ("def", "SyntaxError"),
    "typo": (HEAD + "@hookimpl\ndef zoo_plugin():\n    return []", "did you mean 'zoo_plugins'"),
    "argument": (HEAD + "@hookimpl\ndef zoo_plugins(nonsense):\n    return []", "nonsense"),
    "raises": (HEAD + "@hookimpl\ndef zoo_plugins():\n    raise RuntimeError('boom')", "boom"),
    "no_spec": (HEAD + "@hookimpl\ndef zoo_plugins():\n    return ['wgan']", "expected PluginSpec"),
    "bad_name": (
        HEAD + "@hookimpl\ndef zoo_plugins():\n    return [PluginSpec('../x', '', '', '', '')]",
        "'../x'",
    ),
    "other_api": ("ZOO_API = 99", "API 99"),
}


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


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_told_and_the_others_live(kind: str, modules: Any) -> None:
    source, reason = BROKEN[kind]
    here = Manager(modules(**{f"broken_{kind}": source, "good_one": GOOD.format(name="good")}))
    assert here.find("plugin", "good").spec.name == "good"
    assert [f.entry_point for f in here.failures] == [f"broken_{kind}"]
    assert reason in here.failures[0].reason
    with pytest.raises(PluginError, match="could not be loaded"):
        here.find("plugin", f"broken_{kind}")


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


@pytest.mark.parametrize("name", [entry.spec.name for entry in manager().entries("plugin")])
def test_a_models_module_costs_torch_and_nothing_heavier(name: str) -> None:
    module = manager().find("plugin", name).spec.target.partition(":")[0]
    code = (
        f"import sys, {module}\n"
        "heavy = {'torchvision', 'timm', 'torchmetrics', 'sklearn', 'wandb', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_registry_yaml_and_the_installed_specs_agree() -> None:
    index = load_index()
    ours = {e.spec.name: e.spec for e in manager().entries("plugin") if e.distribution == "genzoo"}
    listed = {entry.name: entry for entry in index.plugins if entry.package == "genzoo"}
    assert set(listed) == set(ours)
    for name, entry in listed.items():
        assert entry.family == ours[name].family
        assert tuple(entry.tasks) == ours[name].tasks
        arxiv = f"arXiv:{entry.paper.arxiv}" if entry.paper and entry.paper.arxiv else ""
        assert arxiv == ours[name].paper


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("schema: 1\nplugins: [{name: x}]", "family"),
        ("schema: 2\nplugins: []", "schema"),
        ("schema: 1\nplugins: []\nmore: 1", "more"),
        ("schema: 1\nplugins: 3", "plugins"),
        (
            "schema: 1\nplugins:\n" + 2 * "  - {name: x, family: f, package: p, summary: s, license: MIT}\n",
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
