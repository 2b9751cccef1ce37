"""Broken neighbors: whatever a plugin does wrong, ours still run, and the message names it and the cause."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from zoo_core.cli import invoke
from zoo_core.config import strict_yaml
from zoo_core.registry.manager import GROUP, Manager, manager, standing_in
from zoo_core.registry.resolution import config_hash, plain, resolve

HEAD = """
import pluggy
from zoo_core.registry.spec import CommandSpec, DatasetSpec, PluginSpec, SamplerSpec
hookimpl = pluggy.HookimplMarker("zoo")
"""


def plugin(name: str, **fields: str) -> str:
    """Return the source of hooks that bring one model."""
    told = {"target": f"{name}_model:Model", "config": f"{name}_model:Options", **fields}
    return HEAD + (
        "@hookimpl\ndef zoo_plugins():\n"
        f"    return [PluginSpec({name!r}, 'test', {told['target']!r}, {told['config']!r}, 'a model')]\n"
    )


def hook(name: str, body: str, arguments: str = "") -> str:
    """Return the source of one hook."""
    return f"@hookimpl\ndef {name}({arguments}):\n    {body}\n"


def returns(spec: str) -> str:
    """Return the source of hooks that bring one thing, as written."""
    return HEAD + hook("zoo_plugins", f"return [{spec}]")


OPTIONS = "from zoo_core.config import RunConfig\nclass Options(RunConfig):\n    pass\n"
BROKEN: dict[str, tuple[str, str, str]] = {
    # name: (source of its hooks, source of its model's module, the cause that is told)
    "missing": ("import a_library_that_is_not_there", "", "ModuleNotFoundError: No module named 'a_library"),
    "exits": ("import sys\nsys.exit(3)", "", "SystemExit: 3"),
    "syntax": ("def", "", "SyntaxError"),
    "raises": (
        HEAD + hook("zoo_plugins", "raise RuntimeError('boom')"),
        "",
        "zoo_plugins: RuntimeError: boom",
    ),
    "misspelled": (HEAD + hook("zoo_plugin", "return []"), "", "did you mean 'zoo_plugins'"),
    "argument": (
        HEAD + hook("zoo_datasets", "return []") + hook("zoo_log", "1 / 0", "step, nonsense"),
        "",
        "nonsense",
    ),
    "api": ("ZOO_API = 99", "", "written for plugin API 99; this zoo has 1"),
    "words": (returns("'wgan'"), "", "is not a PluginSpec"),
    "path": (returns("PluginSpec('../x', 'f', 'a:b', 'a:b', 's')"), "", "'../x'"),
    "task": (returns("PluginSpec('task', 'f', 'a:b', 'a:b', 's', tasks='class')"), "", "('class',)"),
    "target": (returns("PluginSpec('target', 'f', 'a.b', 'a:b', 's')"), "", "expected 'module:attribute'"),
    "nothing": (HEAD + hook("zoo_samplers", "pass"), "", "NoneType"),
    "config": (plugin("config"), "raise ValueError('no options today')", "ValueError: no options today"),
    "builds": (
        plugin("builds"),
        OPTIONS + "class Model:\n    def __init__(self, config, data): raise KeyError('width')",
        "KeyError: 'width'",
    ),
}
WHEN_ASKED = ("config", "builds")
"""These load: what is wrong shows when their model is used."""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Manager]]:
    """Return a function that installs distributions beside ours: name -> (hooks, model)."""
    manager()  # the installed plugins, listed before the path has these
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    ours = [
        point
        for distribution in distributions(name="genzoo")
        for point in distribution.entry_points
        if point.group == GROUP
    ]
    made: list[Any] = []

    def install(**sources: tuple[str, str]) -> Manager:
        for name, (hooks, model) in sources.items():
            for module, text in ((f"{name}_hooks", hooks), (f"{name}_model", model)):
                (site / f"{module}.py").write_text(text)
                sys.modules.pop(module, None)
            info = site / f"zoo_plugin_{name}-1.0.dist-info"
            info.mkdir()
            project = f"zoo-plugin-{name.replace('_', '-')}"
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[zoo]\n{name} = {name}_hooks\n")
        found = [p for d in distributions(path=[str(site)]) for p in d.entry_points if p.group == GROUP]
        context = standing_in(Manager([*{p.name: p for p in ours}.values(), *found]))
        made.append(context)
        return context.__enter__()

    yield install
    for context in reversed(made):
        context.__exit__(None, None, None)


@pytest.mark.parametrize("name", BROKEN)
def test_ours_still_run_beside_it_and_it_is_told(
    name: str, installed: Callable[..., Manager], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hooks, model, cause = BROKEN[name]
    installed(**{name: (hooks, model)})
    assert invoke(["list", "--json"]) == 0
    listed = capsys.readouterr()
    assert {"wgan", "vae", "noise"} <= {row["name"] for row in json.loads(listed.out)}
    words = ["plugin=noise", "data=ring", "eval.protocol=none", "track.wandb=off", "track.progress=false"]
    assert invoke(["run", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plugin"] == "noise"
    assert invoke(["plugins"]) == 0
    told = capsys.readouterr().out
    assert (cause in told) == (name not in WHEN_ASKED)
    assert f"zoo-plugin-{name}" in told
    status = invoke(["run", f"plugin={name}"])
    asked = capsys.readouterr().err
    assert (status, "Traceback" in asked) == (4, False)
    assert f"zoo-plugin-{name}" in asked
    assert cause in asked


def test_a_verb_of_the_core_stays_its_own(
    installed: Callable[..., Manager], capsys: pytest.CaptureFixture[str]
) -> None:
    installed(thief=(HEAD + hook("zoo_commands", "return [CommandSpec('run', 'a:b', 'mine')]"), ""))
    assert invoke(["plugins"]) == 0
    assert "command 'run' is the core's own" in capsys.readouterr().out
    assert invoke(["run", "plugin=noise", "track.progress=false", "--dry-run"]) == 0


def test_a_verb_that_can_not_be_loaded_fails_when_it_is_asked_for(
    installed: Callable[..., Manager], capsys: pytest.CaptureFixture[str]
) -> None:
    installed(
        verbs=(HEAD + hook("zoo_commands", "return [CommandSpec('sing', 'verbs_model:song', 's')]"), "")
    )
    assert invoke(["--help"]) == 0
    assert "sing" in capsys.readouterr().out
    assert invoke(["sing"]) == 4
    assert "zoo-plugin-verbs" in capsys.readouterr().err


def test_two_that_claim_one_name_are_both_named(
    installed: Callable[..., Manager], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is ours can't be taken over either: ours is still had by its full name."""
    source = plugin("noise")
    installed(one=(source, ""), two=(plugin("own"), ""))
    assert invoke(["run", "plugin=noise"]) == 4
    told = capsys.readouterr().err
    assert "genzoo" in told
    assert "zoo-plugin-one" in told
    assert "genzoo:noise" in told
    assert invoke(["run", "plugin=wgan", "track.progress=false", "--dry-run"]) == 0
    capsys.readouterr()
    assert invoke(["list"]) == 0
    assert "claimed by" in capsys.readouterr().err


