"""Where the objects of a segmentation lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 4096
"""Side of what is in memory at once, px."""


def label_centers(labels: Any) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the labels of a segmentation but for 0, the background; the mean (x, y) of their px; how many these are.

    ``labels`` (height, width), in memory or not, are read block by block; the first px spans 0 to 1. Returned are (n,),
    (n, 2) and (n,).
    """
    height, width = labels.shape
    parts = []
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            block = np.asarray(labels[top : top + BLOCK, left : left + BLOCK])
            which, names = pd.factorize(block.ravel())  # unlike np.unique it does not sort the px
            tall, wide = block.shape
            x, y = np.tile(np.arange(wide) + left + 0.5, tall), np.repeat(np.arange(tall) + top + 0.5, wide)
            sums = [np.bincount(which), np.bincount(which, x), np.bincount(which, y)]
            parts.append(np.column_stack([names, *sums]))
    table = np.concatenate(parts)
    names, which = np.unique(table[:, 0], return_inverse=True)
    n, x, y = (np.bincount(which, column)[names != 0] for column in table[:, 1:].T)
    return names[names != 0].astype(np.int64), np.column_stack([x, y]) / n[:, None], n.astype(np.int64)
