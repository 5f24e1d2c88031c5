"""Regions that a pathologist drew: reading them from GeoJSON, and which of them a point lies in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from bleep_sc._runtime import logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

AREAL = ("Polygon", "MultiPolygon", "GeometryCollection")
GEOMETRIES = (*AREAL, "Point", "MultiPoint", "LineString", "MultiLineString", "LinearRing")


@dataclass(frozen=True)
class Region:
    """A named part of a slide."""

    name: str
    polygon: shapely.Polygon | shapely.MultiPolygon
    """Outline, holes left out, px of the full-resolution image."""


def read_regions(source: str | Path | Mapping[str, Any] | Sequence[Any]) -> list[Region]:
    """Read the polygons of a GeoJSON file, as QuPath, ASAP and Shapely write them.

    Parameters
    ----------
    source
        A file, or what it holds: a FeatureCollection, a Feature, a list of either, or a bare geometry; objects below
        others (``properties.childObjects``) count like any other. Coordinates are px of the full-resolution image.

    Returns
    -------
    The regions in their order. They are named by their classification (of a derived one as QuPath shows it,
    ``"Tumor: Positive"``), else by their own name, else ``"annotation 1"`` and so on, by their place in the file.
    Polygons that cross themselves are repaired; points and lines are left out. The log says how many.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is not GeoJSON, or no polygon is in it.
    """
    content, origin = _load(source)
    regions: list[Region] = []
    ignored = repaired = 0
    for place, (properties, geometry) in enumerate(_features(content, origin), start=1):
        found = _parse(geometry, f"annotation {place} of {origin}")
        valid = shapely.make_valid(found)
        repaired += not found.is_valid
        polygon = _areas(valid)
        if polygon.is_empty:
            ignored += 1
        else:
            regions.append(Region(_name(properties, place), polygon))
    if ignored:
        logger.warning("%d points, lines or empty annotations of %s were left out.", ignored, origin)
    if repaired:
        logger.warning("%d annotations of %s cross themselves and were repaired.", repaired, origin)
    if not regions:
        raise ValueError(
            f"No polygon was found in {origin} ({ignored} points, lines or empty annotations). Draw closed regions, "
            "and export them from QuPath with File > Export objects as GeoJSON."
        )
    return regions


def label_points(points: ArrayLike, regions: Sequence[Region]) -> NDArray[np.object_]:
    """Name the region of every point.

    A tile or spot belongs to a region when its centre lies inside it or on its border. Where regions overlap, the
    smallest in area, being the most specific, wins; of equal ones the first.

    Parameters
    ----------
    points
        Centres (x, y), full-resolution px, (n, 2).
    regions
        What :func:`read_regions` returned.

    Returns
    -------
    Names, (n,); ``""`` where there is no region.
    """
    points = _as_points(points)
    labels = np.full(len(points), "", dtype=object)
    polygons = np.array([region.polygon for region in regions], dtype=object)
    tree = shapely.STRtree(shapely.points(points))
    region, point = tree.query(polygons, predicate="covers")  # a polygon is prepared once for all its points
    rank = np.argsort(np.argsort(shapely.area(polygons), kind="stable"))
    order = np.argsort(-rank[region], kind="stable")
    labels[point[order]] = np.array([each.name for each in regions], dtype=object)[region[order]]  # the last one stays
    return labels


def transform_points(points: ArrayLike, affine: ArrayLike) -> NDArray[np.float64]:
    """Map points to the px of a slide that was scanned separately.

    Parameters
    ----------
    points
        (x, y) where annotations or spots were placed, (n, 2).
    affine
        Matrix that turns (x, y, 1) into (x, y) of the slide: (2, 3), or (3, 3) with a last row of 0, 0, 1.

    Returns
    -------
    (x, y), px of the slide, (n, 2).
    """
    points, matrix = _as_points(points), np.asarray(affine, dtype=np.float64)
    if matrix.shape not in ((2, 3), (3, 3)):
        raise ValueError(f"affine= must be of shape (2, 3) or (3, 3), not {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise ValueError("affine= holds NaN or infinite values.")
    if len(matrix) == 3 and not np.allclose(matrix[2], (0, 0, 1)):
        raise ValueError(
            f"The last row of affine= must be 0, 0, 1, not {matrix[2].tolist()}. Of a matrix that is multiplied from "
            "the right, as scikit-image and OpenCV do not, pass the transpose."
        )
    linear = matrix[:2, :2]
    largest = np.abs(linear).max()
    if largest == 0 or abs(np.linalg.det(linear / largest)) < 1e-9:
        raise ValueError(
            f"affine= is singular: its linear part {linear.tolist()} maps the slide onto a line or a point."
        )
    return np.asarray(points @ linear.T + matrix[:2, 2])


def _as_points(points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"Points must be (x, y), of shape (n, 2), not {array.shape}.")
    return array


def _load(source: str | Path | Mapping[str, Any] | Sequence[Any]) -> tuple[Any, str]:
    """Return what a file holds, and how to call it in a message."""
    if not isinstance(source, str | Path):
        return source, "the annotations"
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"No annotation file at {str(path)!r}.")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig")), repr(str(path))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{str(path)!r} is not JSON ({error}). Export the annotations as GeoJSON; from QuPath with File > Export "
            "objects as GeoJSON, uncompressed."
        ) from error


def _features(content: Any, origin: str) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Yield properties and geometry of every object, parents before their children."""
    if isinstance(content, list | tuple):
        for each in content:
            yield from _features(each, origin)
        return
    kind = content.get("type") if isinstance(content, Mapping) else None
    if kind == "FeatureCollection":
        yield from _features(list(content.get("features") or ()), origin)
    elif kind == "Feature":
        properties = content.get("properties") or {}
        yield properties, content.get("geometry")
        yield from _features(list(properties.get("childObjects") or ()), origin)
    elif kind in GEOMETRIES:
        yield {}, content
    else:
        raise ValueError(
            f"{origin} is not GeoJSON: an object of type {kind!r} is neither FeatureCollection, Feature nor geometry."
        )


def _parse(geometry: Any, name: str) -> Any:
    """Return the Shapely geometry of a GeoJSON one; an empty one where there is none, as of QuPath's root."""
    if geometry is None:
        return shapely.GeometryCollection()
    try:
        found = shapely.geometry.shape(geometry)
        if not np.isfinite(shapely.get_coordinates(found)).all():
            raise ValueError("coordinates are NaN or infinite")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, shapely.errors.ShapelyError) as error:
        raise ValueError(f"The geometry of {name} cannot be read: {error}.") from error
    return shapely.force_2d(found)


def _areas(geometry: Any) -> Any:
    """Return what of a geometry has an area, as one polygon of one or several parts."""
    parts = [part for part in _parts(geometry) if part.geom_type == "Polygon" and part.area > 0]
    return parts[0] if len(parts) == 1 else shapely.union_all(parts)


def _parts(geometry: Any) -> Iterator[Any]:
    for part in getattr(geometry, "geoms", [geometry]):
        if hasattr(part, "geoms"):
            yield from _parts(part)
        else:
            yield part


def _name(properties: Mapping[str, Any], place: int) -> str:
    classification = properties.get("classification") or {}
    if isinstance(classification, str):
        return classification
    derived = ": ".join(map(str, classification.get("names") or ()))
    return str(classification.get("name") or derived or properties.get("name") or f"annotation {place}")
