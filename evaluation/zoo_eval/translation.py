"""Scores of a translation from picture to picture: pair by pair where pairs are known, and the way back.

Samples of such a run are translations of held-out pictures, so the distances of every other model hold for
them; what stands here is beside those. Differences are in units of the whole range of levels, of one
translation of each held-out picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.conditioning import dealt
from zoo_core.data.loading import Domain, Table, quantise
from zoo_core.distributed import gather, share, world
from zoo_core.errors import ZooError
from zoo_core.interfaces import Extractor, TwoWay
from zoo_core.runs import Run
from zoo_core.seeds import Seeds
from zoo_eval.features import Features, extract, in_batches
from zoo_eval.frechet import cell, check_pair
from zoo_eval.intervals import interval
from zoo_eval.protocol import Protocol
from zoo_eval.statistics import cached

WINDOW_SIDE = 6
"""Least side for the structural similarity, whose window of 11x11 is continued by reflection at the
border."""
ALEXNET = "alexnet-owt-7be5be79.pth"
"""File of the ImageNet weights that LPIPS stands on; torchmetrics brings the rest."""
ALEXNET_SIDE = 32
"""Least side of a picture that AlexNet takes."""

Columns = dict[str, dict[str, Any]]


def translation_scores(
    run: Run, rows: Tensor, fake: Features, extractor: Extractor
) -> tuple[Columns, dict[str, str]]:
    """Return the columns of a run that translates, and why others are absent; nothing for any other run.

    Args:
        rows: its samples, uint8 levels; sample k is made of held-out picture `dealt(...)[k]`.
        fake: their features.
        extractor: of these.
    """
    origin, levels = run.data.origin, run.data.info.levels
    if origin is None or levels is None:
        return {}, {}
    columns: Columns = {}
    absent: dict[str, str] = {}
    if "source" in run.data.test:
        n = min(len(rows), len(run.data.test))
        target = run.data.test.examples(dealt(run.data, n)).cpu()
        columns, absent = pair_scores(unit(rows[:n], levels), unit(target, levels), origin.name)
    if isinstance(run.recipe, TwoWay):
        columns[f"cycle[{origin.name}]"] = cycle_cell(run, origin)
        name = f"{fake.column('FD')} to {origin.name}"
        try:
            columns[name] = way_back(run, origin, extractor, fake.protocol)
        except ZooError as error:  # a network of coloured pictures may refuse grey ones
            absent[name] = error.what
    return columns, absent


def unit(rows: Tensor, levels: int) -> Tensor:
    """Return levels as floats in [0, 1]."""
    return rows.float() / (levels - 1)


def pair_scores(made: Tensor, target: Tensor, source: str) -> tuple[Columns, dict[str, str]]:
    """Return L1, PSNR, SSIM and LPIPS of pictures beside what they should have been, and what is absent.

    Args:
        made, target: (n, C, H, W) in [0, 1], row by row.
        source: what they were made from, for the columns' names.
    """
    l1 = (made - target).abs().double().flatten(1).mean(1)
    columns = {f"L1[{source}]": interval(float(l1.mean()), l1, least=0.0) | {"better": "lower"}}
    absent: dict[str, str] = {}
    squared = (made - target).double().square().flatten(1).mean(1)
    mse = float(squared.mean())
    if mse:
        moved = -10 / math.log(10) * squared / mse
        columns[f"PSNR[{source}]"] = interval(-10 * math.log10(mse), moved) | {"better": "higher"}
    else:
        absent[f"PSNR[{source}]"] = "every picture is its target, exactly"
    similar = structural_similarity(made, target)
    if similar is None:
        size = f"{made.shape[2]}x{made.shape[3]}"
        absent[f"SSIM[{source}]"] = f"pictures of {size}: its window takes {WINDOW_SIDE} and more"
    else:
        cells = interval(float(similar.mean()), similar, least=-1.0, most=1.0)
        columns[f"SSIM[{source}]"] = cells | {"better": "higher"}
    perceived = perceptual_distance(made, target)
    if isinstance(perceived, str):
        absent[f"LPIPS[{source}]"] = perceived
    else:
        columns[f"LPIPS[{source}]"] = interval(float(perceived.mean()), perceived) | {"better": "lower"}
    return columns, absent


def structural_similarity(made: Tensor, target: Tensor) -> Tensor | None:
    """Return the structural similarity of each pair, (n,), by torchmetrics; None for sides below 6.

    Wang et al. 2004: a Gaussian window of 11x11 pixels (standard deviation 1.5), constants 0.01 and 0.03; the
    mean over all places of the picture, which is reflected at its border.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    if min(made.shape[2:]) < WINDOW_SIDE:
        return None
    pairs = zip(made.split(500), target.split(500), strict=True)
    return torch.cat([_each(ssim(a, b, data_range=1.0, reduction="none")) for a, b in pairs])


