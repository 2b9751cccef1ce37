"""How far a run is, and who is told of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from zoo_core.training.checkpoint import Checkpoint


@dataclass
class Counts:
    """How far a run is and what it has consumed; all of it is saved and continued.

    Attributes:
        stage, step: where the run is; `step` counts within the stage.
        total: steps over all stages.
        images: training examples consumed, over all phases.
        stage_images: the same within the stage.
        updates: optimizer steps by "stage/phase".
        seconds: spent in training, images and checkpoints left out.
    """

    stage: int = 0
    step: int = 0
    total: int = 0
    images: int = 0
    stage_images: int = 0
    updates: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def check(self, steps: Sequence[int]) -> None:
        """Refuse counts that no run of so many steps a stage can have.

        Raises:
            ValueError: naming the first.
        """
        whole = {name: getattr(self, name) for name in ("stage", "step", "total", "stage_images")}
        whole |= {f"updates of {name}": number for name, number in self.updates.items()}
        for name, number in whole.items():
            if not _is_whole(number):
                raise ValueError(f"its count {name} is {number!r}, expected a number of at least 0")
        for name, amount in (("images", self.images), ("seconds", self.seconds)):
            if not isinstance(amount, int | float) or not 0 <= amount < math.inf:
                raise ValueError(f"its count {name} is {amount!r}, expected a number of at least 0")
        if self.stage > len(steps) or self.step > (*steps, 0)[self.stage]:
            raise ValueError(
                f"it is at step {self.step} of stage {self.stage}; the stages have {list(steps)} steps"
            )


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63


@dataclass(frozen=True)
class Listener:
    """What the harness tells, and may ask; every default does nothing.

    Attributes:
        log: (total step, values) every `log_every` steps.
        step: (total step) after every step: it has to be fast.
        save: (total step, checkpoint) to keep.
        image: (total step) to draw samples; averages are applied and the recipe is in eval mode.
        score: (total step) to score the run on held-out data; averages are applied and the recipe is in
            eval mode. It returns whether this is the best score so far.
        best: (total step, checkpoint) of the best score so far, to keep.
        snapshot: (steps of the stage, averages of other lengths as `Averages.lengths` has them) to keep.
        stop: whether a signal asked the run to end after this step.
        say: a line for the user: where a run has several stages, which begins, what it trains and what it
            leaves frozen.
    """

    log: Callable[[int, Mapping[str, float]], None] = lambda step, values: None
    step: Callable[[int], None] = lambda step: None
    save: Callable[[int, Checkpoint], None] = lambda step, kept: None
    image: Callable[[int], None] = lambda step: None
    score: Callable[[int], bool] = lambda step: False
    best: Callable[[int, Checkpoint], None] = lambda step, kept: None
    snapshot: Callable[[int, Mapping[str, Mapping[str, Mapping[str, Tensor]]]], None] = (
        lambda step, averages: None
    )
    stop: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda line: None
