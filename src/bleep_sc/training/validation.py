"""How a slide that is held out inside the reference judges a model."""

import numpy as np
from numpy.typing import NDArray

from bleep_sc.metrics.correlation import pearson

N_MONITORED = 50


def monitored_genes(expression: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the columns of the most variable genes of (n_spots, n_genes): most others of a panel are noise."""
    return np.argsort(-expression.var(axis=0), kind="stable")[:N_MONITORED]


def validation_score(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Return the mean Pearson correlation over genes; a gene that does not vary counts as zero."""
    return float(np.nan_to_num(pearson(prediction, truth)).mean())
