"""What hooks see of a run: a third party draws and logs with it; it leads to no optimizer and no test row."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import signal
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo_core.data.dataset import Dataset, Domain
from zoo_core.data.table import Table
from zoo_core.errors import Interrupted
from zoo_core.events import Events, hookimpl
from zoo_core.events.trackers import read_metrics
from zoo_core.interfaces import EvaluatedRun, RunView, TrainedRun
from zoo_core.registry import hookspecs
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import Run, build, load_data
from zoo_core.runs.job import run
from zoo_core.runs.view import view_of
from zoo_core.training.harness import Harness
from zoo_core.viz.plots import Plots

ROOT = Path(__file__).parents[2]
WORDS = [
    "plugin=vae",
    "preset=tiny",
    "train.steps=20",
    "train.log_every=5",
    "train.sample_every=5",
    "eval.baselines=false",
    "eval.metrics=[frechet]",
    "track.wandb=off",
    "track.progress=false",
]


@pytest.fixture
def listening() -> Any:
    """Return a function that registers a listener until the test ends."""
    names = []

    def register(listener: Any) -> Any:
        names.append(manager().pm.register(listener))
        return listener

    yield register
    for name in names:
        manager().pm.unregister(name=name)


def weights(folder: str) -> bytes:
    last = sorted(Path(folder, "checkpoints").glob("step-*"))[-1]
    return (last / "weights.safetensors").read_bytes()


class ThirdParty:
    """Draws with matplotlib what the hooks alone give it."""

    def __init__(self) -> None:
        self.announced: list[tuple[str, int]] = []

    def draw(self, run: RunView, name: str, values: Tensor) -> None:
        from matplotlib.figure import Figure

        figure = Figure()
        figure.add_subplot().hist(values.flatten().numpy(), bins=20)
        path = run.dir / f"{name}-{run.step}.png"
        figure.savefig(path)
        run.announce(name, path)

    @hookimpl
    def zoo_plot(self, run: RunView, step: int) -> None:
        assert step == run.step
        samples = run.sample(16)
        assert samples.shape == (16, *run.data_info.shape)
        self.draw(run, "values", samples)
        run.log({"values/mean": float(samples.mean())})

    @hookimpl
    def zoo_plot_trained(self, run: TrainedRun) -> None:
        with run.inference():
            x = run.to_model(run.data.test.examples(torch.arange(8)))
            codes = run.recipe.encode(x)
            assert not codes.requires_grad
        self.draw(run, "codes", codes.cpu())
        self.metrics = run.metrics

    @hookimpl
    def zoo_images(self, step: int, name: str) -> None:
        self.announced.append((name, step))


def test_a_third_party_draws_a_plot_from_the_hooks_alone(home: Path, listening: Any) -> None:
    """It logs numbers, and changes no weight; with the zoo's plots switched off only its own are drawn."""
    run(resolve([*WORDS, "track.plots=false", "run_dir=plain"]))
    third = listening(ThirdParty())
    result = run(resolve([*WORDS, "track.plots=false", "run_dir=drawn"]))
    assert third.announced == [("values", 5), ("values", 10), ("values", 15), ("codes", 20)]
    assert result.images == {"codes": "codes-20.png"}
    assert result.metrics
    assert third.metrics == result.metrics
    with pytest.raises(TypeError):
        third.metrics["FD"] = None
    assert json.loads(Path("drawn/run.json").read_text())["images"] == {"codes": "codes-20.png"}
    assert all((Path("drawn") / f"values-{step}.png").stat().st_size > 1000 for step in (5, 10, 15))
    records = read_metrics(Path("drawn/metrics.jsonl"))
    assert [r["step"] for r in records if "values/mean" in r] == [5, 10, 15]
    assert [r["step"] for r in records if "lr/net" in r] == [1, 2, 4, 5, 10, 15, 20]
    assert weights("drawn") == weights("plain")
    assert not Path("drawn/plots").exists()


def test_the_zoos_plots_are_drawn_by_a_listener_and_recorded(home: Path) -> None:
    """The files, their names, and the sample grid beside the result; `track.plots=false` draws none."""
    result = run(resolve([*WORDS, "run_dir=here"]))
    grids = {f"samples-{step:08d}" for step in (5, 10, 15)}
    final = {"samples", "curves", "mean-and-draw", "reconstructions", "interpolation", "traversals"}
    final |= {"latent-map", "worst"}
    assert {path.stem for path in Path("here/plots").iterdir()} == grids | final | {"samples-grid"}
    assert result.images == {name: f"plots/{name}.png" for name in final}
    assert result.result is not None
    assert {"samples", "curves", "worst"} <= set(result.result.attachments)


@pytest.mark.slow(depends=("zoo_core/viz", "zoo_core/training", "zoo_core/runs"))
@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_the_format_of_plots_is_an_option(home: Path, suffix: str) -> None:
    """Catches a format that is ignored, and an attached grid that is lost with it."""
    words = [word for word in WORDS if not word.startswith("train.steps")]
    result = run(resolve([*words, "train.steps=2", f"plots.format={suffix}", "run_dir=here"]))
    assert result.images["samples"] == f"plots/samples.{suffix}"
    assert Path(f"here/plots/samples.{suffix}").read_bytes()[:5] == {"svg": b"<?xml", "pdf": b"%PDF-"}[suffix]
    assert Path("here/plots/samples-grid.png").exists()


def test_a_plot_that_fails_costs_neither_the_others_nor_the_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo_core.viz.plots._samples", full)
    result = run(resolve([*WORDS, "run_dir=here"]))
    shown = capsys.readouterr().err
    assert "could not draw samples-00000005.png" in shown
    assert "could not draw samples-00000015.png" in shown
    assert "could not draw samples.png" in shown
    assert "samples" not in result.images
    assert "curves" in result.images


