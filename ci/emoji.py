"""Make the emoji datasets' files from the unpacked npm packages: sheet, index and notice each.

npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0     (unpack each into a folder)
python ci/emoji.py google=FOLDER twitter=FOLDER --weights efficientnet-lite0-57934424.pth

Writes zoo_core/data/files/{emoji,emoji-tones,emoji-twitter}.zip. Groups of near-duplicates are found on the
Google images and stored; a split that keeps groups whole puts no near-duplicate of a test image in training.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "zoo_core" / "data" / "files"
LABELS = ROOT / "ci" / "emoji_pairs.txt"
SIDE, COLUMNS = 32, 48
TEST_FRACTION = 0.23
LARGEST_TEST_GROUP = 12
"""Larger groups (yellow faces, arrows, clocks) are training images: one would be a tenth of the test part."""

IGNORED = {"FE0F", "200D", "2640", "2642", "27A1"}
"""Code points that make a variant of the same emoji: presentation, joiner, gender signs, direction."""
PERSON = {"1F468": "1F9D1", "1F469": "1F9D1"}
"""Man and woman, as variants of person."""

NOTICE = {
    "google": """Noto emoji, version 2.048, at 32x32 pixels on white, from the npm package
emoji-datasource-google 16.0.0 (Cal Henderson, MIT license). Images: Copyright Google Inc., Apache License
2.0, https://github.com/googlefonts/noto-emoji. Flag images are in the public domain or otherwise exempt from
copyright, as that repository states. Names and categories: Unicode emoji data, Unicode license v3,
https://www.unicode.org/license.txt. Changes: composited on white and reduced from 64x64.
""",
    "twitter": """Twemoji, version 16.0.1, at 32x32 pixels on white, from the npm package
