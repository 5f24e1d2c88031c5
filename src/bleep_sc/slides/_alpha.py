"""Opacity, the fourth channel: what is transparent was not scanned, and reads white, as glass does."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc.slides._rgb import UnusableImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bleep_sc.slides._slide import Level

    Read = Callable[[int, int, int, int, int], NDArray[np.uint8]]

FULL = 255
MOSTLY = 0.9
"""Share of an opacity that is full, of what is more than nothing: edges alone are between."""
PROBES, PROBE = 8, 64
"""How many places along each axis are looked at, and their side, px."""


def over_white(pixels: NDArray[np.uint8], *, premultiplied: bool = False) -> NDArray[np.uint8]:
    """Return the RGB of (height, width, 3 or 4), a fourth channel laid over white.

    ``premultiplied`` colours hold their opacity already, as those of an associated alpha in TIFF do.
    """
    rgb, opacity = pixels[..., :3], pixels[..., 3:]
    if pixels.shape[2] == 3 or opacity.min(initial=FULL) == FULL:
        return rgb
    if premultiplied:
        return rgb + np.minimum(FULL - opacity, FULL - rgb)
    blended = rgb.astype(np.uint16) * opacity + FULL * (FULL - opacity.astype(np.uint16))
    return ((blended + FULL // 2) // FULL).astype(np.uint8)


def is_opacity(channel: NDArray[np.uint8]) -> bool:
    """Tell an opacity, which is full or nothing nearly everywhere, from a marker or the black of CMYK."""
    some = channel[channel > 0]
    return bool(len(some) and np.mean(some == FULL) > MOSTLY)


def read_over_white(read: Read, levels: tuple[Level, ...], name: str) -> Read:
    """Return what reads RGB where ``read`` gives a fourth channel, once that has been found to be an opacity."""

    @cache
    def check() -> None:
        if not is_opacity(_probed(read, levels)):
            raise UnusableImage(
                f"Image {name!r} has four channels, of which the last is no opacity. Convert it to RGB first: of an "
                "array image[..., :3], where the first three are red, green and blue."
            )

    def read_rgb(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        check()
        return over_white(read(level, x, y, width, height))

    return read_rgb


def _probed(read: Read, levels: tuple[Level, ...]) -> NDArray[np.uint8]:
    """Return the fourth channel at places all over the coarsest level, or all of it where it is small."""
    index, of = len(levels) - 1, levels[-1]
    tops, lefts = (
        np.unique(np.linspace(0, max(0, length - PROBE), PROBES).astype(int)) for length in (of.height, of.width)
    )
    if of.height * of.width <= (PROBES * PROBE) ** 2:
        return read(index, 0, 0, of.width, of.height)[..., 3].ravel()
    return np.concatenate([read(index, x, y, PROBE, PROBE)[..., 3].ravel() for y in tops for x in lefts])
