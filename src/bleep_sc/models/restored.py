"""Predictions that vary as much as measurements do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPS = 1e-8
"""Variance of rounding errors: a gene that varies less does not vary."""


def variance_within(values: Any, slides: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return the variance of every gene within slides, mean over slides, (n_genes,), of dense or sparse expression."""
    return np.mean([_variance(values[np.flatnonzero(slides == slide)]) for slide in np.unique(slides)], axis=0)


def _variance(values: Any) -> NDArray[np.float64]:
    if not sparse.issparse(values):
        return np.var(values, axis=0, dtype=np.float64)
    exact = values.astype(np.float64)
    mean = np.asarray(exact.mean(axis=0)).ravel()
    return np.maximum(np.asarray(exact.multiply(exact).mean(axis=0)).ravel() - mean**2, 0)


def restore_variance(
    predicted: NDArray[np.floating],
    slides: NDArray[np.str_],
    variance: NDArray[np.floating],
    *,
    max_factor: float,
    lowest: float,
) -> NDArray[np.float32]:
    r"""Scale the deviation of every gene from its mean over a slide, so that it varies by ``variance`` there.

    A gene's prediction :math:`p` becomes :math:`\bar p + c \, (p - \bar p)` with
    :math:`c = \min(\sqrt{v / \operatorname{var} p}, c_\max)`; one that does not vary stays as it is.

    Parameters
    ----------
    predicted
        (n_spots, n_genes).
    slides
        Slide of every spot, (n_spots,).
    variance
        Wanted, (n_genes,).
    max_factor
        No deviation grows by more, since predictions that hardly vary may be nothing but noise.
    lowest
        Smaller values become this one.

    Returns
    -------
    (n_spots, n_genes).
    """
    result = np.array(predicted, dtype=np.float32)
    for slide in np.unique(slides):
        rows = slides == slide
        mean, varies = result[rows].mean(axis=0, dtype=np.float64), np.var(result[rows], axis=0, dtype=np.float64)
        factor = np.sqrt(variance / np.maximum(varies, EPS))
        factor = np.where(varies > EPS, np.minimum(factor, max_factor), 1.0)
        result[rows] = np.maximum(mean + factor * (result[rows] - mean), lowest)
    return result
