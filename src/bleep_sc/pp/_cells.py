"""Cells of any segmentation, on the px of the image around whose patches they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import slides

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.slides import Cells

MOVED = "transform"
"""Where elements of SpatialData keep how they are moved, in their ``attrs``."""


def cells_on(cells: Any, image: Any) -> Cells:
    """Return cells in px of an image: shapes or labels of SpatialData, and all that ``slides.read_cells`` takes."""
    if not (MOVED in getattr(cells, "attrs", {}) or hasattr(cells, "children")):
        return slides.read_cells(cells)
    from spatialdata import to_polygons
    from spatialdata.models import Labels2DModel, get_model

    is_labels = get_model(cells) is Labels2DModel
    if is_labels or (cells.geometry.geom_type == "Point").any():
        outlines = to_polygons(cells)  # circles, and px of a label
        cells = outlines.set_index("label") if is_labels else outlines
    return slides.read_cells(_moved(cells, _onto_image(cells, image)))


def _onto_image(shapes: Any, image: Any) -> NDArray[np.float64]:
    """Return what moves shapes of SpatialData onto the px of an image, (3, 3)."""
    from spatialdata import SpatialData

    from bleep_sc.pp._spatialdata import onto

    is_element = MOVED in getattr(image, "attrs", {}) or hasattr(image, "children")
    sdata = SpatialData(images={"image": image} if is_element else {}, shapes={"cells": shapes})
    corners = np.asarray(shapes.total_bounds, dtype=np.float64).reshape(2, 2)
    return onto(sdata, "cells", shapes, "image" if is_element else None, corners)


def _moved(shapes: Any, matrix: NDArray[np.float64]) -> Any:
    (a, b, x), (d, e, y) = matrix[:2]
    return (
        shapes if np.allclose(matrix, np.eye(3)) else shapes.set_geometry(shapes.affine_transform([a, b, d, e, x, y]))
    )
