"""Plugins that break their promises: each fault is the plugin's, named, with what was expected."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.core.recipes import Single, harness
from zoo_core.cli import invoke
from zoo_core.config import OptimizerConfig
from zoo_core.errors import Interrupted, PluginError, ZooError
from zoo_core.machine.faults import attributed
from zoo_core.registry.resolution import resolve
from zoo_core.runs.job import run
from zoo_core.runs.signals import Signals
from zoo_core.training.plan import planned_stages
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Loss, Samples

WORDS = [
    *("plugin=wgan", "data=ring", "preset=tiny", "train.steps=2", "eval.protocol=none"),
    *("track.wandb=off", "track.plots=false", "track.progress=false", "run_dir=here"),
]
EXITS = [SystemExit(0), SystemExit("bye"), KeyboardInterrupt(), GeneratorExit(), BaseException("odd")]


def raising(error: BaseException) -> Callable[..., Any]:
    def raises(*args: Any, **kwargs: Any) -> Any:
        raise error

    return raises


@pytest.mark.parametrize("error", EXITS, ids=repr)
@pytest.mark.parametrize("place", ["__init__", "stages", "sample", "generator_loss"])
def test_an_exit_that_a_plugin_raises_is_its_fault(
    place: str, error: BaseException, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Catches `zoo run` that ends with status 0, or 130, in the middle of a run."""
    from zoo_gan.wgan import WGAN

    assert hasattr(WGAN, place)
    monkeypatch.setattr(WGAN, place, raising(error))
    assert invoke(["run", *WORDS]) == 4
    said = capsys.readouterr().err
    assert "plugin 'wgan' failed" in said
    assert type(error).__name__ in said


def test_ctrl_c_is_the_users_where_no_run_handles_it(request: pytest.FixtureRequest) -> None:
    """Catches a Ctrl-C in `zoo sample` that is told as a bug of the model."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        attributed(KeyboardInterrupt(), "wgan", "while sampling")
    with Signals():
        assert isinstance(attributed(KeyboardInterrupt(), "wgan", "while sampling"), PluginError)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_message_repeats_no_control_character() -> None:
    """Catches an exception's text that clears the terminal; lines stay lines."""
    text = str(attributed(ValueError("a\x1b[2J\x07\nb\x9b1m\tc"), "wgan", "while sampling"))
    assert "a?[2J?\nb?1m\tc" in text
    assert "\x1b" not in str(ZooError("\x1b[2J", "\x1b]0;x\x07"))


# -- stages


OPTIM = {"net": OptimizerConfig(kind="sgd", lr=0.1)}


class Staged(Recipe):
    """One network and a frozen one, in whatever stages the test makes of them."""

    def __init__(self, make: Callable[[Staged], Any]) -> None:
        super().__init__()
        self.net, self.frozen, self.make = nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False), make

    def stages(self) -> Sequence[Stage]:
        made: Sequence[Stage] = self.make(self)
        return made

    def phase(self, **fields: Any) -> Phase:
        given: dict[str, Any] = {"name": "fit", "loss": self.loss, "updates": [self.net], "optimizer": "net"}
        return Phase(**given | fields)

    def stage(self, *phases: Phase, **fields: Any) -> list[Stage]:
        given: dict[str, Any] = {
            "name": "only",
            "phases": list(phases) or [self.phase()],
            "optimizers": OPTIM,
        }
        return [Stage(**given | fields)]

    def loss(self, batch: Any, context: Any) -> Loss:
        return Loss(self.net(batch.x).square().mean())


