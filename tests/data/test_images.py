"""Hostile and odd image files: each is converted as stated, or refused with its reason; none stops a run."""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo_core.data.configs import FolderConfig
from zoo_core.data.decoding import Decoder, scan, shown
from zoo_core.data.image_files import list_files
from zoo_core.data.images import BadImage, decode

CONFIG = FolderConfig(path=".", size=8, background=255)


def _noise(mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return Image.fromarray(values if bands > 1 else values[..., 0], mode)


def _bytes(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _gif() -> bytes:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "green", "blue")]
    return _bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _exif(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _bytes(image, "PNG", exif=exif)


def _huge_png(width: int, height: int) -> bytes:
    """A valid header that promises more pixels than any machine should decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def _ramp() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8))


_FIRST = int(np.asarray(_noise("L"))[0, 0])


# name -> (bytes, what the verdict must say: a conversion, nothing, or the reason to refuse).
CONVERTED: dict[str, tuple[bytes, str]] = {
    "plain.png": (_bytes(_noise(size=(8, 8)), "PNG"), ""),
    "plain.jpg": (_bytes(_noise(), "JPEG"), ""),
    "gray.png": (_bytes(_noise("L"), "PNG"), ""),
    "bits.png": (_bytes(_noise("L").convert("1"), "PNG"), ""),
    "palette.png": (_bytes(_noise().convert("P"), "PNG"), ""),
    "webp.webp": (_bytes(_noise(), "WEBP"), ""),
    "wide.png": (_bytes(_noise(size=(40, 10)), "PNG"), "cropped to the center square; reduced from 40x10"),
    "opaque.png": (_bytes(_noise().convert("RGBA"), "PNG"), ""),
    "cmyk.jpg": (_bytes(_noise().convert("CMYK"), "JPEG"), "CMYK converted"),
    "alpha.png": (_bytes(_noise("RGBA"), "PNG"), "transparency laid over"),
    "gray-alpha.png": (_bytes(_noise("LA"), "PNG"), "transparency laid over"),
    "palette-alpha.png": (
        _bytes(_noise("L").convert("P"), "PNG", transparency=_FIRST),
        "transparency laid over",
    ),
    "sixteen.png": (_bytes(_ramp(), "PNG"), "16 bits scaled"),
    "sixteen.tif": (_bytes(_ramp(), "TIFF"), "16 bits scaled"),
    "rotated.png": (_exif(_noise(), 6), "EXIF"),
    "one.png": (_bytes(_noise(size=(1, 1)), "PNG"), "enlarged from 1x1"),
    "animated.gif": (_gif(), "first frame"),
    "wrong-extension.png": (_bytes(_noise(), "JPEG"), ""),
}
REFUSED: dict[str, tuple[bytes, str]] = {
    "truncated.jpg": (_bytes(_noise(size=(64, 64)), "JPEG")[:-200], "damaged: .*truncated"),
    "truncated.png": (_bytes(_noise(size=(64, 64)), "PNG")[:600], "damaged"),
    "header-only.png": (_bytes(_noise(), "PNG")[:20], "not an image|damaged"),
    "empty.png": (b"", "an empty file"),
    "page.png": (b"<!DOCTYPE html><title>404</title>", "not an image: begins with '<!DOCTYPE html>"),
    "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "floats.tif": (_bytes(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), "32-bit floats"),
    "integers.tif": (_bytes(Image.fromarray(np.ones((8, 8), np.int32)), "TIFF"), "32-bit integers"),
    "sixty.png": (_huge_png(10_000, 6_000), "10000x6000: more than 50 megapixels"),
    "bomb.png": (_huge_png(100_000, 100_000), "more than 50 megapixels"),
    "noise.jpg": (np.random.default_rng(1).bytes(500), "not an image"),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of file there is trouble with."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.png").write_bytes(CONVERTED["plain.png"][0])
    root = tmp_path_factory.mktemp("zoo")
    for name, (content, _) in (CONVERTED | REFUSED).items():
        (root / name).write_bytes(content)
    os.mkfifo(root / "pipe.png")
    (root / "inside.png").symlink_to("plain.png")
    (root / "escape.png").symlink_to(outside / "secret.png")
    (root / "dangling.png").symlink_to("nowhere.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "device.png").symlink_to("/dev/zero")
    (root / "linked-folder").symlink_to(outside)
    (root / "up").symlink_to("..")
    with open(os.fsencode(root) + b"/caf\xe9.png", "wb") as file:
        file.write(CONVERTED["plain.png"][0])
    (root / "notes.txt").write_text("not a image, and not named like one")
    (root / "._plain.png").write_bytes(b"a Mac's shadow file")
    return root


def _verdict(root: Path, name: str) -> str:
    try:
        return "; ".join(decode(str(root / name), str(root), CONFIG).notes)
    except BadImage as error:
        return f"refused: {error}"


@pytest.mark.parametrize("name", CONVERTED)
def test_odd_images_are_converted_and_say_so(zoo: Path, name: str) -> None:
    """Catches a conversion that is silent, or a usable image that is refused."""
    said = _verdict(zoo, name)
    assert re.search(CONVERTED[name][1] or r"^(reduced from \d+x\d+)?$", said)
    assert "refused" not in said


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_no_images_are_refused_with_the_reason(zoo: Path, name: str) -> None:
    """Catches garbage that trains a model, and decoders' errors that reach the user raw."""
    assert re.match(f"refused: ({REFUSED[name][1]})", _verdict(zoo, name)), _verdict(zoo, name)


LINKS = {
    "pipe.png": "not a regular file",  # would hang for ever if it were opened plainly
    "escape.png": "a link that leads out of the folder",
    "device.png": "a link that leads out of the folder",
    "dangling.png": "a link that leads nowhere",
    "loop.png": "a link",
}


@pytest.mark.parametrize("name", LINKS)
def test_only_regular_files_inside_the_folder_are_read(zoo: Path, name: str) -> None:
    """Catches a hang on a pipe, and a read outside the folder."""
    assert _verdict(zoo, name).startswith(f"refused: {LINKS[name]}")


def test_the_whole_folder_gets_a_verdict_each(zoo: Path) -> None:
    """Catches a bad file that stops the scan, or is lost from the list."""
    listing = list_files(str(zoo))
    found = scan(Decoder(str(zoo), CONFIG), listing.names)
    assert set(dict(found.bad)) == set(REFUSED) | set(LINKS)
    assert {shown(name) for name in found.names} == set(CONVERTED) | {"inside.png", "caf\\xe9.png"}
    assert {name for name, _ in listing.bad} == {"linked-folder", "up"}
    assert listing.others == 2
    assert found.column.rows(torch.arange(len(found.names))).shape == (len(found.names), 3, 8, 8)


def _levels(zoo: Path, name: str, **options: object) -> np.ndarray:
    config = CONFIG.model_copy(update=options)
    return decode(str(zoo / name), str(zoo), config).levels


def test_a_image_of_the_right_size_is_not_touched(zoo: Path) -> None:
    """Catches needless resampling, and axes in the wrong order."""
    exact = np.asarray(_noise(size=(8, 8))).transpose(2, 0, 1)
    assert np.array_equal(_levels(zoo, "plain.png"), exact)


@pytest.mark.parametrize("name", ["sixteen.png", "sixteen.tif"])
def test_sixteen_bits_are_scaled_not_saturated(zoo: Path, name: str) -> None:
    """Catches Pillow's convert, which sets everything above 255 to white."""
    exact = np.rint(np.asarray(_ramp()).astype(float) * 255 / 65535)
    assert np.array_equal(_levels(zoo, name, channels=1)[0], exact)


@pytest.mark.parametrize("background", [0, 255])
def test_transparency_is_laid_over_the_background(tmp_path: Path, background: int) -> None:
    """Catches alpha that is dropped: a fully transparent red pixel must not come out red."""
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 51))
    image.save(tmp_path / "a.png")
    levels = _levels(tmp_path, "a.png", background=background)
    assert tuple(levels[:, 0, 0]) == (255, 0, 0)
    assert tuple(levels[:, 5, 5]) == (background,) * 3
    assert abs(int(levels[0, 0, 1]) - 0.8 * background) <= 1


ORIENTATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    3: lambda a: np.rot90(a, 2, (0, 1)),
    6: lambda a: np.rot90(a, -1, (0, 1)),  # the camera was turned; the image is shown 90 degrees clockwise
    8: lambda a: np.rot90(a, 1, (0, 1)),
    2: lambda a: a[:, ::-1],
    5: lambda a: a.transpose(1, 0, 2),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """Catches photographs that lie on their side."""
    image = _noise(size=(8, 8))
    (tmp_path / "a.png").write_bytes(_exif(image, orientation))
    turned = ORIENTATIONS[orientation](np.asarray(image))
    assert np.array_equal(_levels(tmp_path, "a.png"), turned.transpose(2, 0, 1))


def test_an_animation_gives_its_first_frame(zoo: Path) -> None:
    """Catches the last frame, which a count of frames leaves the file at."""
    assert (_levels(zoo, "animated.gif").reshape(3, -1).mean(1) == (255, 0, 0)).all()


def test_cmyk_keeps_its_colors(tmp_path: Path) -> None:
    """Catches four channels read as three, and inverted ink."""
    Image.new("RGB", (16, 16), (200, 30, 90)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert np.abs(_levels(tmp_path, "a.jpg").reshape(3, -1).mean(1) - (200, 30, 90)).max() < 4


def test_crop_keeps_the_center_and_stretch_keeps_all(tmp_path: Path) -> None:
    """Catches a crop from a corner, and policies swapped."""
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    assert (_levels(tmp_path, "a.png", resize="crop", size=5) == 255).all()
    stretched = _levels(tmp_path, "a.png", resize="stretch", size=6)
    assert stretched.mean() == pytest.approx(85, abs=2)


def test_shrinking_averages(tmp_path: Path) -> None:
    """Catches shrinking without antialiasing, which turns a checkerboard all black or all white."""
    board = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    assert np.abs(_levels(tmp_path, "a.png").astype(int) - 127).max() <= 12


def test_names_are_printed_without_control_codes() -> None:
    """Catches a file's name that repaints the terminal, reverses text or breaks a line."""
    assert shown("a\x1b[31m\n\u202e.png") == "a\\x1b[31m\\n\\u202e.png"


def test_gray_from_color_and_stretching_are_said(tmp_path: Path) -> None:
    """Catches colors that are dropped, and shapes that are changed, without a word."""
    (tmp_path / "wide.png").write_bytes(_bytes(_noise(size=(40, 10)), "PNG"))
    config = FolderConfig(path=str(tmp_path), size=8, channels=1, resize="stretch")
    notes = decode(str(tmp_path / "wide.png"), str(tmp_path), config).notes
    assert notes[:2] == ("color converted to gray", "stretched to a square")
