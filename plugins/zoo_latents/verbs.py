"""The commands interpolate and invert."""

from __future__ import annotations

import json
from pathlib import Path

import click

from zoo_core.cli.trusting import trust_option
from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.files import write_atomic
from zoo_core.machine.terminal import tell
from zoo_core.registry.resolution import parse_words


@click.command()
@click.argument("folder", metavar="RUN")
@click.argument("words", nargs=-1, metavar="[sampler=NAME] [sample.steps=N] ...")
@click.option("-n", "rows", type=click.IntRange(1, 1000), default=8, show_default=True, help="Rows.")
@click.option("--points", type=click.IntRange(2, 1000), default=9, show_default=True, help="Images in a row.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the latents; default: the run's sample.seed.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("interpolation.png"),
    help="Output: .png (grid), .npz (array `samples`), or a folder.",
)
@trust_option
def interpolate(
    folder: str, words: tuple[str, ...], rows: int, points: int, seed: int | None, out: Path
) -> None:
    """Interpolate between samples: each row goes from one sample to another along a great arc.

    \b
    zoo interpolate RUN
    zoo interpolate RUN sampler=ddim sample.steps=20 -n 4 --out rows.png

    The latent of a generator or an autoencoder is interpolated, or the initial noise of a diffusion or flow
    model. The latter needs a sampler that adds no noise in its steps.
    """
    from zoo_core import load
    from zoo_core.viz.samples import sample_tensor
    from zoo_latents.interpolation import interpolated

    run = load(folder, say=tell, **parse_words(words))
    x = interpolated(run, rows, points, run.config.sample.seed if seed is None else seed)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sample_tensor(x, run.data.info).save(out, columns=points)
    except OSError as error:
        raise MachineError(f"can't write to {out}: {error.strerror}", "next: --out another place") from error
    click.echo(str(out))


@click.command()
@click.argument("folder", metavar="RUN")
@click.argument("images", metavar="FOLDER|IMAGE")
@click.option("-n", "count", type=click.IntRange(1, 10_000), help="Images; default: all, 16 of test.")
@click.option(
    "--by", "how", type=click.Choice(["ddim", "encoder", "search"]), help="Default: the first that works."
)
@click.option(
    "--steps",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="Steps of the noise schedule (ddim), or a tenth of the steps of the search.",
)
@click.option(
    "--restarts",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Starts of the search for each image.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the starts.")
@click.option("--cond", default="", help="Classes or captions of a conditional denoiser, one per image.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("inverted"),
    help="Folder to write: latents.npz and images.png.",
)
@trust_option
def invert(
    folder: str,
    images: str,
    count: int | None,
    how: str | None,
    steps: int,
    restarts: int,
    seed: int,
    cond: str,
    out: Path,
) -> None:
    """Find latents that give images back, and report the error of the round trip.

    \b
    zoo invert RUN FOLDER
    zoo invert RUN photo.png                  one image
    zoo invert RUN test -n 8 --steps 100      images of the test split

    ddim runs a deterministic sampler backwards (denoisers); encoder encodes (autoencoders); search optimizes
    the latent from several starts (generators).

    Written: latents.npz with `latents`, `images` and `again`; inversion.json; and images.png with the images
    above those that their latents give.
    """
    import numpy as np
    import torch

    from zoo_core import load
    from zoo_core.viz.image_grid import interleaved
    from zoo_core.viz.samples import sample_tensor
    from zoo_latents.inversion import invert as inverted
    from zoo_restore.restoration import condition, read_images

    if out.is_file():
        raise UsageError(f"{out} is a file", "expected: --out FOLDER")
    run = load(folder, say=tell)
    names, image = read_images(run, images, count, tell)
    given = condition(run, cond, len(names), tell) if run.data.info.task != "paired" else None
    found = inverted(
        run,
        image,
        how=how or "",  # type: ignore[arg-type]
        steps=steps,
        restarts=restarts,
        seed=seed,
        cond=given,
    )
    again = found.again.detach().float().cpu()
    error = (again - image.cpu()).square().flatten(1).mean(1).sqrt()
    latents = found.latent.detach().float().cpu()
    record = {
        "by": found.how,
        "images": len(names),
        "steps": steps,
        "rms_error": float(error.square().mean().sqrt()),
        "worst_rms_error": float(error.max()),
        "latent_std": float(latents.std()),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            out / "latents.npz", latents=latents.numpy(), images=image.cpu().numpy(), again=again.numpy()
        )
        if run.data.info.is_image:
            columns = min(10, len(names))
            shown = interleaved(image.cpu(), again, columns=columns)
            blank = torch.zeros_like(image[0].cpu()).expand_as(again[0])
            cells = torch.stack([blank if one is None else one for one in shown])
            sample_tensor(cells, run.data.info).save(out / "images.png", columns=columns)
        write_atomic(out / "inversion.json", json.dumps(record, indent=1).encode())
    except OSError as problem:
        raise MachineError(
            f"can't write to {out}: {problem.strerror}", "next: --out another place"
        ) from problem
    click.echo(
        f"{found.how}: round-trip error {record['rms_error']:.3g} (rms; worst image "
        f"{record['worst_rms_error']:.3g}), standard deviation of the latents {record['latent_std']:.3g}"
    )
    click.echo(str(out))
