"""Where the objects of a segmentation lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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
            names, which = np.unique(block, return_inverse=True)
            y, x = (axis.ravel() + 0.5 for axis in np.indices(block.shape))
            sums = [np.bincount(which.ravel(), weights) for weights in (np.ones(block.size), x + left, y + top)]
            parts.append(np.column_stack([names, *sums]))
    table = np.concatenate(parts)
    names, which = np.unique(table[:, 0], return_inverse=True)
    n, x, y = (np.bincount(which, column)[names != 0] for column in table[:, 1:].T)
    return names[names != 0].astype(np.int64), np.column_stack([x, y]) / n[:, None], n.astype(np.int64)
