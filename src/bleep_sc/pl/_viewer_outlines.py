"""The polygons of cells in the view of a slide, as columns of its places."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRAIGHT_UM = 0.3
"""How far an outline that is drawn may lie off the one that was read, µm: about a px of a scan."""
MOST_VERTICES = 400_000
"""Of all outlines of a view, which take some 14 bytes each in its page."""


def outlines(polygons: NDArray[np.object_], um: float) -> dict[str, list[list[float]]] | None:
    """Return the outlines of cells (n,) in µm, ``xs`` and ``ys``, or None where these are too many to be drawn.

    ``um`` is µm per px. Outlines have no holes; of a cell of several pieces NaN stands between them.
    """
    import shapely

    pieces, cell = shapely.get_parts(polygons, return_index=True)
    rings = shapely.simplify(shapely.get_exterior_ring(pieces), STRAIGHT_UM / um)
    if shapely.get_num_coordinates(rings).sum() > MOST_VERTICES:
        return None
    columns: dict[str, list[list[float]]] = {"xs": [[] for _ in polygons], "ys": [[] for _ in polygons]}
    for i, ring in zip(cell, rings, strict=True):
        for values, places in zip(columns.values(), shapely.get_coordinates(ring).T * um, strict=True):
            values[i] += [math.nan] * bool(values[i]) + np.round(places, 1).tolist()
    return columns
