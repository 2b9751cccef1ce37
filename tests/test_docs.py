"""Documents are executed: every command and block of code on the site runs, every formula has its code.

Pages are read from mkdocs.yml, so a page that is added is tested because it is there. The site itself is
tested in test_site.py.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import re
import shlex
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml

from tests.conftest import CHECKOUT
from zoo_core.cli import VERBS, invoke, zoo
from zoo_core.registry import hookspecs, manager

DOCS = CHECKOUT / "docs"
BORROWED = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages of the site that lie elsewhere in the repository."""
MARKS = ("minutes", "hours", "network")
"""Comments after commands that a test can't run: `zoo run` is resolved, other verbs' options are checked."""
PLACEHOLDER = re.compile(r"\.\.\.|(^|[=@/])[A-Z][A-Z_]+$")
"""In a word that stands for something of the reader's own: runs/..., RUN, data=FOLDER."""
ELSEWHERE = ("pip", "torchrun", "sbatch", "pytest", "git", "make", "python", "cd", "export", "hf", "ci/")
"""Commands that are not ours: the wheel's test and the suite itself run those that matter."""

QUICK = re.compile(r"preset=tiny|config=|resume=|--dry-run|--help|plugin=(gaussian|histogram|noise|copycat)$")
"""In a word of a run that a test may wait for."""


def leaves(nav: Any) -> Iterator[str]:
    """Yield the pages of mkdocs.yml's nav, in order."""
    if isinstance(nav, str):
        yield nav
    for entry in nav if isinstance(nav, list) else []:
        yield from leaves(next(iter(entry.values())))


PAGES = list(leaves(yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text())["nav"]))


def file_of(page: str) -> Path:
    """Return the file that a page of the site is written in."""
    return CHECKOUT / BORROWED[page] if page in BORROWED else DOCS / page


GENERATED = [page for page in PAGES if "Written by ci/docs.py" in file_of(page).read_text()[:100]]
WRITTEN = [page for page in PAGES if page not in GENERATED]


class Command(NamedTuple):
    """A line that a reader may type."""

    words: list[str]
    env: dict[str, str]
    mark: str


class Block(NamedTuple):
    """A block of code: "sh", "python", or a named file's part."""

    kind: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks and its indented ones that begin with a command, in order."""
    text = page.read_text()
    found = re.finditer(
        r"^```(?P<kind>\w*)[^\n]*\n(?P<fenced>.*?)^```|(?<=\n\n)(?P<indented>(?: {4}[^\n]*\n)+)",
        text,
        re.MULTILINE | re.DOTALL,
    )
    made = []
    for match in found:
        if match["fenced"] is not None:
            made.append(Block(match["kind"], match["fenced"]))
        elif re.match(r" {4}(zoo|pip|torchrun|python) ", match["indented"]):
            made.append(Block("sh", re.sub(r"^ {4}", "", match["indented"], flags=re.MULTILINE)))
    return made


def files(page: Path) -> dict[str, str]:
    """Return file name -> text of the blocks that begin with `# name`; parts of one file are joined."""
    made: dict[str, str] = {}
    for block in blocks(page):
        named = re.match(r"# (\S+\.(?:py|toml))\n", block.text)
        if named and block.kind in ("python", "toml"):
            made[named[1]] = made.get(named[1], "") + block.text[named.end() :] + "\n\n"
    return made


def commands(text: str) -> list[Command]:
    """Return the lines of a shell block: environment, words, and the mark in its comment."""
    made = []
    for line in re.sub(r" *\\\n *", " ", text).splitlines():
        command, _, comment = re.sub(r" +# *| {2,}", "\0", line.strip(), count=1).partition("\0")
        words = [] if command.startswith("#") else shlex.split(command)
        env = {}
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            name, _, env[name] = words.pop(0).partition("=")
        if words:
            made.append(Command(words, env, comment.strip().split(" ")[0].strip(",;:")))
    return made


def install(page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put the distribution of a page's blocks where Python finds it, as pip would; name its modules."""
    parts = files(page)
    for name, text in parts.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(text)
    if "pyproject.toml" not in parts:
        return []
    project = tomllib.loads(parts["pyproject.toml"])["project"]
    info = workspace / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"]
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(workspace))
    values = [value for points in groups.values() for value in points.values()]
    return sorted({value.split(":")[0].split(".")[0] for value in values})


