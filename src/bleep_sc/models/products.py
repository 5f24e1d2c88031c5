"""Matrices on a GPU, and their products, where there is room; else by NumPy and SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from bleep_sc.models.on_device import fits

if TYPE_CHECKING:
    from numpy.typing import NDArray


def product(one: Any, other: NDArray[Any], device: torch.device) -> NDArray[Any]:
    """Multiply matrices (a, n), dense or sparse, and (n, b): on a GPU, if both and the product are small there."""
    (a, n), b = one.shape, other.shape[1]
    if not fits(other.dtype.itemsize * (a * n + n * b + a * b), device):
        return np.asarray(one @ other)
    there = dense_tensor(other, device)
    return (dense_tensor(one, device).to(there.dtype) @ there).cpu().numpy()


def dense_tensor(matrix: Any, device: torch.device) -> Tensor:
    """Return a dense or sparse matrix as a dense tensor on a device, to which only what is stored is sent."""
    if not sparse.issparse(matrix):
        return torch.from_numpy(np.require(matrix, requirements="W")).to(device)
    if matrix.format == "csc":
        return dense_tensor(matrix.T, device).T
    stored = matrix.tocsr()
    counts, columns, values = (
        torch.from_numpy(each).to(device)
        for each in (np.diff(stored.indptr).astype(np.int64), stored.indices.astype(np.int64), stored.data)
    )
    n_rows, width = stored.shape
    starts = torch.arange(n_rows, device=device) * width
    places = torch.repeat_interleave(starts, counts, output_size=len(columns)) + columns
    result = torch.zeros(n_rows * width, dtype=values.dtype, device=device)
    return result.index_add_(0, places, values).view(n_rows, width)
