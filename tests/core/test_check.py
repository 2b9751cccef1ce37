"""The conformance kit: what is sound passes, and what is broken in one way fails the check that names it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.core import specimens
from zoo_core.cli import invoke
from zoo_core.errors import NotFoundError, UsageError
from zoo_core.registry.listing import list_module
from zoo_core.registry.manager import Entry, Source, manager
from zoo_core.registry.spec import DatasetSpec, ExtractorSpec, MetricSpec, PluginSpec, SamplerSpec
from zoo_core.testing import checks, examine, perform, subjects
from zoo_core.testing.configs import dataset_of
from zoo_core.testing.results import title

HERE = "tests.core.specimens:{}".format


@contextlib.contextmanager
def registered(kind: str, spec: Any) -> Any:
    """Within the block one thing more is registered."""
    with manager().brought(kind, Entry(spec, "specimens")):
        yield


def model(target: str = "Sound", config: str = "SoundConfig", **more: Any) -> PluginSpec:
    return PluginSpec("specimen", "test", HERE(target), HERE(config), "a specimen", **more)


def outcome(kind: str, spec: Any, check: str, data: tuple[str, ...] = ()) -> Any:
    """Return the result of one check by its name."""
    (found,) = [one for one in checks(kind) if title(one) == check]
    with registered(kind, spec):
        return perform(found, subjects(kind, "specimen", data)[0])


def refused(result: Any, what: str) -> None:
    """Assert a failure that says what was seen and what to do."""
    assert result.state == "failed", result
    assert what in f"{result.what} {result.do}"
    assert result.do
    assert "Traceback" not in result.what


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
@pytest.mark.parametrize("data", ["digits", "ring"])
def test_a_sound_model_passes_every_check(data: str, home: Path) -> None:
    with registered("plugin", model()):
        results = [perform(c, s) for s in subjects("plugin", "specimen", [data]) for c in checks("plugin")]
    own = "is declared without torch"  # a specimen is declared by no module
    assert [r for r in results if r.state == "failed" and r.check != own] == []
    passed = {r.check for r in results if r.state == "passed"}
    for asked in ("probabilities add up to one", "a translator translates", "codes decode to data"):
        assert asked in passed


@pytest.mark.parametrize(
    ("target", "check", "what"),
    [
        ("UnusedLayer", "gradients reach what a phase updates", "net.extra.weight"),
        ("UntrainedLayer", "every parameter is trained", "extra.weight"),
        ("Strays", "phases change only what they update", "frozen.weight"),
        ("CountsInLoss", "losses are pure", "context.rng"),
        ("OwnGenerator", "losses are pure", "context.rng"),
        ("GlobalLoss", "losses use no global generator", "of torch, python"),
        ("SeedsInLoss", "losses use no global generator", "of torch"),
        ("GoesBackward", "losses are pure", "the harness goes backward"),
        ("OwnGenerator", "a resume equals the uninterrupted run", "is a parameter or a buffer"),
        ("Climbs", "each phase can lower its loss", "look for a sign"),
        ("Climbs", "training lowers the loss", "before training"),
        ("NotAScalar", "losses are well formed", "detach"),
        ("ScaleOutsideState", "a checkpoint keeps everything", "parameter or a buffer"),
        ("SharedBuffer", "averages leave buffers alone", "shadow"),
        ("AveragesTheFrozen", "averages leave buffers alone", "are the raw weights"),
        ("AveragesNothing", "stages are well formed", "'nett', which is not a submodule"),
        ("StaysBehind", "the model moves between devices", "device=x.device"),
        ("GlobalNoise", "the same seeds give the same samples", "request.noise"),
        ("MixesTheBatch", "the same seeds give the same samples", "in batches of 5, 1"),
        ("OneSample", "the same seeds give the same samples", "all samples are equal"),
        ("WrongShape", "samples have the datas form", "expected: (12, 1, 8, 8)"),
        ("WrongRange", "samples have the datas form", "not [0, 1]"),
        ("Miscounts", "model evaluations are counted", "Samples.calls is 7"),
        ("HeedsAnyway", "a condition may be missing", "add 'class'"),
        ("SinglePrecision", "likelihoods are sound", "float64"),
        ("UnknownKind", "likelihoods are sound", "'guess'"),
        ("BoundAboveTheTruth", "probabilities add up to one", "more than 1"),
        ("RandomCodes", "codes decode to data", "two codes"),
        ("TranslatesNothing", "a translator translates", "does not depend"),
        ("Raises", "is built and trained", "boom"),
    ],
)
def test_a_broken_model_fails_the_check_that_names_it(target: str, check: str, what: str, home: Path) -> None:
    data = ("ring",) if "probabilities" in check else ("digits",)
    refused(outcome("plugin", model(target), check, data), what)


def test_an_exact_likelihood_must_be_normalized(home: Path) -> None:
    """Catches a constant that is lost: e times the truth sums to e."""
    result = outcome("plugin", model("Unnormalized"), "probabilities add up to one", ("ring",))
    refused(result, "sum to 2.7")


def test_conditions_must_be_heeded(home: Path) -> None:
    result = outcome("plugin", model(tasks=("class",)), "conditions are heeded")
    refused(result, "request.cond")


@pytest.mark.parametrize(
    ("config", "check", "what"),
    [
        ("SwallowsConfig", "unknown keys are refused", "no_such_option"),
        ("MovesConfig", "config round trips", "model changed"),
        ("SilentConfig", "options are described", "model.width"),
        ("NoTinyConfig", "presets are valid", "no preset 'tiny'"),
        ("BadPresetConfig", "presets are valid", "model.skale"),
    ],
)
def test_a_broken_config_fails_the_check_that_names_it(
    config: str, check: str, what: str, home: Path
) -> None:
    refused(outcome("plugin", model(config=config), check), what)


def sampler(function: str, grid: str = "zoo_core.diffusion.grids:karras", **more: Any) -> SamplerSpec:
    return SamplerSpec("specimen", HERE(function), grid, 30, **more)


@pytest.mark.parametrize(
    ("spec", "check", "what"),
    [
        (sampler("global_noise"), "the same seeds give the same samples", "`noise` only"),
        (sampler("in_place"), "it takes any shape", "in place"),
        (sampler("too_wide"), "it reproduces a gaussian", "spread 0.5"),
        (sampler("euler", HERE("refuses")), "the grid descends to zero", "no denoiser is good enough"),
        (sampler("euler", HERE("refuses")), "it reproduces a gaussian", "no denoiser is good enough"),
        (sampler("untold"), "each call is told", "0 of the callback"),
        (sampler("double"), "it takes any shape", "torch.float64"),
        (sampler("euler", HERE("ascending")), "the grid descends to zero", "ending in 0"),
        (sampler("untold", config=HERE("Options")), "options are keywords of the function", "eta"),
    ],
)
def test_a_broken_sampler_fails_the_check_that_names_it(spec: SamplerSpec, check: str, what: str) -> None:
    refused(outcome("sampler", spec, check), what)


def dataset(function: str, **more: Any) -> DatasetSpec:
    return DatasetSpec("specimen", HERE(function), extractor="raw", **{"shape": (2,), **more})


@pytest.mark.parametrize(
    ("spec", "check", "what"),
    [
        (dataset("sound_data", classes=4), "it is what its spec says", "classes"),
        (dataset("sound_data", tasks=("class",)), "it is what its spec says", "labels"),
        (dataset("leaks"), "splits are disjoint", "100.0%"),
        (dataset("unseeded"), "it is the same every time", "train split differs"),
        (dataset("too_bright", shape=(1, 2, 2), levels=3), "rows are levels or points", "levels=3"),
        (dataset("lost_class", classes=3), "labels and captions fit", "0 to 2"),
        (
            dataset("untold_channels", shape=(1, 2, 2), levels=3, tasks=("unconditional", "paired")),
            "pairs have their form",
            "image_channels",
        ),
        (dataset("unnormalized"), "its density is the datas", "normalize it"),
    ],
)
def test_a_broken_dataset_fails_the_check_that_names_it(spec: DatasetSpec, check: str, what: str) -> None:
    refused(outcome("dataset", spec, check), what)


def test_a_sound_dataset_and_extractor_pass() -> None:
    for kind, spec in (
        ("dataset", dataset("sound_data")),
        ("extractor", ExtractorSpec("specimen", HERE("features"))),
    ):
        with registered(kind, spec):
            assert [r for r in examine("specimen", kind) if r.state == "failed"] == []


@pytest.mark.parametrize(
    ("function", "check", "what"),
    [
        ("shuffled", "a images features are its own", "eval mode"),
        ("narrow", "features have its form", "(8, 3)"),
        ("unhashed", "it names itself and its weights", "'latest'"),
    ],
)
def test_a_broken_extractor_fails_the_check_that_names_it(function: str, check: str, what: str) -> None:
    refused(outcome("extractor", ExtractorSpec("specimen", HERE(function)), check), what)


@pytest.mark.parametrize(
    ("function", "better", "check", "what"),
    [
        ("sound_metric", "higher", "real examples beat noise", "MetricSpec"),
        ("sound_metric", "smaller", "it says which way is better", "'smaller'"),
        ("plain_number", "lower", "columns are values", "'gap' is 1.0"),
        ("undeclared", "lower", "columns are values", "not declared"),
        ("random_metric", "lower", "it is repeatable and touches nothing", "other values"),
        ("changes_features", "", "it is repeatable and touches nothing", "copy"),
    ],
)
def test_a_broken_metric_fails_the_check_that_names_it(
    function: str, better: str, check: str, what: str, home: Path
) -> None:
    spec = MetricSpec("specimen", HERE(function), columns={"gap": better})
    refused(outcome("metric", spec, check), what)


@pytest.mark.parametrize(
    ("scope", "data"),
    [
        ("", ""),
        ("points", "ring"),
        ("image<=16", "digits"),
        ("image<=27", "digits"),
        ("image<=28", "mnist"),
        ("image<=32", "emoji"),
        ("image<=48", "emoji"),
        ("cifar10", "cifar10"),
    ],
)
def test_a_preset_is_resolved_on_data_that_it_applies_to(scope: str, data: str) -> None:
    """Catches a limit taken for the name of a dataset, whose preset is then never resolved."""
    assert dataset_of(scope) == data
    if scope.startswith("image"):
        side = manager().find("dataset", data).spec.shape[-1]
        assert side <= int(scope.removeprefix("image<="))


def test_an_import_that_fails_in_silence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback of the check itself where the process prints nothing."""
    silent = subprocess.CompletedProcess([], 9, "", "")
    monkeypatch.setattr("zoo_core.testing.configs.subprocess.run", lambda *_, **__: silent)
    found = next(one for one in checks("plugin") if one.__name__ == "is_declared_without_torch")
    refused(perform(found, subjects("plugin", "gaussian", ())[0]), "exit status 9")