@pytest.fixture
def reader(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """One who follows a page: `reader(page)` installs its plugin; the working directory is empty."""
    installed: list[str] = []
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def follow(page: Path) -> None:
        manager.manager()  # made later, the installed one would list the page's plugin in every later test
        installed.extend(install(page, tmp_path / "plugin", monkeypatch))
        monkeypatch.syspath_prepend(CHECKOUT / "weights")  # pip install ./weights
        (tmp_path / "workspace").mkdir()
        monkeypatch.chdir(tmp_path / "workspace")
        stack.enter_context(manager.standing_in(manager.Manager()))

    with contextlib.ExitStack() as stack:
        yield follow
    for name in [n for n in sys.modules if n.split(".")[0] in installed]:
        del sys.modules[name]


def only_help(words: list[str]) -> list[str]:
    """Return the call of a verb's help, once the verb has the options that the words give it."""
    context = click.Context(zoo)
    command, verb = zoo.get_command(context, words[0]), words[:1]
    if isinstance(command, click.Group):
        command, verb = command.get_command(context, words[1]), words[:2]
    assert command is not None, words
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}, words
    return [*verb, "--help"]


def follow_command(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a line says, or try what its mark allows."""
    name, *words = command.words
    if name != "zoo":
        assert name.startswith(ELSEWHERE), f"who runs {shlex.join(command.words)}?"
        if name == "pip" and (extra := re.search(r"\[(\w+)\]", shlex.join(words))):
            project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
            assert extra[1] in project["optional-dependencies"]
        return
    if any(PLACEHOLDER.search(word) for word in words):
        words = only_help(words)
    elif command.mark in MARKS:
        words = [*words, "--dry-run"] if words[0] == "run" else only_help(words)
    elif words[0] in ("run", "bench") and len(words) > 1:
        assert any(QUICK.match(word) for word in words), f"mark it `# minutes`: zoo {shlex.join(words)}"
    with monkeypatch.context() as patch:
        patch.setattr("zoo_core.launch.forecast.forecasts", lambda configs: None)  # seconds for each run
        for key, value in command.env.items():
            patch.setenv(key, value)
        with manager.standing_in(manager.Manager()) if command.env else contextlib.nullcontext():
            status = invoke(words)
    allowed = {0, 5} if words[0] == "doctor" else {0}  # 5: it found something to fix on this machine
    assert status in allowed, f"status {status}: zoo {shlex.join(words)}"


LONG = (
    "audited-training.md",
    "comparing.md",
    "concepts/run.md",
    "evaluation.md",
    "families/autoregressive.md",
    "families/baselines.md",
    "families/diffusion.md",
    "families/discrete-diffusion.md",
    "families/flow.md",
    "families/gan.md",
    "families/normalizing-flow.md",
    "families/vae.md",
    "first-run.md",
    "index.md",
    "latents.md",
    "lottery.md",
    "own-parts.md",
    "plugins.md",
    "restore.md",
    "runs.md",
    "sharing.md",
    "submitting.md",
    "tuning.md",
    "weights.md",
)
"""Pages whose commands take more than a few seconds."""


def _marked(page: str) -> Any:
    depends = ("zoo_core", "evaluation", "plugins", file_of(page).relative_to(CHECKOUT).as_posix())
    slow = page in LONG or page.startswith("course/")  # a figure takes seconds; tests/course has fast tests
    return pytest.param(page, marks=pytest.mark.slow(depends=depends)) if slow else page


@pytest.mark.parametrize("page", [_marked(page) for page in WRITTEN])
def test_every_command_and_block_of_python_runs(
    page: str, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order they stand on the page, in one folder, as a reader would."""
    reader(file_of(page))
    for block in blocks(file_of(page)):
        if block.kind == "sh":
            for command in commands(block.text):
                follow_command(command, monkeypatch)
        elif block.kind == "python" and not re.match(r"# \S+\.py\n", block.text):
            exec(compile(block.text, page, "exec"), {"__name__": page})


@pytest.mark.parametrize("page", GENERATED)
def test_every_command_of_a_generated_page_resolves(
    page: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is resolved, not trained: there are hundreds, and the models have tests of their own."""
    for block in blocks(DOCS / page):
        for command in commands(block.text) if block.kind == "sh" else []:
            dry = command.words[:2] == ["zoo", "run"]
            follow_command(command._replace(mark="minutes" if dry else command.mark), monkeypatch)


INSTALLABLE = [page for page in WRITTEN if "pyproject.toml" in files(file_of(page))]


@pytest.mark.parametrize("page", INSTALLABLE)
def test_the_distribution_of_a_page_builds_into_a_wheel_with_all_its_modules(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `pip install` does: the entry point alone, which other tests use, does not show what is shipped."""
    build = pytest.importorskip("hatchling.build")
    install(file_of(page), tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path))) as wheel:
        assert {name for name in files(file_of(page)) if name.endswith(".py")} <= set(wheel.namelist())


