"""Agreement of two clusterings of the same spots."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cluster_agreement(a: NDArray[Any], b: NDArray[Any]) -> dict[str, float]:
    """Return adjusted Rand index, normalised and adjusted mutual information as ``ari``, ``nmi``, ``ami``.

    Examples
    --------
    Names do not matter:

    >>> bs.metrics.cluster_agreement([0, 0, 1, 1], ["b", "b", "a", "a"])["ari"]
    1.0
    """
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score

    a, b = np.asarray(a).astype(str), np.asarray(b).astype(str)
    return {
        "ari": float(adjusted_rand_score(a, b)),
        "nmi": float(normalized_mutual_info_score(a, b)),
        "ami": float(adjusted_mutual_info_score(a, b)),
    }
