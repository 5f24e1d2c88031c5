"""Which panel shows what, and where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bleep_sc._output.arguments import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

NCOLS = 4
"""Panels side by side, where nothing is given: as many as scanpy draws."""


class Panel(NamedTuple):
    """A slide, what colours it (None for the image alone), and the layer that it is from."""

    slide: str
    color: str | None
    layer: str | None


def panels_of(slides: Sequence[str], colors: Sequence[str | None], layers: Sequence[str | None]) -> list[list[Panel]]:
    """Return the panels that are compared, together: layers of a gene on a slide, or of one layer slides of a gene.

    Beside several layers the image alone stands once, in front.
    """
    if len(layers) == 1:
        return [[Panel(slide, color, layers[0]) for slide in slides] for color in colors]
    plain, drawn = [None] * (None in colors), [color for color in colors if color is not None]
    if not drawn:
        return [[Panel(slide, None, None)] for slide in slides]
    return [
        [*(Panel(slide, None, None) for _ in plain), *(Panel(slide, color, layer) for layer in layers)]
        for slide in slides
        for color in drawn
    ]


def rows_of(panels: Sequence[Sequence[Panel]], ncols: int | None, *, whole: bool) -> list[list[Panel]]:
    """Return rows of panels; those that are compared stand side by side, as many of them as fit into ``ncols``.

    Without ``ncols`` every comparison has a row, of at most four unless it is to stay ``whole``, and single panels
    have four.
    """
    width = len(panels[0])
    if ncols is None:
        together, columns = (NCOLS, NCOLS) if width == 1 else (1, width if whole else NCOLS)
    else:
        together, columns = max(1, ncols // width), ncols
    rows: list[list[Panel]] = []
    for i in range(0, len(panels), together):
        row = [panel for each in panels[i : i + together] for panel in each]
        rows += [row[j : j + columns] for j in range(0, len(row), columns)]
    return rows


def grid_of(
    rows: Sequence[Sequence[Panel]], ax: Axes | NDArray[np.object_] | None, inches: tuple[float, float]
) -> tuple[NDArray[np.object_], list[Axes]]:
    """Return the axes, as given or (rows, columns), and those of the panels; places without one are hidden."""
    n, columns = sum(map(len, rows)), max(map(len, rows))
    if ax is not None:
        axes = np.asarray(ax, dtype=object)
        if axes.size != n:
            raise ValueError(f"ax= has {axes.size} axes, but there are {n} panels to draw.")
        return axes, list(axes.ravel())
    import matplotlib.pyplot as plt

    size = (inches[0] * columns, inches[1] * len(rows))
    axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")[1]
    for row, shown_ in zip(axes, rows, strict=True):
        for each in row[len(shown_) :]:
            each.set_visible(False)
    return axes, [each for row, shown_ in zip(axes, rows, strict=True) for each in row[: len(shown_)]]


def for_panels(name: str, value: Any, panels: Sequence[Panel], colors: Sequence[str | None]) -> list[Any]:
    """Return what an argument says of every panel: one for all, one for every color, or one for every panel."""
    if isinstance(value, str) or not isinstance(value, list | tuple | np.ndarray):
        return [value] * len(panels)
    given = list(value)
    if len(given) == len(panels):
        return given
    if len(given) == len(colors):
        return [given[list(colors).index(panel.color)] for panel in panels]
    raise ValueError(
        f"{name}={shown(value)} has {len(given)} entries, but there are {len(panels)} panels and {len(colors)} in "
        f"color=. Pass one, or a list with as many."
    )
