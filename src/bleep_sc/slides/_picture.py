"""JPEG and PNG: decoded whole, or read from top to bottom by pyvips where they are large and it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import logger
from bleep_sc.slides._resolution import from_dpi
from bleep_sc.slides._rgb import as_rgb, broken, check_fits_memory
from bleep_sc.slides._slide import Level, Slide, scaled_size
from bleep_sc.slides._vips import has_vips, open_vips

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PNG_DEPTH = 24
"""Byte of a PNG that says how many bits a value has; Pillow reduces 16 to 8 without a word."""
END_OF_JPEG = b"\xff\xd9"
LARGE = 512 * 2**20
"""Bytes above which a picture is not decoded whole where that can be avoided."""


def open_picture(path: Path) -> Slide:
    """Open a JPEG or PNG as a slide."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _large_images_allowed(), Image.open(path) as image:
            (width, height), mode, format_, info = image.size, image.mode, image.format, dict(image.info)
    except UnidentifiedImageError as error:
        raise ValueError(f"Image {str(path)!r} is no JPEG, PNG or TIFF, or its beginning is broken.") from error
    except (OSError, SyntaxError) as error:
        raise broken(path, "", error) from error
    if format_ == "PNG" and _png_depth(path) > 8:
        raise ValueError(
            f"Image {str(path)!r} holds 16-bit instead of 8-bit values (uint8, 0 to 255). Rescale it to 8 bit first."
        )
    mpp, source = from_dpi(info.get("dpi"))
    n_bytes = 3 * width * height
    if n_bytes > LARGE and has_vips():
        return open_vips(path, mpp, source)

    @cache
    def pixels() -> NDArray[np.uint8]:
        if n_bytes > LARGE:
            remedy = "With pyvips it is read in bands (pip install 'bleep-sc[wsi]'); or convert it to a tiled TIFF."
            check_fits_memory(n_bytes, str(path), remedy)
            logger.warning("%s is decoded whole (%.1f GiB). %s", path.name, n_bytes / 2**30, remedy)
        return as_rgb(_decode(path, mode, format_), str(path))

    def read(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return pixels()[y : y + height, x : x + width]

    def preview(longest: int) -> NDArray[np.uint8]:
        # A JPEG can be decoded at an eighth of its size, which is quick.
        size = scaled_size(width, height, longest)
        with _large_images_allowed(), Image.open(path) as image:
            image.draft("RGB", size)
            return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))

    return Slide(
        str(path),
        (Level(width, height, 1.0, (height, width)),),
        mpp,
        source,
        read,
        release=pixels.cache_clear,
        preview=preview,
    )


def _decode(path: Path, mode: str, format_: str | None) -> NDArray[Any]:
    from PIL import Image

    try:
        if format_ == "JPEG" and mode == "RGB":
            import imagecodecs

            data = path.read_bytes()
            if data.rfind(END_OF_JPEG) < len(data) // 2:  # an earlier one is that of a thumbnail
                raise broken(path, "", "its end is missing")
            return imagecodecs.jpeg8_decode(data)  # half the memory of Pillow
        with _large_images_allowed(), Image.open(path) as image:
            return np.asarray(image.convert("RGB") if mode in ("P", "RGBA") else image)
    except (OSError, SyntaxError, RuntimeError) as error:  # of Pillow and of imagecodecs
        raise broken(path, "", error) from error


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(PNG_DEPTH + 1)[PNG_DEPTH]


@contextmanager
def _large_images_allowed() -> Iterator[None]:
    """Lift Pillow's guard against large images, for as long as a slide is read."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
