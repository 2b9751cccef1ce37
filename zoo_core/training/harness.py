"""Training loop over stages, steps and phases.

Each update enables the gradients of the modules that its phase updates, computes the loss of the next batch
and its gradients, clips them, steps the optimizer and calls `after_step`; each step ends with an update of
the EMA weights. With several processes, each computes its share of every batch, and gradients are summed
before the step (`parallel`). Nothing here depends on a model family.
"""

from __future__ import annotations

import contextlib
import math
import operator
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.config import TrainConfig
from zoo_core.data.loading import TrainData
from zoo_core.errors import DivergedError, MachineError, ZooError
from zoo_core.machine.distributed import any_, from_first, from_first_, gather, shares, world
from zoo_core.machine.faults import attributed
from zoo_core.machine.precision import autocast, tf32
from zoo_core.seeds import derive
from zoo_core.training.backward import backward, nothing
from zoo_core.training.checkpoint import END, Checkpoint, check_fit
from zoo_core.training.compilation import (
    Start,
    compile_networks,
    differentiates_twice,
    eager,
    mark_step,
    no_new_code,
    regions,
)
from zoo_core.training.compile_trial import LEAST, Pace, Trial
from zoo_core.training.ema import Averages
from zoo_core.training.failures import LONE_ROW, lone_row, out_of_memory
from zoo_core.training.optim import build_optimizer, build_schedule
from zoo_core.training.parallel import Reducer, check_shares, loss_over_all
from zoo_core.training.plan import micro_batches, planned_stages, planned_steps, stage_line
from zoo_core.training.power import snapshot_steps
from zoo_core.training.progress import Counts, Listener
from zoo_core.training.randomness import random_states, seed_all, set_random_states
from zoo_core.training.recipe import Phase, Recipe, Stage, data_sized
from zoo_core.training.shard_trial import Trials, check_options, second_order
from zoo_core.training.sharding import BlockSums, Shards
from zoo_core.training.states import copied, finite, load_optimizer, optimizer_state
from zoo_core.training.whole_batch import batch_norms, shared_batch, synchronized
from zoo_core.types import Batch, Context, Loss


def is_logged(step: int, every: int) -> bool:
    """Return whether a step is recorded: each `every`-th, and before the first of them the powers of two.

    Losses change most in the first steps.
    """
    return step % every == 0 or (step < every and step & (step - 1) == 0)


def _networks(stages: Iterable[Stage]) -> list[nn.Module]:
    """Return the distinct modules that stages update."""
    found = (module for stage in stages for phase in stage.phases for module in phase.updates)
    return list({id(module): module for module in found}.values())


