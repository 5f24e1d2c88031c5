"""Correlations over spots, gene by gene, safe for genes that do not vary."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bleep_sc.metrics._alike import alike, centred, mean_over_spots, unit_columns

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
    a, b = (unit_columns(side) for side in alike(prediction=prediction, truth=truth))
    return np.clip((a * b).sum(axis=0), -1.0, 1.0) if len(a) else np.full(a.shape[1:], np.nan)


def spearman(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman correlation of every column: Pearson correlation of the ranks, ties at their mean.

    Examples
    --------
    >>> bs.metrics.spearman(np.array([[1.0], [2.0], [9.0]]), np.array([[0.0], [5.0], [6.0]])).round(3).tolist()
    [1.0]
    """
    sides = alike(prediction=prediction, truth=truth)
    return pearson(*(rankdata(side, axis=0, nan_policy="propagate") if len(side) else side for side in sides))


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
    sides = alike(prediction=prediction, truth=truth)
    a, b = map(centred, sides)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = mean_over_spots(sides[0]) - mean_over_spots(sides[1])
        spread = mean_over_spots(a**2) + mean_over_spots(b**2) + distance**2
        return np.where((b**2).sum(axis=0) > 0, 2 * mean_over_spots(a * b) / spread, np.nan)


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
    a, b, c = (unit_columns(side) for side in alike(prediction=prediction, truth=truth, given=given))
    does_not_vary = np.isfinite(given).all(axis=0) & np.isnan(c).all(axis=0)
    residuals = [side - np.where(does_not_vary, 0.0, (side * c).sum(axis=0) * c) for side in (a, b)]
    left = [(residual**2).sum(axis=0) for residual in residuals]
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (residuals[0] * residuals[1]).sum(axis=0) / np.sqrt(left[0] * left[1])
    return np.where((left[0] > EXPLAINED) & (left[1] > EXPLAINED), np.clip(r, -1.0, 1.0), np.nan)
