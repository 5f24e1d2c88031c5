"""The continuous ranked probability score of an average of reference spots, taken as the distribution that it is."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bleep_sc._arrays.blocks import slices

SUM_TOLERANCE = 1e-3
BLOCK_BYTES = 2**26
"""Memory for the sorted reference values of a block of genes."""


def crps(
    weights: sparse.spmatrix | sparse.sparray, values: NDArray[np.floating], truth: NDArray[np.floating]
) -> NDArray[np.float64]:
    r"""Continuous ranked probability score of every gene, mean over query spots; smaller is better.

    Every query spot is predicted by the weighted values of reference spots. With these as a distribution,
    :math:`\mathrm{CRPS} = E|X - y| - E|X - X'| / 2` (Gneiting and Raftery, JASA 2007, eq. 21), computed exactly. For a
    single reference spot, or any point prediction, it is the absolute error: see :func:`bleep_sc.metrics.mae`.

    Parameters
    ----------
    weights
        (n_query, n_reference); rows sum to one.
    values
        (n_reference, n_genes).
    truth
        (n_query, n_genes).

    Returns
    -------
    (n_genes,), in the units of the expression.

    Raises
    ------
    ValueError
        When a row of the weights is empty, or does not sum to one.

    Examples
    --------
    Two reference spots of the values 0 and 4, alike, for a truth of 2:

    >>> from scipy import sparse
    >>> weights = sparse.csr_matrix([[0.5, 0.5]])
    >>> bs.metrics.crps(weights, np.array([[0.0], [4.0]]), np.array([[2.0]])).tolist()
    [1.0]
    """
    weights = sparse.csr_matrix(weights)
    n_query, n_genes = truth.shape
    counts = np.diff(weights.indptr)
    if not counts.all():
        raise ValueError(f"weights= has {int((counts == 0).sum())} rows without any reference spot.")
    sums = np.asarray(weights.sum(axis=1)).ravel()
    if np.abs(sums - 1).max() > SUM_TOLERANCE:
        raise ValueError(
            f"weights= has rows that sum to {sums.min():.3g}, not to one: a concatenation cuts weights without a word."
        )
    total = np.zeros(n_genes)
    for row in range(n_query):
        span = slice(weights.indptr[row], weights.indptr[row + 1])
        share, members = weights.data[span].astype(np.float64), weights.indices[span]
        block = max(1, BLOCK_BYTES // (8 * len(members)))
        for genes in slices(n_genes, block):
            total[genes] += _one(share, values[members, genes], truth[row, genes])
    return total / n_query


def _one(share: NDArray[np.float64], members: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the score of one query spot, for weights (k,), values (k, n_genes) and truth (n_genes,)."""
    members = members.astype(np.float64)
    error = share @ np.abs(members - truth)
    order = np.argsort(members, axis=0)
    sorted_values, sorted_share = np.take_along_axis(members, order, axis=0), share[order]
    # With values in order, E|X - X'| is twice the sum over gaps of P(below) P(above) gap.
    below = np.cumsum(sorted_share, axis=0)[:-1]
    spread = 2 * (below * (share.sum() - below) * np.diff(sorted_values, axis=0)).sum(axis=0)
    return error - spread / 2
