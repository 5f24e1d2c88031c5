"""Where there is tissue on a slide."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


GLASS_LEAST, GLASS_SATURATION = 150, 0.1
"""Least value of the darkest channel, and largest saturation, of px that look like glass."""
CORNER, CORNERS_ALIKE = 0.02, 8.0
"""Side of the corners, as a share of the picture, and the standard deviation up to which they are one colour."""

BLACK, WHITE = 16, 255
"""Largest value of px that were not scanned where a scan is padded with black; and all of it where with white."""
PADDING, RIM = 0.005, 2
"""Least share of the picture that is padding and no ink; and px around it that are a mixture."""
SHARE = 0.01
"""Least share of the scan that a piece of tissue has."""
MANY = 10**6
"""Pieces of tissue that are kept at most; left to itself squidpy keeps the larger of two, and none of two alike."""


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell tissue from glass on a thumbnail (height, width, 3).

    squidpy's threshold (Otsu's) halves any picture, also one with no glass on it. So what it takes for glass must be
    pale, or the corners must be bright and of one colour; else all px but the pale ones are tissue. What was not
    scanned, and is black or white, is neither, and moves no threshold.
    """
    darkest, brightest = _extremes(thumbnail)
    pale = (darkest >= GLASS_LEAST) & (darkest >= (1 - GLASS_SATURATION) * brightest)
    scanned = ~_padding(brightest <= BLACK)
    tissue, is_glass_there = _split(thumbnail, scanned, pale)
    if is_glass_there and tissue.any() and pale[tissue].mean() > 0.5:  # glass, beside padding that is whiter
        without_white = scanned & ~_padding(darkest == WHITE)
        tissue, is_glass_there = _split(thumbnail, without_white, pale)
    if is_glass_there:
        return tissue
    logger.warning(
        "No glass was found around the tissue: all of the slide is taken for tissue, but for the %.1f %% that is pale.",
        100 * pale.mean(),
    )
    return np.asarray(scanned & ~pale)


def _extremes(thumbnail: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the least and the largest of the three colours of every px, (height, width)."""
    red, green, blue = np.moveaxis(thumbnail, 2, 0)  # numpy takes a tenth of the time for them that an axis of 3 takes
    return np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)


def _padding(candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return large pieces of one extreme colour, which no camera has seen, with the px at their rim."""
    from scipy import ndimage

    labels, _ = ndimage.label(candidates)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    padding = (sizes >= PADDING * candidates.size)[labels]
    return np.asarray(ndimage.binary_dilation(padding, iterations=RIM) if padding.any() else padding)


def _split(
    thumbnail: NDArray[np.uint8], scanned: NDArray[np.bool_], pale: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], bool]:
    """Return where the scan is tissue, and whether the rest of it looks like glass."""
    picture = _filled(thumbnail, scanned) if scanned.any() else thumbnail
    if not scanned.any() or np.ptp(picture) < 2:  # one colour has no threshold
        return np.zeros_like(scanned), True
    tissue = _darker(picture, SHARE * scanned.mean()) & scanned
    glass = scanned & ~tissue
    return tissue, bool(not glass.any() or pale[glass].mean() > 0.5 or _has_bright_corners(thumbnail, scanned))


def _filled(thumbnail: NDArray[np.uint8], scanned: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill what was not scanned with the colours of the rest, in their shares: no threshold moves."""
    if scanned.all():
        return thumbnail
    picture, colors = thumbnail.copy(), thumbnail[scanned]
    in_order = colors[np.argsort(colors.sum(axis=1), kind="stable")]
    picture[~scanned] = in_order[np.linspace(0, len(in_order) - 1, int((~scanned).sum())).astype(int)]
    return picture


def _has_bright_corners(thumbnail: NDArray[np.uint8], scanned: NDArray[np.bool_]) -> bool:
    """Tell whether all corners that were scanned are bright and of one colour, as those of tinted glass are."""
    across, down = (np.flatnonzero(scanned.any(axis=axis)) for axis in (0, 1))
    part = (slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1))
    grey, known = thumbnail[part].mean(axis=2), scanned[part]
    rows, columns = (max(3, round(CORNER * length)) for length in grey.shape)
    at_edge = np.zeros(grey.shape[0], dtype=bool)
    at_edge[:rows] = at_edge[-rows:] = True
    at_side = np.zeros(grey.shape[1], dtype=bool)
    at_side[:columns] = at_side[-columns:] = True
    corners = grey[at_edge[:, None] & at_side & known]
    return bool(len(corners) and corners.std() < CORNERS_ALIKE and corners.mean() >= np.median(grey[known]))


def _darker(thumbnail: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Return where squidpy finds dark pieces on bright ground, of some share of the picture or more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # squidpy's and spatialdata's, about themselves
        import squidpy as sq
        from spatialdata import SpatialData
        from spatialdata.models import Image2DModel

        with _quiet():
            slide = SpatialData(images={"slide": Image2DModel.parse(_grey(thumbnail), dims=("c", "y", "x"))})
            labels = sq.experimental.im.detect_tissue(
                slide,
                "slide",
                corners_are_background=False,
                min_specimen_area_frac=share,
                n_samples=MANY,
                inplace=False,
            )
    return np.asarray(labels) > 0


def _grey(picture: NDArray[np.uint8]) -> Any:
    """Return the brightness, (1, height, width), that squidpy gives colours, bit for bit, and slower."""
    import dask.array as da

    red, green, blue = np.moveaxis(picture, 2, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    return da.from_array(grey[None], chunks=-1, name=False)  # a name would be a checksum of all px


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
