"""A number for every row of an array, which changes when any value or the name of its column does."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def column_factors(names: Iterable[str]) -> NDArray[np.uint64]:
    """Return an odd number for every column, a hash of its name, (d,)."""
    return np.array([_hash(name) | 1 for name in names], dtype=np.uint64)


def row_checksums(block: Any, factors: NDArray[np.uint64]) -> NDArray[np.uint64]:
    r"""Return :math:`\sum_j a_j x_{ij} \bmod 2^{64}` of every row of a dense or sparse array (n, d), (n,).

    :math:`x_{ij}` are the bits of a value as float32, and :math:`a_j` the factor of its column: neither the order of
    the columns nor how a matrix is stored counts. Sums of several arrays add up.
    """
    if not sparse.issparse(block):
        result: NDArray[np.uint64] = _bits(block) @ factors
        return result
    rows = block.tocsr()
    bits = sparse.csr_matrix((_bits(rows.data), rows.indices, rows.indptr), shape=rows.shape)
    return np.asarray(bits @ factors).ravel()


def shortened(checksums: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return the upper halves, on which all bits of all values act; (n,)."""
    return (checksums >> np.uint64(32)).astype(np.uint32)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest(), "little")


def _bits(values: Any) -> NDArray[np.uint64]:
    """Return the bits of values as float32; adding zero makes minus zero zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (np.asarray(values).astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)
