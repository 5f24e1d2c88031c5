"""One slide on one pair of axes: its image, its spots, a bar in µm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.places import microns_per_pixel, spot_diameter
from bleep_sc._output.text import in_legend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MARGIN_SPOTS = 1.5
N_TICKS = 4
"""Of a colour bar, at most, beside its ends."""
BAR_SHARE = 0.2
"""The bar is at most as long a share of the tissue."""
CORNER = (0.35, 0.2)
"""Width and height of what the bar covers, as shares of the tissue."""


def draw_slide(ax: Axes, adata: AnnData, name: str, spots: NDArray[np.intp], centers: NDArray[np.float64]) -> None:
    """Draw the image of a slide in full-resolution px, where there is one, and a bar in µm."""
    record = adata.uns.get(keys.SPATIAL, {}).get(name, {})
    for resolution in ("hires", "lowres"):
        if resolution in record.get("images", {}):
            image = record["images"][resolution]
            scale = float(record["scalefactors"][f"tissue_{resolution}_scalef"])
            extent = (0, image.shape[1] / scale, image.shape[0] / scale, 0)
            ax.imshow(image, extent=extent, interpolation="antialiased")
            break
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    mpp, _ = microns_per_pixel(adata, spots, centers, name)
    if np.isfinite(mpp):
        from matplotlib_scalebar.scalebar import ScaleBar

        width = np.ptp(centers[:, 0]) * mpp
        bar = ScaleBar(
            mpp,
            units="um",
            fixed_value=round_length(BAR_SHARE * width),
            fixed_units="um",
            location=emptiest_corner(centers),
            box_alpha=0.5,
            font_properties={"size": "small"},
        )
        ax.add_artist(bar)


def emptiest_corner(centers: NDArray[np.float64]) -> str:
    """Return the corner of a slide that hides the fewest spots; of equal ones the lower right."""
    low, high = centers.min(axis=0), centers.max(axis=0)
    x, y = ((centers - low) / np.maximum(high - low, 1e-9)).T  # y points down
    right, left, lower, upper = x > 1 - CORNER[0], x < CORNER[0], y > 1 - CORNER[1], y < CORNER[1]
    corners = {"lower right": lower & right, "lower left": lower & left}
    corners |= {"upper right": upper & right, "upper left": upper & left}
    return min(corners, key=lambda name: int(corners[name].sum()))


def round_length(length: float) -> int:
    """Return the largest of 1, 2, 5, 10, 20, 50, ... that is no longer; at least 1."""
    power = 10 ** max(0, int(np.floor(np.log10(max(length, 1.0)))))
    return int(max(step * power for step in (1, 2, 5) if step * power <= max(length, 1.0)))


def draw_spots(
    ax: Axes,
    adata: AnnData,
    name: str,
    centers: NDArray[np.float64],
    values: NDArray[Any],
    limits: tuple[float, float] | None,
    kwargs: dict[str, Any],
    colors: Mapping[str, Any] | None = None,
) -> None:
    """Draw the spots of a slide: numbers between limits with a colour bar, or categories in colours with a legend."""
    from matplotlib.collections import EllipseCollection
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    diameter = spot_diameter(adata, name, centers)
    size = np.full(len(centers), diameter)
    shape: dict[str, Any] = {"units": "xy", "offsets": centers, "transOffset": ax.transData}
    style: dict[str, Any] = {"cmap": "viridis", "alpha": 0.95, "linewidths": 0}
    if limits is None:
        colors = colors or {}
        style = {"facecolors": [colors[value] for value in values], "edgecolors": "white", "linewidths": 0.3}
        ax.add_collection(EllipseCollection(size, size, np.zeros_like(size), **shape, **{**style, **kwargs}))
        handles = [Patch(color=color, label=in_legend(name)) for name, color in colors.items() if name in values]
        ax.legend(handles=handles, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    else:
        style["clim"] = limits
        spots = EllipseCollection(size, size, np.zeros_like(size), array=values, **shape, **{**style, **kwargs})
        ax.add_collection(spots)
        # How many ticks there are must not depend on the size: room is made for their labels before it is known.
        ticks = MaxNLocator(N_TICKS)
        ax.figure.colorbar(spots, ax=ax, shrink=0.6, pad=0.02, extend=_extend(values, limits), ticks=ticks)
    low, high = centers.min(axis=0) - MARGIN_SPOTS * diameter, centers.max(axis=0) + MARGIN_SPOTS * diameter
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(high[1], low[1])


def _extend(values: NDArray[Any], limits: tuple[float, float]) -> str:
    """Say on which sides values lie beyond the colours."""
    low, high = np.nanmin(values) < limits[0], np.nanmax(values) > limits[1]
    return {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}[low, high]
