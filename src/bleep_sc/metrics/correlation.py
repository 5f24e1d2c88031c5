"""Correlations over spots, gene by gene, safe for genes that do not vary."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

EXPLAINED = 1e-9
"""A share of the variance as small as this is the rounding of float32."""


def pearson(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Pearson correlation of every column.

    Parameters
    ----------
    prediction, truth
        (n_spots, n_genes).

    Returns
    -------
    (n_genes,); NaN where a column of either side does not vary or is not finite.

    Examples
    --------
    Two genes on three spots; the second does not vary:

    >>> truth = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> prediction = np.array([[0.1, 0.0], [0.4, 1.0], [0.7, 2.0]])
    >>> bs.metrics.pearson(prediction, truth).round(3).tolist()
    [1.0, nan]
    """
    a, b = _centred(prediction), _centred(truth)
    norms = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(norms > 0, (a * b).sum(axis=0) / norms, np.nan)


def spearman(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman correlation of every column: Pearson correlation of the ranks, ties at their mean.

    Examples
    --------
    >>> bs.metrics.spearman(np.array([[1.0], [2.0], [9.0]]), np.array([[0.0], [5.0], [6.0]])).round(3).tolist()
    [1.0]
    """
    return pearson(
        rankdata(prediction, axis=0, nan_policy="propagate"), rankdata(truth, axis=0, nan_policy="propagate")
    )


def concordance(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""Lin's concordance correlation coefficient of every column: a correlation that also asks for level and spread.

    :math:`2 s_{xy} / (s_x^2 + s_y^2 + (\bar x - \bar y)^2)` (Lin, Biometrics 1989), with moments over n. A constant
    prediction of a truth that varies has none in common with it: 0. NaN where the truth does not vary.

    Examples
    --------
    The pattern is right and the level is not:

    >>> truth = np.array([[0.0], [1.0], [2.0]])
    >>> bs.metrics.concordance(truth + 1, truth).round(3).tolist()
    [0.571]
    """
    a, b = _centred(prediction), _centred(truth)
    distance = np.asarray(prediction, dtype=np.float64).mean(axis=0) - np.asarray(truth, dtype=np.float64).mean(axis=0)
    spread = (a**2).mean(axis=0) + (b**2).mean(axis=0) + distance**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((b**2).sum(axis=0) > 0, 2 * (a * b).mean(axis=0) / spread, np.nan)


def partial_pearson(
    prediction: NDArray[np.floating], truth: NDArray[np.floating], given: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Pearson correlation of prediction and truth, column by column, with what a third prediction explains taken out.

    The correlation of the residuals of both after a linear regression on ``given``. Where ``given`` does not vary it
    takes nothing out. NaN where nothing is left of either side.

    Examples
    --------
    A prediction that is nothing but what was given adds nothing:

    >>> given, own = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[1.0], [-1.0], [-1.0], [1.0]])
    >>> truth = given + own
    >>> bs.metrics.partial_pearson(2 * given, truth, given).tolist()
    [nan]
    >>> bs.metrics.partial_pearson(given + 0.1 * own, truth, given).round(3).tolist()
    [1.0]
    """
    a, b, c = _centred(prediction), _centred(truth), _centred(given)
    norm = (c**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        residuals = [side - np.where(norm > 0, (side * c).sum(axis=0) / norm, 0.0) * c for side in (a, b)]
    scale = [(side**2).sum(axis=0) for side in (a, b)]
    left = [(residual**2).sum(axis=0) for residual in residuals]
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (residuals[0] * residuals[1]).sum(axis=0) / np.sqrt(left[0] * left[1])
    defined = (left[0] > EXPLAINED * scale[0]) & (left[1] > EXPLAINED * scale[1])
    return np.where(defined, r, np.nan)


def _centred(values: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    centred = values - values.mean(axis=0)
    # Rounding leaves crumbs of a constant column, which would correlate with anything.
    return np.where(np.ptp(values, axis=0) > 0, centred, 0.0)
