"""Checks of how a model is trained: gradients, purity, averages, checkpoints, resumes, devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo_core.errors import ZooError
from zoo_core.seeds import Seeds, generator
from zoo_core.testing.results import Failed, NotApplicable
from zoo_core.testing.watching import PROGRESS, each_phase, probe
from zoo_core.training import checkpoint
from zoo_core.training.checkpoint import Checkpoint
from zoo_core.training.harness import Listener
from zoo_core.training.optim import build_optimizer
from zoo_core.training.randomness import random_states, seed_all
from zoo_core.types import Batch, Context, Loss, SampleRequest

if TYPE_CHECKING:
    from zoo_core.runs import Run
    from zoo_core.testing.subject import Model

TRIES = 16
"""Updates on one batch in which a phase must lower its own loss."""


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _phases(model: Model) -> dict[str, Any]:
    if not model.watch.phases:
        raise NotApplicable("it has no phases")
    return model.watch.phases


def stages_are_well_formed(model: Model) -> None:
    """Names are unique, optimizers are there, fractions and repeats make sense, averages name submodules."""
    recipe = model.build().recipe
    stages = recipe.stages()
    if not stages:
        raise Failed("stages() is empty", "return a Stage; one without phases where nothing is trained")
    if len({stage.name for stage in stages}) < len(stages):
        raise Failed(
            "two stages have one name", "give each stage a name of its own: seeds and counts hang on it"
        )
    for stage in stages:
        names = [phase.name for phase in stage.phases]
        if len(set(names)) < len(names):
            raise Failed(f"two phases of stage {stage.name!r} have one name", "give each a name of its own")
        for phase in stage.phases:
            if phase.optimizer not in stage.optimizers:
                raise Failed(
                    f"phase {phase.name!r} names optimizer {phase.optimizer!r}",
                    f"name one of {', '.join(stage.optimizers) or 'stage.optimizers, which is empty'}",
                )
            if not phase.updates or phase.every < 1:
                raise Failed(f"phase {phase.name!r} updates nothing", "name the modules that it trains")
        for name in stage.ema:
            try:
                recipe.get_submodule(name)
            except AttributeError:
                children = ", ".join(child for child, _ in recipe.named_children())
                raise Failed(
                    f"stage {stage.name!r} averages {name!r}, which is not a submodule",
                    f"name one of {children}",
                ) from None


def losses_are_well_formed(model: Model) -> None:
    """A loss returns a `Loss`: a scalar with a gradient, and detached tensors beside it."""
    for key, seen in _phases(model).items():
        loss = seen.loss
        if not isinstance(loss, Loss):
            raise Failed(f"{key} returned {type(loss).__name__}", "return zoo_core.types.Loss(scalar)")
        if loss.loss.ndim != 0 or not loss.loss.requires_grad:
            raise Failed(
                f"{key} returned a loss of shape {tuple(loss.loss.shape)}, "
                f"{'with' if loss.loss.requires_grad else 'without'} a gradient",
                "return a mean over the batch, computed from what the phase updates",
            )
        for kind in ("log", "sums", "keep"):
            for name, value in getattr(loss, kind).items():
                if (
                    not isinstance(value, Tensor)
                    or value.requires_grad
                    or (kind == "log" and value.numel() != 1)
                ):
                    form = "scalar" if kind == "log" else "tensor"
                    raise Failed(
                        f"{key}: Loss.{kind}[{name!r}] is not a detached {form}",
                        f"write {name!r}: value.detach()",
                    )


def gradients_reach_what_a_phase_updates(model: Model) -> None:
    """Catches a layer that is built and never used, and a detach that cuts one off."""
    shapes = {name: p.ndim for name, p in model.recipe.named_parameters()}
    everywhere: set[str] = set()
    for seen in _phases(model).values():
        everywhere |= seen.given
    for key, seen in _phases(model).items():
        # A bias may have none by right: a Wasserstein critic's last one cancels out of its loss.
        cold = [name for name in seen.expected if shapes[name] > 1 and name not in seen.reached]
        cold += [name for name in seen.expected if name not in everywhere and name not in cold]
        if cold:
            raise Failed(
                f"{key} says that it updates {_some(cold)}, and no gradient reaches it",
                "use it in the loss, leave it out of Phase.updates, or look for a detach on the way",
            )


def phases_change_only_what_they_update(model: Model) -> None:
    """Catches an after_step, or a loss, that moves weights which another phase owns."""
    for key, seen in _phases(model).items():
        if seen.strayed:
            raise Failed(
                f"an update of {key} changed {_some(sorted(seen.strayed))}, which it does not name",
                "name the module in Phase.updates; after_step may change buffers and its own weights only",
            )


def every_parameter_is_trained(model: Model) -> None:
    """Every parameter that is not frozen for good is updated by some phase."""
    named = {name for seen in _phases(model).values() for name in seen.expected}
    idle = [name for name in model.watch.trainable if name not in named]
    if idle:
        raise Failed(
            f"no phase updates {_some(idle)}",
            "name its module in a Phase's updates, freeze it with requires_grad_(False), or make it a buffer",
        )


def _example(run: Run) -> Batch:
    data = run.harness.data
    return data.restarted().next(run.config.train.batch_size)


def losses_are_pure(model: Model) -> None:
    """The same weights, batch and randomness give the same loss; nothing is stepped or stored on the way."""
    _phases(model)
    run = model.build(model.short)
    batch = _example(run)
    for stage, phase in each_phase(run):
        where = f"{stage.name}/{phase.name}"
        before = [p.detach().clone() for p in run.recipe.parameters()]
        losses = [probe(run.recipe, phase, batch) for _ in range(2)]
        first, second = (float(loss.loss.detach()) for loss in losses)
        if first != second and abs(first - second) > 1e-6 * abs(first):
            raise Failed(
                f"{where} gave {first:.6g}, then {second:.6g}, for the same batch and the same randomness",
                "draw from context.rng, and keep nothing from one call to the next but buffers",
            )
        names = [name for name, _ in run.recipe.named_parameters()]
        moved = [
            n for n, p, b in zip(names, run.recipe.parameters(), before, strict=True) if not torch.equal(p, b)
        ]
        if moved:
            raise Failed(
                f"{where} changed {_some(moved)} while it computed a loss",
                "a loss is pure; change weights in after_step",
            )
        if any(p.grad is not None for p in run.recipe.parameters()):
            raise Failed(f"{where} went backward", "return the loss: the harness goes backward and steps")
        again = {name: p.requires_grad for name, p in run.recipe.named_parameters()}
        wanted = {id(p) for module in phase.updates for p in module.parameters()}
        thawed = [n for n, p in run.recipe.named_parameters() if again[n] and id(p) not in wanted]
        if thawed:
            raise Failed(f"{where} thawed {_some(thawed)}", "leave requires_grad to the harness")


def losses_use_no_global_generator(model: Model) -> None:
    """A loss draws from `context.rng` alone: it leaves Python's, numpy's and torch's random states alone.

    The recipe is in eval mode meanwhile: dropout layers draw from torch's global generator by design.
    """
    run = model.build(model.short)
    batch = _example(run)
    device = run.harness.data.device
    for stage, phase in each_phase(run):
        with run.harness.untouched():
            run.recipe.eval()
            seed_all(20_100)
            before = random_states(device)
            phase.loss(batch, Context(0, PROGRESS, 0, generator(0, "probe", device=device)))
            after = random_states(device)
        moved = [name for name in before if not _equal(before[name], after[name])]
        if moved:
            raise Failed(
                f"{stage.name}/{phase.name} uses or seeds the global generator of {', '.join(moved)}",
                "draw from context.rng: torch.randn(..., generator=context.rng), without torch.manual_seed",
            )


def _equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return a == b


def each_phase_can_lower_its_loss(model: Model) -> None:
    """On one batch with fixed randomness, a phase's own optimizer lowers its own loss.

    Phases of a stage start from the same weights; a later stage starts from what earlier stages learned.
    """
    _phases(model)
    run = model.build(model.short)
    batch = _example(run)
    names = {id(p): name for name, p in run.recipe.named_parameters()}
    learned: dict[nn.Parameter, Tensor] = {}
    for stage, phase in each_phase(run):
        mine = {id(p): p for module in phase.updates for p in module.parameters() if p.requires_grad}
        start = [p.detach().clone() for p in mine.values()]
        optimizer = build_optimizer(
            stage.optimizers[phase.optimizer], [(names[i], p) for i, p in mine.items()]
        )
        losses: list[float] = []
        for _ in range(TRIES):
            optimizer.zero_grad()
            losses.append(float(probe(run.recipe, phase, batch, backward=True).loss.detach()))
            optimizer.step()
        optimizer.zero_grad()
        learned |= {p: p.detach().clone() for p in mine.values()}
        end_of_stage = learned if phase is stage.phases[-1] else {}
        with torch.no_grad():
            for p, kept in {**dict(zip(mine.values(), start, strict=True)), **end_of_stage}.items():
                p.copy_(kept)
        if not min(losses[1:]) < losses[0]:
            raise Failed(
                f"{stage.name}/{phase.name}: its loss never fell below {losses[0]:.6g} on a batch",
                "look for a sign, a detach, a learning rate too high, or noise that is not context.rng's",
            )


def training_lowers_the_loss(model: Model) -> None:
    """Over a run at preset `tiny` the loss falls, on a fixed batch with fixed randomness."""
    falling = {key: seen for key, seen in _phases(model).items() if seen.last is not None}
    alone = {
        key for key in falling if sum(other.split("/")[0] == key.split("/")[0] for other in falling) == 1
    }
    if not alone:
        raise NotApplicable("its phases play against each other: no loss of theirs has to fall")
    for key in sorted(alone):
        seen = falling[key]
        if not seen.last < seen.first:
            raise Failed(
                f"{key}: {seen.first:.6g} before training, {seen.last:.6g} after it",
                "give preset `tiny` more steps or another rate; if it rises in long runs too, it is wrong",
            )


def averages_leave_buffers_alone(model: Model) -> None:
    """Averaged or raw, a recipe's buffers are those of the live model, and the averages did average."""
    harness = model.trained.harness
    if not harness.averages.of:
        raise NotApplicable("it averages no weights at this preset")

    def kept(weights: str) -> tuple[dict[str, Tensor], list[Tensor]]:
        with harness.averages.applied(weights):
            buffers = {name: b.clone() for name, b in model.recipe.named_buffers()}
            return buffers, [p.detach().clone() for p in model.recipe.parameters()]

    (averaged, weights), (raw, live) = kept("ema"), kept("raw")
    moved = [name for name in raw if not torch.equal(averaged[name], raw[name])]
    if moved:
        raise Failed(
            f"{_some(moved)} changes with the averaged weights",
            "a buffer must not share memory with a parameter: register a .clone()",
        )
    if harness.counts.total and all(torch.equal(a, b) for a, b in zip(weights, live, strict=True)):
        raise Failed(
            f"the averages of {', '.join(harness.averages.of)} are the raw weights",
            "Stage.ema must name submodules that the stage's phases update",
        )