def test_a_run_remembers_its_distribution(
    installed: Callable[..., Manager], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches old runs that a newly installed plugin of the same name makes unusable, or takes over."""
    found = manager().find("plugin", "noise").spec
    words = ["data=ring", "eval.protocol=none", "track.wandb=off", "track.plots=false"]
    assert invoke(["run", "plugin=noise", *words, "run_dir=old"]) == 0
    ours = resolve(["plugin=noise", *words])
    capsys.readouterr()
    dataset = f"return [DatasetSpec('ring', {manager().find('dataset', 'ring').spec.target!r})]"
    claims = plugin("noise", target=found.target, config=found.config) + hook("zoo_datasets", dataset)
    installed(one=(claims, ""))
    assert invoke(["run", "plugin=noise", *words]) == 4
    assert invoke(["run", "resume=old"]) == 0
    assert "already done" in capsys.readouterr().err
    assert invoke(["sample", "old", "-n", "4", "--out", "four.npz"]) == 0
    assert invoke(["run", "config=old", "run_dir=new"]) == 0
    assert (
        json.loads(Path("old/run.json").read_text())["weights_sha256"]
        == (json.loads(Path("new/run.json").read_text())["weights_sha256"])
    )
    full = ["data=genzoo:ring", *words[1:]]
    again = resolve(["plugin=genzoo:noise", *full])
    assert (again.plugin, again.data.name, config_hash(again)) == ("noise", "ring", config_hash(ours))
    theirs = resolve(["plugin=zoo-plugin-one:noise", *full])
    assert (theirs.plugin, theirs.providers.plugin) == ("noise", "zoo-plugin-one")
    assert config_hash(theirs) != config_hash(ours)  # two models do not share a folder
    assert resolve(plain(theirs)).providers == theirs.providers
    # Another model laid over a saved config is not looked for in the saved model's distribution.
    (home.parent / "their.yaml").write_text(strict_yaml.dump(plain(theirs)))
    assert resolve(["config=their.yaml", "plugin=gaussian"]).providers.plugin == "genzoo"
    (home.parent / "gone.yaml").write_text(
        strict_yaml.dump(plain(theirs)).replace("zoo-plugin-one", "zoo-plugin-gone")
    )
    capsys.readouterr()
    assert invoke(["run", "config=gone.yaml"]) == 4
    told = capsys.readouterr().err
    assert "zoo-plugin-gone" in told
    assert "Traceback" not in told


def test_a_run_remembers_the_distribution_of_the_model_it_contains(
    installed: Callable[..., Manager], home: Path
) -> None:
    """A third party's autoencoder is recorded with its distribution; a plain name is ours."""
    vq = manager().find("plugin", "vq-vae").spec
    own = f"PluginSpec('own', 'test', {vq.target!r}, {vq.config!r}, 'a model')"
    claims = plugin("vq-vae", target=vq.target, config=vq.config).replace("return [", f"return [{own}, ")
    installed(inner=(claims, ""))
    for given, kept in (
        ("vq-vae", "vq-vae"),
        ("genzoo:vq-vae", "vq-vae"),
        ("own", "zoo-plugin-inner:own"),
        ("zoo-plugin-inner:vq-vae", "zoo-plugin-inner:vq-vae"),
    ):
        config = resolve(["plugin=ldm", f"model.autoencoder={given}", "autoencoder.preset=tiny"])
        assert config.model.autoencoder == kept
        assert resolve(plain(config)).model.autoencoder == kept
    words = ["data=digits", "preset=tiny", "train.steps=4", "eval.protocol=none", "track.wandb=off"]
    last = ["track.plots=false", "run_dir=x"]
    assert invoke(["run", "plugin=ldm", "model.autoencoder=own", *words, *last]) == 0
    assert "zoo-plugin-inner:own" in Path("x/config.yaml").read_text()


def test_a_listener_that_raises_is_left_out_and_the_run_goes_on(
    installed: Callable[..., Manager], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(deaf=(HEAD + hook("zoo_run_finished", "raise OSError('no ears')", "result"), ""))
    words = ["plugin=noise", "data=ring", "eval.protocol=none", "track.wandb=off"]
    assert invoke(["run", *words]) == 0
    told = capsys.readouterr().err
    assert "zoo-plugin-deaf" in told
    assert "no ears" in told


def test_what_a_plugin_prints_does_not_reach_the_answer(
    installed: Callable[..., Manager], capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a banner in the middle of JSON."""
    loud = (
        "print('WELCOME TO MY PLUGIN')\n"
        + HEAD
        + "@hookimpl\ndef zoo_plugins():\n    print('HI')\n    return []"
    )
    installed(loud=(loud, ""))
    assert invoke(["list", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert "WELCOME" in err


def test_half_a_plugin_is_not_registered(installed: Callable[..., Manager]) -> None:
    """Catches hooks that were taken before a bad one was found, and are called for ever after."""
    here = installed(argument=(BROKEN["argument"][0], ""))
    assert [hook.plugin_name for hook in here.hooks("zoo_datasets") if "argument" in hook.plugin_name] == []


def test_damaged_metadata_is_told_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches one unreadable entry_points.txt that ends the whole command line."""
    info = tmp_path / "garbled-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: garbled\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zoo]\nno equals sign here\n")
    nameless = tmp_path / "nameless-1.0.dist-info"
    nameless.mkdir()
    (nameless / "entry_points.txt").write_text("[zoo]\nnameless = no_such_module_at_all\n")
    code = "import sys; from zoo_core.cli import main; main(['plugins'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "genzoo" in done.stdout
    assert "no_such_module_at_all" in done.stdout


@pytest.mark.parametrize("chosen", ["zoo-plugin-exits", "exits"])
def test_the_environment_leaves_it_out(
    chosen: str, installed: Callable[..., Manager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the distribution's name as by the entry point's; then it is not even imported."""
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", chosen)
    assert installed(exits=(BROKEN["exits"][0], "")).failures == []


def test_the_environment_takes_only_these(
    installed: Callable[..., Manager], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZOO_LOAD_PLUGINS", "vae")
    names = {e.spec.name for e in installed(good=(plugin("good"), "")).entries("plugin")}
    assert "vae" in names
    assert not {"good", "wgan"} & names
    assert invoke(["list"]) == 0  # the core and its command line are always there


def test_a_model_whose_distribution_failed_is_not_merely_unknown(
    installed: Callable[..., Manager], capsys: pytest.CaptureFixture[str]
) -> None:
    """registry.yaml knows who brings `relativistic-gan`; its entry point here has another name."""
    source = "import a_library_that_is_not_there"
    here = installed(relativistic_gan=(source, ""))
    assert [failure.distribution for failure in here.failures] == ["zoo-plugin-relativistic-gan"]
    for words in (["run", "plugin=relativistic-gan"], ["show", "relativistic-gan"]):
        assert invoke(words) == 4
        assert "a_library_that_is_not_there" in capsys.readouterr().err


def test_a_model_that_is_known_and_not_installed_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "plugin=relativistic-gan"]) == 2
    assert "pip install ./examples/zoo-plugin-relativistic-gan" in capsys.readouterr().err
    assert invoke(["show", "relativistic-gan"]) == 0
    told = capsys.readouterr().out
    assert "not installed: pip install" in told
    assert "arXiv:1807.00734" in told
    assert "license Apache-2.0" in told


def test_list_all_tells_what_is_known_and_what_failed(
    installed: Callable[..., Manager], capsys: pytest.CaptureFixture[str]
) -> None:
    installed(missing=BROKEN["missing"][:2])
    assert invoke(["list", "--all", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["wgan"]["state"] == "installed"
    assert rows["relativistic-gan"]["state"] == "known"
    assert rows["relativistic-gan"]["next"].startswith("pip install")
    assert rows["missing"]["state"] == "failed"
    assert "a_library" in rows["missing"]["summary"]
    assert invoke(["list", "--all"]) == 0
    assert "ZOO_DISABLE_PLUGINS=zoo-plugin-missing" in capsys.readouterr().out