WRONG_STAGES: dict[str, tuple[Callable[[Staged], Any], str]] = {
    "phases": (lambda r: r.stage(phases=None), "phases is None"),
    "optimizers": (lambda r: r.stage(optimizers=[OPTIM["net"]]), "optimizers is a list"),
    "optimizer": (lambda r: r.stage(optimizers={"net": {"lr": 1}}), "optimizer 'net' is a dict"),
    "ema": (lambda r: r.stage(ema=["net"]), "ema is a list"),
    "EMA config": (lambda r: r.stage(ema={"net": 0.9}), "EMA of 'net' is a float"),
    "no number": (lambda r: r.stage(fraction=float("nan")), "fraction is nan"),
    "text": (lambda r: r.stage(fraction="1"), "fraction is '1'"),
    "negative": (lambda r: r.stage(fraction=-1.0), "fraction is -1.0"),
    "begin": (lambda r: r.stage(begin=3), "begin is 3"),
    "stage's name": (lambda r: r.stage(name=3), "name is 3"),
    "phase's name": (lambda r: r.stage(r.phase(name=None)), "name is None"),
    "same name": (lambda r: r.stage(r.phase(), r.phase()), "several phases 'fit'"),
    "repeat 0": (lambda r: r.stage(r.phase(repeat=0)), "repeat is 0"),
    "repeat 1.5": (lambda r: r.stage(r.phase(repeat=1.5)), "repeat is 1.5"),
    "every": (lambda r: r.stage(r.phase(every=0)), "every is 0"),
    "clip": (lambda r: r.stage(r.phase(grad_clip="x")), "grad_clip is 'x'"),
    "clip below 0": (lambda r: r.stage(r.phase(grad_clip=-1.0)), "grad_clip is -1.0"),
    "after": (lambda r: r.stage(r.phase(after_step=3)), "after_step is 3"),
    "foreign": (lambda r: r.stage(r.phase(updates=[nn.Linear(2, 2)])), "not part of the recipe"),
    "nothing": (lambda r: r.stage(r.phase(updates=[])), "updates no parameter"),
    "frozen": (lambda r: r.stage(r.phase(updates=[r.frozen])), "updates no parameter"),
}


@pytest.mark.parametrize("name", WRONG_STAGES)
def test_stages_that_cannot_train_are_refused_before_the_first_step(name: str) -> None:
    make, what = WRONG_STAGES[name]
    with pytest.raises(PluginError, match=r"plugin 'toy'.*stage") as caught:
        planned_stages(Staged(make), "toy")
    assert what in caught.value.what
    assert caught.value.notes[0].startswith("expected: ")


def test_stages_of_every_right_form_pass() -> None:
    def make(recipe: Staged) -> list[Stage]:
        rare = recipe.phase(repeat=lambda step: 0, every=3, grad_clip=0.5)
        both = nn.ModuleList([recipe.net, recipe.frozen])
        last = recipe.phase(name="both", updates=both, after_step=lambda sums, keep: None)
        return [*recipe.stage(rare, last, begin=lambda data: None), Stage("fit")]

    recipe = Staged(make)
    assert len(planned_stages(recipe, "toy")) == 2


@pytest.mark.parametrize("repeat", ["x", -1, 0.5, None])
def test_a_number_of_updates_that_is_none_is_refused(repeat: Any) -> None:
    with pytest.raises(PluginError, match=r"Phase\.repeat returned"):
        harness(Staged(lambda r: r.stage(r.phase(repeat=lambda step: repeat)))).run()


# -- losses


LOSSES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "none": (lambda loss: None, "the loss returned None"),
    "tensor": (lambda loss: loss, "the loss returned a Tensor"),
    "float": (lambda loss: Loss(3.0), "Loss.loss is a float"),  # type: ignore[arg-type]
    "vector": (lambda loss: Loss(loss.expand(3)), r"Loss.loss is a tensor of torch.float32 and shape \(3,\)"),
    "integer": (lambda loss: Loss(loss.long()), "expected a scalar tensor of floats"),
    "complex": (lambda loss: Loss(loss + 0j), "expected a scalar tensor of floats"),
    "detached": (lambda loss: Loss(loss.detach()), "no gradient"),
    "text logged": (lambda loss: Loss(loss, log={"a": "x"}), r"Loss.log\['a'\] is a str"),  # type: ignore[dict-item]
    "vector logged": (lambda loss: Loss(loss, log={"a": torch.ones(3)}), r"Loss.log\['a'\] is a tensor"),
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_is_none_is_refused_at_its_first_step(name: str, accumulate: int) -> None:
    of, what = LOSSES[name]
    recipe = Single(nn.Linear(2, 1), lambda net, batch, context: net(batch.x).mean())
    whole = recipe.stages()[0].phases[0].loss
    phase = Phase("fit", lambda b, c: of(whole(b, c).loss), [recipe.net], "net")
    recipe.stages = lambda: [Stage("only", [phase], OPTIM)]  # type: ignore[method-assign]
    with pytest.raises(PluginError, match=f"'toy' failed in stage 'only', phase 'fit', step 0.*{what}"):
        harness(recipe, accumulate=accumulate).run()


