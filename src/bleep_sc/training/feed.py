"""Batches on the device: gathered there where all spots are small beside what is free on it, else sent to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bleep_sc._arrays.sparse_rows import SparseRows
from bleep_sc.models.on_device import fits, transfer
from bleep_sc.models.products import dense_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from bleep_sc.training.pairs import Pairs


class Feed:
    """What the loop loads of a batch, and what becomes of it on the device."""

    def __init__(self, pairs: Pairs, device: torch.device) -> None:
        self.device = device
        self.rows = None if pairs.are_patches else rows_on_device([np.asarray(pairs.images), pairs.expression], device)
        self.load: Callable[[Tensor], Any] = pairs.batch if self.rows is None else _rows

    def __call__(self, loaded: Any) -> tuple[Tensor, ...]:
        """Return features (B, d) or images (B, 3, S, S), and expression (B, genes), of what was loaded."""
        if self.rows is not None:
            return self.rows(loaded)
        return tuple(transfer(each, self.device) for each in loaded)


def _rows(batch: Tensor) -> Tensor:
    return batch


def rows_on_device(
    arrays: Sequence[NDArray[Any] | SparseRows], device: torch.device
) -> Callable[[Tensor], tuple[Tensor, ...]] | None:
    """Return what gathers rows of arrays on a GPU, where these are kept; None where they do not fit, or on others."""
    if not fits(sum(array.nbytes for array in arrays), device):
        return None
    there = [dense_tensor(array.stored if isinstance(array, SparseRows) else array, device) for array in arrays]

    def gathered(rows: Tensor) -> tuple[Tensor, ...]:
        rows = transfer(rows, device)
        return tuple(array[rows] for array in there)

    return gathered


def some_rows_on(
    arrays: Sequence[NDArray[Any] | SparseRows], device: torch.device
) -> Callable[[NDArray[np.intp]], list[Tensor]]:
    """Return what gives rows of arrays on a device, gathered there where these are small."""
    gathered = rows_on_device(arrays, device)

    def rows_of(rows: NDArray[np.intp]) -> list[Tensor]:
        if gathered is not None:
            return list(gathered(torch.from_numpy(rows)))
        return [transfer(torch.from_numpy(array[rows]), device) for array in arrays]

    return rows_of
