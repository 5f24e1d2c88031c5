"""Predictions that know nothing."""

import numpy as np
from numpy.typing import NDArray


def permuted(prediction: NDArray[np.floating], *, random_state: int = 0) -> NDArray[np.floating]:
    """Shuffle the spots of a prediction, all genes alike: what it says of places is gone, and nothing else.

    Examples
    --------
    >>> sorted(bs.metrics.permuted(np.array([[1.0], [2.0], [3.0]])).ravel().tolist())
    [1.0, 2.0, 3.0]
    """
    return prediction[np.random.default_rng(random_state).permutation(len(prediction))]
