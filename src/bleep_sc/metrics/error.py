"""Distances between prediction and truth, of values and of how much they vary."""

import numpy as np
from numpy.typing import NDArray


def rmse(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Root of the mean squared error of every column; (n_spots, n_genes) each.

    Examples
    --------
    >>> bs.metrics.rmse(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]])).round(3).tolist()
    [2.236]
    """
    return np.sqrt(((np.asarray(prediction, dtype=np.float64) - truth) ** 2).mean(axis=0))


def mae(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean absolute error of every column; (n_spots, n_genes) each.

    Examples
    --------
    >>> bs.metrics.mae(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]])).tolist()
    [2.0]
    """
    return np.abs(np.asarray(prediction, dtype=np.float64) - truth).mean(axis=0)


def relative_variance_distance(
    prediction: NDArray[np.floating], truth: NDArray[np.floating], *, eps: float = 1e-2
) -> float:
    r"""Mean over genes of :math:`((v_\mathrm{predicted} - v_\mathrm{measured}) / (v_\mathrm{measured} + \epsilon))^2`.

    0 is best; a prediction that does not vary scores about 1. Noise improves it: read it beside the CRPS, which noise
    makes worse. ``eps`` keeps genes that hardly vary from ruling the mean (as in TRIPLEX, CVPR 2024).

    Examples
    --------
    Half of the deviations is a quarter of the variance:

    >>> truth = np.array([[0.0], [2.0], [4.0]])
    >>> round(bs.metrics.relative_variance_distance(truth / 2, truth, eps=0.0), 3)
    0.562
    """
    measured = np.var(truth, axis=0, dtype=np.float64)
    distance = (np.var(prediction, axis=0, dtype=np.float64) - measured) / (measured + eps)
    return float((distance**2).mean())
