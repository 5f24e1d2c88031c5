"""Annotations drawn in QuPath and the like: GeoJSON polygons, and which points lie inside."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import logger, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray
    from shapely.geometry.base import BaseGeometry

MOST_PX = 10**9
"""Coordinates are less."""
IN_DEGREES = ("CRS84", "4326")
"""What names of coordinate systems in degrees have in them."""


@dataclass(frozen=True)
class Region:
    """An annotated area."""

    name: str
    """Its class; else its own name; else "annotation" and a number."""
    polygon: BaseGeometry
    """In px of the image it was drawn on; with holes, and of several parts."""


def read_regions(source: str | Path | dict[str, Any] | list[Any]) -> list[Region]:
    """Read polygons from GeoJSON, as QuPath exports annotations and objects.

    Parameters
    ----------
    source
        A file, or what it holds: a collection of features, a list of them, a single one, or a bare geometry; objects
        below others, as QuPath writes a hierarchy, count like any other. Points and lines have no inside; they are left
        out, and counted in the log. Outlines that cross themselves are mended.

    Raises
    ------
    FileNotFoundError
        Without such a file.
    ValueError
        When it is no GeoJSON, holds no polygon, or says that it is in degrees.

    Warns
    -----
    UserWarning
        When holes lie outside their outlines, where they cut nothing; or when coordinates look like degrees.

    Examples
    --------
    >>> square = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]}
    >>> bs.slides.read_regions(square)[0].name
    'annotation 1'
    """
    content = load_geojson(Path(source)) if isinstance(source, str | Path) else source
    regions, n_others, n_mended, n_outside = [], 0, 0, 0
    for number, feature in enumerate(features_of(content), start=1):
        drawn = _geometry(feature.get("geometry"))
        polygon, outside = (None, 0) if drawn is None else _area(drawn)
        n_outside += outside
        if polygon is None:
            n_others += 1
        else:
            n_mended += drawn is not None and not drawn.is_valid
            regions.append(Region(name_of(properties_of(feature)) or f"annotation {number}", polygon))
    if n_others:
        logger.info("%d points, lines or empty outlines have no inside, and were left out.", n_others)
    if n_mended:
        logger.info("%d outlines crossed themselves, and were mended.", n_mended)
    if not regions:
        raise ValueError("There is no polygon among the annotations. Export areas, not points or lines, from QuPath.")
    if n_outside:
        warn(
            f"{n_outside} holes lie outside their outlines, wholly or in part, and cut nothing there. Look at the "
            "annotations."
        )
    check_units(content, [region.polygon for region in regions], "annotations")
    return regions


def load_geojson(path: Path) -> Any:
    """Return what a file of GeoJSON holds."""
    if not path.is_file():
        raise FileNotFoundError(f"No annotations at {str(path)!r}. In QuPath: File > Export objects as GeoJSON.")
    was_enabled = gc.isenabled()
    gc.disable()  # millions of lists, and no circle among them: to look for one takes most of the time
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is no GeoJSON ({error}). Export objects as GeoJSON.") from error
    finally:
        if was_enabled:
            gc.enable()


def features_of(content: Any) -> Iterator[dict[str, Any]]:
    """Give features, however deep the file has wrapped them."""
    waiting = [content]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(reversed(each))
        elif not isinstance(each, dict) or "type" not in each:
            raise ValueError("This is no GeoJSON: features, collections of them, or geometries are expected.")
        elif each["type"] == "FeatureCollection":
            waiting.append(each.get("features", []))
        elif each["type"] == "Feature":
            yield each
            waiting.append(properties_of(each).get("childObjects") or [])
        else:
            yield {"geometry": each, "properties": {}}


def properties_of(feature: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of a feature; nothing where it is no object."""
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _geometry(geometry: dict[str, Any] | None) -> BaseGeometry | None:
    """Return a geometry as it is drawn, or refuse it; None for that of QuPath's root, which has none."""
    import shapely
    from shapely.geometry import shape

    if geometry is None:
        return None
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            drawn = shape(geometry)
        if not (np.abs(shapely.get_coordinates(drawn)) < MOST_PX).all():
            raise ValueError(f"coordinates are NaN, infinite or beyond {MOST_PX:,} px")
    except Exception as error:  # shapely raises many kinds
        raise ValueError(f"An annotation has a geometry that cannot be read ({error}).") from error
    return drawn


