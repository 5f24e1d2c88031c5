"""The continuous ranked probability score of an average of reference spots, taken as the distribution that it is."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bleep_sc._arrays.blocks import slices
from bleep_sc.metrics._alike import alike

SUM_TOLERANCE = 1e-3
BLOCK_BYTES = 2**26
"""Memory for the sorted reference values of a block of genes."""


def crps(
    weights: sparse.spmatrix | sparse.sparray | None,
    values: NDArray[np.floating],
    truth: NDArray[np.floating],
    *,
    prediction: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    r"""Continuous ranked probability score of every gene, mean over query spots; smaller is better.

    Every query spot is predicted by the weighted values of reference spots. With these as a distribution,
    :math:`\mathrm{CRPS} = E|X - y| - E|X - X'| / 2` (Gneiting and Raftery, JASA 2007, eq. 21), computed exactly. For a
    single reference spot, or any point prediction, it is the absolute error: see :func:`bleep_sc.metrics.mae`.

    ``obsm["bleep_weights"]`` explain what was retrieved, which the default then moves towards a regression. Pass the
    corrected layer as ``prediction``, and the distribution is moved to it; without, what was retrieved is scored.

    Without weights every query spot is predicted by all reference spots alike. That looks at no image, and is what a
    score is to be compared with: :math:`1 - \mathrm{CRPS} / \mathrm{CRPS}_\text{all}` is the skill of a prediction.

    Parameters
    ----------
    weights
        (n_query, n_reference); rows sum to one. None: all reference spots, alike.
    values
        (n_reference, n_genes).
    truth
        (n_query, n_genes).
    prediction
        The mean that the distribution of every entry is moved to, (n_query, n_genes); None: that of its values.

    Returns
    -------
    (n_genes,), in the units of the expression; NaN without a query spot.

    Raises
    ------
    ValueError
        When a row of the weights is empty, negative or does not sum to one, or the shapes do not fit.

    Examples
    --------
    Two reference spots of the values 0 and 4, alike, for a truth of 2:

    >>> from scipy import sparse
    >>> weights = sparse.csr_matrix([[0.5, 0.5]])
    >>> bs.metrics.crps(weights, np.array([[0.0], [4.0]]), np.array([[2.0]])).tolist()
    [1.0]
    >>> bs.metrics.crps(None, np.array([[0.0], [4.0]]), np.array([[2.0]])).tolist()
    [1.0]
    """
    sides = {"truth": truth} if prediction is None else {"truth": truth, "prediction": prediction}
    measured, *wanted = alike(**sides)
    n_query, n_genes = measured.shape
    if weights is None:
        return _of_all(np.asarray(values), measured, wanted[0] if wanted else None)
    weights = _checked(sparse.csr_matrix(weights), np.shape(values), measured.shape)
    if not n_query:
        return np.full(n_genes, np.nan)
    total = np.zeros(n_genes)
    for row in range(n_query):
        span = slice(weights.indptr[row], weights.indptr[row + 1])
        share, members = weights.data[span].astype(np.float64), weights.indices[span]
        block = max(1, BLOCK_BYTES // (8 * len(members)))
        for genes in slices(n_genes, block):
            of_spot = values[members, genes].astype(np.float64)
            for mean in wanted:
                of_spot += mean[row, genes] - share @ of_spot / share.sum()
            total[genes] += _one(share, of_spot, measured[row, genes])
    return total / n_query


def _of_all(
    values: NDArray[np.floating], truth: NDArray[np.floating], prediction: NDArray[np.floating] | None
) -> NDArray[np.float64]:
    """Return the score of the distribution of all reference spots, moved to the prediction where there is one.

    With the values in order, sums up to a truth give the mean distance to it, and the values' places their spread.
    """
    n_reference, n_genes = np.shape(values)
    if truth.shape[1:] != (n_genes,) or not n_reference:
        raise ValueError(
            f"values= {values.shape} and truth= {truth.shape} do not fit: they are (n_reference, n_genes) and "
            "(n_query, n_genes), with a reference spot at least."
        )
    if not len(truth):
        return np.full(n_genes, np.nan)
    places = 2 * np.arange(n_reference) - n_reference + 1
    result = np.empty(n_genes)
    for gene in range(n_genes):
        known = np.sort(values[:, gene].astype(np.float64))
        moved = 0.0 if prediction is None else prediction[:, gene].astype(np.float64) - known.mean()
        asked = truth[:, gene].astype(np.float64) - moved  # to move the truth back is to move the values
        below, sums = np.searchsorted(known, asked), np.concatenate([[0.0], np.cumsum(known)])
        distance = asked * (2 * below - n_reference) + sums[-1] - 2 * sums[below]
        result[gene] = distance.mean() / n_reference - places @ known / n_reference**2
    return result


def _checked(weights: sparse.csr_matrix, values: tuple[int, ...], truth: tuple[int, ...]) -> sparse.csr_matrix:
    """Return the weights, or refuse what are no means of reference spots, for arrays of such shapes."""
    if weights.shape != (truth[0], values[0]) or values[1:] != truth[1:]:
        raise ValueError(
            f"weights= {weights.shape}, values= {values} and truth= {truth} do not fit: they are (n_query, "
            "n_reference), (n_reference, n_genes) and (n_query, n_genes)."
        )
    counts = np.diff(weights.indptr)
    if not counts.all():
        raise ValueError(f"weights= has {int((counts == 0).sum())} rows without any reference spot.")
    if not (weights.data >= 0).all():
        raise ValueError("weights= holds NaN or negative values, which are no weights.")
    sums = np.asarray(weights.sum(axis=1)).ravel()
    if (np.abs(sums - 1) > SUM_TOLERANCE).any():
        raise ValueError(
            f"weights= has rows that sum to {sums.min():.3g}, not to one: a concatenation cuts weights without a word."
        )
    return weights


def _one(share: NDArray[np.float64], members: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the score of one query spot, for weights (k,), values (k, n_genes) and truth (n_genes,)."""
    error = share @ np.abs(members - truth)
    order = np.argsort(members, axis=0)
    sorted_values, sorted_share = np.take_along_axis(members, order, axis=0), share[order]
    # With values in order, E|X - X'| is twice the sum over gaps of P(below) P(above) gap.
    below = np.cumsum(sorted_share, axis=0)[:-1]
    spread = 2 * (below * (share.sum() - below) * np.diff(sorted_values, axis=0)).sum(axis=0)
    return error - spread / 2
