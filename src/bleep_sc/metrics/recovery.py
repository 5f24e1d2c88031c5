"""Whether a ranking of genes finds the ones that rank highest in truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bleep_sc.metrics._alike import alike


@dataclass(frozen=True)
class Recovery:
    """How well a ranking finds the truly highest genes."""

    overlap: float
    """Share of the true top genes that are among the predicted top ones."""
    auc: float
    """Chance that a true top gene is ranked above another one; 0.5 is chance."""


def recovery(scores: NDArray[np.floating], truth: NDArray[np.floating], *, n_top: int = 50) -> Recovery:
    """Compare two scores of the same genes, such as Moran's I of prediction and truth, by their ``n_top`` highest.

    Parameters
    ----------
    scores, truth
        (n_genes,), finite.
    n_top
        How many genes are "the top ones"; fewer than there are genes.

    Raises
    ------
    ValueError
        When there are not more genes than ``n_top``, or a score is not finite.

    Examples
    --------
    >>> bs.metrics.recovery(np.array([3.0, 1.0, 2.0, 0.0]), np.array([9.0, 8.0, 1.0, 0.0]), n_top=2)
    Recovery(overlap=0.5, auc=0.75)
    """
    from sklearn.metrics import roc_auc_score

    scores, truth = alike(scores=scores, truth=truth)
    if not 0 < n_top < len(truth):
        raise ValueError(f"n_top={n_top} must lie between 1 and {len(truth) - 1}, one less than there are genes.")
    if not (np.isfinite(scores).all() and np.isfinite(truth).all()):
        raise ValueError("scores= and truth= must be finite; give genes without a score the lowest one.")
    top = np.argsort(-truth, kind="stable")[:n_top]
    is_top = np.zeros(len(truth), dtype=bool)
    is_top[top] = True
    found = np.intersect1d(top, np.argsort(-scores, kind="stable")[:n_top])
    return Recovery(overlap=len(found) / n_top, auc=float(roc_auc_score(is_top, scores)))
