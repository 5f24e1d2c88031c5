"""Cutting square patches around centres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

WHITE = 255


def cut_patches(
    image: NDArray[np.uint8],
    centers: NDArray[np.float64],
    *,
    side: int,
    size: int,
    pad: Literal["reflect", "constant"] = "reflect",
) -> NDArray[np.uint8]:
    """Cut a window around every centre, and resample it where ``size`` differs from ``side``.

    Parameters
    ----------
    image
        (height, width, 3).
    centers
        (x, y) in px of the image, (n, 2).
    side
        Side of the windows, px of the image.
    size
        Side of the patches, px.
    pad
        What lies beyond the image: its reflection, or white.

    Returns
    -------
    (n, size, size, 3) uint8.
    """
    patches = np.empty((len(centers), size, size, 3), dtype=np.uint8)
    outside = off_slide(image.shape, centers, side)
    for i, (left, top) in enumerate(_corners(centers, side)):
        inner = image[top : top + side, left : left + side]
        window = _padded_window(image, left, top, side, pad) if outside[i] else inner
        patches[i] = window if side == size else _resample(window, size)
    return patches


def off_slide(shape: tuple[int, ...], centers: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """Tell which windows leave the image, (n,)."""
    corners = _corners(centers, side)
    leaves = (corners < 0) | (corners + side > (shape[1], shape[0]))  # (n, 2)
    return np.asarray(leaves.any(axis=1))


def _corners(centers: NDArray[np.float64], side: int) -> NDArray[np.int64]:
    """Return the left and top of every window, (n, 2)."""
    return np.floor(np.asarray(centers) + 0.5).astype(np.int64) - side // 2


def _padded_window(image: NDArray[np.uint8], left: int, top: int, side: int, pad: str) -> NDArray[np.uint8]:
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    height, width = image.shape[:2]
    window = image[np.ix_(_reflected(rows, height), _reflected(columns, width))]
    if pad == "constant":
        beyond = ((rows < 0) | (rows >= height))[:, None] | ((columns < 0) | (columns >= width))[None, :]
        window[beyond] = WHITE
    return window


def _reflected(index: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Fold indices back into an axis, as often as they leave it; the border is repeated."""
    folded = index % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def _resample(window: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    from PIL import Image

    # Pillow's bilinear filter widens with the reduction, so that it does not alias.
    return np.asarray(Image.fromarray(window).resize((size, size), Image.Resampling.BILINEAR))


def check_centers(
    shape: tuple[int, ...], centers: NDArray[np.float64], scale_factors: Mapping[str, float] | None = None
) -> None:
    """Refuse centres outside the image, and say what they may be instead.

    Parameters
    ----------
    shape
        (height, width, ...) of the image.
    centers
        (x, y), (n, 2).
    scale_factors
        Factors from full-resolution px to those of smaller images, by name.
    """
    if not np.isfinite(centers).all():
        bad = int((~np.isfinite(centers).all(axis=1)).sum())
        raise ValueError(f"The coordinates of {bad} spots are NaN or infinite. Drop these spots first.")
    extent = np.array([shape[1], shape[0]])
    outside = ~_inside(centers, extent)
    if not outside.any():
        return
    low, high = centers.min(axis=0), centers.max(axis=0)
    raise ValueError(
        f"{int(outside.sum())} of {len(centers)} spots lie outside the image: it is {extent[0]} px wide and "
        f"{extent[1]} px high, the spots span x {low[0]:.0f} to {high[0]:.0f} and y {low[1]:.0f} to {high[1]:.0f}. "
        + _diagnosis(centers, extent, scale_factors or {})
    )


def _inside(centers: NDArray[np.float64], extent: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(((centers >= 0) & (centers < extent)).all(axis=1))


def _diagnosis(centers: NDArray[np.float64], extent: NDArray[np.int64], scale_factors: Mapping[str, float]) -> str:
    if _inside(centers[:, ::-1], extent).all():
        return "With x and y swapped all of them lie inside: obsm['spatial'] must hold (x, y), x to the right."
    for name, factor in scale_factors.items():
        scaled = centers * factor
        # A scaled-down copy of the spots would fit into a corner of almost any image: they must also fill it.
        if factor < 1 and _inside(scaled, extent).all() and (scaled.max(axis=0) > 0.4 * extent).all():
            return (
                f"Multiplied by {name} ({factor:.3g}) all of them lie inside, so this looks like the scaled-down image "
                "of another resolution: pass the full-resolution one as image=."
            )
    return "The image and obsm['spatial'] belong to different resolutions or slides: pass the full-resolution image."