def _area(drawn: BaseGeometry) -> tuple[BaseGeometry | None, int]:
    """Return the area of a geometry, None where it has none, and how many of its holes lie outside."""
    import shapely

    parts, n_outside = [], 0
    for part in _parts(drawn):
        if part.geom_type != "Polygon":
            continue
        if not part.is_valid:  # mended as a whole, holes outside would be areas
            shell = shapely.make_valid(shapely.Polygon(part.exterior))
            holes = [shapely.make_valid(shapely.Polygon(ring)) for ring in part.interiors]
            n_outside += sum(not shell.covers(hole) for hole in holes)
            part = shapely.difference(shell, shapely.union_all(holes))
        parts += [each for each in _parts(part) if each.geom_type == "Polygon" and each.area > 0]
    if not parts:
        return None, n_outside
    return (parts[0] if len(parts) == 1 else shapely.union_all(parts)), n_outside


def _parts(geometry: Any) -> Iterator[Any]:
    """Give the parts of a collection, however deep they lie."""
    if not hasattr(geometry, "geoms"):
        yield geometry
    for part in getattr(geometry, "geoms", ()):
        yield from _parts(part)


def check_units(content: Any, polygons: Any, called: str) -> None:
    """Refuse polygons that say that they are in degrees, and warn of those that look like it."""
    import shapely

    places = shapely.get_coordinates(polygons)
    small = bool((np.abs(places) <= (180, 90)).all())
    crs = str(content.get("crs") or "") if isinstance(content, dict) else ""
    if small and any(name in crs for name in IN_DEGREES):
        raise ValueError(f"The {called} are in degrees (crs: {crs:.80}). Export them in px of the image.")
    if small and not np.allclose(places, places.round(3), rtol=0, atol=1e-9):
        warn(
            f"All {called} lie within 180 × 90 and have more than three decimals, as degrees or shares of an image "
            "have. They are taken for px of the image."
        )


def name_of(properties: dict[str, Any]) -> str:
    """Return the class of an object, else its own name, else nothing."""
    classification = properties.get("classification")
    if isinstance(classification, dict):
        names = classification.get("names")
        joined = ": ".join(map(str, names)) if isinstance(names, list) else names
        classification = classification.get("name") or joined
    for said in (classification, properties.get("name")):
        if said and (isinstance(said, str) or type(said) is int):
            return str(said)
    return ""


def label_points(points: ArrayLike, regions: Sequence[Region]) -> NDArray[np.object_]:
    """Return the name of the region that every point lies in, "" for none.

    A point on an outline lies inside. Of regions that overlap the smallest counts, since it is the most specific.

    Parameters
    ----------
    points
        (n, 2), px of the image that the regions were drawn on.
    regions
        From :func:`read_regions`.

    Examples
    --------
    >>> square = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}
    >>> regions = bs.slides.read_regions({"type": "Feature", "geometry": square, "properties": {"name": "tumour"}})
    >>> bs.slides.label_points([[5, 5], [50, 5]], regions).tolist()
    ['tumour', '']
    """
    import shapely

    labels = np.full(len(np.asarray(points)), "", dtype=object)
    from_large_to_small = sorted(regions, key=lambda region: -region.polygon.area)
    tree = shapely.STRtree(shapely.points(np.asarray(points, dtype=np.float64)))
    for region in from_large_to_small:  # GEOS prepares an outline once for all its points
        labels[tree.query(region.polygon, predicate="covers")] = region.name
    return labels


def transform_points(points: ArrayLike, matrix: ArrayLike) -> NDArray[np.float64]:
    """Move points (n, 2) by an affine map, (2, 3) or (3, 3), that takes (x, y, 1).

    Examples
    --------
    Half the size, and 10 px to the right:

    >>> bs.slides.transform_points([[100, 40]], [[0.5, 0, 10], [0, 0.5, 0]]).tolist()
    [[60.0, 20.0]]
    """
    affine = np.asarray(matrix, dtype=np.float64)
    if affine.shape not in ((2, 3), (3, 3)) or not np.isfinite(affine).all():
        raise ValueError(f"The transform has shape {affine.shape}; an affine map is 2 × 3 or 3 × 3, and finite.")
    if affine.shape == (3, 3) and not np.allclose(affine[2], [0, 0, 1]):
        raise ValueError(f"The last row of the transform is {affine[2].tolist()}; that of an affine map is 0, 0, 1.")
    if abs(np.linalg.det(affine[:2, :2])) < np.finfo(float).eps:
        raise ValueError("The transform is singular: it maps the plane onto a line.")
    return np.asarray(points, dtype=np.float64) @ affine[:2, :2].T + affine[:2, 2]
