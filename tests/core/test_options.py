"""Options of TrainConfig and SampleConfig each change something; mutations of the harness are noticed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.core.recipes import Duel, Single, harness
from zoo_core.config import EmaConfig, OptimizerConfig, SampleConfig, TrainConfig
from zoo_core.errors import DivergedError, PluginError, UsageError
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import Run, build, load_data
from zoo_core.training import checkpoint
from zoo_core.training.harness import Listener
from zoo_core.training.plan import micro_batches, planned_steps
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, Loss, SampleRequest, Samples


class Observed(Recipe):
    """One linear network with an EMA; records the batches that its loss is given and their dtypes."""

    def __init__(self, ema: EmaConfig | None = None) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)
        self.ema = {} if ema is None else {"net": ema}
        self.rows: list[int] = []
        self.dtypes: set[torch.dtype] = set()

    def stages(self) -> Sequence[Stage]:
        phase = Phase("fit", self.loss, [self.net], "net")
        return [Stage("only", [phase], {"net": OptimizerConfig(kind="sgd", lr=0.1)}, ema=self.ema)]

    def loss(self, batch: Batch, context: Context) -> Loss:
        out = self.net(batch.x)
        self.rows.append(len(batch))
        self.dtypes.add(out.dtype)
        return Loss((out.float() - 3).square().mean())

    def sample(self, request: SampleRequest) -> Samples:
        return Samples(self.net(request.noise.randn((2,))))


def observed(monkeypatch: pytest.MonkeyPatch, **train: Any) -> dict[str, Any]:
    """Return what a short run of `Observed` shows under these options."""
    seen: dict[str, list[Any]] = {"log": [], "save": [], "image": [], "compile": []}
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: seen["compile"].append(type(self)))
    recipe = Observed()
    run = harness(recipe, **{"steps": 12, **train})
    run.listener = Listener(
        log=lambda step, values: seen["log"].append(step),
        save=lambda step, saved: seen["save"].append(step),
        image=lambda step: seen["image"].append(step),
    )
    run.run()
    facts = {"total": run.counts.total, "images": run.counts.images, "rows": recipe.rows[:4]}
    return {**facts, "dtypes": recipe.dtypes, **seen}


TRAIN: dict[str, tuple[Any, str, Any]] = {
    "steps": (9, "total", 9),
    "batch_size": (5, "images", 60),
    "accumulate": (2, "rows", [4, 4, 4, 4]),
    "precision": ("bfloat16", "dtypes", {torch.bfloat16}),
    "compile": (True, "compile", [nn.Linear]),
    "log_every": (6, "log", [1, 2, 4, 6, 12]),
    "checkpoint_every": (4, "save", [4, 8, 12]),
    "sample_every": (5, "image", [5, 10]),
}
"""Option -> (another value, what it changes, to which value)."""


@pytest.mark.parametrize("name", TRAIN)
def test_changing_an_option_of_training_changes_what_it_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, fact, expected = TRAIN[name]
    assert observed(monkeypatch)[fact] != expected
    assert observed(monkeypatch, **{name: value})[fact] == expected


def made(*words: str) -> Run:
    """Return a run of the smallest diffusion model on points, not trained yet."""
    config = resolve(["plugin=ddpm", "data=moons", "preset=tiny", "eval.protocol=none", *words])
    silent: Callable[[str], None] = lambda line: None  # noqa: E731
    return build(config, load_data(config), Path("unused"), manager(), say=silent, warn=silent)


def test_changing_the_ema_of_training_changes_the_stages_of_a_model() -> None:
    config = made("train.ema.decay=0.7", "train.ema.half_life=0").recipe.stages()[0].ema["net"]
    assert config.decay == 0.7
    assert made("train.ema.decay=0", "train.ema.half_life=0").harness.averages.of == {}


def test_every_option_of_training_is_tested() -> None:
    elsewhere = {"keep", "audit", "parallel"}  # test_power.py, tests/audit, test_sharding.py
    assert {*TRAIN, "ema", *elsewhere} == set(TrainConfig.model_fields)


def test_changing_an_option_of_sampling_changes_what_it_names() -> None:
    cases = {
        "none": ("sample.steps=2",),
        "seed": ("sample.steps=2", "sample.seed=1"),
        "steps": ("sample.steps=3",),
        "batch_size": ("sample.steps=2", "sample.batch_size=2"),
        "precision": ("sample.steps=2", "sample.precision=bfloat16"),
    }
    elsewhere = {"ema_length", "checkpoint"}  # tests/core/test_power.py, tests/eval/test_validation.py
    assert {*cases, *elsewhere} - {"none"} == set(SampleConfig.model_fields)
    drawn = {}
    for name, words in cases.items():
        run = made("sampler=ddim", *words)
        weights = torch.Generator().manual_seed(0)  # the last layer of a new network is zero
        for parameter in run.recipe.parameters():
            nn.init.normal_(parameter, std=0.1, generator=weights)
        sizes: list[int] = []
        original = run.recipe.sample

        def spy(request: Any, sizes: list[int] = sizes, original: Any = original) -> Any:
            sizes.append(len(request))
            return original(request)

        run.recipe.sample = spy  # type: ignore[method-assign]
        batches = list(run.draw(5))
        drawn[name] = (torch.cat([b.rows for b in batches]), batches[0].calls, sizes)
    rows, calls, sizes = drawn["none"]
    assert not torch.equal(drawn["seed"][0], rows)
    assert drawn["steps"][1] != calls
    assert sizes == [5]
    assert drawn["batch_size"][2] == [2, 2, 1]
    torch.testing.assert_close(drawn["batch_size"][0], rows)
    rounded = drawn["precision"][0]
    assert not torch.equal(rounded, rows)
    assert (rounded.float() - rows.float()).abs().mean() < 0.1 * rows.float().std()


def test_gradient_clipping_can_be_switched_off() -> None:
    assert made("optim.grad_clip=none").recipe.stages()[0].phases[0].grad_clip is None
    assert made().recipe.stages()[0].phases[0].grad_clip == 1.0


def test_each_seed_has_its_own_initialization_and_the_same_seed_the_same() -> None:
    first, again, other = (
        [p.detach() for p in made(f"seed={seed}").recipe.parameters()] for seed in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_the_weights_that_are_asked_for_are_sampled(weights: str) -> None:
    """Catches raw weights scored in place of EMA weights, and the reverse."""
    run = made(f"eval.weights={weights}", "train.steps=3", "train.ema.decay=0.9", "sample.steps=2")
    run.harness.run()
    drawn = {}
    for name in ("ema", "raw"):
        with torch.no_grad(), run.harness.averages.applied(name):
            drawn[name] = run.recipe.eval().sample(run.request(range(4))).x
    assert not torch.equal(drawn["ema"], drawn["raw"])
    assert torch.equal(run.samples(run.request(range(4))).x, drawn[weights])


def test_the_unit_of_the_ema_half_life_is_the_image() -> None:
    """An independent loop over the weights of each step gives the same EMA."""
    recipe = Observed(EmaConfig(half_life=40.0, warmup=False))
    run = harness(recipe, steps=6, batch_size=8)
    trail: list[torch.Tensor] = [recipe.net.weight.detach().clone()]
    run.listener = Listener(stop=lambda: trail.append(recipe.net.weight.detach().clone()) or False)  # type: ignore[func-returns-value]
    run.run()
    average, decay = trail[0], 0.5 ** (8 / 40)
    for weight in trail[1:]:
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(run.checkpoint().ema["net"]["weight"], average)


def test_an_ema_that_is_not_finite_is_never_saved() -> None:
    run = harness(Observed(EmaConfig(decay=0.9)), steps=6, checkpoint_every=3)
    saved: list[int] = []

    def stop() -> bool:
        if run.counts.total == 2:
            run.averages.of["net"].average[0].fill_(math.nan)
        return False

    run.listener = Listener(stop=stop, save=lambda step, _: saved.append(step))
    with pytest.raises(DivergedError, match="net"):
        run.run()
    assert saved == []


def test_compilation_survives_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: compiled.append(self))
    first = harness(Observed(), steps=6, compile=True)
    first.listener = Listener(stop=lambda: first.counts.total == 3)
    first.run()
    again = harness(Observed(), steps=6, compile=True)
    again.restore(first.checkpoint())
    again.run()
    assert compiled == [first.recipe.net, again.recipe.net]


def test_averaged_weights_take_the_place_of_live_ones_in_the_same_memory() -> None:
    """Catches storage that changes hands: CUDA graphs would go on with the weights of before."""
    run = harness(Observed(EmaConfig(decay=0.5, warmup=False)), steps=3)
    run.run()
    parameters = list(run.recipe.parameters())
    places = [p.data_ptr() for p in parameters]
    values = [p.detach().clone() for p in parameters]
    with run.averages.applied("raw"):
        assert [p.data_ptr() for p in parameters] == places
        assert not any(torch.equal(p, before) for p, before in zip(parameters, values, strict=True))
    assert [p.data_ptr() for p in parameters] == places
    assert all(torch.equal(p, before) for p, before in zip(parameters, values, strict=True))


def test_each_file_of_a_checkpoint_means_one_thing_at_every_step(tmp_path: Path) -> None:
    """Catches raw and EMA weights that change places in the last checkpoint."""
    recipe = Observed(EmaConfig(decay=0.9, warmup=False))
    run = harness(recipe, steps=6, checkpoint_every=2)
    raw: dict[int, torch.Tensor] = {}
    average: dict[int, torch.Tensor] = {}

    def stop() -> bool:
        raw[run.counts.total] = recipe.net.weight.detach().clone()
        average[run.counts.total] = run.averages.of["net"].average[0].clone()
        return False

    run.listener = Listener(stop=stop, save=lambda s, saved: checkpoint.save(tmp_path, s, saved, {}) and None)
    run.run()
    from safetensors.torch import load_file

    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step-00000004", "step-00000006"]
    for step in (4, 6):
        path = tmp_path / f"step-{step:08d}"
        assert torch.equal(load_file(path / "weights.safetensors")["net.weight"], raw[step])
        assert torch.equal(load_file(path / "ema.safetensors")["net/weight"], average[step])
    assert torch.equal(recipe.net.weight, average[6])  # a finished run holds what is sampled
    again = harness(Observed(EmaConfig(decay=0.9, warmup=False)), steps=6)
    again.restore(checkpoint.load(tmp_path / "step-00000006"))
    assert torch.equal(again.recipe.net.weight, average[6])
    scored, beside = checkpoint.scored_and_raw(run.checkpoint())
    assert torch.equal(scored["net.weight"], average[6])
    weights, ema = checkpoint.unscored(scored, beside)
    assert torch.equal(weights["net.weight"], raw[6])
    assert torch.equal(ema["net/weight"], average[6])


def test_python_and_numpy_random_numbers_are_seeded_saved_and_restored() -> None:
    """A loss that uses all three global generators still resumes to the bit."""
    import random

    import numpy as np

    def loss(net: nn.Module, batch: Batch, context: Context) -> torch.Tensor:
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))
        return (net(batch.x) - noise).square().mean()

    net = nn.Linear(2, 1)
    whole = harness(Single(copy.deepcopy(net), loss), steps=8)
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    whole.run()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    first = harness(Single(copy.deepcopy(net), loss), steps=8)
    first.listener = Listener(stop=lambda: first.counts.total == 4)
    first.run()
    saved = first.checkpoint()
    random.seed(4), np.random.seed(4), torch.manual_seed(4)
    again = harness(Single(copy.deepcopy(net), loss), steps=8)
    again.restore(saved)
    again.run()
    for mine, other in zip(whole.recipe.parameters(), again.recipe.parameters(), strict=True):
        assert torch.equal(mine, other)
    made("seed=5")
    drawn = random.random(), float(np.random.rand()), float(torch.rand(()))
    made("seed=5")
    assert drawn == (random.random(), float(np.random.rand()), float(torch.rand(())))


def test_a_stage_without_steps_is_refused_with_the_least_that_will_do() -> None:
    assert planned_steps(Duel().stages(), TrainConfig(steps=2)) == [1, 1]
    with pytest.raises(UsageError, match="stage 'first'") as caught:
        harness(Duel(), steps=0)
    assert "train.steps=2" in str(caught.value)
    with pytest.raises(UsageError, match="stage 'again'"):
        harness(Duel(), steps=1)
    assert planned_steps([Stage("fit")], TrainConfig(steps=0)) == [0]


def test_a_micro_batch_of_one_under_batch_norm_is_refused_before_training() -> None:
    assert micro_batches(TrainConfig(batch_size=9, accumulate=4)) == [range(3), range(3, 6), range(6, 9)]
    assert micro_batches(TrainConfig(batch_size=9, accumulate=2)) == [range(5), range(5, 9)]
    run = harness(Duel(), batch_size=3, accumulate=2)
    before = {name: value.clone() for name, value in run.recipe.state_dict().items()}
    with pytest.raises(UsageError, match=r"train.batch_size=4"):
        run.try_smallest_batch()
    assert all(torch.equal(before[name], value) for name, value in run.recipe.state_dict().items())
    assert run.data.drawn == 0
    harness(Duel(), batch_size=4, accumulate=2).try_smallest_batch()
    harness(Observed(), batch_size=1).try_smallest_batch()  # no batch norm


class Wrong(Observed):
    """A recipe whose stages are what the test gives."""

    def __init__(self, stages: Any) -> None:
        super().__init__()
        self._stages = stages

    def stages(self) -> Any:
        return self._stages(self) if callable(self._stages) else self._stages


def _with_updates(updates: Any) -> Callable[[Wrong], list[Stage]]:
    return lambda self: [
        Stage("s", [Phase("p", self.loss, updates(self), "net")], {"net": OptimizerConfig()})
    ]


@pytest.mark.parametrize(
    ("stages", "what", "fix"),
    [
        (None, "returned None", "list of zoo_core Stage"),
        ([], "no stage", "at least one"),
        (["x"], "returned a list", "list of zoo_core Stage"),
        (_with_updates(lambda self: list(self.net.parameters())), "holds a Parameter", "modules, not param"),
        (_with_updates(lambda self: self.net), "updates is a Linear", "a list of modules"),
        (lambda self: 1 / 0, "in stages(): ZeroDivisionError", "zoo check toy"),
        (lambda self: [Stage("s", ema={"nett": EmaConfig(decay=0.5)})], "'nett'", "one of net"),
    ],
)
def test_wrong_stages_are_the_plugins_fault_with_what_to_write(stages: Any, what: str, fix: str) -> None:
    with pytest.raises(PluginError) as caught:
        harness(Wrong(stages))
    text = str(caught.value)
    assert caught.value.status == 4
    for part in ("'toy'", what, fix):
        assert part in text


@pytest.mark.parametrize("drawn", [None, torch.zeros(2, 2), [[0.0]], Samples(torch.zeros(3, 2))])
def test_wrong_samples_are_the_plugins_fault(drawn: Any) -> None:
    run = made()
    run.recipe.sample = lambda request: drawn  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="'ddpm'") as caught:
        run.samples(run.request(range(2)))
    assert "expected:" in str(caught.value)


def test_a_likelihood_that_raises_or_is_not_one_is_the_plugins_fault() -> None:
    from zoo_core.seeds import Seeds

    run = made()
    x = torch.zeros(1, 2)

    def raises(x: Any, *, noise: Any, k: int) -> Any:
        raise ZeroDivisionError("no")

    for broken, what in ((raises, "in likelihoods()"), (lambda x, noise, k: None, "returned None")):
        run.recipe.likelihoods = broken  # type: ignore[assignment]
        with pytest.raises(PluginError, match="'ddpm'") as caught:
            run.likelihoods(x, noise=Seeds(0, range(1)), k=1)
        assert what in str(caught.value)
