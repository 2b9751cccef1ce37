"""One of several processes that score together: `python tests/eval/ranks.py CASE OUT`, as torchrun starts it.

What the first process finds goes to OUT as JSON; an error that a user may see goes to the standard error.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from fakes import FakeRun, context, protocol, score

from zoo_core.config import DataConfig
from zoo_core.data.digits import load
from zoo_core.errors import UsageError, ZooError
from zoo_core.machine.distributed import joined, world
from zoo_core.machine.leading import led, rows_to_first
from zoo_core.types import Likelihood
from zoo_eval import context as contexts
from zoo_eval import features, pipeline, sampling
from zoo_eval import protocol as protocols
from zoo_eval.features import Features
from zoo_eval.metrics import likelihood
from zoo_eval.pipeline import chosen_metrics, run_metrics

N = 997


class Model:
    """A likelihood that depends on the example and on its noise."""

    def likelihoods(self, x, *, noise, k):
        nats = -x.flatten(1).double().square().sum(1) * math.log(17) - noise.rand(()).double()
        return [Likelihood(nats, "elbo")]


def lopsided(n, place):
    """Shares of which the second process's is empty."""
    middle = n // 3
    ends = {1: (0, n), 2: (0, middle, n), 3: (0, middle, middle, n)}[place.size]
    return range(ends[place.rank], ends[place.rank + 1])


def given_features():
    """All figures of given features, of which each process holds its share."""
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(1437, 64, generator=rng)
    fake, logits = torch.randn(N, 64, generator=rng) * 1.1, torch.randn(N, 10, generator=rng)
    own = lopsided(N, world())
    parts = rows_to_first(lambda: [x[own.start : own.stop] if own else None for x in (fake, logits)])
    return led(None, lambda: of_features(real, *parts))


def of_features(real, values, logits):
    settings = protocol(neighbors_n=N, kid_subset_size=200)
    ctx = context(Features(real.double()), Features(values.double(), logits.double()), settings)
    ctx.missing, ctx.device = lambda needs: "", "cpu"
    ctx.source = SimpleNamespace(progress=lambda what, done, total, unit: None)
    names = ["frechet", "spatial", "kernel", "inception-score", "prdc", "modes", "points"]
    return plain(run_metrics(ctx, chosen_metrics(names)).values)


def plain(values):
    return {column: one.model_dump() for column, one in values.items()}


class Dies(FakeRun):
    """A run whose second process is killed while it draws."""

    def draw(self, n, **options):
        if world().rank == 1:
            os._exit(9)
        yield from super().draw(n, **options)


def end_to_end(kind):
    for module in (features, likelihood, contexts, sampling):
        module.share = lopsided
    plan = protocols.PLANS["quick"]
    protocols.PLANS = {"quick": protocols.Plan(1, N, N, plan.kid_subsets, 200, plan.likelihood_n)}
    data = load(DataConfig())
    run = kind(data, data.test.x.roll(1, 2), Model(), batch_size=64)
    found = score(run)
    return {"metrics": plain(found.metrics), "samples_sha256": found.samples_sha256}


class Refuses(FakeRun):
    """A run whose second process draws what can't be scored."""

    def draw(self, n, **options):
        if world().rank == 1:
            raise UsageError("the second process can't draw")
        yield from super().draw(n, **options)


def held():
    """What each process has and does where two score together: told by the process itself."""
    seen = {"metrics": [], "rows": 0, "features": 0, "passed": 0, "cache": 0, "hashed": 0}
    drawn, extract, passed, columns = sampling.sample, contexts.extract, features.passed, pipeline._columns

    def sample(*args):
        found = drawn(*args)
        seen["rows"] = len(found.rows)
        return found

    def extracting(*args):
        found = extract(*args)
        seen["features"] = max(seen["features"], len(found.values))
        return found

    def passing(*args):
        found = passed(*args)
        seen["passed"] += len(found[0])
        return found

    def column(entry, ctx):
        seen["metrics"].append(entry.spec.name)
        return columns(entry, ctx)

    def counted(name, function):
        def call(*args):
            seen[name] += 1
            return function(*args)

        return call

    pipeline.sample, contexts.extract, features.passed, pipeline._columns = (
        sample,
        extracting,
        passing,
        column,
    )
    contexts.cached = counted("cache", contexts.cached)
    pipeline.samples_hash = counted("hashed", pipeline.samples_hash)
    data = load(DataConfig())
    metrics = ["frechet", "prdc", "likelihood"]
    run = FakeRun(data, data.test.x.roll(1, 2), Model(), batch_size=64, metrics=metrics)
    result = score(run)
    folder = Path(sys.argv[2])
    folder.with_suffix(f".{world().rank}").write_text(json.dumps(seen | {"columns": len(result.metrics)}))
    return plain(result.metrics)


CASES = {
    "held": held,
    "refuses": lambda: end_to_end(Refuses),
    "figures": lambda: {"features": given_features(), "score": end_to_end(FakeRun)},
    "dies": lambda: end_to_end(Dies),
}


def main(case: str, out: str) -> int:
    try:
        with joined("cpu", timeout_s=60) as place:
            found = CASES[case]()
            if place.first:
                Path(out).write_text(json.dumps(found))
    except ZooError as error:
        print(error, file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
