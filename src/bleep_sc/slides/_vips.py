"""Large pictures and one-strip TIFF through pyvips, which reads them from top to bottom in little memory."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc.slides._rgb import broken, check_is_rgb
from bleep_sc.slides._slide import Level, Slide

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS = 64
"""Rows that a band of what has no chunks may be aligned to."""


@cache
def has_vips() -> bool:
    """Tell whether pyvips and its library are installed."""
    try:
        import pyvips  # noqa: F401
    except (ImportError, OSError):  # the library itself may be absent
        return False
    return True


def open_vips(path: Path, mpp: float, mpp_source: str) -> Slide:
    """Open a picture for regions in any order; ``top_to_bottom`` opens it for a single pass."""
    return _open(path, mpp, mpp_source, access="random")


def _open(path: Path, mpp: float, mpp_source: str, *, access: str) -> Slide:
    import pyvips

    try:
        image = pyvips.Image.new_from_file(str(path), access=access, fail_on="error", unlimited=True)
    except pyvips.Error as error:
        raise broken(path, "", error) from error
    check_is_rgb((image.height, image.width, image.bands), _dtype(image), str(path))
    if image.interpretation == "cmyk":
        raise ValueError(f"Image {str(path)!r} has four channels, of which the last is no opacity. Convert it to RGB.")

    def read(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        try:
            region: NDArray[np.uint8] = image.crop(x, y, width, height).numpy()
        except pyvips.Error as error:
            raise broken(path, "", error) from error
        return region[..., :3]

    def reopen() -> Slide:
        return _open(path, mpp, mpp_source, access="sequential")

    level = Level(image.width, image.height, 1.0, (ROWS, image.width))
    return Slide(str(path), (level,), mpp, mpp_source, read, reopen=reopen if access == "random" else None)


def _dtype(image: Any) -> Any:
    return {"uchar": np.uint8, "ushort": np.uint16}.get(image.format, np.float64)
