"""The plots in docs/assets that scripts draw from files of the repository, and whether they are stale."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

SOURCE = "Source"
"""PNG text with the digest of what an image was drawn from, by which a stale image is found."""


class Asset(NamedTuple):
    """A plot, from a script of ci/studies that takes seconds.

    Attributes:
        name: of the image in docs/assets.
        script: of ci/studies; `script [record] --out IMAGE` draws it.
        record: file of scores in results/, or "" for a plot that is calculated.
        modules: other files whose change makes the image stale.
    """

    name: str
    script: str
    record: str = ""
    modules: Sequence[str] = ("zoo_core/viz/style.py",)


ASSETS = (
    Asset("samplers-nfe.png", "samplers_nfe.py", "samplers/digits-vp-sde.json"),
    Asset("guidance-emoji-ddpm.png", "guidance.py", "guidance/emoji-ddpm.json"),
    Asset("guidance-emoji-ldm.png", "guidance.py", "guidance/emoji-ldm.json"),
    Asset("optional-metrics.png", "fidelity.py", "fidelity/digits.json"),
    Asset("sde-paths.png", "sde_paths.py", modules=("zoo_core/viz/style.py", "zoo_core/viz/paths.py")),
)
"""Not here: image-tasks.png, which is drawn from runs."""


def inputs(asset: Asset, root: Path) -> list[Path]:
    """Return the files that an image is made of."""
    record = [root / "results" / asset.record] if asset.record else []
    return [root / "ci" / "studies" / asset.script, *record, *(root / module for module in asset.modules)]


def digest(asset: Asset, root: Path) -> str:
    """Return the sha256 of everything that an image is made of."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in inputs(asset, root))).hexdigest()


def stale_assets(root: Path) -> list[Asset]:
    """Return the plots that were drawn from other files than those in the repository, or not at all."""
    return [
        asset for asset in ASSETS if drawn_from(root / "docs" / "assets" / asset.name) != digest(asset, root)
    ]


def draw_asset(asset: Asset, root: Path) -> None:
    """Draw a plot anew, and write the digest of its inputs into it.

    Raises:
        CalledProcessError: where the script fails.
    """
    image = root / "docs" / "assets" / asset.name
    script, *rest = inputs(asset, root)
    record = [rest[0]] if asset.record else []
    subprocess.run([sys.executable, script, *record, "--out", image], check=True, stdout=subprocess.DEVNULL)
    stamp(image, digest(asset, root))


def stamp(path: Path, digest: str) -> None:
    """Write into an image the digest of what it was drawn from."""
    marks = PngInfo()
    marks.add_text(SOURCE, digest)
    with Image.open(path) as image:
        image.load()
        image.save(path, pnginfo=marks, dpi=image.info.get("dpi"))


def drawn_from(path: Path) -> str:
    """Return the digest that an image was drawn from; "" for none."""
    if not path.exists():
        return ""
    with Image.open(path) as image:
        return str(image.info.get(SOURCE, ""))