def test_marks_are_read_from_comments_and_from_columns() -> None:
    text = (
        "ZOO_DEBUG=1 zoo run plugin=wgan   # minutes, on two cores\n"
        "zoo list        what is installed\n"
        "zoo run plugin=vae \\\n    seed=1\n\n# nothing\n"
    )
    assert commands(text) == [
        Command(["zoo", "run", "plugin=wgan"], {"ZOO_DEBUG": "1"}, "minutes"),
        Command(["zoo", "list"], {}, "what"),
        Command(["zoo", "run", "plugin=vae", "seed=1"], {}, ""),
    ]


# -- hooks


def headings(page: Path) -> dict[str, list[str]]:
    """Return hook -> arguments of the page's headings."""
    found = re.findall(r"^### (zoo_\w+)\(([^)]*)\)$", page.read_text(), re.MULTILINE)
    return {name: [a.strip() for a in arguments.split(",") if a.strip()] for name, arguments in found}


SIGNATURES = {name: list(inspect.signature(getattr(hookspecs, name)).parameters) for name in hookspecs.HOOKS}


def test_every_hook_and_each_of_its_arguments_is_on_its_page_with_an_example() -> None:
    assert headings(DOCS / "hooks.md") == SIGNATURES
    text = (DOCS / "hooks.md").read_text()
    for name, arguments in SIGNATURES.items():
        section = re.search(rf"^### {name}\(.*?(?=^###? |\Z)", text, re.MULTILINE | re.DOTALL)
        assert section is not None
        assert re.search(rf"@hookimpl(\(\w+=True\))?\ndef {name}\({', '.join(arguments)}\):", section[0]), (
            name
        )
        for argument in arguments:
            assert re.search(rf"^- `{argument}`: \S", section[0], re.MULTILINE), (name, argument)


def test_every_hook_and_each_of_its_arguments_is_in_the_tutorials_table() -> None:
    table = re.findall(r"\| `(zoo_\w+)\(([^)]*)\)` \|", (DOCS / "plugins.md").read_text())
    written = {name: [a.strip() for a in arguments.split(",") if a.strip()] for name, arguments in table}
    assert written == SIGNATURES


