"""Metrics of image translation: pair by pair where pairs are known, and the translation back.

Samples of such a run are translations of held-out images. Differences are in units of the whole range of
levels, for one translation of each held-out image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.conditioning import dealt
from zoo_core.data.loading import Domain, Table
from zoo_core.errors import Interrupted, ZooError
from zoo_core.interfaces import EvalContext, FeatureSet, TwoWay
from zoo_core.machine.distributed import share, world
from zoo_core.machine.leading import rows_to_first, together
from zoo_core.results import NotApplicable, Value
from zoo_core.seeds import Seeds
from zoo_eval.metrics import trivial
from zoo_eval.metrics.frechet import cell, pair_on_device
from zoo_eval.statistics.intervals import interval

WINDOW_SIDE = 6
"""Least side for the structural similarity, whose window of 11x11 is continued by reflection at the
border."""
ALEXNET = "alexnet-owt-7be5be79.pth"
"""File of the ImageNet weights that LPIPS stands on; torchmetrics brings the rest."""
BATCH = 32
"""Pairs at once whose maps are compared."""
ALEXNET_SIDE = 32
"""Least side of an image that AlexNet takes."""

Columns = dict[str, Value | NotApplicable]


def unit(rows: Tensor, levels: int) -> Tensor:
    """Return levels as floats in [0, 1]."""
    return rows.float() / (levels - 1)


def pair_scores(made: Tensor, target: Tensor, source: str) -> Columns:
    """Return L1, PSNR, SSIM and LPIPS of images against their targets.

    Args:
        made, target: (n, C, H, W) in [0, 1], row by row.
        source: what they were made from, for the columns' names.
    """
    l1 = (made - target).abs().double().flatten(1).mean(1)
    columns: Columns = {f"L1[{source}]": interval(float(l1.mean()), l1, least=0.0)}
    squared = (made - target).double().square().flatten(1).mean(1)
    mse = float(squared.mean())
    if mse:
        moved = -10 / math.log(10) * squared / mse
        columns[f"PSNR[{source}]"] = interval(-10 * math.log10(mse), moved)
    else:
        columns[f"PSNR[{source}]"] = NotApplicable(reason="every image equals its target exactly")
    similar = structural_similarity(made, target)
    if similar is None:
        size = f"{made.shape[2]}x{made.shape[3]}"
        why = f"images of {size}: its window needs a side of {WINDOW_SIDE} or more"
        columns[f"SSIM[{source}]"] = NotApplicable(reason=why)
    else:
        columns[f"SSIM[{source}]"] = interval(float(similar.mean()), similar, least=-1.0, most=1.0)
    perceived = perceptual_distance(made, target)
    if isinstance(perceived, str):
        columns[f"LPIPS[{source}]"] = NotApplicable(reason=perceived[:400])
    else:
        columns[f"LPIPS[{source}]"] = interval(float(perceived.mean()), perceived)
    return columns


def structural_similarity(made: Tensor, target: Tensor) -> Tensor | None:
    """Return the structural similarity of each pair, (n,), by torchmetrics; None for sides below 6.

    Wang et al. 2004: a Gaussian window of 11x11 pixels (standard deviation 1.5), constants 0.01 and 0.03; the
    mean over all places of the image, which is reflected at its border.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    if min(made.shape[2:]) < WINDOW_SIDE:
        return None
    pairs = zip(made.split(500), target.split(500), strict=True)
    return torch.cat([_each(ssim(a, b, data_range=1.0, reduction="none")) for a, b in pairs])


def _each(scores: object) -> Tensor:
    assert isinstance(scores, Tensor)
    return scores


