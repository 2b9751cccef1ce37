"""`zoo new`: what it writes installs, passes its own tests and the conformance kit, as it stands."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from zoo_core.cli import invoke
from zoo_core.errors import UsageError
from zoo_core.testing.scaffold import MODULES, write


def present(root: Path) -> None:
    """Make a distribution one that importlib finds where its folder is on the path."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    info = root / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    points = "\n".join(f"{name} = {value}" for name, value in project["entry-points"]["zoo"].items())
    (info / "entry_points.txt").write_text(f"[zoo]\n{points}\n")


def run(words: list[str], path: list[Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    import os

    environment = os.environ | {"PYTHONPATH": ":".join(map(str, path)), "ZOO_HOME": str(cwd / "home")}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_every_kind_passes_its_own_tests_and_the_kit(tmp_path: Path) -> None:
    """Catches a template that has fallen behind the interfaces; all kinds at once, as torch loads once."""
    roots = [write(f"fresh-{kind}", kind, tmp_path) for kind in MODULES]
    for root in roots:
        present(root)
        sources = [path for path in root.rglob("*.py") if "tests" not in path.parts]
        assert len(sources) == 2
    plugin = ["-p", "zoo_core.testing.pytest_plugin"]
    code = "from importlib.metadata import entry_points as e; print({p.name for p in e(group='pytest11')})"
    plugin = [] if "'zoo'" in run(["-c", code], [], tmp_path).stdout else plugin
    named = [word for root in roots for word in ("--zoo-plugin", root.name)]
    tests = [str(root / "tests") for root in roots]
    workspaces = [
        "-c",
        "/dev/null",
        "--rootdir",
        str(tmp_path),
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
    ]
    done = run(["-m", "pytest", "-v", *workspaces, *plugin, *named, *tests], roots, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    for kind, module in MODULES.items():
        what = "plugin" if module == "model" else kind
        assert f"{what} fresh-{kind} [" in done.stdout


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_one_is_really_installed_trained_and_listed(tmp_path: Path) -> None:
    """Through pip and the wheel that hatchling builds, as a user would."""
    pytest.importorskip("hatchling")
    root = write("fresh-one", "denoiser", tmp_path)
    site = tmp_path / "site"
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-t", str(site), str(root)]
    done = run(pip, [], tmp_path)
    assert done.returncode == 0, done.stderr
    words = ["eval.protocol=none", "track.wandb=off", "data=ring"]
    done = run(["-m", "zoo_core.cli", "run", "plugin=fresh-one", "preset=tiny", *words], [site], tmp_path)
    assert done.returncode == 0, done.stderr
    listed = run(["-m", "zoo_core.cli", "list"], [site], tmp_path).stdout
    assert "fresh-one" in listed
    assert "zoo-plugin-fresh-one" in run(["-m", "zoo_core.cli", "plugins"], [site], tmp_path).stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Fresh", "can't be the name of a plugin"),
        ("9lives", "can't be the name of a plugin"),
        ("../up", "can't be the name of a plugin"),
        ("a b", "can't be the name of a plugin"),
        ("", "can't be the name of a plugin"),
        ("wgan", "is taken"),
        ("heun", "is taken"),
        ("digits", "is taken"),
        ("leaderboard", "is taken"),
        ("relativistic-gan", "is taken in registry.yaml"),
        ("core", "'zoo_core' is installed already"),
    ],
)
def test_a_name_that_will_not_do_is_refused(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        write(name, "gan", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "zoo-plugin-fresh").mkdir()
    (tmp_path / "zoo-plugin-fresh" / "mine.txt").write_text("mine")
    assert invoke(["new", "fresh", "--dir", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "zoo-plugin-fresh").iterdir()] == ["mine.txt"]


def test_it_says_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["new", "fresh", "--kind", "sampler", "--dir", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "pip install -e" in told
    assert "sampler=fresh" in told
    assert "zoo check fresh" in told
    with pytest.raises(UsageError, match="one of gan, vae"):
        write("other", "flow", tmp_path)