emoji-datasource-twitter 16.0.0 (Cal Henderson, MIT license). Images: Copyright Twitter, Inc. and other
contributors, licensed under CC BY 4.0, https://creativecommons.org/licenses/by/4.0/, from
https://github.com/jdecked/twemoji. Names and categories: Unicode emoji data, Unicode license v3,
https://www.unicode.org/license.txt. Changes: composited on white and reduced from 64x64.
""",
}


def entries(folder: Path) -> list[dict[str, Any]]:
    """Return the package's emoji in Unicode's order, components such as single skin tones left out."""
    found = json.loads((folder / "emoji.json").read_text())
    kept = [one for one in found if one["category"] != "Component"]
    return sorted(kept, key=lambda one: one["sort_order"])


def read(folder: Path, artist: str, image: str) -> np.ndarray:
    """Return an image (32, 32, 3) uint8: composited on white, then the mean of each 2x2 pixels."""
    rgba = Image.open(folder / "img" / artist / "64" / image).convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB").reduce(rgba.width // SIDE))


def base(unified: str) -> str:
    """Return what variants by gender, direction and presentation of one emoji have in common."""
    return "-".join(PERSON.get(code, code) for code in unified.split("-") if code not in IGNORED)


def features(images: np.ndarray, weights: Path) -> Tensor:
    """Return centered, normalized features (n, 1280) of EfficientNet-Lite0 at 96x96."""
    import timm

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    saved = torch.load(weights, map_location="cpu", weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), saved.values(), strict=True)))
    found = []
    with torch.no_grad():
        for part in torch.from_numpy(images).permute(0, 3, 1, 2).split(128):
            x = torch.nn.functional.interpolate(part.float() / 255, (96, 96), mode="bicubic", antialias=True)
            found.append(net.forward_head(net.forward_features((x.clamp(0, 1) - 0.5) / 0.5), pre_logits=True))
    whole = torch.cat(found)
    return torch.nn.functional.normalize(whole - whole.mean(0), dim=1)


def pixel_distance(images: np.ndarray) -> Tensor:
    """Return the distance of each two images relative to their distance from white, (n, n)."""
    ink = 1 - torch.from_numpy(images).flatten(1).float() / 255
    size = ink.square().sum(1)
    return torch.cdist(ink, ink) / ((size[:, None] + size[None]) / 2).sqrt().clamp(min=1e-6)


def near_duplicates(pixels: Tensor, feature: Tensor) -> Tensor:
    """Return which pairs are drawings with a small change; thresholds from the labeled pairs in LABELS."""
    return (pixels < 0.28) | ((pixels < 0.33) & (feature < 0.3)) | ((pixels < 0.6) & (feature < 0.1))


def groups(names: list[str], near: Tensor) -> list[int]:
    """Return the connected group of each image: near-duplicates, and variants of one name."""
    parent = list(range(len(names)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    first = {name: k for k, name in reversed(list(enumerate(names)))}
    pairs = [(k, first[name]) for k, name in enumerate(names)] + near.nonzero().tolist()
    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(k) for k in range(len(names))]


def test_groups(group: list[int], category: list[str]) -> set[int]:
    """Return the groups of the test part: by a hash of their number, until each category has its fraction."""
    size = Counter(group)
    chosen: set[int] = set()
    for name in sorted(set(category)):
        members = [k for k, own in enumerate(category) if own == name]
        wanted = TEST_FRACTION * len(members)
        order = sorted(
            {group[k] for k in members}, key=lambda g: hashlib.sha256(f"emoji {g}".encode()).digest()
        )
        taken = sum(group[k] in chosen for k in members)
        for one in order:
            if taken >= wanted:
                break
            if one not in chosen and size[one] <= LARGEST_TEST_GROUP:
                chosen.add(one)
                taken += sum(group[k] == one for k in members)
    return chosen


def agreement(index: dict[str, int], near: Tensor) -> tuple[int, int, int, int]:
    """Return (found, missed, false, right) of the rule on the labeled pairs."""
    counts: Counter[tuple[bool, bool]] = Counter()
    for line in LABELS.read_text().splitlines():
        if not line.startswith("#"):
            one, two, label = line.split()
            counts[bool(near[index[one], index[two]]), label == "near"] += 1
    return counts[True, True], counts[False, True], counts[True, False], counts[False, False]


def write(name: str, images: np.ndarray, index: dict[str, Any], notice: str) -> None:
    """Write one dataset's file: sheet.webp (lossless), index.json, NOTICE."""
    rows = -(-len(images) // COLUMNS)
    sheet = np.full((rows * SIDE, COLUMNS * SIDE, 3), 255, np.uint8)
    for k, image in enumerate(images):
        y, x = k // COLUMNS * SIDE, k % COLUMNS * SIDE
        sheet[y : y + SIDE, x : x + SIDE] = image
    packed = io.BytesIO()
    Image.fromarray(sheet).save(packed, "WEBP", lossless=True, quality=100, method=6)
    path = OUT / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as file:
        members = (
            ("sheet.webp", packed.getvalue(), zipfile.ZIP_STORED),
            (
                "index.json",
                json.dumps(index, indent=None, separators=(",", ":")).encode(),
                zipfile.ZIP_DEFLATED,
            ),
            ("NOTICE", notice.encode(), zipfile.ZIP_DEFLATED),
        )
        for member, content, how in members:
            info = zipfile.ZipInfo(member, (2026, 1, 1, 0, 0, 0))  # equal inputs give equal bytes
            info.compress_type = how
            file.writestr(info, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{name}: {len(images)} images, {path.stat().st_size:,} bytes, sha256 {digest}")


def main() -> None:
    """Make all files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs=2, metavar="ARTIST=FOLDER")
    parser.add_argument("--weights", type=Path, required=True)
    given = parser.parse_args()
    folders = {artist: Path(folder) for artist, _, folder in (one.partition("=") for one in given.folders)}
    OUT.mkdir(parents=True, exist_ok=True)

    found = [one for one in entries(folders["google"]) if one["has_img_google"]]
    images = np.stack([read(folders["google"], "google", one["image"]) for one in found])
    normalized = features(images, given.weights)
    near = near_duplicates(pixel_distance(images), 1 - normalized @ normalized.T)
    hits = agreement({one["unified"]: k for k, one in enumerate(found)}, near)
    print("labeled pairs: {} found, {} missed, {} false, {} right".format(*hits))
    group = groups([base(one["unified"]) for one in found], near)
    test = test_groups(group, [one["category"] for one in found])
    print(
        f"{len(set(group))} groups; the largest holds {max(Counter(group).values())} of {len(found)} images"
    )

    def row(k: int) -> dict[str, Any]:
        one = found[k]
        return {
            "code": one["unified"],
            "name": one["name"].lower(),
            "category": one["category"],
            "subcategory": one["subcategory"],
            "group": group[k],
            "test": group[k] in test,
        }

    rows = [row(k) for k in range(len(found))]
    print(f"test: {sum(one['test'] for one in rows)} images")
    write("emoji", images, {"rows": rows}, NOTICE["google"])
    toned = [
        (one, variant)
        for one in found
        for key, variant in (one.get("skin_variations") or {}).items()
        if variant["has_img_google"] and "-" not in key
    ]
    tones = np.stack([read(folders["google"], "google", variant["image"]) for _, variant in toned])
    names = [{"code": variant["unified"], "of": one["unified"]} for one, variant in toned]
    write("emoji-tones", tones, {"rows": names}, NOTICE["google"])
    drawn = {one["unified"]: one for one in entries(folders["twitter"]) if one["has_img_twitter"]}
    both = [one for one in rows if one["code"] in drawn]
    images = np.stack([read(folders["twitter"], "twitter", drawn[one["code"]]["image"]) for one in both])
    write("emoji-twitter", images, {"rows": both}, NOTICE["twitter"])


if __name__ == "__main__":
    main()
