"""Distances between prediction and truth, gene by gene, in the units of the expression."""

import numpy as np
from numpy.typing import NDArray


def rmse(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Root of the mean squared error of every column; (n_spots, n_genes) each.

    Examples
    --------
    >>> import numpy as np
    >>> import bleep_sc as bs
    >>> bs.metrics.rmse(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]])).round(3).tolist()
    [2.236]
    """
    return np.sqrt(((np.asarray(prediction, dtype=np.float64) - truth) ** 2).mean(axis=0))


def mae(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean absolute error of every column; (n_spots, n_genes) each.

    Examples
    --------
    >>> import numpy as np
    >>> import bleep_sc as bs
    >>> bs.metrics.mae(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]])).tolist()
    [2.0]
    """
    return np.abs(np.asarray(prediction, dtype=np.float64) - truth).mean(axis=0)