def perceptual_distance(made: Tensor, target: Tensor) -> Tensor | str:
    """Return LPIPS of each pair (Zhang et al. 2018, arXiv:1801.03924, AlexNet), (n,), or why there is none.

    Weights are looked for where torch keeps its own, and never downloaded.
    """
    if min(made.shape[2:]) < ALEXNET_SIDE:
        return f"images of {made.shape[2]}x{made.shape[3]}: AlexNet needs a side of {ALEXNET_SIDE} or more"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not (folder / ALEXNET).exists():
        return f"no weights: {ALEXNET} is not in {folder}"
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity as lpips

    color = [x.expand(-1, 3, -1, -1) for x in (made, target)]
    parts = []
    for a, b in zip(*(x.split(1) for x in color), strict=True):  # it returns a mean over what it is given
        parts.append(lpips(a, b, net_type="alex", normalize=True).detach())
    return torch.stack(parts)


def translated(ctx: EvalContext, split: Table, index: Tensor, back: bool) -> Iterator[Tensor]:
    """Yield translations of rows of a split in batches, floats; number k is made with stream k.

    Args:
        split: of the images to be translated.
        index: rows; each process translates its share.
        back: to the domain that samples are made from.
    """
    way = ctx.recipe.translate_back if back else ctx.recipe.translate
    own = share(len(index), world())
    for k in torch.arange(own.start, own.stop).split(ctx.config.sample.batch_size):
        x = ctx.to_model(split.examples(index[k]))
        yield way(x, noise=Seeds(ctx.config.sample.seed, k.tolist(), ctx.device)).float()


def way_back(ctx: EvalContext, origin: Domain) -> Value:
    """Return the Frechet distance of held-out images, translated back, to the source domain.

    There are as many as samples, in the same order; the reference is the training split of that domain.
    """

    def compute() -> dict[str, Tensor]:
        ctx.say(f"features of the source images ({len(origin.train):,})")
        return {"main": together(of_sources, ctx).main}

    settings = ctx.protocol
    network = (settings.extractor, settings.extractor_sha256, settings.resize, settings.projection)
    key = (f"train {origin.name}", *network)
    real = ctx.cached("features", key, compute)["main"]
    return cell(*pair_on_device(ctx, real, together(of_way_back, ctx).main))


def of_sources(ctx: EvalContext) -> FeatureSet:
    """Return the features of the source domain's training split; each process passes its share."""
    origin, channels = ctx.data.origin, ctx.data.info.image_channels
    return ctx.features(ctx.batches(origin.train), origin.name, channels=channels)


def of_way_back(ctx: EvalContext) -> FeatureSet:
    """Return the features of held-out images, translated back; each process translates its share."""
    index = torch.arange(ctx.protocol.n_generated) % len(ctx.data.test)
    with ctx.inference():
        made = (ctx.from_model(x) for x in translated(ctx, ctx.data.test, index, back=True))
        return ctx.features(made, "translated back", channels=ctx.data.info.image_channels)


def cycle_error(ctx: EvalContext) -> Value:
    """Return the mean absolute difference of held-out images after a translation there and back, in [0, 1].

    It is shown and never ranked: a translator can hide an image in its translation (Chu et al. 2017,
    arXiv:1712.02950).
    """
    off = together(of_cycles, ctx)
    assert off is not None
    return interval(float(off.double().mean()), off, least=0.0, most=1.0)


def of_cycles(ctx: EvalContext) -> Tensor | None:
    """Return the difference of each held-out image, (n,); each process translates its share."""
    origin = ctx.data.origin
    index = torch.arange(len(origin.test))

    def own() -> list[Tensor | None]:
        parts, start = [], share(len(index), world()).start
        for made in translated(ctx, origin.test, index, back=False):
            rows = index[start : start + len(made)]
            start += len(made)
            x = ctx.to_model(origin.test.examples(rows))
            noise = Seeds(ctx.config.sample.seed, rows.tolist(), ctx.device)
            again = ctx.recipe.translate_back(made.clamp(-1, 1), noise=noise)
            parts.append((again.float() - x).abs().flatten(1).mean(1).cpu() / 2)
        return [torch.cat(parts) if parts else None]

    with ctx.inference():
        (found,) = rows_to_first(own)
    return found


# -- as registered metrics


