"""Predictions at places finer than the spots, scaled until together they are what the spots measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPREAD, REACH = 0.5, 3.0
"""Standard deviation of the weights of spots around a tile, of what spots are apart; and how many of it they reach."""
GENES = 512
"""Genes that are in memory as float64 at once."""


def conserve(
    rates: NDArray[np.floating],
    inside: NDArray[np.intp],
    nearest: NDArray[np.intp],
    measured: NDArray[np.floating],
    *,
    summed: bool,
    around: Any = None,
) -> NDArray[np.float32]:
    r"""Scale what was predicted for the tiles of every spot, gene by gene, to what the spot measured.

    With the predicted rates :math:`q_t` of the :math:`n_s` tiles of spot s, of which :math:`m_s` was measured, a tile
    is

    .. math:: q_t \, m_s \Big/ \frac{1}{n_s} \sum_{t' \in s} q_{t'},

    so that the mean over the tiles of a spot is :math:`m_s`; divided by :math:`n_s` where counts are ``summed``, so
    that their sum is. With ``around`` predictions are first multiplied by the ratio of what was measured and predicted
    in the spots around, so that factors change gradually from spot to spot. Where nothing was predicted and something
    measured, it is spread evenly. This is how areal data are disaggregated by weights (Tobler's pycnophylactic
    condition, J. Am. Stat. Assoc. 74, 1979).

    Parameters
    ----------
    rates
        Predictions, not logarithms, (n_tiles, n_genes); what is negative counts as zero.
    inside
        Which spot every tile is part of, (n_tiles,); -1 for none.
    nearest
        Whose factor every tile takes that is part of none, (n_tiles,): a spot that has tiles. Where it is -1 a tile
        stays as it is; counts that are ``summed`` take the ratio of all that was measured and predicted.
    measured
        Rates or counts of the spots, (n_spots, n_genes).
    summed
        Whether the sum over the tiles of a spot is what was measured, as of counts, instead of the mean.
    around
        Weights of the spots around every tile, sparse (n_tiles, n_spots), as :func:`weights_around` gives them.

    Returns
    -------
    (n_tiles, n_genes).
    """
    from scipy import sparse

    n_spots, part = len(measured), inside >= 0
    n_tiles = np.bincount(inside[part], minlength=n_spots)
    has_tiles = n_tiles > 0
    whose = np.where(part, inside, nearest)
    shape, ones = (n_spots, len(inside)), 1.0 / np.maximum(n_tiles, 1)[inside[part]]
    average = sparse.csr_matrix((ones, (inside[part], np.flatnonzero(part))), shape=shape)
    result = np.empty(rates.shape, dtype=np.float32)
    for start in range(0, rates.shape[1], GENES):
        genes = slice(start, start + GENES)
        predicted = np.maximum(np.asarray(rates[:, genes], dtype=np.float64), 0)
        target = np.asarray(measured[:, genes], dtype=np.float64)
        if summed:
            target = target / np.maximum(n_tiles, 1)[:, None]
        mean = average @ predicted
        overall = np.ones(target.shape[1])
        if summed:
            overall = _ratio(target[has_tiles].sum(axis=0), mean[has_tiles].sum(axis=0))
        elsewhere = predicted * overall
        if around is not None:
            predicted = predicted * _ratio(around @ (target * has_tiles[:, None]), around @ mean)
            mean = average @ predicted
        factor = _ratio(target, mean)
        scaled = np.where(mean[whose] > 0, predicted * factor[whose], target[whose])
        result[:, genes] = np.where(whose[:, None] >= 0, scaled, elsewhere)
    return result


def _ratio(values: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values divided by others; 0 where these are."""
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0)


def tiles_of_spots(tiles: NDArray[np.float64], spots: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which spot every tile is part of, and which that has tiles is nearest; (n_tiles,) each, -1 for none.

    ``tiles`` (n_tiles, 2) and ``spots`` (n_spots, 2) are centres on one slide. A tile is part of a spot whose centre is
    nearest, and not further away than half of what spots are apart. The nearest spot is looked for up to what they are
    apart.
    """
    from scipy.spatial import cKDTree

    order = np.lexsort(spots.T)  # of spots that are as near as each other, the same in any order
    pitch = float(np.median(cKDTree(spots).query(spots, k=2)[0][:, 1]))
    distance, nearest = cKDTree(spots[order]).query(tiles)
    inside = np.where(distance <= pitch / 2, order[nearest], -1)
    known = order[np.isin(order, inside)]
    if not len(known):
        return inside, inside
    distance, nearest = cKDTree(spots[known]).query(tiles)
    return inside, np.where(distance <= pitch, known[nearest], -1)


def weights_around(tiles: NDArray[np.float64], spots: NDArray[np.float64]) -> Any:
    """Return Gaussian weights of the spots around every tile, CSR (n_tiles, n_spots), of centres on one slide."""
    from scipy import sparse
    from scipy.spatial import cKDTree

    sigma = SPREAD * float(np.median(cKDTree(spots).query(spots, k=2)[0][:, 1]))
    near = cKDTree(tiles).sparse_distance_matrix(cKDTree(spots), REACH * sigma, output_type="coo_matrix")
    weights = np.exp(-((near.data / sigma) ** 2) / 2)
    return sparse.csr_matrix((weights, (near.row, near.col)), shape=near.shape)
