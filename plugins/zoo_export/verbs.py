"""The command export."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core.cli.trusting import trust_option
from zoo_core.errors import MachineError, UsageError
from zoo_core.machine.terminal import tell


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--to",
    "to",
    type=click.Choice(["state_dict", "pt2", "onnx", "diffusers"]),
    required=True,
    help="Format: safetensors, a program of torch.export, ONNX, or a pipeline of diffusers (a folder).",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="File to write, or folder of a pipeline."
)
@click.option(
    "--part",
    type=click.Choice(["denoiser", "generator", "decoder"]),
    help="Network; default: the first of these that the model has.",
)
@trust_option
def export(run: str, to: str, out: Path, part: str | None) -> None:
    """Export the generator, decoder or denoiser of a run, with the weights that are scored.

    zoo export RUN --to onnx --out model.onnx

    A file of pt2 or ONNX holds one call of the network: generator(z[, cond]), decoder(z) or
    denoiser(x, sigma[, cond]), for any number of rows. It is read back and compared with the network at 1, 2
    and 7 rows, a denoiser at three noise levels. The sampler is not part of it.

    diffusers writes a DDPMPipeline: a UNet2DModel with the weights of the run, and a DDPMScheduler.
    """
    from zoo_core import load
    from zoo_core.machine.files import cannot_write
    from zoo_export.formats import SUFFIXES
    from zoo_export.formats import export as write
    from zoo_export.networks import network

    suffix = SUFFIXES.get(to, "")
    if out.suffix != suffix:
        raise UsageError(
            f"can't write {to} to {str(out)!r}", f"expected: --out {f'FILE{suffix}' if suffix else 'FOLDER'}"
        )
    if out.exists():
        raise UsageError(f"{out} exists", "next: choose another --out, or remove it")
    if not out.parent.is_dir():
        raise MachineError(f"no folder {str(out.parent)!r}", "expected: --out in a folder that exists")
    made = load(run, say=tell)
    if to == "diffusers":
        if part not in (None, "denoiser"):
            raise UsageError(f"--to diffusers exports a denoiser, not a {part}", "expected: no --part")
        from zoo_export.pipelines import write as write_pipeline

        with made.inference():
            worst = write_pipeline(made.recipe, made.data.info, out)
        click.echo(f"largest relative difference from the network: {worst:.1e}", err=True)
        click.echo(str(out))
        return
    with network(made, part or "") as found:
        try:
            worst = write(found, to, out)
        except OSError as error:
            raise cannot_write(out, 0, error) from error
        except BaseException:
            out.unlink(missing_ok=True)
            raise
    shapes = {name: ", ".join(map(str, ("n", *example.shape[1:]))) for name, example in found.inputs.items()}
    inputs = ", ".join(f"{name} ({shape})" for name, shape in shapes.items())
    click.echo(f"{found.part}: {inputs}", err=True)
    if to != "state_dict":
        click.echo(f"largest relative difference from the network: {worst:.1e}", err=True)
    click.echo(str(out))
