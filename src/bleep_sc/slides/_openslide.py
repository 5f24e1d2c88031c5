"""Scanners' own formats, through OpenSlide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import openslide

from bleep_sc.slides._alpha import over_white
from bleep_sc.slides._resolution import NOTHING
from bleep_sc.slides._rgb import broken
from bleep_sc.slides._slide import Level, Slide

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TILE = 256


def open_openslide(path: Path) -> Slide:
    """Open a slide with OpenSlide; what a scanner left out is white."""
    try:
        file = openslide.OpenSlide(str(path))
    except openslide.OpenSlideError as error:
        raise broken(path, " by OpenSlide", error) from error
    properties = file.properties
    levels = tuple(
        Level(
            width,
            height,
            file.level_downsamples[i],
            (
                int(properties.get(f"openslide.level[{i}].tile-height", TILE)),
                int(properties.get(f"openslide.level[{i}].tile-width", TILE)),
            ),
        )
        for i, (width, height) in enumerate(file.level_dimensions)
    )

    def read(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        scale = levels[level].downsample
        try:
            region = file.read_region((round(x * scale), round(y * scale)), level, (width, height))
        except openslide.OpenSlideError as error:
            raise broken(path, " by OpenSlide", error) from error
        return over_white(np.asarray(region))

    said = [properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
    known = None not in said
    mpp = float(np.mean([float(value) for value in said if value is not None])) if known else float("nan")
    return Slide(str(path), levels, mpp, "OpenSlide" if known else NOTHING, read, release=file.close)