def _each(figures: object) -> Tensor:
    assert isinstance(figures, Tensor)
    return figures


def perceptual_distance(made: Tensor, target: Tensor) -> Tensor | str:
    """Return LPIPS of each pair (Zhang et al. 2018, arXiv:1801.03924, AlexNet), (n,), or why there is none.

    Weights are looked for where torch keeps its own, and never downloaded.
    """
    if min(made.shape[2:]) < ALEXNET_SIDE:
        return f"pictures of {made.shape[2]}x{made.shape[3]}: AlexNet takes {ALEXNET_SIDE} and more"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not (folder / ALEXNET).exists():
        return f"no weights: {ALEXNET} is not in {folder}"
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity as lpips

    coloured = [x.expand(-1, 3, -1, -1) for x in (made, target)]
    parts = []
    for a, b in zip(*(x.split(1) for x in coloured), strict=True):  # it returns a mean over what it is given
        parts.append(lpips(a, b, net_type="alex", normalize=True).detach())
    return torch.stack(parts)


def translated(run: Run, split: Table, index: Tensor, back: bool) -> Iterator[Tensor]:
    """Yield translations of rows of a split in batches, floats; number k is made with stream k.

    Args:
        split: of the pictures to be translated.
        index: which; of these, this process does its share.
        back: to the domain that samples are made from.
    """
    assert isinstance(run.recipe, TwoWay)
    way = run.recipe.translate_back if back else run.recipe.translate
    own = share(len(index), world())
    for k in torch.arange(own.start, own.stop).split(run.config.sample.batch_size):
        x = run.harness.data.to_model(split.examples(index[k]))
        yield way(x, noise=Seeds(run.config.sample.seed, k.tolist(), run.device)).float()


def way_back(run: Run, origin: Domain, extractor: Extractor, protocol: Protocol) -> dict[str, Any]:
    """Return the cell of the Frechet distance of held-out pictures, translated back, to the domain they come
    to.

    As many as there are samples, dealt as samples' own pictures are; the reference is the training split of
    that domain.
    """
    data, levels = run.data, run.data.info.levels
    assert levels is not None
    channels = data.info.image_channels
    info = replace(data.info, shape=(channels, *data.info.shape[1:]))

    def compute() -> dict[str, Tensor]:
        run.say(f"features of the training pictures that others are made from ({len(origin.train):,})")
        batches = in_batches(origin.train, run.config.eval.batch_size)
        return {"values": extract(batches, extractor, info, origin.name).values}

    key = (data.sha256, f"train {origin.name}", extractor.name, extractor.sha256, protocol.resize)
    real = cached("features", key, compute, run.say)["values"].double()
    index = torch.arange(protocol.n_generated) % len(data.test)
    with run.harness.quiet(protocol.weights):
        made = (quantise(x, levels).cpu() for x in translated(run, data.test, index, back=True))
        fake = extract(made, extractor, info, "translated back").values.double()
    return cell(*check_pair(real, fake)) | {"better": "lower"}


def cycle_cell(run: Run, origin: Domain) -> dict[str, Any]:
    """Return the mean absolute difference of held-out pictures after a translation there and back.

    Shown and never ranked: a translator can hide a picture in what it makes of it (Chu et al. 2017,
    arXiv:1712.02950).
    """
    recipe, index = run.recipe, torch.arange(len(origin.test))
    assert isinstance(recipe, TwoWay)
    parts, start = [], share(len(index), world()).start
    with run.harness.quiet(run.config.eval.weights):
        for made in translated(run, origin.test, index, back=False):
            rows = index[start : start + len(made)]
            start += len(made)
            x = run.harness.data.to_model(origin.test.examples(rows))
            noise = Seeds(run.config.sample.seed, rows.tolist(), run.device)
            again = recipe.translate_back(made.clamp(-1, 1), noise=noise)
            parts.append((again.float() - x).abs().flatten(1).mean(1).cpu() / 2)
    off = torch.cat([part for every in gather(parts) for part in every])
    return interval(float(off.double().mean()), off, least=0.0, most=1.0) | {"better": ""}
