"""The spots of one slide: numbers with a colour bar, categories with a legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata.places import spot_diameter
from bleep_sc._output.text import in_legend
from bleep_sc.pl._colors import EXPRESSION
from bleep_sc.pl._legend import draw_legend, shortened
from bleep_sc.pl._look import BESIDE, NOWHERE, ON_DATA, Look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import Normalize
    from numpy.typing import NDArray

UNSEEN = "#00000000"
NO_VALUE = "NA"
"""What a legend calls spots without a category, as scanpy does."""
MARGIN_SPOTS = 1.5
BAR = (1.02, 0.05, 0.035, 0.9)
"""Where the bar of the colours stands: left, bottom, width and height, as shares of the axes."""
N_TICKS = 4
"""Of a colour bar, at most, beside its ends."""


class Spots:
    """The spots of one slide on one pair of axes."""

    def __init__(
        self, ax: Axes, adata: AnnData, name: str, centers: NDArray[np.float64], look: Look, *, over_image: bool
    ) -> None:
        self.ax, self.centers, self.look = ax, centers, look
        self.diameter = look.size * (look.spot_size or spot_diameter(adata, name, centers))
        self.na_color = look.na_color or (UNSEEN if over_image else "lightgray")
        if look.crop_coord is not None:
            left, right, top, bottom = look.crop_coord
        else:
            margin = MARGIN_SPOTS * self.diameter
            (left, top), (right, bottom) = centers.min(axis=0) - margin, centers.max(axis=0) + margin
        ax.set_xlim(left, right)
        ax.set_ylim(bottom, top)

    def draw(self, **style: Any) -> EllipseCollection:
        """Draw them in some style, without a value where it has no colours."""
        from matplotlib.collections import EllipseCollection

        size = np.full(len(self.centers), self.diameter)
        shape: dict[str, Any] = {"units": "xy", "offsets": self.centers, "transOffset": self.ax.transData}
        plain = {} if "array" in style else {"facecolors": self.na_color}
        spots = EllipseCollection(size, size, np.zeros_like(size), **shape, **{"linewidths": 0, **plain, **style})
        self.ax.add_collection(spots, autolim=False)
        return spots

    def draw_numbers(
        self, values: NDArray[Any], norm: Normalize, *, cmap: Any = None, label: str = "", **style: Any
    ) -> None:
        """Draw them coloured by numbers, with a colour bar that has a label."""
        from matplotlib import colormaps
        from matplotlib.colors import Normalize, TwoSlopeNorm
        from matplotlib.ticker import MaxNLocator

        colors = colormaps.get_cmap(EXPRESSION if cmap is None else cmap).with_extremes(bad=self.na_color)
        spots = self.draw(array=np.ma.masked_invalid(values), norm=norm, cmap=colors, **style)
        # How many ticks there are must not depend on the size: room is made for their labels before it is known.
        ticks = MaxNLocator(N_TICKS) if type(norm) in (Normalize, TwoSlopeNorm) else None
        extend = _extend(values, norm)
        beside = self.ax.inset_axes(BAR)  # as high as the slide is drawn, whatever its shape
        bar = self.ax.figure.colorbar(spots, cax=beside, extend=extend, ticks=ticks)
        bar.set_label(label, fontsize="small")
        bar.ax.tick_params(labelsize="small")

    def draw_categories(self, values: NDArray[np.object_], colors: Mapping[str, Any], **style: Any) -> None:
        """Draw them coloured by categories, each in its colour; what has none, such as None, is without a value."""
        faces = [colors.get(value, self.na_color) for value in values]
        self.draw(**{"facecolors": faces, **style})
        inside = {name: color for name, color in colors.items() if name in set(values)}
        if self.look.legend_loc == ON_DATA:
            self._name_places(values, inside)
        elif self.look.legend_loc not in (None, NOWHERE):
            is_complete = len(inside) == len(set(values)) or self.na_color == UNSEEN
            self._draw_legend(inside if is_complete else {**inside, NO_VALUE: self.na_color})

    def _draw_legend(self, colors: Mapping[str, Any]) -> None:
        from matplotlib.patches import Patch

        if self.look.legend_loc == BESIDE:
            draw_legend(self.ax, colors)
        else:
            handles = [Patch(color=color, label=in_legend(shortened(name))) for name, color in colors.items()]
            place: dict[str, Any] = {"loc": self.look.legend_loc}
            self.ax.legend(handles=handles, fontsize="small", **place)

    def _name_places(self, values: NDArray[np.object_], colors: Mapping[str, Any]) -> None:
        """Write the name of every category in the middle of its spots."""
        from matplotlib.patheffects import withStroke

        for name in colors:
            x, y = np.median(self.centers[values == name], axis=0)
            at: dict[str, Any] = {"ha": "center", "va": "center", "weight": "bold", "fontsize": "small"}
            self.ax.text(
                x, y, in_legend(shortened(name)), path_effects=[withStroke(linewidth=2, foreground="white")], **at
            )


def _extend(values: NDArray[Any], norm: Normalize) -> str:
    """Say on which sides values lie beyond the colours."""
    finite = values[np.isfinite(values)]
    low, high = (finite < norm.vmin).any(), (finite > norm.vmax).any()
    return {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}[low, high]
