"""Sparse matrices whose rows are made dense when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._arrays.blocks import dense, slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

DENSE_BYTES = 2**30
"""Of a sparse matrix that is made dense as a whole, at most."""


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix (n, n_columns) that is read as a dense one, some rows at a time: an ``Unread`` in memory."""

    stored: sparse.csr_matrix
    """float32."""

    ndim = 2
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n_columns)."""
        return self.stored.shape

    @property
    def nbytes(self) -> int:
        """Of all rows, when they are dense."""
        return self.dtype.itemsize * self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        return self.stored[rows].toarray()

    def take(self, rows: NDArray[Any]) -> SparseRows:
        """Return some rows, as sparse as they are."""
        return SparseRows(self.stored[rows])

    def batches(self, batch_size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """Give positions and rows (batch, n_columns), one batch after another."""
        for rows in slices(len(self), batch_size):
            yield np.arange(rows.start, rows.stop), self[rows]


def dense_if_small(matrix: Any) -> NDArray[np.float32] | SparseRows:
    """Return a dense float32 array; of a sparse matrix that would take more than 1 GiB, rows that become dense."""
    if not sparse.issparse(matrix) or 4 * matrix.shape[0] * matrix.shape[1] <= DENSE_BYTES:
        return dense(matrix)
    return SparseRows(matrix.tocsr().astype(np.float32, copy=False))
