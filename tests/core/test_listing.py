"""Listings: an import that exits, hangs or crashes breaks no command, and listings import no plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zoo_core.cli import invoke
from zoo_core.errors import PluginError
from zoo_core.home import OURS
from zoo_core.registry import builtin, child
from zoo_core.registry.listing import KINDS, Listing, from_json, list_module, to_json
from zoo_core.registry.manager import Entry, Manager, load_entry, manager, standing_in
from zoo_core.registry.spec import PluginSpec

HOOKS = """
import pluggy
from zoo_core.registry.spec import PluginSpec
hookimpl = pluggy.HookimplMarker("zoo")
@hookimpl
def zoo_plugins():
    return [PluginSpec({name!r}, "test", "x:Y", "x:Z", "a model")]
"""
HOSTILE = {
    "exits": ("import os; print('farewell', flush=True); os._exit(7)", "status 7; its last output: farewell"),
    "ends-well": ("import os; os._exit(0)", "ended the process with status 0"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "by SIGSEGV"),
    "interrupts": ("raise KeyboardInterrupt('no')", "KeyboardInterrupt: no"),
    "loops": ("while True: pass", "did not end within 8 s"),
    "floods": ("while True: print('x' * 1000)", "did not end within 8 s"),
    "lingers": ("import os, time\nif os.fork(): os._exit(5)\ntime.sleep(600)", "status 5"),
    "lies": ("import os, sys; os.write(int(sys.argv[1]), b'[1]'); os._exit(0)", "status 0"),
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Callable[[str, str], Path]:
    """Return a function that installs a distribution zoo-plugin-NAME with one module of hooks."""
    manager()  # the installed plugins, listed before the path has these
    site = tmp_path / "beside"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def make(name: str, source: str) -> Path:
        module = f"hooks_{name.replace('-', '_')}"
        info = site / f"zoo_plugin_{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: zoo-plugin-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[zoo]\n{name} = {module}\n")
        (site / f"{module}.py").write_text(source)
        sys.modules.pop(module, None)
        return site / f"{module}.py"

    return make


@pytest.mark.slow(depends=("zoo_core/registry", "zoo_core/cli", "zoo_core/builtin.py"))
def test_what_a_plugin_does_at_import_is_its_load_error(
    install: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them at once, beside one that is sound: ours and the sound one are listed, the rest is told."""
    monkeypatch.setattr(child, "LIMIT_S", 8.0)
    for name, (source, _) in HOSTILE.items():
        install(name, source)
    install("sound", HOOKS.format(name="sound"))
    here = Manager()
    names = {entry.spec.name for entry in here.entries("plugin")}
    assert {"wgan", "vae", "sound"} <= names
    told = {failure.entry_point: failure.reason for failure in here.failures}
    assert set(told) == set(HOSTILE)
    for name, (_, reason) in HOSTILE.items():
        assert reason in told[name], name
    # What is known of them is kept: the second time nothing is started, and nothing waited for.
    again = Manager(children=False)
    assert again.unlisted == []
    assert again.failures == here.failures
    with standing_in(again):
        assert invoke(["run", "plugin=exits"]) == 4
        assert "zoo-plugin-exits" in capsys.readouterr().err
        assert invoke(["run", "plugin=noise", "track.progress=false", "--dry-run"]) == 0


def test_a_changed_file_or_environment_is_listed_again(
    install: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """Catches a cache that keeps a name that is gone, in an editable install too."""
    path = install("sound", HOOKS.format(name="first"))
    helper = path.with_name("a_helper_of_sound.py")
    assert "first" in {entry.spec.name for entry in Manager().entries("plugin")}
    assert Manager(children=False).unlisted == []
    path.write_text(HOOKS.format(name="later"))
    assert Manager(children=False).unlisted == ["zoo-plugin-sound"]
    assert "later" in {entry.spec.name for entry in Manager().entries("plugin")}
    helper.write_text("")
    assert Manager(children=False).unlisted == ["zoo-plugin-sound"]
    Manager()
    info = tmp_path / "beside" / "zoo_plugin_sound-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-plugin-sound\nVersion: 1.1\n")
    assert Manager(children=False).unlisted == ["zoo-plugin-sound"]


