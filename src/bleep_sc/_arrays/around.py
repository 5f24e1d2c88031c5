"""What surrounds a place: features of the spots around it, averaged by how near they are."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from bleep_sc._arrays.blocks import slices

ROWS = 4096
"""Spots whose neighbours are in memory at once."""
SPREADS = 2.0
"""Standard deviations of the weights within the radius, unless told otherwise."""


def around_on_slides(
    values: NDArray[np.floating],
    slides: NDArray[np.str_],
    centers: NDArray[np.floating],
    radius: float,
    spreads: float = SPREADS,
) -> NDArray[np.float32]:
    """Average values (n, d) as :func:`average_around` does, on every slide (``slides``, (n,)) by itself."""
    result = np.empty(values.shape, dtype=np.float32)
    for name in np.unique(slides):
        rows = slides == name
        result[rows] = average_around(values[rows], centers[rows], radius, spreads)
    return result


def average_around(
    values: NDArray[np.floating], centers: NDArray[np.floating], radius: float, spreads: float = SPREADS
) -> NDArray[np.float32]:
    r"""Average values over the places within a radius, by :math:`\exp(-d^2 / 2 \sigma^2)` of their distance.

    Parameters
    ----------
    values
        (n, d).
    centers
        (n, 2) of one slide, in the unit of ``radius``.
    radius
        How far the average reaches.
    spreads
        How many :math:`\sigma` that is.

    Returns
    -------
    Averages, (n, d). They depend on distances alone: moving, turning or mirroring the slide changes nothing.
    """
    tree = cKDTree(centers)
    result = np.empty(values.shape, dtype=np.float32)
    for rows in slices(len(centers), ROWS):
        near = cKDTree(centers[rows]).sparse_distance_matrix(tree, radius, output_type="coo_matrix")
        weights = np.exp(-((near.data * spreads / radius) ** 2) / 2)
        weights = sparse.csr_matrix((weights, (near.row, near.col)), shape=near.shape)
        result[rows] = (weights @ values) / np.asarray(weights.sum(axis=1))  # a place is near itself
    return result