def pairs(ctx: EvalContext) -> Columns:
    """Return L1, PSNR, SSIM, LPIPS and the effnet distance of translations to their known targets, and the
    best that a trivial translation has.
    """
    data, levels = ctx.data, ctx.data.info.levels
    test: Table = data.test
    if levels is None or "source" not in test:
        return {"L1": NotApplicable(reason="the data have no pairs")}
    name, n = data.origin.name, min(len(ctx.rows), len(data.test))
    index = dealt(data, n)
    target = unit(data.test.examples(index).cpu(), levels)
    made = unit(ctx.rows[:n], levels)
    columns = pair_scores(made, target, name)
    columns[f"effnet distance[{name}]"] = feature_distance(ctx, made, target)
    source = unit(data.origin.test.examples(index).cpu(), levels)
    return columns | trivial_scores(source, target, training_pairs(data, levels), name)


def training_pairs(data: Any, levels: int) -> tuple[Tensor, Tensor]:
    """Return sources and targets of at most `trivial.LARGEST` training rows, in [0, 1]."""
    rows = torch.arange(min(len(data.train), trivial.LARGEST))
    source, target = (unit(split.examples(rows).cpu(), levels) for split in (data.origin.train, data.train))
    return source, target


def trivial_scores(source: Tensor, target: Tensor, train: tuple[Tensor, Tensor], name: str) -> Columns:
    """Return the best L1, PSNR and SSIM of the trivial translations, each with the name of the best.

    Args:
        source, target: held-out pairs in [0, 1].
        train: the training pairs.
        name: of the source.
    """
    scores: dict[str, dict[str, float]] = {}
    for kind, make in trivial.translations(*train, name).items():
        made = make(source)
        mse = float((made - target).double().square().flatten(1).mean(1).mean())
        one = {"L1": float((made - target).abs().double().mean())}
        if mse:
            one["PSNR"] = -10 * math.log10(mse)
        similar = structural_similarity(made, target)
        if similar is not None:
            one["SSIM"] = float(similar.mean())
        scores[kind] = one
    columns: Columns = {}
    for metric, sign in (("L1", -1), ("PSNR", 1), ("SSIM", 1)):
        known = {kind: one[metric] for kind, one in scores.items() if metric in one}
        if known:
            best = max(known, key=lambda kind: sign * known[kind])
            listed = ", ".join(f"{kind} {value:.4g}" for kind, value in known.items())
            columns[f"trivial {metric}[{name}]"] = Value(
                value=known[best], n=len(target), note=f"{best}, the best: {listed}"
            )
    return columns


def feature_distance(ctx: EvalContext, made: Tensor, target: Tensor) -> Value | NotApplicable:
    """Return the mean `EffNetLite0.apart` of images and their targets."""
    from zoo_eval.extractors.effnet import EffNetLite0

    if ctx.protocol.extractor != EffNetLite0.name:
        return NotApplicable(reason=f"needs eval.extractor={EffNetLite0.name}")
    network = EffNetLite0(ctx.device)
    pairs = zip(made.split(BATCH), target.split(BATCH), strict=True)
    with torch.no_grad():
        apart = torch.cat([network.apart(a, b).cpu() for a, b in pairs])
    return interval(float(apart.double().mean()), apart.double(), least=0.0)


def cycle(ctx: EvalContext) -> Columns:
    """Return `cycle[source]` and `FD to source[extractor]` of a model that translates both ways."""
    if not isinstance(ctx.recipe, TwoWay) or ctx.data.info.levels is None:
        return {"cycle": NotApplicable(reason="the model does not translate back")}
    origin = ctx.data.origin
    back: Value | NotApplicable
    try:
        back = way_back(ctx, origin)
    except Interrupted:
        raise
    except ZooError as error:  # a feature network of color images may refuse gray ones
        back = NotApplicable(reason=error.what[:400])
    return {f"cycle[{origin.name}]": cycle_error(ctx), ctx.column("FD to source"): back}