def test_a_load_error_is_forgotten_when_something_is_installed(
    install: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site-packages"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    install("needy", "import a_module_that_comes_later\n" + HOOKS.format(name="needy"))
    assert "a_module_that_comes_later" in Manager().failures[0].reason
    (place / "a_module_that_comes_later.py").write_text("")
    assert "needy" in {entry.spec.name for entry in Manager().entries("plugin")}


def test_a_damaged_cache_is_no_listing(install: Callable[[str, str], Path], home: Path) -> None:
    install("sound", HOOKS.format(name="sound"))
    Manager()
    for path in (home / "listings").glob("*.json"):
        document = json.loads(path.read_text())
        document["listing"]["specs"] = {"plugin": [{"name": "../x", "family": 1}]}
        path.write_text(json.dumps(document))
    assert {"sound", "wgan"} <= {entry.spec.name for entry in Manager().entries("plugin")}
    for path in (home / "listings").glob("*.json"):
        path.write_text("[" * 100_000)
    assert {"sound", "wgan"} <= {entry.spec.name for entry in Manager().entries("plugin")}


def test_a_home_that_can_not_be_made_keeps_nothing_and_breaks_nothing(
    install: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("sound", HOOKS.format(name="sound"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "file" / "home"))
    assert "sound" in {entry.spec.name for entry in Manager().entries("plugin")}


@pytest.mark.slow(depends=("zoo_core/registry", "zoo_core/cli", "zoo_core/builtin.py"))
def test_help_and_listings_import_no_plugin(install: Callable[[str, str], Path], home: Path) -> None:
    """In a fresh process: help never waits, `zoo list` reads the cache, a run imports what it needs."""
    mark = home.parent / "imported"
    path = install("sound", f"open({str(mark)!r}, 'a').write('x')\n" + HOOKS.format(name="sound"))

    def zoo(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "zoo_core", *words],
            env=os.environ | {"PYTHONPATH": str(path.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "zoo-plugin-sound" in zoo("--help")
    assert not mark.exists()
    assert "sound" in zoo("list")
    assert mark.read_text() == "x"
    assert "sound" in zoo("list")
    assert "zoo-plugin-sound" not in zoo("--help")
    zoo("run", "plugin=noise", "data=ring", "track.wandb=off", "track.plots=false", "eval.baselines=false")
    assert mark.read_text() == "x"


def test_a_plugin_that_lists_the_plugins_starts_no_further_children(
    install: Callable[[str, str], Path],
) -> None:
    install(
        "curious", "from zoo_core.registry.manager import manager\nmanager()\n" + HOOKS.format(name="curious")
    )
    started = time.monotonic()
    here = Manager()
    assert "curious" in {entry.spec.name for entry in here.entries("plugin")}, (here.failures, started)


def test_a_listing_survives_json() -> None:
    for source in manager().sources:
        listing = source.listing
        assert from_json(json.loads(json.dumps(to_json(listing)))) == listing._replace(
            specs={kind: tuple(specs) for kind, specs in listing.specs.items()}
        )


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"module": 1}, {**to_json(Listing("m")), "specs": {"nothing": []}},
     {**to_json(Listing("m")), "specs": {"plugin": [{"name": "a", "nonsense": 1}]}},
     {**to_json(Listing("m")), "hooks": [3]}],
)  # fmt: skip
def test_nonsense_is_no_listing(document: Any) -> None:
    with pytest.raises(ValueError):
        from_json(document)


def test_the_wheels_listing_is_what_the_modules_declare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """What the build hook writes is read back without an import, and every one of ours is in it."""
    modules = [source.module for source in manager().sources if source.distribution == OURS]
    path = tmp_path / "listing.json"
    path.write_text(builtin.build(modules))
    monkeypatch.setattr(builtin, "PATH", path)
    monkeypatch.setattr("zoo_core.registry.manager.list_module", None)  # nothing is imported
    monkeypatch.setattr("zoo_core.registry.cache.fingerprint", lambda entry_point: entry_point.value)
    there = Manager(children=False)
    for kind in KINDS:
        ours = [e for e in manager().entries(kind) if e.distribution == OURS]
        assert [e for e in there.entries(kind) if e.distribution == OURS] == ours
    with pytest.raises(ValueError, match="no_such_module"):
        builtin.build(["no_such_module"])


def test_an_interrupt_that_a_plugin_raises_is_its_fault(
    install: Callable[[str, str], Path],
) -> None:
    """Catches one that ends a run as if the user had asked for it."""
    install("rude", "raise KeyboardInterrupt")
    spec = PluginSpec("rude", "test", "hooks_rude:Model", "hooks_rude:Config", "s")
    with pytest.raises(PluginError, match="KeyboardInterrupt"):
        load_entry("plugin", Entry(spec, "zoo-plugin-rude"))


def test_a_spec_of_anything_but_plain_data_is_refused(install: Callable[[str, str], Path]) -> None:
    install("odd", HOOKS.format(name="odd").replace('"a model"', '"a model", tasks=(object(),)'))
    assert "expected a" in list_module("hooks_odd").problems[0]
