"""Where there is tissue on a slide."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell tissue from glass on a thumbnail (height, width, 3), by squidpy's threshold (Otsu's)."""
    if np.ptp(thumbnail) < 2:  # one colour has no threshold
        return np.zeros(thumbnail.shape[:2], dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # squidpy's and spatialdata's, about themselves
        import squidpy as sq
        from spatialdata import SpatialData
        from spatialdata.models import Image2DModel

        with _quiet():
            slide = SpatialData(images={"slide": Image2DModel.parse(thumbnail, dims=("y", "x", "c"))})
            labels = sq.experimental.im.detect_tissue(slide, "slide", inplace=False)
    return np.asarray(labels) > 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep squidpy and spatialdata from telling every step."""
    logger = logging.getLogger("spatialdata._logging")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
