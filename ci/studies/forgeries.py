"""How often an audit of a training catches forgeries of it, beside the formula.

    python ci/studies/forgeries.py [--spot 3] [--challenges 200] [--each 1.0] [--json]

A tiny run is trained in 14 segments. A forger who knows the hashes builds 100 forgeries of 11 kinds from it,
and hashes each anew, so that its root is right. Every segment of every forgery is executed again, for real;
then each forgery meets 200 challenges. Printed by kind: in how many of them it shows in the segments where it
was made, and how often they were caught, beside the probability of the formula (draws without replacement;
the first and the last segment are always executed).
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import zoo_core
from zoo_audit.auditing import Auditor
from zoo_audit.challenge import caught, plan
from zoo_audit.curves import Curves, curves_of
from zoo_audit.digest import state_sha256
from zoo_audit.segments import Trainer
from zoo_audit.trace import Trace, kept_state, read_trace
from zoo_core.config import RunConfig
from zoo_core.data.dataset import Dataset
from zoo_core.registry.resolution import resolve
from zoo_core.results import Result
from zoo_core.runs import load_data, saved_config
from zoo_core.training import checkpoint
from zoo_core.training.checkpoint import Checkpoint

OPTIONS = {
    "plugin": "ddpm",
    "preset": "tiny",
    "data": "ring",
    "device": "cpu",
    "train.steps": 28,
    "train.audit": 2,
    "train.log_every": 4,
    "eval.baselines": False,
    "track.wandb": "off",
    "track.progress": False,
    "track.plots": False,
}
STATES = list[Checkpoint]


@dataclass(frozen=True)
class Honest:
    """A run as it was trained."""

    config: RunConfig
    data: Dataset
    folder: Path
    result: Result
    trace: Trace
    states: STATES

    @property
    def curves(self) -> Curves:
        """The points that the result shows."""
        found = curves_of(self.result, self.folder)
        assert found is not None
        return found

    @property
    def last(self) -> int:
        """Index of the last segment."""
        return len(self.states) - 1

    def trainer(self, config: RunConfig | None = None, data: Dataset | None = None) -> Trainer:
        return Trainer(config or self.config, data or self.data, self.folder)

    def end(self, trainer: Trainer, index: int, start: Checkpoint | None) -> Checkpoint:
        """Return what training a segment from another start gives."""
        step = None if index == self.last else self.trace.states[index][0]
        return trainer.execute(copy.deepcopy(start), step).end

    def trained(self, trainer: Trainer, states: Sequence[Checkpoint]) -> STATES:
        """Return some first states and those that honest training from the last of them leads to."""
        found = list(states)
        while len(found) <= self.last:
            found.append(self.end(trainer, len(found), found[-1] if found else None))
        return found


@dataclass(frozen=True)
class Forgery:
    """What a forger hands in.

    Attributes:
        kind: of the forgery.
        states: as they are handed in.
        hashed: the states that the trace has the hashes of.
        shows: segments in which it has to show.
        curves: that the result shows. A forger shows those of what was trained; points that agree are left
            out.
    """

    kind: str
    states: STATES
    hashed: STATES
    shows: frozenset[int]
    curves: Curves = field(default_factory=lambda: Curves({}))


class InMemory(Auditor):
    """An auditor of a forgery that is not on a disk."""

    def __init__(self, run: Honest, forgery: Forgery) -> None:
        steps = [step for step, _ in run.trace.states]
        hashes = [state_sha256(state) for state in forgery.hashed]
        trace = replace(run.trace, states=tuple(zip(steps, hashes, strict=True)))
        super().__init__(run.result, run.folder, trace)
        self.states = forgery.states
        self.curves = forgery.curves

    def _state(self, index: int) -> Checkpoint:
        return copy.deepcopy(self.states[index])


def trained_run(folder: Path) -> Honest:
    """Train the run that is forged."""
    made = zoo_core.run({**OPTIONS, "run_dir": str(folder)})
    trace, config = read_trace(folder), saved_config(folder)
    paths = [kept_state(folder, step) for step, _ in trace.states[:-1]]
    paths.append(checkpoint.listed(folder / "checkpoints")[-1])
    states = [checkpoint.load(path) for path in paths]
    return Honest(config, load_data(config), folder, made.scored, trace, states)


# -- kinds of forgeries: functions of (the run, a random number generator)


def moved(state: Checkpoint, rng: random.Random, scale: float = 1e-3) -> Checkpoint:
    """Return a state whose weights were exchanged for slightly different ones."""
    torch_rng = torch.Generator().manual_seed(rng.getrandbits(32))
    weights = {
        name: w + scale * torch.randn(w.shape, generator=torch_rng) if w.is_floating_point() else w
        for name, w in state.weights.items()
    }
    return replace(copy.deepcopy(state), weights=weights)


def between(run: Honest, rng: random.Random, count: int = 1) -> list[int]:
    """Return segments that are neither the first nor the last, ascending."""
    return sorted(rng.sample(range(1, run.last), count))


def swapped_last(run: Honest, rng: random.Random) -> Forgery:
    states = [*run.states[:-1], moved(run.states[-1], rng)]
    return Forgery("swapped last weights", states, states, frozenset({run.last}))


def swapped_file(run: Honest, rng: random.Random) -> Forgery:
    states = [*run.states[:-1], moved(run.states[-1], rng)]
    return Forgery("swapped last weights, hash kept", states, run.states, frozenset({run.last}))


def wrong_init(run: Honest, rng: random.Random) -> Forgery:
    seed = rng.randrange(1, 2**31)
    other = resolve({"config": str(run.folder), "seeds.init": seed, "device": "cpu"})
    first = run.end(run.trainer(other), 0, None)
    states = run.trained(run.trainer(), [first])
    return Forgery("wrong initialization", states, states, frozenset({0}))


def other_data(run: Honest, rng: random.Random) -> Forgery:
    table = run.data.train
    rows = torch.tensor(rng.choices(range(len(table)), k=len(table)))
    data = replace(run.data, train=table.take(rows))
    states = run.trained(run.trainer(data=data), [])
    return Forgery("other data", states, states, frozenset(range(run.last + 1)))


def invented_states(run: Honest, rng: random.Random) -> Forgery:
    """A way from the first state to the last that was never trained: a line, with some noise."""
    first, last = run.states[0].weights, run.states[-1].weights
    states = []
    for k, state in enumerate(run.states):
        way = k / run.last
        line = {
            name: torch.lerp(first[name], last[name], way) if last[name].is_floating_point() else last[name]
            for name in last
        }
        states.append(moved(replace(state, weights=line), rng, 1e-4))
    states[-1] = run.states[-1]
    return Forgery("invented states", states, states, frozenset(range(run.last + 1)))


def invented_curve(run: Honest, rng: random.Random) -> Forgery:
    curves = run.curves
    factor = rng.uniform(0.5, 0.99)
    made = {
        name: {step: value * factor for step, value in points.items()} if name.endswith("/loss") else points
        for name, points in curves.series.items()
    }
    every = set(next(points for name, points in curves.series.items() if name.endswith("/loss")))
    steps = [0, *(step for step, _ in run.trace.states)]
    shows = {k for k in range(run.last + 1) if any(steps[k] < s <= steps[k + 1] for s in every)}
    # A record that began in the segment before is a mean over more steps than the segment has: not compared.
    shows = {k for k in shows if steps[k] % 4 == 0 or steps[k] in (1, 2)}
    return Forgery("invented curve", run.states, run.states, frozenset(shows), Curves(made))


def jump(run: Honest, rng: random.Random) -> Forgery:
    (at,) = between(run, rng)
    states = run.trained(run.trainer(), [*run.states[:at], moved(run.states[at], rng)])
    return Forgery("other weights after one segment", states, states, frozenset({at}))


def other_options(run: Honest, rng: random.Random) -> Forgery:
    (at,) = between(run, rng)
    rate = rng.uniform(2e-3, 2e-2)
    config = resolve({"config": str(run.folder), "optim.net.lr": rate, "device": "cpu"})
    start = copy.deepcopy(run.states[at - 1])
    groups = start.state["optimizers"]["net"]["param_groups"]
    honest = [group["lr"] for group in groups]
    for group in groups:
        group["lr"] = rate
    changed = run.end(run.trainer(config), at, start)
    for group, before in zip(changed.state["optimizers"]["net"]["param_groups"], honest, strict=True):
        group["lr"] = before
    states = run.trained(run.trainer(), [*run.states[:at], changed])
    return Forgery("one segment with another learning rate", states, states, frozenset({at}))


def no_momentum(run: Honest, rng: random.Random) -> Forgery:
    (at,) = between(run, rng)
    state = copy.deepcopy(run.states[at])
    for one in state.state["optimizers"]["net"]["state"].values():
        one["exp_avg"].zero_()
    states = run.trained(run.trainer(), [*run.states[:at], state])
    return Forgery("optimizer state changed once", states, states, frozenset({at}))


def jumps(run: Honest, rng: random.Random) -> Forgery:
    places = between(run, rng, rng.randrange(2, 8))
    states: STATES = list(run.states[: places[0]])
    for at, following in zip(places, [*places[1:], run.last + 1], strict=True):
        end = run.end(run.trainer(), at, states[-1])
        states.append(moved(end, rng))
        while len(states) < following:
            states.append(run.end(run.trainer(), len(states), states[-1]))
    return Forgery("other weights after 2 to 7 segments", states, states, frozenset(places))


def broken_joint(run: Honest, rng: random.Random) -> Forgery:
    (at,) = between(run, rng)
    states = [*run.states[: at - 1], moved(run.states[at - 1], rng), *run.states[at:]]
    return Forgery("starts at another state than was hashed", states, run.states, frozenset({at}))


KINDS: Sequence[tuple[Callable[[Honest, random.Random], Forgery], int]] = (
    (swapped_last, 8),
    (swapped_file, 4),
    (wrong_init, 8),
    (other_data, 6),
    (invented_states, 8),
    (invented_curve, 6),
    (jump, 20),
    (other_options, 10),
    (no_momentum, 10),
    (jumps, 14),
    (broken_joint, 6),
)
"""How many of each kind: 100."""


def showing(run: Honest, forgery: Forgery) -> frozenset[int]:
    """Return the segments in which a forgery is found when every one is executed again."""
    auditor = InMemory(run, forgery)
    return frozenset(k for k in range(run.last + 1) if auditor.check(k).outcome != "exact")


def caught_times(shows: frozenset[int], segments: int, spot: int, challenges: Sequence[bytes]) -> int:
    """Return how many challenges draw a segment in which a forgery shows."""
    root = hashlib.sha256(repr(sorted(shows)).encode()).hexdigest()
    return sum(not shows.isdisjoint(plan(segments, spot, one, root).executed) for one in challenges)


def expected(shows: frozenset[int], segments: int, spot: int) -> float:
    """Return the probability of the formula."""
    return 1.0 if shows & {0, segments - 1} else caught(segments - 2, len(shows), min(spot, segments - 2))


def study(run: Honest, spot: int, challenges: int, each: float) -> list[dict[str, Any]]:
    """Return a row for each forgery.

    Args:
        each: fraction of the number of each kind, at least one.
    """
    rng = random.Random(0)
    rows: list[dict[str, Any]] = []
    for make, count in KINDS:
        for _ in range(max(1, round(count * each))):
            forgery = make(run, rng)
            shows = showing(run, forgery)
            drawn = [rng.randbytes(32) for _ in range(challenges)]
            rows.append(
                {
                    "kind": forgery.kind,
                    "as_made": sorted(forgery.shows),
                    "shows": sorted(shows),
                    "caught": caught_times(shows, run.last + 1, spot, drawn) / challenges,
                    "expected": expected(shows, run.last + 1, spot),
                }
            )
    return rows


def deviations(rows: Sequence[dict[str, Any]], challenges: int) -> list[float]:
    """Return how many standard deviations each caught frequency is off the formula, where it is not 1."""
    return [
        (row["caught"] - p) / math.sqrt(p * (1 - p) / challenges)
        for row in rows
        if 0 < (p := row["expected"]) < 1
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spot", type=int, default=3)
    parser.add_argument("--challenges", type=int, default=200)
    parser.add_argument("--each", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zoo-forgeries-") as folder:
        run = trained_run(Path(folder) / "run")
        honest = showing(run, Forgery("none", run.states, run.states, frozenset(), run.curves))
        rows = study(run, given.spot, given.challenges, given.each)
    if given.json:
        print(json.dumps({"honest": sorted(honest), "rows": rows}))
        return
    print(f"{len(rows)} forgeries, {given.challenges} challenges each, {given.spot} of {run.last - 1} drawn")
    print(f"segments of the honest run that do not repeat: {len(honest)}\n")
    print(
        "| kind | forgeries | shows where it was made | formula | caught |\n| --- | --- | --- | --- | --- |"
    )
    for kind in dict.fromkeys(row["kind"] for row in rows):
        some = [row for row in rows if row["kind"] == kind]
        right = sum(row["as_made"] == row["shows"] for row in some)
        means = (sum(row[key] for row in some) / len(some) for key in ("expected", "caught"))
        print(f"| {kind} | {len(some)} | {right} of {len(some)} | {' | '.join(f'{m:.3f}' for m in means)} |")
    z = deviations(rows, given.challenges)
    print(f"\nlargest of {len(z)} deviations from the formula: {max(map(abs, z)):.2f} standard deviations")
    print(f"sum of squares: {sum(v * v for v in z):.1f}, expected about {len(z)}")


if __name__ == "__main__":
    main()
