"""Large pictures and one-strip TIFF through pyvips, which reads them from top to bottom in little memory."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc.slides._alpha import over_white
from bleep_sc.slides._rgb import UnusableImage, broken, check_is_rgb
from bleep_sc.slides._slide import Level, Slide

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS = 64
"""Rows that a band of what has no chunks may be aligned to."""
ROWS_AT_ONCE = 16
"""Rows that are fetched at once in a pass: few enough for the cache of the processor."""


@cache
def has_vips() -> bool:
    """Tell whether pyvips and its library are installed."""
    try:
        import pyvips  # noqa: F401
    except (ImportError, OSError):  # the library itself may be absent
        return False
    return True


def open_vips(path: Path, mpp: float, mpp_source: str) -> Slide:
    """Open a picture for regions in any order; ``top_to_bottom`` opens it for a single pass.

    A fourth channel is an opacity, which colours do not hold yet.
    """
    import pyvips

    image = _load(path, access="random")

    def read(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        try:
            region: NDArray[np.uint8] = image.crop(x, y, width, height).numpy()
        except pyvips.Error as error:
            raise broken(path, "", error) from error
        return over_white(region)

    def reopen() -> Slide:
        return open_vips_once(path, mpp, mpp_source)

    return Slide(str(path), (_level(image),), mpp, mpp_source, read, reopen=reopen)


def open_vips_once(path: Path, mpp: float, mpp_source: str) -> Slide:
    """Open a picture for a single pass: every region lies below the one before, or beside it."""
    import pyvips

    image = _load(path, access="sequential")
    window = pyvips.Region.new(image)  # it keeps the strip where a region ends; crops of the image forget it

    def read(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        region = np.empty((height, width, 3), dtype=np.uint8)
        for top in range(0, height, ROWS_AT_ONCE):
            part = region[top : top + ROWS_AT_ONCE]
            try:
                rows = window.fetch(x, y + top, width, len(part))
            except pyvips.Error as error:
                raise broken(path, "", error) from error
            pixels = np.frombuffer(rows, np.uint8).reshape(len(part), width, image.bands)
            part[...] = over_white(pixels)
        return region

    return Slide(str(path), (_level(image),), mpp, mpp_source, read)


def _load(path: Path, *, access: str) -> Any:
    import pyvips

    try:
        # To libjpeg, lost pixels are a warning. Without revalidate, a file that was written anew shows its old pixels.
        image = pyvips.Image.new_from_file(str(path), access=access, fail_on="warning", unlimited=True, revalidate=True)
    except pyvips.Error as error:
        raise broken(path, "", error) from error
    check_is_rgb((image.height, image.width, image.bands), _dtype(image), str(path))
    if image.interpretation == "cmyk":
        raise UnusableImage(f"Image {str(path)!r} is CMYK. Convert it to RGB first.")
    return image


def _level(image: Any) -> Level:
    return Level(image.width, image.height, 1.0, (ROWS, image.width))


def _dtype(image: Any) -> Any:
    return {"uchar": np.uint8, "ushort": np.uint16}.get(image.format, np.float64)
