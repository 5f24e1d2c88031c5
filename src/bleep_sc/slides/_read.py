"""Reading an image file as RGB, with errors that say what the file is instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PNG_DEPTH = 24
"""Byte of a PNG that says how many bits a value has; Pillow reduces 16 to 8 without a word."""
TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".svs")


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a JPEG, PNG or TIFF as RGB.

    Parameters
    ----------
    path
        The file. Of a TIFF with several levels the first, which is the full resolution, is read.

    Returns
    -------
    (height, width, 3) uint8.

    Raises
    ------
    FileNotFoundError
        Without such a file.
    ValueError
        When the file is broken, or no 8-bit RGB image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No image file at {str(path)!r}. If the slide was moved, pass image=, its new path.")
    read = _read_tiff if path.name.lower().endswith(TIFF_SUFFIXES) else _read_with_pillow
    return as_rgb(read(path), str(path))


def _read_tiff(path: Path) -> NDArray[Any]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0].levels[0]
            array, axes = series.asarray(), series.axes
    except Exception as error:  # tifffile and its codecs raise many kinds
        raise ValueError(f"Image {str(path)!r} cannot be read as TIFF: it is truncated or broken ({error}).") from error
    return np.moveaxis(array, 0, -1) if array.ndim == 3 and axes[0] in "SC" else array


def _read_with_pillow(path: Path) -> NDArray[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with _large_images_allowed(), Image.open(path) as image:
            if image.format == "PNG" and _png_depth(path) > 8:
                raise ValueError(
                    f"Image {str(path)!r} holds 16-bit instead of 8-bit values (uint8, 0 to 255). Rescale it to 8 bit "
                    "first."
                )
            return np.asarray(image.convert("RGB") if image.mode in ("P", "RGBA") else image)
    except UnidentifiedImageError as error:
        raise ValueError(f"Image {str(path)!r} is no JPEG, PNG or TIFF, or its beginning is broken.") from error
    except (OSError, SyntaxError) as error:
        raise ValueError(f"Image {str(path)!r} cannot be read: it is truncated or broken ({error}).") from error


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(PNG_DEPTH + 1)[PNG_DEPTH]


def read_preview(path: str | Path, longest: int = 1000) -> tuple[NDArray[np.uint8], float]:
    """Read an image scaled down to a longest side in px; return it and its scale factor.

    A JPEG is decoded at an eighth of its size where that suffices, which is quick; a TIFF is read whole.
    """
    from PIL import Image

    path = Path(path)
    if path.name.lower().endswith(TIFF_SUFFIXES):
        whole = Image.fromarray(read_image(path))
        scale = min(1.0, longest / max(whole.size))
        size = (max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
        return np.asarray(whole.resize(size, Image.Resampling.BOX)), size[0] / whole.width
    with _large_images_allowed(), Image.open(path) as image:
        width, height = image.size
        scale = min(1.0, longest / max(width, height))
        size = (round(width * scale), round(height * scale))
        image.draft("RGB", size)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX)), size[0] / width


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


def as_rgb(array: Any, name: str = "array") -> NDArray[np.uint8]:
    """Return an array as RGB (height, width, 3) uint8, or say why it is none; an alpha channel is dropped."""
    array = np.asarray(array)
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise ValueError(
            f"Image {name!r} has shape {array.shape}, and no red, green and blue as its last axis. "
            "Convert it to RGB, (height, width, 3), first."
        )
    if array.shape[2] == 4 and not _is_alpha(array[..., 3]):
        raise ValueError(f"Image {name!r} has four channels, of which the last is no opacity. Convert it to RGB first.")
    if array.dtype != np.uint8:
        raise ValueError(
            f"Image {name!r} holds {array.dtype} instead of 8-bit values (uint8, 0 to 255). Rescale it to 8 bit first."
        )
    return array[..., :3]


def _is_alpha(channel: NDArray[Any]) -> bool:
    """Tell an opacity, which is full nearly everywhere, from the black of CMYK."""
    return bool(np.mean(channel == np.iinfo(channel.dtype).max) > 0.5) if channel.dtype.kind == "u" else True
