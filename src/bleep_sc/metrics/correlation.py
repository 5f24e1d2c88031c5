"""Correlations over spots, gene by gene, safe for genes that do not vary."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def pearson(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Pearson correlation of every column.

    Parameters
    ----------
    prediction, truth
        (n_spots, n_genes).

    Returns
    -------
    (n_genes,); NaN where a column of either side does not vary or is not finite.
    """
    a, b = _centred(prediction), _centred(truth)
    norms = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(norms > 0, (a * b).sum(axis=0) / norms, np.nan)


def spearman(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman correlation of every column: Pearson correlation of the ranks, ties at their mean."""
    return pearson(
        rankdata(prediction, axis=0, nan_policy="propagate"), rankdata(truth, axis=0, nan_policy="propagate")
    )


def _centred(values: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    centred = values - values.mean(axis=0)
    # Rounding leaves crumbs of a constant column, which would correlate with anything.
    return np.where(np.ptp(values, axis=0) > 0, centred, 0.0)
