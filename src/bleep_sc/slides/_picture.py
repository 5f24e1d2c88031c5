"""JPEG and PNG: decoded whole, or read from top to bottom by pyvips where they are large and it is installed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import logger
from bleep_sc.slides._alpha import FULL, over_white
from bleep_sc.slides._jpeg import block_size, complaint
from bleep_sc.slides._resolution import from_dpi
from bleep_sc.slides._rgb import UnusableImage, broken, check_fits_memory, check_is_rgb
from bleep_sc.slides._shift import shifted_from
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

REMEDY = "With pyvips it is read in bands (pip install 'bleep-sc[wsi]'); or convert it to a tiled TIFF."


def open_picture(path: Path) -> Slide:
    """Open a JPEG or PNG as a slide."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _large_images_allowed(), Image.open(path) as image:
            (width, height), mode, format_, info = image.size, image.mode, image.format, dict(image.info)
    except UnidentifiedImageError as error:
        raise UnusableImage(f"Image {str(path)!r} is no JPEG, PNG or TIFF, or its beginning is broken.") from error
    except Exception as error:  # Pillow raises many kinds
        raise broken(path, "", error) from error
    _check_mode(path, mode, (height, width))
    if format_ == "PNG" and _png_depth(path) > 8:
        raise UnusableImage(
            f"Image {str(path)!r} holds 16-bit instead of 8-bit values (uint8, 0 to 255). Rescale it to 8 bit first."
        )
    is_transparent = mode == "RGBA" or "transparency" in info
    mpp, source = from_dpi(info.get("dpi"))
    n_bytes = 3 * width * height
    if n_bytes > LARGE and has_vips():
        return open_vips(path, mpp, source)

    @cache
    def sound() -> bytes:
        if n_bytes > LARGE:
            check_fits_memory(n_bytes * 4 // 3, str(path), REMEDY)  # a fourth byte of every px, in between
        return _sound_jpeg(path)

    @cache
    def pixels() -> NDArray[np.uint8]:
        if n_bytes > LARGE:
            check_fits_memory(n_bytes, str(path), REMEDY)
            logger.warning("%s is decoded whole (%.1f GiB). %s", path.name, n_bytes / 2**30, REMEDY)
        decoded = _jpeg(path, sound()) if format_ == "JPEG" else _png(path, "RGBA" if is_transparent else "RGB")
        if decoded.shape != (height, width, 4 if is_transparent else 3):
            raise broken(path, "", f"it holds {decoded.shape}, and not the {(height, width)} that its header says")
        if is_transparent and decoded[..., 3].max() < FULL:
            raise UnusableImage(f"Image {str(path)!r} is transparent everywhere. Save it as RGB, without an opacity.")
        return over_white(decoded)

    def read(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return pixels()[y : y + height, x : x + width]

    def preview(longest: int) -> NDArray[np.uint8]:
        size = scaled_size(width, height, longest)
        if format_ != "JPEG" or is_transparent:
            return np.asarray(Image.fromarray(pixels()).resize(size, Image.Resampling.BOX))
        sound()  # which refuses what is damaged; Pillow, which is quick at an eighth of the size, does not
        try:
            with _large_images_allowed(), Image.open(path) as image:
                image.draft("RGB", size)
                return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))
        except Exception as error:  # Pillow raises many kinds
            raise broken(path, "", error) from error

    def release() -> None:
        sound.cache_clear()
        pixels.cache_clear()

    level = Level(width, height, 1.0, (height, width))
    return Slide(str(path), (level,), mpp, source, read, release=release, preview=preview)


def _check_mode(path: Path, mode: str, shape: tuple[int, int]) -> None:
    """Refuse what Pillow would take for colours: CMYK, grey, grey with an opacity."""
    if mode == "CMYK":
        raise UnusableImage(f"Image {str(path)!r} is CMYK. Convert it to RGB first.")
    if mode not in ("RGB", "RGBA", "P"):
        check_is_rgb((*shape, 2) if mode == "LA" else shape, np.uint8, str(path))


def _sound_jpeg(path: Path) -> bytes:
    """Return a JPEG that its decoder does not complain of."""
    data = path.read_bytes()
    if data.rfind(END_OF_JPEG) < len(data) // 2:  # an earlier one is that of a thumbnail
        raise broken(path, "", "its end is missing")
    if damage := complaint(data):
        raise broken(path, "", damage)
    return data


def _jpeg(path: Path, data: bytes) -> NDArray[np.uint8]:
    import imagecodecs

    try:
        pixels = np.asarray(imagecodecs.jpeg8_decode(data))  # half the memory of Pillow
    except Exception as error:
        raise broken(path, "", error) from error
    if pixels.ndim == 3 and (place := shifted_from(pixels, block_size(data))):
        logger.warning(
            "%s looks damaged: from x = %d, y = %d on, its colours are shifted. Compare it with the original.",
            path,
            *place,
        )
    return pixels


def _png(path: Path, mode: str) -> NDArray[Any]:
    from PIL import Image

    _check_sums(path)
    try:
        with _large_images_allowed(), Image.open(path) as image:
            return np.asarray(image.convert(mode))
    except Exception as error:  # Pillow raises many kinds
        raise broken(path, "", error) from error


def _check_sums(path: Path) -> None:
    """Compare every chunk of a PNG with its checksum; Pillow does not, where there are pixels in it."""
    with path.open("rb") as file:
        file.seek(8)
        kind = b""
        while kind != b"IEND":
            header = file.read(8)
            kind, length = header[4:], int.from_bytes(header[:4], "big")
            content, checksum = file.read(length), file.read(4)
            if (
                len(header) < 8
                or len(content) < length
                or zlib.crc32(kind + content) != int.from_bytes(checksum, "big")
            ):
                raise broken(
                    path, "", f"the checksum of the chunk {kind!r} is wrong, {file.tell()} bytes into the file"
                )


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
