"""Whether two maps of the same tissue agree by more than chance, where neighbouring spots are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc.metrics._alike import unit_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEGREE = 3
"""Of the surface that is turned as a whole: gradients, and what differs between rim and middle."""
MAX_SPOTS = 1000
"""Spots of a slide that are compared, at most: the patterns of n spots take n² numbers."""
AT_ONCE = 500
"""Randomisations that are held at once."""


def chance_of_agreement(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    centers: NDArray[np.float64],
    slides: NDArray[np.str_],
    *,
    n_permutations: int,
    random_state: int = 0,
) -> NDArray[np.float64]:
    r"""Return how often maps that have nothing in common agree as well, column by column: one-sided p-values.

    Neighbouring spots are alike, so that a permutation of spots finds far too many maps that agree. Both maps of a
    slide are written in orthogonal patterns of it, from coarse to fine, :math:`x = \sum_k a_k v_k`, whose correlation
    is :math:`\sum_k a_k b_k`. Random signs of the :math:`a_k` give maps with the same amount of every pattern, so with
    the same spatial autocorrelation (Moran spectral randomization by singletons; Wagner and Dray, Methods in Ecology
    and Evolution 2015). The patterns are eigenvectors of the Laplacian of the spots as a graph; what a cubic surface
    explains has one sign for all of it, since gradients and rims of a tissue are alike in all that has them. The
    statistic is the mean over slides, by their n - 3.

    Parameters
    ----------
    predicted, truth
        (n, n_maps).
    centers
        Where the spots are on their slides, (n, 2), in any unit.
    slides
        Slide of every spot, (n,).
    n_permutations
        How many random maps; the smallest p-value is 1 / (n_permutations + 1).
    random_state
        Seeds signs, and which spots of slides with more than 1000 are compared.

    Returns
    -------
    (n_maps,); NaN where a map varies on no slide.
    """
    rng = np.random.default_rng(random_state)
    agreements = []
    for name in np.unique(slides):
        rows = np.flatnonzero(slides == name)
        rows = np.sort(rng.permutation(rows)[:MAX_SPOTS])
        if len(rows) > 3:
            agreements.append(_agreement(predicted[rows], truth[rows], centers[rows]))
    if not agreements:
        return np.full(predicted.shape[1], np.nan)
    observed = np.sum([each.sum(axis=0) for each in agreements], axis=0)
    reached = np.zeros(predicted.shape[1])
    for start in range(0, n_permutations, AT_ONCE):
        n = min(AT_ONCE, n_permutations - start)
        drawn = [(2.0 * rng.integers(0, 2, (n, len(each))) - 1) @ each for each in agreements]
        reached += (np.sum(drawn, axis=0) >= observed - 1e-9).sum(axis=0)
    varies = np.any([each.any(axis=0) for each in agreements], axis=0)
    return np.where(varies, (1 + reached) / (1 + n_permutations), np.nan)


def _agreement(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], centers: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what every pattern with a sign of its own adds to the correlation on a slide, (n_signs, n_maps).

    By the weight of the slide; zero where a map does not vary.
    """
    surface, patterns = spatial_patterns(centers)
    a, b = (np.nan_to_num(unit_columns(side)) for side in (predicted, truth))
    whole = ((surface.T @ a) * (surface.T @ b)).sum(axis=0, keepdims=True)
    weight = (len(centers) - 3) * (a.any(axis=0) & b.any(axis=0))
    return np.asarray(weight * np.concatenate([whole, (patterns.T @ a) * (patterns.T @ b)]))


def spatial_patterns(centers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return an orthonormal basis of all maps on spots (n, 2) whose mean is zero: surfaces, and patterns beside them.

    Surfaces are polynomials of third degree, (n, n_surfaces); patterns (n, n - 1 - n_surfaces) are from coarse to fine.
    """
    from scipy.spatial.distance import cdist

    n = len(centers)
    x, y = ((centers - centers.mean(axis=0)) / max(centers.std(), np.finfo(float).tiny)).T
    powers = [x**i * y**j for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)][1:]
    terms = np.stack([power - power.mean() for power in powers], axis=1)
    left, size, _ = np.linalg.svd(terms, full_matrices=False)
    surface = left[:, size > 1e-8 * max(size[0], np.finfo(float).tiny)]

    distance = cdist(centers, centers)
    apart = np.where(distance > 0, distance, np.inf).min(axis=1)
    near = np.median(apart[np.isfinite(apart)]) if np.isfinite(apart).any() else 1.0
    weights = np.exp(-0.5 * np.square(distance / near))
    laplacian = np.diag(weights.sum(axis=1)) - weights
    first = np.column_stack([np.full(n, n**-0.5), surface])
    within = laplacian - first @ (first.T @ laplacian)
    within -= (within @ first) @ first.T
    # What is known already comes first, before all that the Laplacian finds, whose values are not negative.
    values = within - (1 + np.abs(within).sum(axis=1).max()) * (first @ first.T)
    return surface, np.linalg.eigh((values + values.T) / 2)[1][:, first.shape[1] :]
