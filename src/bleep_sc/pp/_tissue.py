"""Where there is tissue on a slide."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._output.messages import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


GLASS_LEAST, GLASS_SATURATION = 150, 0.1
"""Least value of the darkest channel, and largest saturation, of px that look like glass."""
CORNER, CORNERS_ALIKE = 0.02, 8.0
"""Side of the corners, as a share of the picture, and the standard deviation up to which they are one colour."""

MANY = 10**6
"""Pieces of tissue that are kept at most; left to itself squidpy keeps the larger of two, and none of two alike."""


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell tissue from glass on a thumbnail (height, width, 3).

    squidpy's threshold (Otsu's) halves any picture, also one with no glass on it. So what it takes for glass must be
    pale, or the corners must be bright and of one colour; else all px but the pale ones are tissue.
    """
    if np.ptp(thumbnail) < 2:  # one colour has no threshold
        return np.zeros(thumbnail.shape[:2], dtype=bool)
    tissue = _darker(thumbnail)
    darkest, brightest = thumbnail.min(axis=2), thumbnail.max(axis=2)
    pale = (darkest >= GLASS_LEAST) & (darkest >= (1 - GLASS_SATURATION) * brightest)
    if tissue.all() or pale[~tissue].mean() > 0.5 or _has_bright_corners(thumbnail):
        return tissue
    logger.warning(
        "No glass was found around the tissue: all of the slide is taken for tissue, but for the %.1f %% that is pale.",
        100 * pale.mean(),
    )
    return np.asarray(~pale)


def _has_bright_corners(thumbnail: NDArray[np.uint8]) -> bool:
    """Tell whether all four corners are bright and of one colour, as those of tinted glass are."""
    grey = thumbnail.mean(axis=2)
    rows, columns = (max(3, round(CORNER * length)) for length in grey.shape)
    top_and_bottom = np.concatenate([grey[:rows], grey[-rows:]])
    corners = np.concatenate([top_and_bottom[:, :columns], top_and_bottom[:, -columns:]])
    return bool(corners.std() < CORNERS_ALIKE and corners.mean() >= np.median(grey))


def _darker(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where squidpy finds dark pieces on bright ground, of a hundredth of the slide or more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # squidpy's and spatialdata's, about themselves
        import squidpy as sq
        from spatialdata import SpatialData
        from spatialdata.models import Image2DModel

        with _quiet():
            slide = SpatialData(images={"slide": Image2DModel.parse(thumbnail, dims=("y", "x", "c"))})
            labels = sq.experimental.im.detect_tissue(
                slide, "slide", corners_are_background=False, n_samples=MANY, inplace=False
            )
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
