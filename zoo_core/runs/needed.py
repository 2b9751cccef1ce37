"""Which parts of a trained model its samples, codes and likelihoods depend on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo_core.hub.compact import Compaction, Kind
from zoo_core.interfaces import HasEncoder
from zoo_core.runs.opening import load
from zoo_core.runs.run import Run
from zoo_core.seeds import Seeds

EXAMPLES = 4


def compaction(folder: str | Path, kind: Kind, say: Callable[[str], None] = print) -> Compaction:
    """Return what a compact bundle of a run keeps.

    Args:
        folder: of the run.
        kind: type of the parameters.
        say: told which parts are left out.
    """
    run = load(folder, say=say)
    needed = needed_parts(run)
    left = tuple(name for name, _ in run.recipe.named_children() if name not in needed)
    if left:
        say(f"left out, because samples, codes and likelihoods do not depend on it: {', '.join(left)}")
    return Compaction(kind, left, frozenset(name for name, _ in run.recipe.named_parameters()))


def needed_parts(run: Run) -> list[str]:
    """Return the names of the model's parts that something drawn or computed from it depends on.

    A part is a child of the recipe: "generator", "critic". Its values are changed, and what the model draws,
    encodes and calls likely is compared to the bit; a part that fails on other values is needed as well.
    """
    before = _outputs(run)
    found = []
    for name, part in run.recipe.named_children():
        with _changed(part):
            try:
                same = all(torch.equal(a, b) for a, b in zip(before, _outputs(run), strict=True))
            except Exception:  # e.g. a covariance that is none any more: it was read
                same = False
        if not same:
            found.append(name)
    return found


def _outputs(run: Run) -> list[Tensor]:
    drawn = run.samples(run.request(range(EXAMPLES))).x
    batch = run.harness.data.batch(torch.arange(min(EXAMPLES, len(run.harness.data))))
    found = [drawn.nan_to_num()]
    for one in run.likelihoods(batch.x, noise=Seeds(0, range(len(batch.x)), run.device), k=2):
        found.append(one.log_prob.nan_to_num())
    if isinstance(run.recipe, HasEncoder):
        with run.inference():
            codes = run.recipe.encode(batch.x)
            found += [codes.nan_to_num(), run.recipe.decode(codes).nan_to_num()]
    return found


@contextlib.contextmanager
def _changed(part: nn.Module) -> Iterator[None]:
    """Within the block every number of a part is another."""
    tensors = [tensor.detach() for tensor in (*part.parameters(), *part.buffers())]
    kept = [tensor.clone() for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.add_(1) if tensor.dtype != torch.bool else tensor.logical_not_()
        yield
    finally:
        for tensor, value in zip(tensors, kept, strict=True):
            tensor.copy_(value)
