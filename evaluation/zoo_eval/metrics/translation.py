"""Metrics of image translation: pair by pair where pairs are known, and the translation back.

Samples of such a run are translations of held-out images. Differences are in units of the whole range of
levels, for one translation of each held-out image. Pairs are compared on the run's device, a part at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

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
from zoo_eval.extractors.effnet import EffNetLite0
from zoo_eval.features import arithmetic_device, full_precision
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
EFFNET = "effnet distance"
ALEXNET_SIDE = 32
"""Least side of an image that AlexNet takes."""

VALUES = 500 * 3 * 32**2
"""Most values of the images that are compared at once: 500 of CIFAR-10's."""

Columns = dict[str, Value | NotApplicable]
Scores = dict[str, Tensor]
"""By name, one number a pair, (n,) float64 on the CPU."""


def unit(rows: Tensor, levels: int) -> Tensor:
    """Return levels as floats in [0, 1]."""
    return rows.float() / (levels - 1)


def at_once(image: Tensor) -> int:
    """Return how many pairs of such images, (C, H, W), are compared at a time."""
    return max(1, VALUES // image.numel())


def compared(made: Tensor, target: Tensor) -> Scores:
    """Return L1, the squared difference and, where they are large enough, SSIM of images and their targets.

    Args:
        made, target: (n, C, H, W) in [0, 1], row by row.
    """
    off = made - target
    found = {"L1": off.abs().double(), "square": off.double().square()}
    found = {name: values.flatten(1).mean(1).cpu() for name, values in found.items()}
    similar = structural_similarity(made, target)
    return found if similar is None else {**found, "SSIM": similar.double().cpu()}


def joined(parts: Iterable[Scores]) -> Scores:
    """Return the scores of parts of a set, in order, as those of the set."""
    every = list(parts)
    return {name: torch.cat([part[name] for part in every]) for name in every[0]}


def pair_scores(made: Tensor, target: Tensor, source: str) -> Columns:
    """Return L1, PSNR, SSIM and LPIPS of images against their targets.

    Args:
        made, target: (n, C, H, W) in [0, 1], row by row.
        source: what they were made from, for the columns' names.
    """
    parts = zip(*(x.split(at_once(x[0])) for x in (made, target)), strict=True)
    return score_columns(joined(perceived(*part) for part in parts), tuple(made.shape[1:]), source)


def perceived(made: Tensor, target: Tensor) -> Scores:
    """Return what `compared` does, and LPIPS where there is one."""
    found, distance = compared(made, target), perceptual_distance(made, target)
    return found if isinstance(distance, str) else {**found, "LPIPS": distance.double().cpu()}


def score_columns(found: Scores, shape: tuple[int, ...], source: str) -> Columns:
    """Return the columns of what `perceived` gives of all pairs.

    Args:
        shape: (C, H, W) of the images.
        source: what they were made from, for the columns' names.
    """
    l1, squared = found["L1"], found["square"]
    columns: Columns = {f"L1[{source}]": interval(float(l1.mean()), l1, least=0.0)}
    mse = float(squared.mean())
    if mse:
        moved = -10 / math.log(10) * squared / mse
        columns[f"PSNR[{source}]"] = interval(-10 * math.log10(mse), moved)
    else:
        columns[f"PSNR[{source}]"] = NotApplicable(reason="every image equals its target exactly")
    if "SSIM" in found:
        similar = found["SSIM"]
        columns[f"SSIM[{source}]"] = interval(float(similar.mean()), similar, least=-1.0, most=1.0)
    else:
        why = f"images of {shape[1]}x{shape[2]}: its window needs a side of {WINDOW_SIDE} or more"
        columns[f"SSIM[{source}]"] = NotApplicable(reason=why)
    if "LPIPS" in found:
        columns[f"LPIPS[{source}]"] = interval(float(found["LPIPS"].mean()), found["LPIPS"])
    else:
        columns[f"LPIPS[{source}]"] = NotApplicable(reason=why_no_lpips(shape)[:400])
    return columns


def structural_similarity(made: Tensor, target: Tensor) -> Tensor | None:
    """Return the structural similarity of each pair, (n,), by torchmetrics; None for sides below 6.

    Wang et al. 2004: a Gaussian window of 11x11 pixels (standard deviation 1.5), constants 0.01 and 0.03; the
    mean over all places of the image, which is reflected at its border.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    if min(made.shape[2:]) < WINDOW_SIDE:
        return None
    found = ssim(made, target, data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)
    return found


def why_no_lpips(shape: tuple[int, ...]) -> str:
    """Return why images (C, H, W) have no LPIPS; "" where they have.

    Weights are looked for where torch keeps its own, and never downloaded.
    """
    if min(shape[1:]) < ALEXNET_SIDE:
        return f"images of {shape[1]}x{shape[2]}: AlexNet needs a side of {ALEXNET_SIDE} or more"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return "" if (folder / ALEXNET).exists() else f"no weights: {ALEXNET} is not in {folder}"


def perceptual_distance(made: Tensor, target: Tensor) -> Tensor | str:
    """Return LPIPS of each pair (Zhang et al. 2018, arXiv:1801.03924, AlexNet), (n,), or why it has none."""
    if why := why_no_lpips(tuple(made.shape[1:])):
        return why
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


@torch.no_grad()
@full_precision()
def pairs(ctx: EvalContext) -> Columns:
    """Return L1, PSNR, SSIM, LPIPS and the effnet distance of translations to their known targets, and the
    best that a trivial translation has.
    """
    data, levels = ctx.data, ctx.data.info.levels
    test: Table = data.test
    if levels is None or "source" not in test:
        return {"L1": NotApplicable(reason="the data have no pairs")}
    name, n = data.origin.name, min(len(ctx.rows), len(test))
    index = dealt(data, n)
    known = side_by_side(
        ctx, min(len(data.train), trivial.LARGEST), data.origin.train.examples, data.train.examples
    )
    makes = trivial.translations(((source, target) for source, target in known), name)
    network = effnet(ctx)
    found: list[Scores] = []
    trivials: dict[str, list[Scores]] = {kind: [] for kind in makes}
    for made, target, source in side_by_side(
        ctx,
        n,
        lambda rows: ctx.rows[rows],
        lambda rows: test.examples(index[rows]),
        lambda rows: data.origin.test.examples(index[rows]),
    ):
        apart = {} if network is None else {EFFNET: feature_distance(network, made, target)}
        found.append(perceived(made, target) | apart)
        for kind, make in makes.items():
            trivials[kind].append(compared(make(source), target))
    whole = joined(found)
    columns = score_columns(whole, tuple(data.info.shape), name)
    columns[f"{EFFNET}[{name}]"] = (
        NotApplicable(reason=f"needs eval.extractor={EffNetLite0.name}")
        if network is None
        else interval(float(whole[EFFNET].mean()), whole[EFFNET], least=0.0)
    )
    return columns | trivial_scores({kind: joined(parts) for kind, parts in trivials.items()}, name)


def side_by_side(ctx: EvalContext, n: int, *read: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Yield levels from several places, row by row, as floats in [0, 1] on the run's device, in parts.

    Args:
        n: rows.
        read: returns the rows with these numbers, (m, C, H, W).
    """
    on = arithmetic_device(ctx.device)
    for rows in torch.arange(n).split(at_once(torch.empty(ctx.data.info.shape, device="meta"))):
        yield tuple(unit(one(rows).to(on), ctx.data.info.levels) for one in read)


def trivial_scores(found: Mapping[str, Scores], source: str) -> Columns:
    """Return the best L1, PSNR and SSIM of the trivial translations, each with the name of the best.

    Args:
        found: by translation, what `compared` gives of all pairs.
        source: what they were made from, for the columns' names.
    """
    scores: dict[str, dict[str, float]] = {}
    for kind, one in found.items():
        mse = float(one["square"].mean())
        scores[kind] = {name: float(one[name].mean()) for name in ("L1", "SSIM") if name in one}
        if mse:
            scores[kind]["PSNR"] = -10 * math.log10(mse)
    n = len(next(iter(found.values()))["L1"])
    columns: Columns = {}
    for metric, sign in (("L1", -1), ("PSNR", 1), ("SSIM", 1)):
        known = {kind: one[metric] for kind, one in scores.items() if metric in one}
        if known:
            best = max(known, key=lambda kind: sign * known[kind])
            listed = ", ".join(f"{kind} {value:.4g}" for kind, value in known.items())
            columns[f"trivial {metric}[{source}]"] = Value(
                value=known[best], n=n, note=f"{best}, the best: {listed}"
            )
    return columns


def effnet(ctx: EvalContext) -> EffNetLite0 | None:
    """Return the network of the effnet distance; None where it is not the protocol's own."""
    return EffNetLite0(ctx.device) if ctx.protocol.extractor == EffNetLite0.name else None


def feature_distance(network: EffNetLite0, made: Tensor, target: Tensor) -> Tensor:
    """Return `EffNetLite0.apart` of each image and its target, (n,) float64 on the CPU."""
    parts = zip(made.split(BATCH), target.split(BATCH), strict=True)
    return torch.cat([network.apart(a, b) for a, b in parts]).double().cpu()


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
