"""How much predictions vary, beside how much the truth does."""

import numpy as np
from numpy.typing import NDArray


def relative_variance_distance(
    prediction: NDArray[np.floating], truth: NDArray[np.floating], *, eps: float = 1e-2
) -> float:
    r"""Mean over genes of :math:`((v_\mathrm{predicted} - v_\mathrm{measured}) / (v_\mathrm{measured} + \epsilon))^2`.

    0 is best; a prediction that does not vary scores about 1. Noise improves it: read it beside the CRPS, which noise
    makes worse. ``eps`` keeps genes that hardly vary from ruling the mean (as in TRIPLEX, CVPR 2024).

    Examples
    --------
    Half of the deviations is a quarter of the variance:

    >>> import numpy as np
    >>> import bleep_sc as bs
    >>> truth = np.array([[0.0], [2.0], [4.0]])
    >>> round(bs.metrics.relative_variance_distance(truth / 2, truth, eps=0.0), 3)
    0.562
    """
    measured = np.var(truth, axis=0, dtype=np.float64)
    distance = (np.var(prediction, axis=0, dtype=np.float64) - measured) / (measured + eps)
    return float((distance**2).mean())
