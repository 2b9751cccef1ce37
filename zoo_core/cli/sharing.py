"""Verbs that share weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from zoo_core.machine.terminal import tell


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("address", metavar="ADDRESS")
@click.option("--private", is_flag=True, help="Make a new repository on the Hub private.")
@click.option(
    "--license", "license_", default="", metavar="SPDX", help="License of the weights, for the model card."
)
@click.option(
    "--compact",
    type=click.Choice(["float16", "float32"]),
    help="Share only the parts that samples and likelihoods need, with parameters of this type.",
)
def push(
    run: str, address: str, private: bool, license_: str, compact: Literal["float16", "float32"] | None
) -> None:
    """Share a run's weights, config, scores and samples, with a model card.

    zoo push runs/digits/vae/0123456789ab-s0 hf://user/name

    zoo push runs/digits/vae/0123456789ab-s0 FOLDER

    Weights are stored as safetensors. Paths of this machine, the command that was typed and the device are
    removed. The push stops if a file contains text that looks like a secret. Push to a FOLDER first to see
    what is published. A run pulled from a --compact push samples and scores, but can't be trained further.
    """
    from zoo_core.runs.exchange import push as share
    from zoo_core.runs.needed import compaction

    kept = None if compact is None else compaction(run, compact, tell)
    click.echo(share(run, address, private=private, license_=license_, compact=kept, say=tell))


@click.command()
@click.argument("address", metavar="ADDRESS")
@click.option(
    "--to", type=click.Path(path_type=Path), help="Folder of the run; default: a new folder among the runs."
)
def pull(address: str, to: Path | None) -> None:
    """Download shared weights as a run that sample and eval can use.

    zoo pull hf://user/name

    zoo pull hf://user/name@REVISION --to my-run

    zoo pull zoo://digits/ddpm                   from the package genzoo-weights

    zoo pull FOLDER

    Every file is checked against its SHA-256 in the manifest; pickles are refused. Scores that come with the
    weights are stored in reported.json. They are not results; `zoo eval` computes them on this machine.
    """
    from zoo_core.runs.exchange import pull as fetch

    click.echo(str(fetch(address, to)))
