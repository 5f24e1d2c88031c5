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
