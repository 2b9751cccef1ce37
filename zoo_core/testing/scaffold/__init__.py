"""A plugin's distribution from nothing: `zoo new NAME --kind gan`; it installs, trains and passes its tests.

The templates are texts with `$name`, `$package`, `$Class` and `$distribution` in them: two source files, a
test, and what makes them a distribution.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path
from string import Template

from zoo_core.errors import MachineError, UsageError
from zoo_core.registry.index import load_index
from zoo_core.registry.manager import KINDS as REGISTERED
from zoo_core.registry.manager import manager

MODULES = {
    "gan": "model",
    "vae": "model",
    "denoiser": "model",
    "sampler": "sampler",
    "dataset": "dataset",
    "metric": "metric",
}
"""Kind -> the name of its module of code."""
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TEMPLATES = Path(__file__).parent / "templates"


def write(name: str, kind: str, folder: Path) -> Path:
    """Write the distribution zoo-plugin-NAME into a folder and return its own folder.

    Args:
        name: to be registered: lower-case letters and digits, words joined by hyphens.
        kind: one of `MODULES`.
        folder: that it is written in; made where it is not there.

    Raises:
        UsageError: for a name that is malformed or taken, or where its folder exists.
        MachineError: where the folder can't be written.
    """
    if kind not in MODULES:
        raise UsageError(f"no template for {kind!r}", f"expected: one of {', '.join(MODULES)}")
    package = "zoo_" + name.replace("-", "_")
    root = folder / f"zoo-plugin-{name}"
    _check_name(name, package)
    if root.exists():
        raise UsageError(f"{root} exists already", "next: another name, or --dir FOLDER")
    values = {
        "name": name,
        "package": package,
        "distribution": root.name,
        "Class": "".join(part.capitalize() for part in name.split("-")),
        "module": MODULES[kind],
    }
    files = {
        "pyproject.toml": TEMPLATES / "pyproject.toml.txt",
        "README.md": TEMPLATES / f"readme-{kind}.md.txt",
        f"{package}/__init__.py": TEMPLATES / f"{kind}-init.py.txt",
        f"{package}/{MODULES[kind]}.py": TEMPLATES / f"{kind}.py.txt",
        f"tests/test_{name.replace('-', '_')}.py": TEMPLATES / f"{kind}-test.py.txt",
    }
    texts = {place: Template(path.read_text()).substitute(values) for place, path in files.items()}
    try:
        for place, text in texts.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(text)
    except OSError as error:
        raise MachineError(f"can't write {root}: {error.strerror}", "next: --dir FOLDER") from error
    return root


def _check_name(name: str, package: str) -> None:
    if not NAME.fullmatch(name) or len(name) > 40 or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} can't be the name of a plugin",
            "expected: lower-case letters and digits, words joined by hyphens, e.g. my-gan",
        )
    for kind in REGISTERED:
        for entry in manager().entries(kind):
            if entry.spec.name == name:
                raise UsageError(
                    f"the name {name!r} is taken: {kind} of {entry.distribution}",
                    "expected: a name of its own",
                )
    if any(entry.name == name for entry in load_index().plugins):
        raise UsageError(f"the name {name!r} is taken in registry.yaml", "expected: a name of its own")
    if importlib.util.find_spec(package) is not None:
        raise UsageError(f"a package {package!r} is installed already", "expected: a name of its own")
