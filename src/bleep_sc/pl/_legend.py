"""The legend of categories beside a slide: how names are written, how large, and in how many columns."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from bleep_sc._output.text import in_legend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

LONGEST = 26
"""Letters of a name; of a longer one the middle is left out."""
SIZES = {"small": 0.17, "x-small": 0.145, "xx-small": 0.12}
"""Of letters, and the height of a row, inches."""
MOST_COLUMNS = 3
"""Before letters get smaller."""
LETTER, PATCH = 0.4, 2.6
"""Widths of a letter, and of a patch of colour with what is around it, as shares of the height of a row."""
SLIDE_SHARE = 0.77
"""Of the height of a panel, what matplotlib gives to its axes before they are laid out."""


def draw_legend(ax: Axes, colors: Mapping[str, Any]) -> None:
    """Draw the legend of categories to the right of a slide."""
    from matplotlib.patches import Patch

    size, ncols = _arranged(list(colors), ax.get_window_extent().height / ax.figure.dpi)
    handles = [Patch(color=color, label=in_legend(shortened(name))) for name, color in colors.items()]
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False}
    narrow: dict[str, Any] = {"labelspacing": 0.35, "columnspacing": 0.8, "handlelength": 1.2}
    ax.legend(handles=handles, ncols=ncols, fontsize=size, **place, **narrow)
    ax.set_anchor("W")  # else the legend would be as much further right as there is room left of the slide


def legend_inches(names: Sequence[str], panel_inches: float) -> float:
    """Return how wide the legend of a panel of a height is."""
    if not names:
        return 0.0
    size, ncols = _arranged(names, SLIDE_SHARE * panel_inches)
    letters = max(len(shortened(name)) for name in names)
    return ncols * (PATCH + LETTER * letters) * SIZES[size]


def shortened(name: str) -> str:
    """Return a name of at most 26 letters; names often differ at their ends."""
    half = (LONGEST - 1) // 2
    return name if len(name) <= LONGEST else f"{name[: LONGEST - half - 1].rstrip()}…{name[-half:].lstrip()}"


def _arranged(names: Sequence[str], inches: float) -> tuple[str, int]:
    """Return the size of the letters and the number of columns that fit into a height."""
    fits = [(size, max(1, ceil(len(names) / max(1, int(inches / row))))) for size, row in SIZES.items()]
    return next(((size, ncols) for size, ncols in fits if ncols <= MOST_COLUMNS), fits[-1])