# -- samples


SAMPLES: dict[str, tuple[Callable[[Tensor], Samples], str]] = {
    "integers": (lambda x: Samples(x.long()), "samples of torch.int64"),
    "bools": (lambda x: Samples(x > 0), "samples of torch.bool"),
    "complex": (lambda x: Samples(x + 0j), "samples of torch.complex64"),
    "sparse": (lambda x: Samples(x.to_sparse()), "torch.sparse_coo"),
    "meta": (lambda x: Samples(x.to("meta")), "meta"),
    "calls": (lambda x: Samples(x, calls="many"), "Samples.calls is 'many'"),  # type: ignore[arg-type]
    "no calls": (lambda x: Samples(x, calls=None), "Samples.calls is None"),  # type: ignore[arg-type]
    "negative calls": (lambda x: Samples(x, calls=-3), "Samples.calls is -3"),
    "not a number": (lambda x: Samples(x, calls=float("nan")), "Samples.calls is nan"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_of_another_kind_are_refused_before_training(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches samples that are converted without a word, and a fault that is laid on the evaluator."""
    from zoo_gan.wgan import WGAN

    of, what = SAMPLES[name]
    sample = WGAN.sample
    monkeypatch.setattr(WGAN, "sample", lambda self, request: of(sample(self, request).x))
    with pytest.raises(PluginError, match="plugin 'wgan'") as caught:
        run(resolve(WORDS))
    assert what in caught.value.what
    assert not any(Path("here").glob("checkpoints/step-*"))


def test_likelihoods_without_a_tensor_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo_core.types import Likelihood
    from zoo_vae.vae import VAE

    broken = Likelihood("elbo", torch.zeros(1))  # type: ignore[arg-type]
    monkeypatch.setattr(VAE, "likelihoods", lambda self, x, *, noise, k: [broken])
    words = [w for w in WORDS if not w.startswith(("plugin", "eval"))]
    with pytest.raises(PluginError, match=r"'vae': likelihoods\(\) returned"):
        run(resolve([*words, "plugin=vae", "eval.baselines=false"]))


# -- data and metrics


class Rows:
    """Test examples that are held."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def examples(self, index: Tensor) -> Tensor:
        return self.rows[index]


@pytest.mark.parametrize("error", EXITS, ids=repr)
def test_an_exit_of_a_dataset_is_its_fault(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo_core.runs import opening

    config = resolve(WORDS)
    monkeypatch.setattr(opening, "load_entry", lambda kind, entry: raising(error))
    with (
        Signals(),
        pytest.raises(PluginError, match=f"'ring' failed to load its data: {type(error).__name__}"),
    ):
        opening.load_data(config)


@pytest.mark.parametrize("error", EXITS, ids=repr)
def test_an_exit_of_a_metric_is_its_fault(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo_core.registry.manager import manager
    from zoo_eval import pipeline

    context: Any = None
    monkeypatch.setattr(pipeline, "load_entry", lambda kind, entry: raising(error))
    with Signals(), pytest.raises(PluginError, match=f"metric 'prdc' .* failed: {type(error).__name__}"):
        pipeline._columns(manager().find("metric", "prdc"), context)


def test_a_signal_during_a_metric_of_ones_own_is_not_its_fault() -> None:
    """Catches a stop by SIGTERM that is told as a metric that failed."""
    from zoo_eval import pipeline

    rows = torch.zeros(4, 2)
    data = SimpleNamespace(info=SimpleNamespace(levels=None), test=Rows(rows))
    own = {"mine": raising(Interrupted(15, "interrupted by SIGTERM"))}
    context: Any = SimpleNamespace(
        source=SimpleNamespace(functions=own, data=data), sampled=SimpleNamespace(rows=rows)
    )
    with pytest.raises(Interrupted):
        pipeline.run_functions(context, SimpleNamespace(values={}))  # type: ignore[arg-type]