def test_hooks_that_import_torch_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_hooks.py").write_text(
        f"import torch\nfrom zoo_core.registry.spec import PluginSpec\n"
        f"def zoo_plugins(): return [{model()!r}]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    here = manager()
    heavy = Source("heavy", "specimens", "1", list_module("heavy_hooks"))
    monkeypatch.setattr(here, "sources", [*here.sources, heavy])
    check = next(one for one in checks("plugin") if title(one) == "is declared without torch")
    with registered("plugin", model()):
        refused(perform(check, subjects("plugin", "specimen", ["ring"])[0]), "imports")
    assert perform(check, subjects("plugin", "noise", ["ring"])[0]).state == "passed"


def test_what_a_plugin_prints_is_shown_where_it_fails(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """Catches a progress bar between the lines of the report, and a report without the plugin's own words."""
    with registered("sampler", sampler("chatty")):
        assert invoke(["check", "specimen", "--kind", "sampler"]) == 0
        out, err = capsys.readouterr()
        assert "chatter" not in out + err
    with registered("sampler", sampler("chatty_and_wide")):
        assert invoke(["check", "specimen", "--kind", "sampler"]) == 4
        assert "it printed: chatter" in capsys.readouterr().out


def test_a_model_that_refuses_some_data_is_checked_on_the_rest() -> None:
    """Catches a kit that fails a model for saying what it can't do, and one that then checks nothing."""
    with pytest.raises(UsageError, match="refuses every dataset") as caught:
        subjects("plugin", "vae", ["no-such-data"])
    assert "no-such-data" in str(caught.value)


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_the_verb_tells_each_check_and_its_status(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert invoke(["check", "noise", "--data", "ring"]) == 0
    told = capsys.readouterr().out
    assert "ok  is built and trained" in told
    assert "0 failed" in told
    with registered("plugin", model("WrongRange")):
        assert invoke(["check", "specimen", "--data", "digits", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    bad = [row for row in found if row["check"] == "samples have the datas form"]
    assert bad[0]["state"] == "failed"
    assert "[-1, 1]" in bad[0]["do"]


@pytest.mark.parametrize(
    ("words", "told"),
    [(["nois"], "did you mean"), (["noise", "--kind", "sampler"], "registered as: plugin")],
)
def test_a_name_that_is_not_there(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["check", *words]) == 2
    assert told in capsys.readouterr().err
    with pytest.raises(NotFoundError):
        list(examine("no-such-thing-anywhere"))


@pytest.mark.slow(depends=("zoo_core", "evaluation"))
def test_the_kit_as_a_pytest_plugin(tmp_path: Path) -> None:
    """Catches an item that reports nothing, and a plugin that imports torch where it is not asked for."""
    (tmp_path / "test_nothing.py").write_text(
        "import sys\ndef test_light(): assert not {'torch', 'pydantic', 'numpy'} & set(sys.modules)\n"
    )
    plugin = [] if "zoo" in _pytest_plugins() else ["-p", "zoo_core.testing.pytest_plugin"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rs", *plugin, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert "1 passed" in run().stdout
    done = run("--zoo-plugin", "heun", "-k", "sampler")
    assert "6 passed" in done.stdout.replace("12 passed", "6 passed"), done.stdout
    assert "no such thing" not in done.stdout
    done = run("--zoo-plugin", "huen")
    assert done.returncode == 4
    assert "did you mean" in done.stderr + done.stdout


def _pytest_plugins() -> set[str]:
    from importlib.metadata import entry_points

    return {e.name for e in entry_points(group="pytest11")}


def test_specimens_are_what_they_say() -> None:
    """Catches a specimen that no test breaks."""
    text = Path(__file__).read_text()
    broken = [n for n, v in vars(specimens).items() if isinstance(v, type) and issubclass(v, specimens.Sound)]
    assert [name for name in broken if f'"{name}"' not in text] == []
