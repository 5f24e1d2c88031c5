"""One section laid on another by where there is tissue, and of which colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from bleep_sc.slides._affine import fit_landmarks
from bleep_sc.slides._align import NEAR, align
from bleep_sc.slides._grid import covered

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_TILES = 200
"""Over the tissue of the first picture, about."""
LEAST_TISSUE = 0.5
"""Of a tile, as a share."""


def align_pictures(
    first: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    second: NDArray[np.uint8],
    other_tissue: NDArray[np.bool_],
    *,
    scale: float,
    reflection: bool | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Lay the tissue of a picture (height, width, 3) on that of another by a turn, a shift and a known scale.

    ``scale`` is px of the second picture per px of the first; ``reflection`` says whether one is mirrored, None tries
    both. Returned are the map (3, 3), and the share of the first tissue that comes to lie on the other.
    """
    spacing = float(np.sqrt(tissue.sum() / N_TILES))
    places, colors = _tiles(first, tissue, spacing)
    theirs, their_colors = _tiles(second, other_tissue, spacing * scale)
    laid = align(places * scale, colors, theirs, their_colors, reflection=reflection)
    on_tissue = cKDTree(theirs).query(laid)[0] <= NEAR * spacing * scale
    fits = [_fit_of(places, laid, flag) for flag in (False, True)]
    return min(fits, key=lambda fit: fit[1])[0], float(on_tissue.mean())


def _fit_of(places: NDArray[np.float64], laid: NDArray[np.float64], flag: bool) -> tuple[NDArray[np.float64], float]:
    """Return the map that moved places, and how far it is off, where they were mirrored or not."""
    try:
        fit = fit_landmarks(places, laid, reflection=flag)
    except ValueError:  # it is the other one
        return np.eye(3), np.inf
    return fit.matrix, float(fit.residual_px.max())


def _tiles(
    picture: NDArray[np.uint8], tissue: NDArray[np.bool_], spacing: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of tiles on tissue, (n, 2), and their mean colours, (n, 3)."""
    height, width = tissue.shape
    x, y = np.meshgrid(np.arange(spacing / 2, width, spacing), np.arange(spacing / 2, height, spacing))
    places = np.column_stack([x.ravel(), y.ravel()])
    places = places[covered(tissue, places, spacing) >= LEAST_TISSUE]
    side = max(1, round(spacing))
    means = ndimage.uniform_filter(picture.astype(np.float64), (side, side, 1), mode="nearest")
    column, row = places.astype(int).T
    return places, means[row, column]
