"""Predicted beside measured values, column by column."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def alike(**arrays: Any) -> list[NDArray[np.float64]]:
    """Return arrays (n_spots, n_genes) as numbers of one kind, or refuse other shapes, which numpy would stretch."""
    values = [np.asarray(each, dtype=np.float64) for each in arrays.values()]
    if len({each.shape for each in values}) > 1:
        shapes = ", ".join(f"{name} {each.shape}" for name, each in zip(arrays, values, strict=True))
        raise ValueError(f"The shapes differ: {shapes}. Give the same spots and genes of all of them.")
    if values[0].ndim == 0:
        raise ValueError(f"{' and '.join(arrays)} must be arrays, (n_spots, n_genes).")
    return values


def mean_over_spots(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of every column; NaN without a spot."""
    if not len(values):
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.mean(axis=0))


def centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract the mean of every column: zeros where it does not vary, NaN where it is not finite."""
    finite = np.isfinite(values).all(axis=0)
    known = np.where(finite, values, 0.0)
    deviation = known - mean_over_spots(known)
    # Rounding leaves crumbs of a constant column, which would correlate with anything.
    varies = known.max(axis=0, initial=-np.inf) > known.min(axis=0, initial=np.inf)
    return np.where(finite, np.where(varies, deviation, 0.0), np.nan)


def unit_columns(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return columns less their mean, of length one; NaN where they do not vary or are not finite."""
    return _unit(centred(np.asarray(values, dtype=np.float64)))


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale every column to length one; NaN where there is none. By its largest entry first: squares overflow."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = values / np.abs(values).max(axis=0, initial=0.0)
        return scaled / np.sqrt((scaled**2).sum(axis=0))
