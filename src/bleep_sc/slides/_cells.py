"""Cells and nuclei of any segmentation: GeoJSON or a table of polygons, each with its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._output.messages import a, listed, logger, warn
from bleep_sc.slides._regions import MOST_PX, check_units, features_of, load_geojson, name_of, properties_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

AREAS = ("Polygon", "MultiPolygon")
CELLS = ("cell", "detection", "PathCellObject", "PathDetectionObject")
"""What QuPath calls cells; the last two are of its version 0.2, which has them for an id."""
MANY_PARTS = 8
"""Parts that a cell does not have: a feature of more is a class, all of whose cells are its parts."""


@dataclass(frozen=True)
class Cells:
    """Cells or nuclei as they were segmented, in their order."""

    ids: NDArray[Any]
    """Their names there, texts or whole numbers, (n,); numbers from 1 where they have none."""
    polygons: NDArray[np.object_]
    """Shapely's polygons, px, (n,)."""
    classes: NDArray[np.object_]
    """Class of each, (n,); "" for none."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.ids)

    def __getitem__(self, rows: NDArray[Any]) -> Cells:
        """Return some of them."""
        return Cells(self.ids[rows], self.polygons[rows], self.classes[rows])

    @property
    def centers(self) -> NDArray[np.float64]:
        """Centroids (x, y), px, (n, 2)."""
        import shapely

        return np.asarray(shapely.get_coordinates(shapely.centroid(self.polygons)), dtype=np.float64)


def read_cells(cells: Any) -> Cells:
    """Read the polygons of a segmentation, with their names and classes.

    Parameters
    ----------
    cells
        GeoJSON, a file or what it holds, of QuPath (also its StarDist, Cellpose and InstanSeg extensions), InstanSeg,
        CellViT and the like: a collection, a list, a hierarchy below annotations. Where some objects are cells or
        detections, annotations and tiles are left out. Or a GeoDataFrame, whose index names the cells. Coordinates are
        full-resolution px.

    Returns
    -------
    :class:`Cells`. Where ids are missing or repeat, as in QuPath 0.2, cells are numbered from 1, and the log says so.

    Raises
    ------
    FileNotFoundError
        Without such a file.
    TypeError
        When it is a table, or an array, of points.
    ValueError
        When it is no GeoJSON, holds no polygon, or says that it is in degrees.

    Warns
    -----
    UserWarning
        When a feature has so many parts that it is a class rather than a cell.

    Examples
    --------
    >>> square = {"type": "Polygon", "coordinates": [[[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]]}
    >>> cells = bs.slides.read_cells([{"type": "Feature", "id": "a7", "geometry": square, "properties": {}}])
    >>> cells.ids.tolist(), cells.centers.tolist()
    (['a7'], [[4.0, 4.0]])
    """
    import shapely

    if (isinstance(cells, pd.DataFrame) and not hasattr(cells, "geometry")) or hasattr(cells, "__array_interface__"):
        raise TypeError(
            f"cells= is {a(type(cells).__name__)} without outlines. Around points alone, (n, 2) px, tiles are laid by "
            "bleep_sc.pp.tile_slide(image, centers=table[['x', 'y']].to_numpy()); cells= takes polygons: a GeoJSON "
            "file, or a GeoDataFrame."
        )
    if hasattr(cells, "geometry") and hasattr(cells, "index"):
        ids, polygons, classes = cells.index.to_numpy(), np.asarray(cells.geometry), np.full(len(cells), "", object)
    else:
        content = load_geojson(Path(cells)) if isinstance(cells, str | Path) else cells
        features = cell_features(content)
        ids, polygons = ids_of(features), _polygons(features)
        classes = np.array([name_of(properties_of(each)) for each in features], dtype=object)
        check_units(content, polygons, "cells")
    kept = ~(shapely.is_missing(polygons) | shapely.is_empty(polygons)) & (shapely.get_dimensions(polygons) == 2)
    if not kept.any():
        raise ValueError(
            "There is no polygon among the cells. Export outlines, not points; of circles of SpatialData pass the "
            "element itself."
        )
    if not kept.all():
        logger.info("%d cells are empty or have no inside, and were left out.", int((~kept).sum()))
    _warn_of_classes(polygons[kept])
    if not (index := pd.Index(ids)).is_unique:
        raise ValueError(
            f"Several cells are called {listed(index[index.duplicated()].unique(), 3)}; name each its own."
        )
    return Cells(ids[kept], polygons[kept], classes[kept])


def with_measurements(
    path: str | Path, ids: NDArray[Any], measurements: list[dict[str, float]], classes: NDArray[Any] | None
) -> Any:
    """Return what a GeoJSON file of cells holds, with more measurements of some of them, and other classes.

    ``ids`` are the cells that are measured, (n,), as :func:`read_cells` names them there, ``measurements`` those of
    each, and ``classes`` the class of each, (n,); "" for none.
    """
    content = load_geojson(Path(path))
    features = cell_features(content)
    found = pd.Index(ids_of(features)).get_indexer(pd.Index(ids))
    if (found < 0).any():
        raise KeyError(
            f"cells={str(path)!r} lacks {int((found < 0).sum())} of {len(ids)} cells, such as {ids[found < 0][0]!r}. "
            "Pass the file that the cells were read from, or leave cells= out."
        )
    for number, row in enumerate(found.tolist()):
        said = features[row]["properties"] = properties_of(features[row])
        earlier = said.get("measurements") or {}
        if isinstance(earlier, list):  # as QuPath had them before 0.4, and InstanSeg has
            earlier = {each["name"]: each["value"] for each in earlier}
        said["measurements"] = {**earlier, **measurements[number]}
        if classes is not None and classes[number]:
            said["classification"] = {"name": classes[number]}
    return content


def cell_features(content: Any) -> list[dict[str, Any]]:
    """Return the features of GeoJSON that are cells, in their order: those that are called so, else all polygons."""
    areas = [each for each in features_of(content) if (each.get("geometry") or {}).get("type") in AREAS]
    called = [_kind(each) in CELLS for each in areas]
    cells = [each for each, is_cell in zip(areas, called, strict=True) if is_cell] if any(called) else areas
    if len(cells) < len(areas):
        logger.info("%d annotations or tiles beside the cells were left out.", len(areas) - len(cells))
    return cells


def ids_of(features: list[dict[str, Any]]) -> NDArray[Any]:
    """Return the ids of features, (n,), where each has its own; else their numbers, from 1."""
    ids = [each.get("id") for each in features]
    named = all(isinstance(each, str) for each in ids) or all(type(each) is int for each in ids)
    if named and len(set(ids)) == len(ids):
        return np.array(ids, dtype=object if isinstance(next(iter(ids), ""), str) else np.int64)
    logger.info("The cells have no ids, or share some: they are numbered from 1, in their order.")
    return np.arange(1, len(features) + 1)


def _kind(feature: dict[str, Any]) -> str:
    """Return what a feature is called; InstanSeg writes ``object_type``."""
    said = properties_of(feature)
    return str(said.get("objectType") or said.get("object_type") or feature.get("id", ""))


def _polygons(features: list[dict[str, Any]]) -> NDArray[np.object_]:
    """Return the geometries of features, (n,), all at once since they may be a million; None for those without area."""
    import shapely

    polygons = np.full(len(features), None, dtype=object)
    kinds = np.array([each["geometry"]["type"] for each in features])
    try:
        each = [f["geometry"]["coordinates"] for f in features]
        parts = [[own] if kind == "Polygon" else own for own, kind in zip(each, kinds, strict=True)]  # of every cell
        drawn = [bool(own) and all(part and all(len(r) > 3 for r in part) for part in own) for own in parts]
        parts = [own if is_drawn else [] for own, is_drawn in zip(parts, drawn, strict=True)]
        shapes = _drawn([part for own in parts for part in own])
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"The geometry of a cell cannot be read ({error}).") from error
    cell = np.repeat(np.arange(len(features)), [len(own) for own in parts])
    is_single = kinds[cell] == "Polygon"
    polygons[cell[is_single]] = shapes[is_single]
    several, number = np.unique(cell[~is_single], return_inverse=True)
    if len(several):
        polygons[several] = shapely.multipolygons(shapes[~is_single], indices=number)
    return polygons


def _drawn(parts: list[list[Any]]) -> NDArray[np.object_]:
    """Return polygons, (n,), of their rings: the outline first, then holes."""
    import shapely

    if not parts:
        return np.empty(0, dtype=object)
    rings = [ring for part in parts for ring in part]
    lengths = [len(ring) for ring in rings]
    n = sum(lengths)
    x, y = (np.fromiter((point[axis] for ring in rings for point in ring), np.float64, count=n) for axis in (0, 1))
    if not (np.abs([x, y]) < MOST_PX).all():
        raise ValueError(f"coordinates are NaN, infinite or beyond {MOST_PX:,} px")
    closed = shapely.linearrings(np.column_stack([x, y]), indices=np.repeat(np.arange(len(rings)), lengths))
    return np.asarray(shapely.polygons(closed, indices=np.repeat(np.arange(len(parts)), [len(p) for p in parts])))


def _warn_of_classes(polygons: NDArray[np.object_]) -> None:
    import shapely

    parts = shapely.get_num_geometries(polygons)
    if (parts > MANY_PARTS).any():
        warn(
            f"{int((parts > MANY_PARTS).sum())} cells have up to {int(parts.max())} parts, as where a class is one "
            "feature and its cells are the parts. Split them: cells = geopandas.GeoDataFrame.from_features(features)"
            ".explode(ignore_index=True)."
        )