class Harness:
    """Trains one recipe.

    Args:
        recipe: on the training device.
        config: of training.
        data: the stream of batches.
        seed: of the phases' generators.
        plugin: named in errors.
        listener: told of the run.

    Attributes:
        score_every: steps between two calls of the listener's `score`; 0 for none.
        sampled: weights that are sampled during training: "ema" or "raw".
        compiled: whether the networks of the stage are compiled; None where train.compile=auto has not
            decided yet.
        compilation: what was decided and measured, for provenance.json.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: TrainConfig,
        data: TrainData,
        *,
        seed: int = 0,
        plugin: str = "",
        listener: Listener | None = None,
    ) -> None:
        self.recipe = recipe
        self.config = config
        self.data = data
        self.seed = seed
        self.plugin = plugin
        self.listener = listener or Listener()
        self.world = world()
        check_shares(config, self.world)
        self._parts = micro_batches(config, self.world.size)
        self._sizes = [len(own) for own in shares(self._parts, self.world)]
        self.reducers: dict[str, Reducer | BlockSums] = {}
        self.sharded = config.parallel == "fsdp" and self.world.size > 1
        self.shards: Shards | None = None
        self.counts = Counts()
        self.score_every = 0
        self.sampled = "ema"
        self.averages = Averages(recipe)
        self.stages = planned_stages(recipe, plugin)
        self.stage_steps = planned_steps(self.stages, config)
        if self.sharded:
            check_options(config, (one for stage in self.stages for one in stage.optimizers.values()))
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._members: dict[str, list[nn.Parameter]] = {}
        self._schedules: list[Callable[[int], None]] = []
        self._rngs: dict[str, torch.Generator] = {}
        self._trainable = {id(p) for p in recipe.parameters() if p.requires_grad}
        self._thawed: Phase | None = None
        self._last: dict[str, Tensor] = {}
        self._totals: dict[str, tuple[Tensor | float, int]] = {}
        self.autocast = autocast(config.precision, data.device)
        self._eager: set[str] = set()  # phases whose networks are not to run compiled
        self.compiled: bool | None = None if config.compile == "auto" else config.compile
        self.compilation: list[str] = []
        self._pace = Pace()
        self._trial: Trial | None = None
        self._start: Start | None = None
        # On a GPU, asking a tensor for its value makes the host wait: losses are then checked when logged.
        self._checks_each_step = data.device.type == "cpu"

    # -- one run

    def run(self) -> None:
        """Train to the end, or until the listener says stop; a loaded state continues where it was.

        Raises:
            DivergedError: at the first loss, or weight at a checkpoint, that is not finite.
            PluginError: where the recipe raises.
            MachineError: where memory runs out.
        """
        with synchronized(self.recipe) as norms:
            if self.config.parallel == "fsdp" and not self.sharded:
                self.listener.say("train.parallel=fsdp: one process has all weights, as without it")
            if self.world.size > 1:
                self._announce_processes(norms)
            self._run_stages()

    def _run_stages(self) -> None:
        while self.counts.stage < len(self.stages):
            stage = self.stages[self.counts.stage]
            if not self.optimizers:
                self._begin(stage)
                if len(self.stages) > 1:
                    self.listener.say(
                        stage_line(self.recipe, self.stages, self.stage_steps, self.counts.stage)
                    )
            if self.shards is not None:
                self.listener.say(self.shards.line)
            with tf32(self.data.device):
                done = self._run_stage(stage, self.stage_steps[self.counts.stage])
            if not done:
                return
            self._end_stage()

    def try_smallest_batch(self) -> None:
        """Take every phase's loss on the smallest micro-batch of the run, where that is one example.

        Weights, buffers, random states and the order of the data are left as they were. What else a loss
        raises so early is left to training, where it may find what it misses.

        Raises:
            UsageError: where batch norm refuses one example.
        """
        if self.world.size > 1:  # batch norm sees a row of each
            return
        if min(map(len, micro_batches(self.config))) > 1 or not batch_norms(self.recipe):
            return
        for phase in (phase for stage in self.stages for phase in stage.phases):
            try:
                with self.trial(phase, 1):
                    pass
            except Exception as error:
                if LONE_ROW in str(error):
                    raise lone_row(self.plugin, self.config) from error
            except BaseException as error:
                raise attributed(error, self.plugin, f"in phase {phase.name!r}, step 0") from error

    @contextlib.contextmanager
    def trial(self, phase: Phase, rows: int) -> Iterator[Loss]:
        """Within the block there is a phase's loss of the next batch's first rows, the same in all processes.

        Buffers, random states and the order of the data are as before after it, and there are no gradients.
        """
        with self.untouched():
            seed_all(0)
            self.recipe.train()
            self.thaw(phase)
            rng = torch.Generator(device=self.data.device).manual_seed(0)
            batch = self.data.next(self.config.batch_size)[:rows]
            with self.autocast():
                loss = phase.loss(batch, Context(0, 0.0, 0, rng))
            try:
                yield loss
            finally:
                for parameter in self.recipe.parameters():
                    parameter.grad = None

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """After the block buffers, random states, modes, and the order of the data are as before it."""
        states = random_states(self.data.device)
        flags, thawed = [(p, p.requires_grad) for p in self.recipe.parameters()], self._thawed
        buffers = {name: buffer.clone() for name, buffer in self.recipe.named_buffers()}
        drawn, training = self.data.drawn, self.recipe.training
        try:
            yield
        finally:
            self.data.drawn = drawn
            self.recipe.train(training)
            self._thawed = thawed
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            with torch.no_grad():
                for name, buffer in self.recipe.named_buffers():
                    if name in buffers:
                        buffer.copy_(buffers[name])
            set_random_states(states, self.data.device)

    def _begin(self, stage: Stage, fresh: bool = True) -> None:
        if fresh and stage.begin is not None:
            with self._blame(stage.name, "begin"):
                stage.begin(self.data)
        if fresh:  # whatever a process drew of its own, all start as the first
            from_first_(self.recipe.state_dict().values())
        if self.sharded and stage.phases:
            trials = Trials(self.recipe, self._trainable, self.updated, self.trial)
            self.shards, self.reducers = trials.sharded(stage.phases)
            self.averages.follow()
        self.averages.begin(stage.ema)
        names = {id(p): name for name, p in self.recipe.named_parameters()}
        for name in dict.fromkeys(phase.optimizer for phase in stage.phases):
            config = stage.optimizers[name]
            phases = [phase for phase in stage.phases if phase.optimizer == name]
            members = {id(p): p for phase in phases for p in self.updated(phase)}
            self._members[name] = list(members.values())
            self.optimizers[name] = build_optimizer(config, [(names[i], p) for i, p in members.items()])
            schedule = build_schedule(config, self.optimizers[name], self.stage_steps[self.counts.stage])
            if schedule is not None:
                self._schedules.append(schedule)
        for phase in stage.phases:
            self.counts.updates.setdefault(f"{stage.name}/{phase.name}", 0)
            rng = torch.Generator(device=self.data.device)
            seed = derive(self.seed, "phase", stage.name, phase.name, *self._place())
            self._rngs[phase.name] = rng.manual_seed(seed)
        if self.compiled:
            self._compile(stage)
        if self.world.size > 1 and not self.sharded:
            self.reducers = {phase.name: Reducer(self.updated(phase)) for phase in stage.phases}
        if not self.world.first:
            seed_all(derive(self.seed, "stage", stage.name, *self._place()))

    def _announce_processes(self, norms: int) -> None:
        """Say how several processes train one model, and what of it looks at more than a process's rows."""
        lines = [f"{self.world.size} processes: gradients are added up during the backward pass"]
        if norms:
            lines.append(f"batch norm: statistics of all processes' rows, in {norms} layers")
        self.listener.say("; ".join(lines))

    @property
    def networks(self) -> list[nn.Module]:
        """The networks that are trained, of all stages."""
        return _networks(self.stages)

    def _compile(self, stage: Stage, known: Collection[str] = ()) -> None:
        """Compile what the stage updates, and find the phases that are to run without.

        Args:
            stage: of training.
            known: names of phases that are to run without.
        """
        self._start = Start()
        compile_networks(_networks([stage]), fixed=self.world.size == 1 and len(self._parts) == 1)
        self._eager = {
            phase.name
            for phase in stage.phases
            if phase.second_order or phase.name in known or self._differentiates_twice(phase)
        }
        if self._eager:
            self.listener.say(f"not compiled, for a loss that holds a gradient: {', '.join(self._eager)}")

    def _decide(self, stage: Stage, steps: int) -> None:
        """Decide, after a step, whether the stage's networks are compiled: train.compile=auto."""
        left = steps - self.counts.step
        if self._trial is None:
            seconds = from_first(self._pace.after(self.counts.step))
            if seconds is not None and seconds * left < LEAST:
                self._decided(f"not compiled: about {seconds * left:.0f} s of training are left")
            elif seconds is not None:
                self._eager = second_order(stage.phases, _networks([stage]), self.trial)
                blocks = [block for network in _networks([stage]) for block in regions(network)]
                self._trial = Trial(blocks, self.autocast, backward=True, agree=from_first)
            return
        self._trial.end_unit()
        if not self._trial.done:
            return
        with self.untouched():
            worth = from_first(self._trial.worth(left))
        if isinstance(worth, str):
            self._decided(f"not compiled: {worth}")
            return
        self._decided(worth.line)
        if worth.pays:
            self.compiled = True
            self._compile(stage, self._eager)

    def _decided(self, line: str) -> None:
        self.compiled, self._trial = False, None
        self.compilation.append(line)
        self.listener.say(f"train.compile=auto: {line}")

    def _differentiates_twice(self, phase: Phase) -> bool:
        with self.untouched():
            self.recipe.train()
            self.thaw(phase)
            rng = torch.Generator(device=self.data.device).manual_seed(0)
            batch = self._batch()
            context = Context(0, 0.0, 0, rng)
            found = differentiates_twice(lambda: self._backward(phase, batch, context))
        for parameter in self.updated(phase):
            parameter.grad = None
        return found

    def _place(self) -> tuple[int | str, ...]:
        """Return what sets this process's random numbers apart: nothing for the first, as if alone."""
        return () if self.world.first else ("rank", self.world.rank, self.counts.total)

    def _end_stage(self) -> None:
        from_first_(self.recipe.buffers())
        last = self.counts.stage == len(self.stages) - 1
        end = self._progress() if last else None
        self.averages.settle()
        if self.shards is not None:
            self.shards.end()
            self.shards, self._thawed = None, None
            self.averages.follow()
        self.recipe.requires_grad_(False)
        self.optimizers, self._schedules, self._rngs, self._thawed = {}, [], {}, None
        self.reducers = {}
        if self.config.compile == "auto":
            self.compiled, self._trial, self._pace, self._eager = None, None, Pace(), set()
        self.counts.stage += 1
        self.counts.step = self.counts.stage_images = 0
        if last:
            self._save(end)

    def _run_stage(self, stage: Stage, steps: int) -> bool:
        """Return whether the stage is done; False means that a stop was asked for."""
        counts, config, listener = self.counts, self.config, self.listener
        sample_every = config.sample_every or max(1, math.ceil(config.steps / 4))
        snapshots = snapshot_steps(steps) if self.averages.lengths() else frozenset[int]()
        self.recipe.train()
        clock = time.perf_counter()
        while counts.step < steps:
            for schedule in self._schedules:
                schedule(counts.step)
            for phase in stage.phases:
                if counts.step % phase.every == 0:
                    self._phase(stage, phase, steps)
            self.averages.update(stage.ema, config.batch_size)
            counts.step += 1
            counts.total += 1
            done = counts.step == steps
            if counts.step in snapshots:
                listener.snapshot(counts.step, self._lengths())
            if self.score_every and counts.total % self.score_every == 0:
                counts.seconds += time.perf_counter() - clock
                self._score()
                clock = time.perf_counter()
            if is_logged(counts.total, config.log_every) or done:
                values = self._values(stage)
                counts.seconds += time.perf_counter() - clock
                listener.log(counts.total, self._record(values))
                clock = time.perf_counter()
            listener.step(counts.total)
            if self._start is not None:
                self.compilation.append(self._start.line)
                listener.say(self.compilation[-1])
                self._start = None
            if self.compiled is None and stage.phases and not done:
                self._decide(stage, steps)
            stop = any_(listener.stop())
            if stop or self._is_saved(done):
                counts.seconds += time.perf_counter() - clock
                self._save()
                clock = time.perf_counter()
            if stop:
                return False
            if counts.total % sample_every == 0 and not done:
                counts.seconds += time.perf_counter() - clock
                self._image()
                clock = time.perf_counter()
        return True

    def _is_saved(self, done: bool) -> bool:
        """Return whether a checkpoint is due after this step; the end of the last stage saves its own."""
        total, config = self.counts.total, self.config
        if done and self.counts.stage == len(self.stages) - 1:
            return False
        audited = config.audit > 0 and total % config.audit == 0
        return audited or (total % config.checkpoint_every == 0 and not done)

    # -- one update

    def _phase(self, stage: Stage, phase: Phase, steps: int) -> None:
        self.thaw(phase)
        optimizer = self.optimizers[phase.optimizer]
        counts, rng = self.counts, self._rngs[phase.name]
        for _ in range(self._repeats(stage, phase)):
            batch = self._batch()
            context = Context(counts.step, counts.step / steps, counts.stage_images, rng)
            for parameter in self._members[phase.optimizer]:  # a third of Optimizer.zero_grad's time
                parameter.grad = None
            try:
                with self._code(phase):
                    loss = self._backward(phase, batch, context)
            except BaseException as error:
                raise self._fault(stage.name, phase.name, error) from error
            if self.world.size > 1:
                self.reducers[phase.name].finish()
                loss = loss_over_all(loss, self._parts, self.world.size)
            self._check(stage, phase, loss)
            if phase.grad_clip is not None:
                nn.utils.clip_grad_norm_(self.updated(phase), phase.grad_clip)
            optimizer.step()
            if phase.after_step is not None:
                with torch.no_grad(), self._blame(stage.name, phase.name):
                    phase.after_step(loss.sums, loss.keep)
            counts.images += self.config.batch_size
            counts.stage_images += self.config.batch_size
            counts.updates[f"{stage.name}/{phase.name}"] += 1

    def _code(self, phase: Phase) -> contextlib.AbstractContextManager[Any]:
        """Return the context of a phase's loss: compiled, as it is, or watched."""
        if not self.config.compile:
            return contextlib.nullcontext()
        if self.compiled:
            mark_step()
            return eager() if phase.name in self._eager else contextlib.nullcontext()
        if self._trial is None or phase.name in self._eager:
            return no_new_code()  # networks of a stage before may be compiled
        return self._trial.watching()

    def _batch(self) -> Batch:
        """Return this process's rows of the next batch."""
        parts = () if self.world.size == 1 else self._parts
        return self.data.next(self.config.batch_size, self.world, parts)

    def _backward(self, phase: Phase, batch: Batch, context: Context) -> Loss:
        reducer, arm = self.reducers.get(phase.name), nothing
        if reducer is not None:
            reducer.begin()
            arm = reducer.arm
        whole = self.config.batch_size
        with shared_batch():
            return backward(phase.loss, batch, context, self.autocast, self._sizes, whole, arm)

    def _repeats(self, stage: Stage, phase: Phase) -> int:
        """Return how often a phase updates in this step."""
        if isinstance(phase.repeat, int):
            return phase.repeat
        with self._blame(stage.name, phase.name):
            repeat = phase.repeat(self.counts.step)
            if not isinstance(repeat, int) or repeat < 0:
                raise TypeError(f"Phase.repeat returned {repeat!r}, expected an int of at least 0")
        return repeat

    def thaw(self, phase: Phase) -> None:
        """Let gradients reach what the phase updates, and nothing else."""
        if phase is self._thawed:
            return
        self.recipe.requires_grad_(False)
        for parameter in self.updated(phase):
            parameter.requires_grad_(True)
        self._thawed = phase

    def updated(self, phase: Phase) -> list[nn.Parameter]:
        """Return the parameters that a phase updates."""
        # What a recipe froze for good (fixed features) stays frozen even inside a module that is updated.
        return [p for module in phase.updates for p in module.parameters() if id(p) in self._trainable]

    # -- what is not finite

    def _check(self, stage: Stage, phase: Phase, loss: Loss) -> None:
        seen = {"loss": loss.loss.detach(), **loss.log}
        for short, value in seen.items():
            name = f"{phase.name}/{short}"
            self._last[name] = value
            total, count = self._totals.get(name, (0.0, 0))
            self._totals[name] = (total + value, count + 1)
        if self._checks_each_step and not math.isfinite(loss.loss.item()):
            raise self._diverged(stage, phase.name, "its loss")

    def _values(self, stage: Stage) -> dict[str, float]:
        """Return the mean of every logged value since the last record."""
        values = {name: float(total) / count for name, (total, count) in self._totals.items()}
        self._totals.clear()
        for name, value in values.items():
            if name.endswith("/loss") and not math.isfinite(value):
                raise self._diverged(stage, name.removesuffix("/loss"), "its loss")
        return values

    def _diverged(self, stage: Stage, phase: str, what: str) -> DivergedError:
        last = ", ".join(f"{name} {float(value):.4g}" for name, value in self._last.items())
        return DivergedError(
            f"{self.plugin}: training diverged: {what} is not finite "
            f"(stage {stage.name!r}, phase {phase!r}, step {self.counts.step})",
            f"last values: {last}",
            "try: a lower optim.<name>.lr, or train.precision=float32",
        )

    def _check_weights(self) -> None:
        weights = {f"weight {name!r}": [t] for name, t in self.recipe.state_dict().items()}
        averages = {f"the average of {name!r}": ema.average for name, ema in self.averages.of.items()}
        wrong = next((name for name, its in (weights | averages).items() if not finite(its)), None)
        wrong = next(filter(None, gather(wrong)), None)  # of sharded weights each process has some
        if wrong is not None:
            stage = self.stages[min(self.counts.stage, len(self.stages) - 1)]
            raise self._diverged(stage, "all", wrong)

    # -- what is told

    def _record(self, values: dict[str, float]) -> dict[str, float]:
        rates = {f"lr/{name}": float(o.param_groups[0]["lr"]) for name, o in self.optimizers.items()}
        speed = self.counts.total / max(self.counts.seconds, 1e-9)
        return values | rates | {"images": self.counts.images, "steps_per_second": speed}

    def _image(self) -> None:
        with self.quiet(self.sampled):
            self.listener.image(self.counts.total)

    def _score(self) -> None:
        with self.quiet(self.sampled):
            best = self.listener.score(self.counts.total)
        if best:
            self.listener.best(self.counts.total, self.checkpoint())

    @contextlib.contextmanager
    def quiet(self, weights: str = "ema") -> Any:
        """Within the block: averaged weights, eval mode, no gradients, and random states that do not move.

        What is not compiled yet runs as it is.
        """
        kept = random_states(self.data.device)
        training = self.recipe.training
        self.recipe.eval()
        try:
            whole = contextlib.nullcontext() if self.shards is None else self.shards.whole()
            with torch.no_grad(), self.averages.applied(weights), whole, no_new_code():
                yield
        finally:
            self.recipe.train(training)
            set_random_states(kept, self.data.device)

    def _save(self, end: dict[str, Any] | None = None) -> None:
        from_first_(self.recipe.buffers())  # statistics of a share of the data: the first's are kept
        self._check_weights()
        kept = self.checkpoint()
        if end is not None:
            kept.state[END] = end
        self.listener.save(self.counts.total, kept)

    @contextlib.contextmanager
    def _blame(self, stage: str, phase: str) -> Any:
        try:
            yield
        except BaseException as error:
            raise self._fault(stage, phase, error) from error

    def _fault(self, stage: str, phase: str, error: BaseException) -> ZooError:
        """Return the error to raise where the code of a phase raised `error`."""
        if isinstance(error, torch.OutOfMemoryError):
            return out_of_memory(self.plugin, self.config, error)
        if LONE_ROW in str(error):
            return lone_row(self.plugin, self.config)
        where = f"in stage {stage!r}, phase {phase!r}, step {self.counts.step}"
        return attributed(error, self.plugin, where)

    # -- state

    def checkpoint(self) -> Checkpoint:
        """Return all that a resume needs to continue bit for bit, copied to the CPU.

        `weights` are the raw weights and `ema` the EMA weights at every step, whichever of them the recipe
        holds at the moment.
        """
        state = {"drawn": self.data.drawn, **self._progress()}
        with self.averages.applied("raw"):
            return Checkpoint(
                weights=copied(self.recipe.state_dict()),
                ema={name: copied(ema.state()) for name, ema in self.averages.of.items()},
                state=state,
            )

    def _progress(self) -> dict[str, Any]:
        """Return what the end of a stage clears: counts, optimizers, random states, places of EMA weights."""
        return {
            "counts": asdict(self.counts),
            "optimizers": {name: optimizer_state(o) for name, o in self.optimizers.items()},
            **self._randomness(),
            "others": gather(self._randomness())[1:],
            "ema": {name: [ema.updates, ema.in_place] for name, ema in self.averages.of.items()},
            **({"lengths": lengths} if (lengths := self._lengths()) else {}),
            **({"compiled": self.compiled} if self._chose else {}),
        }

    @property
    def _chose(self) -> bool:
        """Whether train.compile=auto has decided for this stage."""
        return self.config.compile == "auto" and self.compiled is not None

    def _lengths(self) -> dict[str, Any]:
        averages = self.averages.lengths()
        return {n: {k: copied(its) for k, its in by_length.items()} for n, by_length in averages.items()}

    def _randomness(self) -> dict[str, Any]:
        return {
            "rngs": {name: rng.get_state() for name, rng in self._rngs.items()},
            "random": random_states(self.data.device),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint of the same config; to the bit where as many processes made it.

        Raises:
            MachineError: where its weights or its state are not those of this model.
        """
        try:
            self._restore(checkpoint)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise MachineError(
                f"the checkpoint and the model {self.plugin!r} do not fit together",
                *str(error).splitlines()[:4],
                "next: was the run made with another version of the plugin? see its provenance.json",
            ) from error

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self.counts = Counts(**state["counts"])
        self.counts.check(self.stage_steps)
        what = f"the model {self.plugin!r}"
        own = self.recipe.state_dict()
        # A compact bundle leaves out what only training needs.
        left = state.get("compact", {}).get("left_out", ())
        weights = {name: own[name] for name in own if name.partition(".")[0] in left} | checkpoint.weights
        check_fit(own, weights, what, data_sized(self.recipe))
        self.recipe.load_state_dict(weights)
        for stage in self.stages[: self.counts.stage]:
            self.averages.begin(stage.ema)
        self.averages.end_lengths()
        if self.config.compile == "auto":
            self.compiled = state.get("compiled")
        if self.counts.stage < len(self.stages):
            self._begin(self.stages[self.counts.stage], fresh=False)
        for name, (updates, in_place) in state["ema"].items():
            check_fit(self.averages.of[name].state(), checkpoint.ema[name], f"the EMA weights of {name!r}")
            self.averages.of[name].load(checkpoint.ema[name], updates, in_place)
        self.averages.load_lengths(state.get("lengths", {}))
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name])
        self.data.drawn = operator.index(state["drawn"])
        if not 0 <= self.data.drawn < 2**63:
            raise ValueError(f"it has drawn {self.data.drawn} examples, expected a number of at least 0")
        ranks = [state, *state.get("others", ())]
        if self.world.first or len(ranks) == self.world.size:
            own = ranks[self.world.rank]
            for name, rng in self._rngs.items():
                rng.set_state(own["rngs"][name])
            set_random_states(own["random"], self.data.device)