def reachable(start: Any) -> list[Any]:
    """Return all objects that attributes, methods and members of containers lead to.

    The variables within functions are not looked into.
    """
    found: dict[int, Any] = {}
    left = [start]
    while left:
        one = left.pop()
        if id(one) in found or isinstance(one, type | types.ModuleType | types.FunctionType | str | Tensor):
            continue
        found[id(one)] = one
        if isinstance(one, types.MethodType):
            left.append(one.__self__)
        elif isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            left += one
        left += getattr(one, "__dict__", {}).values()
    return list(found.values())


TRAINABLE = (torch.optim.Optimizer, nn.Module, Harness, Run)
DATA = (Dataset, Domain, Table)


class Looks:
    """Keeps what the view leads to at each event."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Any]] = {}
        self.run: Any = None

    @hookimpl
    def zoo_preflight(self, run: EvaluatedRun) -> None:
        self.run = run

    @hookimpl
    def zoo_run_started(self, run: Any) -> None:
        self.seen["started"] = reachable(run)

    @hookimpl
    def zoo_log(self, run: Any) -> None:
        self.seen["log"] = reachable(run)
        self.seen["run itself"] = reachable(self.run)

    @hookimpl
    def zoo_plot(self, run: Any) -> None:
        self.seen["plot"] = reachable(run)

    @hookimpl
    def zoo_images(self, run: Any) -> None:
        self.seen.setdefault("images", reachable(run))

    @hookimpl
    def zoo_plot_trained(self, run: Any) -> None:
        self.seen["trained"] = reachable(run)

    @hookimpl
    def zoo_run_finished(self, run: Any) -> None:
        self.seen["finished"] = reachable(run)

    @hookimpl
    def zoo_run_failed(self, run: Any) -> None:
        self.seen["failed"] = reachable(run)


class Stops:
    @hookimpl
    def zoo_log(self, step: int) -> None:
        if step == 10:
            os.kill(os.getpid(), signal.SIGTERM)


def test_no_event_leads_to_the_optimizers_or_to_test_rows(home: Path, listening: Any) -> None:
    looks = listening(Looks())
    run(resolve([*WORDS, "run_dir=here"]))
    listening(Stops())
    with pytest.raises(Interrupted):
        run(resolve([*WORDS, "run_dir=cut"]))
    whole, trained = looks.seen.pop("run itself"), looks.seen.pop("trained")
    assert set(looks.seen) == {"started", "log", "plot", "images", "finished", "failed"}
    for event, found in looks.seen.items():
        assert not [one for one in found if isinstance(one, TRAINABLE + DATA)], event
    optimizers = (torch.optim.Optimizer, Harness, Run)
    assert not [one for one in trained if isinstance(one, optimizers)]
    assert [one for one in trained if isinstance(one, nn.Module | Dataset)]
    for kind in (*optimizers, nn.Module, Dataset):  # the search finds what there is
        assert [one for one in whole if isinstance(one, kind)], kind


def ready(*words: str) -> Run:
    config = resolve(["plugin=vae", "preset=tiny", "device=cpu", *words])
    return build(config, load_data(config), Path(), manager(), say=print, warn=print)


def test_a_view_cannot_be_changed() -> None:
    view: Any = view_of(ready(), Events(manager(), print))
    for name in ("config", "dir", "step", "anything"):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
            setattr(view, name, None)
    with pytest.raises(Exception, match="frozen"):
        view.config.seed = 3


@pytest.mark.parametrize("data", ["digits", "ring"])
def test_a_view_samples_and_shows_training_examples_only(data: str) -> None:
    made = ready(f"data={data}")
    view = view_of(made, Events(manager(), print))
    assert torch.equal(view.sample(5, seed=3), made.sample(5, seed=3))
    shown = view.training_examples(10**9)
    assert torch.equal(shown, made.data.train.examples(torch.arange(len(made.data.train))))
    assert torch.equal(view.training_examples(3), shown[:3])
    samples, columns = view.sample_grid(4)
    assert torch.equal(samples, made.sample(4 * columns))
    assert (view.step, view.spec.name, view.data_info) == (0, "vae", made.data.info)
    made.harness.counts.total = 7
    assert view.step == 7


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        ("zoo_log", lambda run: run.log({"x": 1.0})),
        ("zoo_images", lambda run: run.announce("x", Path("x.png"))),
    ],
)
def test_an_event_caused_by_its_own_listener_is_refused(event: str, cause: Callable[[Any], None]) -> None:
    """Catches a listener that calls itself for ever."""
    said: list[str] = []
    events = Events(manager(), said.append)
    view = view_of(ready(), events)

    def listen(run: Any) -> None:
        cause(run)

    listen.__name__ = event
    with events.listening([type("Echo", (), {event: staticmethod(hookimpl(listen))})()]):
        cause(view)
    assert len(said) == 1
    assert "Echo failed in" in said[0]
    assert f"was caused by a listener of {event}" in said[0]
    events.tell("zoo_log", run=view, step=1, values={})  # and told again the next time


def imported(path: str) -> set[str]:
    """Return the modules and "module.name"s that a file imports, for types or otherwise."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_hooks_know_no_run_and_a_job_no_plots() -> None:
    assert "zoo_core.runs" not in imported("zoo_core/registry/hookspecs.py")
    assert "zoo_core.viz.plots" not in imported("zoo_core/runs/job.py")
    for path in (ROOT / "zoo_core" / "tracking").glob("*.py"):
        assert not {"zoo_core.runs", "zoo_core.runs.job"} & imported(str(path.relative_to(ROOT))), path.name
    ours = {name for name in dir(Plots) if name.startswith("zoo_")}
    assert ours <= set(hookspecs.HOOKS)
