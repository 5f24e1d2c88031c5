"""Whether spots lie in their image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


ELSE = "The image and obsm['spatial'] belong to different resolutions or slides: pass the full-resolution image."
CROPPED, ANOTHER = 0.1, 0.5
"""Share of spots outside an image up to which it may have been cropped, and above which it is another one."""


def check_centers(
    shape: tuple[int, ...],
    centers: NDArray[np.float64],
    scale_factors: Mapping[str, float] | None = None,
    *,
    few_may_leave: bool = False,
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
    few_may_leave
        Let pass what a part of the centres does, unless it is explained by swapped axes or a scaled-down image.
    """
    if not np.isfinite(centers).all():
        bad = int((~np.isfinite(centers).all(axis=1)).sum())
        raise ValueError(f"The coordinates of {bad} spots are NaN or infinite. Drop these spots first.")
    extent = np.array([shape[1], shape[0]])
    outside = ~_inside(centers, extent)
    if not outside.any():
        return
    low, high, share = centers.min(axis=0), centers.max(axis=0), outside.mean()
    reason = _diagnosis(centers, extent, scale_factors or {})
    if not reason and few_may_leave and share <= ANOTHER:
        return
    if not reason and share <= CROPPED:
        reason = (
            "The others lie inside, so this may be a scan that was cropped: leave these out, by pad='drop' or with "
            "adata[...].copy(). If all spots look shifted, it is the image of another slide or resolution."
        )
    raise ValueError(
        f"{int(outside.sum())} of {len(centers)} spots lie outside the image: it is {extent[0]} px wide and "
        f"{extent[1]} px high, the spots span x {low[0]:.0f} to {high[0]:.0f} and y {low[1]:.0f} to {high[1]:.0f}. "
        + (reason or ELSE)
    )


def _inside(centers: NDArray[np.float64], extent: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(((centers >= 0) & (centers < extent)).all(axis=1))


def _diagnosis(centers: NDArray[np.float64], extent: NDArray[np.int64], scale_factors: Mapping[str, float]) -> str:
    """Say what brings all centres into the image; nothing where nothing does."""
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
    return ""
