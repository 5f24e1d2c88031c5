"""Expression copied from the same place of sections that were laid on the query's: how near a place counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from bleep_sc._arrays.blocks import squares
from bleep_sc.models.weighted_sums import weighted_sums

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

SPREADS = 3.0
"""Standard deviations of the weights that are averaged over."""


def place_weights(points: NDArray[np.floating], laid: NDArray[np.floating], width_um: float) -> sparse.csr_matrix:
    r"""Weigh the spots of other sections by how near they came to lie.

    Weights are :math:`\exp(-d^2 / 2 s^2)` up to :math:`3 s`, and add up to one. Where no spot lies as near, the nearest
    one has all the weight.

    Parameters
    ----------
    points
        Places that are predicted, µm, (n_query, 2).
    laid
        Where spots of the other sections came to lie, (n_reference, 2); NaN for those that are not copied from.
    width_um
        :math:`s`.

    Returns
    -------
    (n_query, n_reference), rows sum to one.
    """
    known = np.flatnonzero(np.isfinite(laid).all(axis=1))
    tree = cKDTree(laid[known])
    near = cKDTree(points).sparse_distance_matrix(tree, SPREADS * width_um, output_type="coo_matrix")
    alone = np.setdiff1d(np.arange(len(points)), near.row)
    nearest = tree.query(points[alone])[1] if len(alone) else np.empty(0, dtype=np.intp)
    row, column = np.concatenate([near.row, alone]), np.concatenate([near.col, nearest])
    weight = np.concatenate([np.exp(-np.square(near.data / width_um) / 2), np.ones(len(alone))])
    weight /= np.bincount(row, weight, minlength=len(points))[row]
    return sparse.csr_matrix((weight, (row, known[column])), shape=(len(points), len(laid)))


def mean_and_variance(weights: sparse.csr_matrix, values: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weighted mean of expression (n_reference, n_genes) and its variance, (n_query, n_genes) each."""
    mean, of_squares = (weighted_sums(weights, each) for each in (values, squares(values)))
    return mean, np.maximum(of_squares - np.square(mean), 0)


def agreement(
    morphology: NDArray[np.floating], place: NDArray[np.floating], std: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return how far two predictions (n, n_genes) agree: minus their squared difference in units of ``std``, (n,).

    What neither shares with the other is not known well.
    """
    apart = np.square(morphology - place) / np.maximum(np.square(std), np.float32(1e-12))
    return np.asarray(-apart.mean(axis=1), dtype=np.float32)
