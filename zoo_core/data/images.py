"""One image file to one array of pixel values, or the reason why not.

Every conversion is done here, in the same way for every file, and noted beside the values.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from zoo_core.data.configs import FolderConfig

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".avif")
)
MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded: 50 megapixels in color take 150 MB."""
VERSION = 1
"""Of the conversion; raised when the same file gives other values, so that nothing cached before is used."""

REDUCED = "reduced"
LEADS_OUT = "a link that leads out of the folder"

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


class BadImage(Exception):
    """A file that is not a usable image; the message is the reason, one line."""


@dataclass(frozen=True)
class DecodedImage:
    """A decoded file.

    Attributes:
        levels: (channels, size, size) uint8; of a file of two halves twice as many channels, left ones first.
        notes: conversions that lose or choose something.
    """

    levels: np.ndarray
    notes: tuple[str, ...]


def decode(path: str, root: str, config: FolderConfig) -> DecodedImage:
    """Return the image in a file, or the two side by side in it.

    Orientation is applied, transparency laid over `config.background`, 16 bits scaled to 8, the first frame
    of an animation taken, the image cropped or stretched to a square and resampled (Lanczos, with
    antialiasing; not touched where it has the size already).

    Args:
        path: of the file; a link is followed to a regular file inside `root`, with `config.links` anywhere.
        root: the dataset's folder, resolved.

    Raises:
        BadImage: with the reason, for whatever can't be read.
    """
    from PIL import Image

    try:
        with (
            _regular_file(path, None if config.links else root) as file,
            Image.open(file, formats=FORMATS) as image,
        ):
            return convert(image, config)
    except BadImage:
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(f"not an image: begins with {_beginning(path)}") from None
    except Image.DecompressionBombError:
        raise BadImage(f"more than {MAX_PIXELS // 10**6} megapixels") from None
    except Exception as error:  # a decoder may raise anything on bad bytes: the file is at fault
        raise BadImage(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).split("\n")
    return f"damaged: {lines[0] or type(error).__name__}"


def _regular_file(path: str, root: str | None) -> BinaryIO:
    """Open a file that is regular, not empty and inside root, if one is given; never block on a pipe."""
    real = path
    if os.path.islink(path):
        real = os.path.realpath(path)
        if root is not None and os.path.commonpath((real, root)) != root:
            raise BadImage(LEADS_OUT)
        if not os.path.exists(real):
            raise BadImage("a link that leads nowhere")
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
    handle = os.open(real, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(handle, "rb")
    status = os.fstat(handle)
    reason = None if stat.S_ISREG(status.st_mode) else "not a regular file: a pipe, socket, device or folder"
    if reason is None and status.st_size == 0:
        reason = "an empty file"
    if reason is not None:
        file.close()
        raise BadImage(reason)
    return file


def _beginning(path: str) -> str:
    with open(path, "rb") as file:
        return ascii(file.read(16))[1:]


def convert(image: Image, config: FolderConfig) -> DecodedImage:
    """Return an opened image as `decode` does.

    Raises:
        BadImage: with the reason, for one that is too large or of unknown range.
    """
    from PIL import ImageOps
    from PIL.Image import Resampling

    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{image.width}x{image.height}: more than {MAX_PIXELS // 10**6} megapixels")
    notes = []
    if getattr(image, "is_animated", False):
        notes.append("animated: first frame taken")
        image.seek(0)
    image.load()
    turned = ImageOps.exif_transpose(image)
    if image.getexif().get(0x0112, 1) != 1:
        notes.append("rotated as its EXIF orientation says")
    flat, note = _eight_bits(turned, image.format, config.background)
    if note:
        notes.append(note)
    if config.channels == 1 and has_color(flat):
        notes.append("color converted to gray")
    flat = flat.convert("L" if config.channels == 1 else "RGB")

    parts = _halves(flat) if config.pairs == "side-by-side" else [flat]
    first = parts[0]
    if first.width != first.height:
        notes.append("cropped to the center square" if config.resize == "crop" else "stretched to a square")
    if config.resize == "crop":
        parts = [_center_square(part) for part in parts]
    size = (config.size, config.size)
    if parts[0].size != size:
        enlarged = min(parts[0].size) < config.size
        notes.append(f"{'enlarged' if enlarged else REDUCED} from {first.width}x{first.height}")
        parts = [part.resize(size, Resampling.LANCZOS) for part in parts]
    shape = (config.size, config.size, config.channels)
    levels = np.concatenate([np.array(part, dtype=np.uint8).reshape(shape) for part in parts], 2)
    return DecodedImage(np.ascontiguousarray(levels.transpose(2, 0, 1)), tuple(notes))


def has_color(image: Image) -> bool:
    """Return whether the channels of an image differ anywhere; a gray image may be stored in three."""
    if image.mode in ("1", "L", "LA"):
        return False
    red, green, blue = (np.asarray(channel) for channel in image.convert("RGB").split())
    return not (np.array_equal(red, green) and np.array_equal(green, blue))


def _halves(image: Image) -> list[Image]:
    """Return the left and the right half of an image that holds two."""
    width, height = image.size
    if width % 2:
        raise BadImage(f"{width} pixels wide: an odd width can't be cut into two halves")
    if width <= height:
        raise BadImage(f"{width}x{height}: no wider than high, so not two images side by side")
    return [image.crop((left, 0, left + width // 2, height)) for left in (0, width // 2)]


def _center_square(image: Image) -> Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _eight_bits(image: Image, format: str | None, background: int) -> tuple[Any, str]:
    """Return an opaque image of 8 bits a channel, and what was done to it."""
    from PIL import Image as images

    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and format in ("PNG", "PPM")):
        # Scaled: Pillow's own conversion saturates everything above 255.
        values = np.asarray(image).astype(np.int64)
        return images.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)), "16 bits scaled to 8"
    if image.mode in ("I", "F"):
        raise BadImage(f"32-bit {'integers' if image.mode == 'I' else 'floats'}, whose range is not known")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        whole = image.convert("RGBA")
        if whole.getchannel("A").getextrema() == (255, 255):
            return whole, ""
        over = images.new("RGBA", image.size, (background,) * 3 + (255,))
        over.alpha_composite(whole)
        return over, f"transparency laid over gray level {background}"
    if image.mode in ("CMYK", "LAB", "HSV"):
        return image.convert("RGB"), f"{image.mode} converted to RGB"
    return image, ""