@pytest.mark.slow(depends=("zoo_core", "evaluation", "docs/hooks.md"))
def test_the_hooks_pages_plugin_is_called_at_every_hook(
    reader: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hook that nobody calls is a promise that nobody keeps."""
    reader(DOCS / "hooks.md")
    module = importlib.import_module("zoo_page")
    called: dict[str, list[tuple[Any, ...]]] = {}

    def counted(function: Any) -> Any:
        @functools.wraps(function)
        def count(*arguments: Any) -> Any:
            called.setdefault(function.__name__, []).append(arguments)
            return function(*arguments)

        return count

    for name in hookspecs.HOOKS:
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    # Given its entry points a manager lists them in this process, where calls are counted.
    with manager.standing_in(manager.Manager(list(entry_points(group="zoo")))):
        quiet = ["eval.baselines=false", "track.wandb=off", "track.progress=false"]
        assert manager.manager().failures == []
        words = ["plugin=page-mean", "data=page-stripes", "run_dir=mean", "train.audit=1"]
        assert invoke(["run", *words, *quiet]) == 0
        assert "the mean of the features is off by " in capsys.readouterr().out
        tiny = ["run", "plugin=ddpm", "preset=tiny", "data=page-stripes", "sampler=page-jump", "run_dir=jump"]
        tiny += ["data.validation=0.25", "eval.every=30"]
        assert invoke([*tiny, *quiet]) == 0
        shown = capsys.readouterr().out
        assert "FD[page-rows]" in shown
        assert "shift" in shown
        received = Path("jump/received.txt").read_text()
        assert received.startswith("started at step 0\n")
        assert re.search(r"^step \d+: .*net/loss", received, re.MULTILINE)
        assert re.search(r"^samples at step \d+: \S+\.png$", received, re.MULTILINE)
        assert re.search(r"^finished: .*FD\[page-rows\]", received, re.MULTILINE)
        assert invoke(["run", "plugin=page-mean", "data=page-stripes", "seed=13", "run_dir=no", *quiet]) == 2
        assert "seed 13 on stripes" in capsys.readouterr().err
        assert Path("no/received.txt").read_text().startswith("failed: seed 13")
        assert invoke(["run", "plugin=page-mean", "data=page-stripes", "seed=1,2", *quiet]) == 0
        assert "next: zoo leaderboard" in capsys.readouterr().out
        assert invoke(["verify", "mean/result.json", "--run", "mean", "--spot", "1"]) == 0
        assert invoke(["page-hello"]) == 0
        assert "hello from a plugin" in capsys.readouterr().out
    assert set(called) == set(hookspecs.HOOKS)
    for name, arguments in SIGNATURES.items():
        assert all(len(given) == len(arguments) for given in called[name]), name


# -- formulae and their code


CARRIER = re.compile(r"`([\w.]+):([\w.]+)`(?:,\s+at\s+`([^`]+)`)?")


def formulae(page: Path) -> list[tuple[str, str]]:
    """Return (formula, the paragraph after it) of a page's displayed formulae."""
    return re.findall(r"^\$\$(.+?)\$\$\n\n(.+?)(?:\n\n|\Z)", page.read_text(), re.MULTILINE | re.DOTALL)


FAMILIES = [page for page in PAGES if page.startswith("families/")]


LISTS = ("course/overview.md", "course/coverage.md")
COURSE = [page for page in PAGES if page.startswith("course/") and page not in LISTS]


@pytest.mark.parametrize("page", [*FAMILIES, *COURSE])
def test_every_formula_has_its_code_and_the_code_says_so(page: str) -> None:
    """The object exists, and its source, or its module's docstring, holds the words that are quoted."""
    text = (DOCS / page).read_text()
    found = formulae(DOCS / page)
    assert len(found) == len(re.findall(r"^\$\$", text, re.MULTILINE)) > 0
    for formula, carrier in found:
        assert carrier.startswith(("Code: `", "No code: ", "<!-- no code: ")), formula
    named = [p for p in text.split("\n\n") if p.startswith("Code:")]
    for paragraph in named:
        carriers = CARRIER.findall(paragraph)
        assert carriers, paragraph
        for module, path, words in carriers:
            thing: Any = importlib.import_module(module)
            for part in path.split("."):
                thing = getattr(thing, part)
            if words:
                source = inspect.getsource(thing) + str(sys.modules[module].__doc__)
                assert words in " ".join(source.split()), (module, path, words)


def test_every_model_of_a_family_is_on_its_page() -> None:
    pages = {"vae": "vae", "gan": "gan", "diffusion": "diffusion", "baseline": "baselines"}
    same = ("flow", "autoregressive", "discrete-diffusion", "normalizing-flow")
    pages |= {family: family for family in same}
    for entry in manager.manager().entries("plugin"):
        if entry.distribution == "genzoo" and entry.spec.family in pages:
            text = (DOCS / "families" / f"{pages[entry.spec.family]}.md").read_text()
            assert re.search(rf"(`|plugin=|## |zoo show ){entry.spec.name}\b", text), entry.spec.name


# -- the pages and the code


@pytest.mark.slow(depends=("zoo_core", "evaluation", "docs/plugins.md"))
def test_the_tutorials_plugin_installs_trains_and_is_listed(
    reader: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    reader(DOCS / "plugins.md")
    assert {"pyproject.toml", "zoo_tiny_gan/__init__.py", "zoo_tiny_gan/model.py"} <= set(
        files(DOCS / "plugins.md")
    )
    assert manager.manager().failures == []
    words = ["run", "plugin=tiny-gan", "preset=tiny", "eval.baselines=false", "track.wandb=off"]
    assert invoke(words) == 0
    assert "FD[digits]" in capsys.readouterr().out
    assert invoke([*words, "data=ring"]) == 0


@pytest.mark.slow(depends=("zoo_core", "evaluation", "README.md"))
def test_the_readmes_model_installs_trains_and_is_scored(
    reader: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    reader(CHECKOUT / "README.md")
    assert manager.manager().failures == []
    words = ["run", "plugin=mini-vae", "train.steps=20", "eval.baselines=false", "track.wandb=off"]
    assert invoke(words) == 0
    assert "FD[digits]" in capsys.readouterr().out


def test_the_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) < 150


def test_every_verb_in_the_documents_is_a_verb() -> None:
    known = set(VERBS) | {entry.spec.name for entry in manager.manager().entries("command")}
    for page in [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]:
        for verb in re.findall(r"^(?: {4})?zoo (\w+)", page.read_text(), re.MULTILINE):
            assert verb in known, (page.name, verb)


def test_every_verb_has_its_help_on_the_generated_page() -> None:
    page = (DOCS / "cli.md").read_text()
    for verb in VERBS:
        assert f"\n## zoo {verb}\n" in page, f"{verb}: next: make docs"


def test_every_field_of_a_phase_and_a_stage_is_explained() -> None:
    from dataclasses import fields

    from zoo_core.training.recipe import Phase, Stage

    page = (DOCS / "plugins.md").read_text()
    for field in [*fields(Phase), *fields(Stage)]:
        assert field.name == "name" or f"`{field.name}`" in page, field.name


def test_no_page_names_a_machines_folder() -> None:
    for page in DOCS.rglob("*.md"):
        text = page.read_text()
        assert str(CHECKOUT) not in text, page.name
        assert not re.search(r"(?<![\w.])/(?:home|root|tmp|Users)/", text), page.name
