"""One slide on one pair of axes: its image, and a bar in µm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.places import microns_per_pixel
from bleep_sc.pl._look import Look

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

BAR_SHARE = 0.2
"""The bar is at most as long a share of the tissue."""
CORNER = (0.35, 0.2)
"""Width and height of what the bar covers, as shares of the tissue."""
GREY = (0.2989, 0.5870, 0.1140)
"""Of red, green and blue in grey, as scanpy weighs them."""


def draw_slide(
    ax: Axes,
    adata: AnnData,
    name: str,
    spots: NDArray[np.intp],
    centers: NDArray[np.float64],
    look: Look | None = None,
    marks: NDArray[np.float64] | None = None,
) -> bool:
    """Draw the image of a slide in full-resolution px, where there is one, and a bar in µm; tell whether there is.

    The bar leaves free what is marked, (n_marks, 2), where it can.
    """
    look = Look() if look is None else look
    image, scale = _image(adata, name, look.img)
    if image is not None:
        extent = (0, image.shape[1] / scale, image.shape[0] / scale, 0)
        is_grey = image.ndim == 2
        pixels = image[..., :3] @ np.array(GREY) if look.bw and not is_grey else image
        cmap = "gray" if look.bw or is_grey else None
        ax.imshow(pixels, extent=extent, interpolation="antialiased", alpha=look.img_alpha, cmap=cmap)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    if look.frameon is False:
        ax.axis("off")
    mpp, _ = microns_per_pixel(adata, spots, centers, name)
    if np.isfinite(mpp):
        _draw_bar(ax, mpp, centers, look, marks)
    return image is not None


def _image(adata: AnnData, name: str, given: Any) -> tuple[NDArray[Any] | None, float]:
    """Return the image of a slide, or the one that is given, and its px per full-resolution px."""
    record = adata.uns.get(keys.SPATIAL, {}).get(name, {})
    images, factors = record.get("images", {}), record.get("scalefactors", {})
    known = [each for each in ("hires", "lowres") if each in images]
    scale = float(factors[f"tissue_{known[0]}_scalef"]) if known else 1.0
    if given is None or isinstance(given, bool):
        return (images[known[0]], scale) if given and known else (None, 1.0)
    if not known:
        return given, 1.0
    return given, scale * given.shape[1] / images[known[0]].shape[1]


def _draw_bar(
    ax: Axes, mpp: float, centers: NDArray[np.float64], look: Look, marks: NDArray[np.float64] | None
) -> None:
    from matplotlib_scalebar.scalebar import ScaleBar

    width = float(np.ptp(centers[:, 0]))
    if look.crop_coord is not None:
        left, right, top, bottom = look.crop_coord
        x, y = centers.T
        inside = centers[(x >= left) & (x <= right) & (y >= top) & (y <= bottom)]
        width, centers = right - left, inside if len(inside) else centers
    bar = ScaleBar(
        mpp,
        units="um",
        fixed_value=round_length(BAR_SHARE * width * mpp),
        fixed_units="um",
        location=emptiest_corner(centers, marks),
        box_alpha=0.5,
        font_properties={"size": "small"},
    )
    ax.add_artist(bar)


def emptiest_corner(centers: NDArray[np.float64], marks: NDArray[np.float64] | None = None) -> str:
    """Return the corner of a slide that hides the fewest marks, and then spots; of equal ones the lower right."""
    first = np.empty((0, 2)) if marks is None else marks
    every = np.vstack([first, centers])
    low, high = every.min(axis=0), every.max(axis=0)
    x, y = ((every - low) / np.maximum(high - low, 1e-9)).T  # y points down
    right, left, lower, upper = x > 1 - CORNER[0], x < CORNER[0], y > 1 - CORNER[1], y < CORNER[1]
    corners = {"lower right": lower & right, "lower left": lower & left}
    corners |= {"upper right": upper & right, "upper left": upper & left}
    return min(corners, key=lambda name: (corners[name][: len(first)].sum(), corners[name].sum()))


def round_length(length: float) -> int:
    """Return the largest of 1, 2, 5, 10, 20, 50, ... that is no longer; at least 1."""
    power = 10 ** max(0, int(np.floor(np.log10(max(length, 1.0)))))
    return int(max(step * power for step in (1, 2, 5) if step * power <= max(length, 1.0)))