def _difference(a: Checkpoint, b: Checkpoint) -> list[str]:
    found = [
        name for name in a.weights if name not in b.weights or not _same(a.weights[name], b.weights[name])
    ]
    found += [f"the average of {name}" for name in a.ema if any(
        not _same(a.ema[name][key], b.ema[name][key]) for key in a.ema[name]
    )]  # fmt: skip
    return found


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


def a_checkpoint_keeps_everything(model: Model) -> None:
    """A model read back from its checkpoint has the same state and draws the same samples, bit for bit."""
    trained = model.trained
    kept = trained.harness.checkpoint()
    path = checkpoint.save(model.workspace / "kept", trained.harness.counts.total, kept, {})
    again = model.build()
    again.harness.restore(checkpoint.load(path))
    different = _difference(kept, again.harness.checkpoint())
    if different:
        raise Failed(
            f"{_some(different)} came back different from a checkpoint",
            "keep state in parameters and buffers; let no load hook change it",
        )
    before, after = (run.samples(run.request(range(4))).x for run in (trained, again))
    if not torch.equal(before, after):
        raise Failed(
            "the model read back from its checkpoint draws other samples",
            "whatever training sets (a scale, a codebook, a table) must be a parameter or a buffer",
        )


def a_resume_equals_the_uninterrupted_run(model: Model) -> None:
    """Stopped in the middle of each stage and continued afresh, training ends at the same bits."""
    _phases(model)
    ends: list[Checkpoint] = []
    whole = model.build(model.short, "train.checkpoint_every=1")
    halves, passed = [], 0
    for steps in whole.harness.stage_steps:
        halves += [passed + max(1, steps // 2)] if steps else []
        passed += steps
    where = {step: model.workspace / f"at-{step}" for step in halves}

    def save(step: int, kept: Checkpoint) -> None:
        if step in where:
            checkpoint.save(where[step], step, kept, {})

    whole.harness.listener = Listener(save=save)
    whole.harness.run()
    ends.append(whole.harness.checkpoint())
    for step, path in where.items():
        found = checkpoint.latest(path, lambda line: None)
        if found is None:
            raise NotApplicable("its stages are too short to be stopped in")
        again = model.build(model.short)
        again.harness.restore(found[1])
        again.harness.run()
        different = _difference(ends[0], again.harness.checkpoint())
        if different:
            raise Failed(
                f"stopped after step {step} and continued, {_some(different)} ends different",
                "state that must survive is a parameter or a buffer; randomness comes from context.rng",
            )


class _MetaGenerator(torch.Generator):
    """A generator that says it lives where tensors have no values, and serves them there."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("meta")


def _stays_behind(run: Callable[[], object]) -> str | None:
    """Return how a call mixes two devices; None where it does not. Raises what else it raises."""
    try:
        run()
    except Exception as error:
        if "is not on the expected device" in str(error) or "to be on the same device" in str(error):
            return " ".join(str(error).split())[:120]
        raise
    return None


def the_model_moves_between_devices(model: Model) -> None:
    """Everything moves with `.to(device)`: seen on torch's meta device, and on a GPU where there is one."""
    advice = "register tensors as parameters or buffers, and make new ones with device=x.device"
    run = model.build(model.short)
    example = _example(run)
    recipe = run.recipe.to("meta")
    x = (
        example.x.to("meta")
        if isinstance(example.x, Tensor)
        else tuple(part.to("meta") for part in example.x)
    )
    second = None if example.second is None else example.second.to("meta")
    batch = Batch(x, example.cond.to("meta"), example.index.to("meta"), second)
    request = SampleRequest(
        Seeds(0, range(2), "meta"),
        None if (asked := run.request(range(2))).cond is None else asked.cond.to("meta"),
        run.sampler,
        run.config.sample.steps,
    )
    phases = [(f"{s.name}/{p.name}", p) for s in recipe.stages() for p in s.phases]
    calls: dict[str, Callable[[], object]] = {
        name: lambda phase=phase: phase.loss(batch, Context(0, PROGRESS, 0, _MetaGenerator()))  # type: ignore[misc]
        for name, phase in phases
    }
    recipe.requires_grad_(True)
    calls["sample"] = lambda: recipe.eval().sample(request)
    seen = 0
    for name, call in calls.items():
        try:
            problem = _stays_behind(call)
        except Exception:
            continue  # it looks at values, which are not there: only a GPU can tell
        seen += 1
        if problem:
            raise Failed(f"{name} meets a tensor that stayed behind: {problem}", advice)
    if torch.cuda.is_available():
        moved = model.build(model.short, "device=cuda")
        try:
            moved.harness.run()
            moved.samples(moved.request(range(2)))
        except (ZooError, RuntimeError) as error:
            raise Failed(f"it fails on a GPU: {error}", advice) from error
    elif not seen:
        raise NotApplicable("its code looks at values while it runs, and there is no GPU here to move it to")


CHECKS = (
    stages_are_well_formed,
    losses_are_well_formed,
    losses_are_pure,
    losses_use_no_global_generator,
    gradients_reach_what_a_phase_updates,
    phases_change_only_what_they_update,
    every_parameter_is_trained,
    each_phase_can_lower_its_loss,
    training_lowers_the_loss,
    averages_leave_buffers_alone,
    a_checkpoint_keeps_everything,
    a_resume_equals_the_uninterrupted_run,
    the_model_moves_between_devices,
)
