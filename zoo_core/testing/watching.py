"""A training run seen through its phases: what each loss and each update touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from zoo_core.runs import Run
from zoo_core.seeds import generator
from zoo_core.training.harness import Harness
from zoo_core.training.recipe import Phase, Recipe, Stage
from zoo_core.types import Batch, Context, Loss

PROGRESS = 0.99
"""At which losses are compared: the end of every warm-up and annealing."""
FIXED = 256
"""Examples that they are compared on."""


@contextmanager
def as_if_untouched(recipe: nn.Module) -> Iterator[None]:
    """Within the block torch's generator is seeded; after it, generator and buffers are as they were."""
    buffers = {name: buffer.clone() for name, buffer in recipe.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, buffer in recipe.named_buffers():
                    if name in buffers:
                        buffer.copy_(buffers[name])


def probe(recipe: Recipe, phase: Phase, batch: Batch, *, backward: bool = False) -> Loss:
    """Return a phase's loss on a batch with randomness that is always the same.

    It leaves no trace, but for gradients where it is to go backward.
    """
    rng = generator(0, "probe", device=batch.index.device)
    with as_if_untouched(recipe):
        loss = phase.loss(batch, Context(0, PROGRESS, 0, rng))
        if backward:
            loss.loss.backward()
    return loss


@dataclass
class Seen:
    """What was seen of one phase.

    Attributes:
        expected: names of the parameters that it says it updates, without those frozen for good.
        reached: of these, the ones that a gradient other than zero reached, ever.
        given: of these, the ones that a gradient reached, be it zero.
        strayed: parameters outside `expected` that changed in one of its updates.
        first, last: its loss on a fixed batch at the first and the last step of its stage.
        loss: what its loss returned first.
    """

    expected: list[str]
    reached: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    strayed: set[str] = field(default_factory=set)
    first: float | None = None
    last: float | None = None
    loss: Loss | None = None


class Watch:
    """Wraps the phases of a harness that has not run yet, and fills in `phases` while it runs."""

    def __init__(self, harness: Harness) -> None:
        self.recipe = harness.recipe
        self.phases: dict[str, Seen] = {}
        self._names = {id(p): name for name, p in self.recipe.named_parameters()}
        trainable = {id(p) for p in self.recipe.parameters() if p.requires_grad}
        self.trainable = [self._names[i] for i in trainable]
        self._before: list[Tensor] = []
        data = harness.data
        self._fixed = data.restarted().next(FIXED)
        wrapped = []
        for stage, steps in zip(harness.stages, harness.stage_steps, strict=True):
            phases = [self._wrap(stage, phase, steps, trainable) for phase in stage.phases]
            wrapped.append(replace(stage, phases=phases))
        harness.stages = wrapped

    def _wrap(self, stage: Stage, phase: Phase, steps: int, trainable: set[int]) -> Phase:
        key = f"{stage.name}/{phase.name}"
        mine = [p for module in phase.updates for p in module.parameters() if id(p) in trainable]
        seen = self.phases[key] = Seen(list(dict.fromkeys(self._names[id(p)] for p in mine)))
        inside = {id(p) for p in mine}
        outside = [p for p in self.recipe.parameters() if id(p) not in inside]
        fixed = self._fixed
        last = max(step for step in range(steps) if step % phase.every == 0) if steps else 0

        def loss(batch: Batch, context: Context) -> Loss:
            if seen.first is None:
                seen.loss = probe(self.recipe, phase, fixed)
                seen.first = float(seen.loss.loss.detach())
            elif context.step == last:
                seen.last = float(probe(self.recipe, phase, fixed).loss.detach())
            self._before = [p.detach().clone() for p in outside]
            return phase.loss(batch, context)

        def after_step(sums: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
            for p in mine:
                if p.grad is not None:
                    seen.given.add(self._names[id(p)])
                    if bool((p.grad != 0).any()):
                        seen.reached.add(self._names[id(p)])
            if phase.after_step is not None:
                phase.after_step(sums, keep)
            for p, before in zip(outside, self._before, strict=True):
                if not torch.equal(p.detach(), before):
                    seen.strayed.add(self._names[id(p)])

        return replace(phase, loss=loss, after_step=after_step)


def each_phase(run: Run) -> Iterator[tuple[Stage, Phase]]:
    """Yield every phase of a fresh run, its stage begun, with only the weights thawed that it updates."""
    trainable = {id(p) for p in run.recipe.parameters() if p.requires_grad}
    run.recipe.train()
    for stage in run.harness.stages:
        if stage.begin is not None:
            stage.begin(run.harness.data)
        for phase in stage.phases:
            run.recipe.requires_grad_(False)
            for module in phase.updates:
                for p in module.parameters():
                    p.requires_grad_(id(p) in trainable)
            yield stage, phase
