"""Arrays that pass by in blocks of rows, whether they are in memory or read when they are needed.

What is not in memory has a ``shape``, and ``values[start:stop]`` reads rows as an array or a CSR matrix: zarr arrays,
HDF5 datasets, and what :mod:`bleep_sc.tl` makes of references on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._output.damage import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK_BYTES = 2**27
"""Of the rows that are read at once, if they are dense."""


def in_memory(values: Any) -> bool:
    """Tell whether an array is in memory, or mapped into it."""
    return isinstance(values, np.ndarray) or sparse.issparse(values)


def row_blocks(
    values: Any, *, within: slice | None = None, needed: NDArray[np.bool_] | None = None
) -> Iterator[tuple[slice, Any]]:
    """Give rows and their values, one block after another.

    ``within`` are the rows to begin and end at. Of a block in which some rows are ``needed``, (n_rows,), those from the
    first to the last are given; others are not read.
    """
    if sparse.issparse(values) and values.format == "csc":
        values = values.tocsr()  # of columns, every block would look through all values
    n_rows = max(1, BLOCK_BYTES // (4 * max(1, values.shape[1])))
    first, end = (0, values.shape[0]) if within is None else (within.start, within.stop)
    for start in range(first, end, n_rows):
        stop = min(start + n_rows, end)
        if needed is not None:
            found = np.flatnonzero(needed[start:stop])
            start, stop = (start + found[0], start + found[-1] + 1) if len(found) else (start, start)
        if start < stop:
            yield slice(int(start), int(stop)), values[start:stop]


def slices(n: int, size: int) -> list[slice]:
    """Cut ``n`` places into slices of one size; the last holds what is left."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def columns_of(values: Any, columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return some columns, (n, n_columns), of dense rows that pass by in blocks."""
    return np.concatenate([block[:, columns] for _, block in row_blocks(values)])


def extremes(values: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the least and the largest value of every column, (n_columns,) each."""
    lowest = np.full(values.shape[1], np.inf, dtype=np.float32)
    highest = -lowest
    for _, block in row_blocks(values):
        lowest = np.minimum(lowest, _along(block, "min"))
        highest = np.maximum(highest, _along(block, "max"))
    return lowest, highest


def _along(block: Any, extreme: str) -> NDArray[np.float32]:
    found = getattr(block, extreme)(axis=0)
    return np.asarray(found.toarray() if sparse.issparse(found) else found, dtype=np.float32).ravel()


def squares(values: Any) -> Any:
    """Return the squares of an array; what is not in memory stays there, and is squared when it is read."""
    if not in_memory(values):
        return _Squares(values)
    return values.multiply(values).tocsr() if sparse.issparse(values) else np.square(values)


class _Squares:
    def __init__(self, values: Any) -> None:
        self.values, self.shape = values, values.shape

    def __getitem__(self, rows: slice) -> Any:
        return squares(self.values[rows])


def some_rows(values: Any, rows: NDArray[np.intp]) -> Any:
    """Return rows, in ascending order, of an array; what is not in memory is read when it is needed."""
    return values[rows] if in_memory(values) else _SomeRows(values, rows)


class _SomeRows:
    def __init__(self, values: Any, rows: NDArray[np.intp]) -> None:
        self.values, self.rows, self.shape = values, rows, (len(rows), *values.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice) -> Any:
        rows = self.rows[index]
        if not len(rows):
            return self.values[0:0]
        # However far apart the rows lie, no more are read at once than are asked for.
        runs = np.split(rows, np.flatnonzero(np.diff(rows // len(rows))) + 1)
        return together([self.values[int(run[0]) : int(run[-1]) + 1][run - run[0]] for run in runs])


def together(parts: list[Any]) -> Any:
    """Return parts one after another, as CSR where all of them are sparse."""
    return sparse.vstack(parts, format="csr") if all(map(sparse.issparse, parts)) else np.concatenate(parts)


def stored_values(matrix: Any) -> NDArray[Any]:
    """Return the numbers that a dense or sparse matrix stores."""
    return matrix.data if sparse.issparse(matrix) else np.asarray(matrix)


def require_whole(matrix: Any, place: str) -> None:
    """Refuse a sparse matrix that points outside itself: what is stored beside it would be read, or the process end."""
    if not sparse.issparse(matrix) or matrix.format not in ("csr", "csc"):
        return
    major, minor = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    pointers, indices = matrix.indptr, matrix.indices
    ends_well = len(pointers) == major + 1 and pointers[0] == 0 and (np.diff(pointers) >= 0).all()
    if not ends_well or pointers[-1] > min(len(indices), len(matrix.data)):
        raise damaged(place, "the rows of its sparse matrix begin and end nowhere")
    if len(indices) and (indices.min() < 0 or indices.max() >= minor):
        raise damaged(place, f"its sparse matrix has values at {indices.min()} to {indices.max()}, of {minor}")


def dense(matrix: Any) -> NDArray[np.float32]:
    """Return a dense float32 array of a dense or sparse matrix."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float32)
