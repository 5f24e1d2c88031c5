"""Sums of rows of sparse or dense expression, on all cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from bleep_sc._arrays.blocks import slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUERIES = 64
"""Whose neighbours are summed at once, at most."""
LAID = 2**24
"""Values of sparse expression that all cores lay side by side at once: 200 MB."""


def weighted_sums(weights: sparse.csr_matrix, values: Any) -> NDArray[np.float32]:
    """Multiply sparse weights (n, n_keys) with sparse or dense rows (n_keys, n_genes) on all cores; (n, n_genes).

    scipy's product of two sparse matrices takes one core, and is sparse. Here every row's neighbours are laid one after
    another, and summed into a dense array.
    """
    result = np.empty((weights.shape[0], values.shape[1]), dtype=np.float32)

    def fill(rows: slice) -> None:
        some = weights[rows]
        if sparse.issparse(values):
            laid = values[some.indices]
            laid.data = laid.data * np.repeat(some.data, np.diff(laid.indptr))
            some = sparse.csr_matrix((laid.data, laid.indices, laid.indptr[some.indptr]), shape=result[rows].shape)
            result[rows] = some.toarray()
        else:
            result[rows] = some @ values

    n_threads = torch.get_num_threads()
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(fill, slices(len(result), _at_once(weights, values, n_threads))))
    return result


def _at_once(weights: sparse.csr_matrix, values: Any, n_threads: int) -> int:
    """Return of how many rows of weights the neighbours are laid side by side in every thread."""
    if not sparse.issparse(values):
        return QUERIES
    laid = weights.nnz / max(1, weights.shape[0]) * values.nnz / max(1, values.shape[0])  # for a row of weights
    return int(np.clip(LAID / n_threads / max(1.0, laid), 1, QUERIES))
