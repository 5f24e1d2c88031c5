"""Distances between prediction and truth, of values and of how much they vary."""

import numpy as np
from numpy.typing import NDArray

from bleep_sc.metrics._alike import alike, mean_over_spots


def rmse(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Root of the mean squared error of every column; (n_spots, n_genes) each.

    Examples
    --------
    >>> bs.metrics.rmse(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]])).round(3).tolist()
    [2.236]
    """
    a, b = alike(prediction=prediction, truth=truth)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.sqrt(mean_over_spots((a - b) ** 2))


def mae(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean absolute error of every column; (n_spots, n_genes) each.

    Examples
    --------
    >>> bs.metrics.mae(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]])).tolist()
    [2.0]
    """
    a, b = alike(prediction=prediction, truth=truth)
    with np.errstate(invalid="ignore"):
        return mean_over_spots(np.abs(a - b))


def relative_variance_distance(
    prediction: NDArray[np.floating], truth: NDArray[np.floating], *, eps: float = 1e-2
) -> float:
    r"""Mean over genes of :math:`((v_\mathrm{predicted} - v_\mathrm{measured}) / (v_\mathrm{measured} + \epsilon))^2`.

    0 is best; a prediction that does not vary scores about 1. Noise improves it: read it beside the CRPS, which noise
    makes worse. ``eps`` keeps genes that hardly vary from ruling the mean (as in TRIPLEX, CVPR 2024). NaN without a
    gene, and for fewer than two spots, on which nothing varies.

    Examples
    --------
    Half of the deviations is a quarter of the variance:

    >>> truth = np.array([[0.0], [2.0], [4.0]])
    >>> round(bs.metrics.relative_variance_distance(truth / 2, truth, eps=0.0), 3)
    0.562
    """
    a, b = alike(prediction=prediction, truth=truth)
    if len(b) < 2 or not b.size:
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        measured = b.var(axis=0)
        distance = (a.var(axis=0) - measured) / (measured + eps)
    return float((distance**2).mean())
