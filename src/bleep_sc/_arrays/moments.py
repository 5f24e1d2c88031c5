"""Means and variances of columns, by blocks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.blocks import row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray


def moments(values: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of every column, (n_columns,) each, of dense rows that pass by twice."""
    n, n_columns = values.shape
    mean, variance = np.zeros(n_columns), np.zeros(n_columns)
    for _, block in row_blocks(values):
        mean += block.sum(axis=0, dtype=np.float64)
    mean /= n
    for _, block in row_blocks(values):
        variance += np.square(block - mean).sum(axis=0)
    return mean, variance / n
