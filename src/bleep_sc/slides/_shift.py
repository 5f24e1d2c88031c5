"""Where a JPEG was damaged without its decoder noticing: from there on, all colours are off by the same step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 20.0
"""Grey values to which steps are clipped, so that edges of tissue do not count as more."""
LEAST, SIGMAS = 1.5, 4.0
"""Grey values, and standard errors, by which a shift stands out."""
FEWEST = 2
"""Blocks of a row on both sides of the place; nearer to the edge it is not looked for."""


def shifted_from(pixels: NDArray[np.uint8], block: tuple[int, int]) -> tuple[int, int] | None:
    """Return the x and y from which colours are shifted, None where they are not.

    A JPEG holds the brightness of a block as its difference from the block before. After a wrong one all that follow
    are off: along the rest of that row of blocks, and along the next row up to the same column, they stand a step off
    those above. No edge of tissue ends in one row of blocks at the column where it began in the row before.

    Parameters
    ----------
    pixels
        (height, width, 3).
    block
        Height and width of what is coded together, px.
    """
    if pixels.shape[0] < 4 * block[0] or pixels.shape[1] < 4 * FEWEST * block[1]:
        return None
    steps = _steps(pixels, block)  # (rows, columns, 3)
    n_columns = steps.shape[1]
    begin = np.arange(FEWEST, n_columns - FEWEST + 1)  # first column that is shifted
    sums = np.concatenate([np.zeros_like(steps[:, :1]), np.cumsum(steps, axis=1)], axis=1)
    left = sums[:, begin] / begin[:, None]  # mean step of the columns before, (rows, columns, 3)
    right = (sums[:, -1:] - sums[:, begin]) / (n_columns - begin)[:, None]
    inside = np.minimum(np.abs(right[:-1]), np.abs(left[1:])) * (np.sign(right[:-1]) == np.sign(left[1:]))
    outside = np.maximum(np.abs(left[:-1]), np.abs(right[1:]))
    spread = 1.4826 * np.median(np.abs(steps - np.median(steps, axis=(0, 1))), axis=(0, 1))
    errors = spread * (1 / np.sqrt(begin) + 1 / np.sqrt(n_columns - begin))[:, None]
    evidence = (inside - 2 * outside - LEAST) - SIGMAS * errors
    row, column, _ = np.unravel_index(np.argmax(evidence), evidence.shape)
    if evidence.max() <= 0:
        return None
    return int(begin[column]) * block[1], (int(row) + 1) * block[0]


def _steps(pixels: NDArray[np.uint8], block: tuple[int, int]) -> NDArray[np.float32]:
    """Return how far every block stands off the one above, beyond the slope around, (rows, columns, 3)."""
    tall, wide = block
    height, width = pixels.shape[:2]
    tops = np.arange(tall, height - 1, tall)
    lines = [pixels[tops + offset].astype(np.int16) for offset in (-2, -1, 0, 1)]
    step = (lines[2] - lines[1]) - ((lines[1] - lines[0]) + (lines[3] - lines[2])) / np.float32(2)
    lefts = np.arange(0, width, wide)
    sums = np.add.reduceat(step, lefts, axis=1)
    means = sums / np.diff([*lefts, width])[:, None]
    return np.clip(means, -LARGEST, LARGEST).astype(np.float32)
