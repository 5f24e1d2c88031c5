"""Points that were set on an image in napari, QuPath, Fiji or a spreadsheet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._output.messages import listed
from bleep_sc.slides._regions import _geometry, _parts, features_of, load_geojson, properties_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYOUTS = "x and y (QuPath, Fiji, a spreadsheet), or axis-0 and axis-1 (napari)"
NAMES = ("name", "label", "class")
"""Columns that say what a point is called, the first that is filled counts."""


def read_points(source: Any) -> tuple[list[str] | None, NDArray[np.float64]]:
    """Return what points are called, None where not all have a name of their own, and (x, y) of each, (n, 2).

    ``source`` is a file: GeoJSON of QuPath, a table with columns x and y, in commas, semicolons or tabs, as QuPath and
    Fiji write them, or of napari, whose axis-0 is y; or such a table; or an array (n, 2).
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if path.suffix.lower() in (".json", ".geojson"):
            names, places = _of_geojson(load_geojson(path))
        else:
            names, places = _of_table(read_table(path), f"{str(path)!r}")
    elif isinstance(source, pd.DataFrame):
        names, places = _of_table(source, "The table of landmarks")
    else:
        names, places = [], np.asarray(source, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(f"landmarks= has points of shape {places.shape}; they must be (n, 2), x and y of each.")
    if not np.isfinite(places).all():
        raise ValueError(
            f"{int((~np.isfinite(places).all(axis=1)).sum())} landmarks have no x or y, or an infinite one."
        )
    is_named = len(names) == len(places) and all(names) and len(set(names)) == len(names)
    return (names if is_named else None), places


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of commas, semicolons or tabs."""
    if not path.is_file():
        raise FileNotFoundError(f"No landmarks at {str(path)!r}. Pass the path of a table with {LAYOUTS}.")
    try:
        return pd.read_csv(path, sep=None, engine="python", encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ValueError(f"{str(path)!r} is no table of landmarks ({error}). It needs columns {LAYOUTS}.") from error


def columns_of(table: pd.DataFrame) -> dict[str, Any]:
    """Return the columns of a table by their names in lower case, without blanks."""
    return {re.sub(r"\s+", "_", str(column).strip().lower()): column for column in table.columns}


def numbers(table: pd.DataFrame, columns: list[Any], where: str) -> NDArray[np.float64]:
    """Return columns as numbers, (n, len(columns))."""
    try:
        return table[columns].apply(pd.to_numeric).to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where} has coordinates that are no numbers ({error}).") from error


def _of_table(table: pd.DataFrame, where: str) -> tuple[list[str], NDArray[np.float64]]:
    known = columns_of(table)
    if "axis-2" in known:
        raise ValueError(f"{where} has points in three dimensions (axis-2). Set them on a 2D image.")
    axes = next((pair for pair in (("x", "y"), ("axis-1", "axis-0")) if known.keys() >= set(pair)), None)
    if axes is None:
        raise ValueError(f"{where} has the columns {listed(table.columns)}; landmarks need {LAYOUTS}.")
    places = numbers(table, [known[axis] for axis in axes], where)
    called = [table[known[name]] for name in NAMES if name in known]
    return next((names for names in map(_texts, called) if all(names) and names), []), places


def _texts(column: pd.Series) -> list[str]:
    return ["" if pd.isna(value) else str(value).strip() for value in column]


def _of_geojson(content: Any) -> tuple[list[str], NDArray[np.float64]]:
    names: list[str] = []
    places: list[tuple[float, float]] = []
    for feature in features_of(content):
        drawn = _geometry(feature.get("geometry"))
        for part in () if drawn is None else _parts(drawn):
            if part.geom_type != "Point":
                raise ValueError(f"Landmarks are points, and there is a {part.geom_type}. Export the points alone.")
            names.append(_called(properties_of(feature)))
            places.append((part.x, part.y))
    return names, np.array(places, dtype=np.float64).reshape(-1, 2)


def _called(properties: dict[str, Any]) -> str:
    classification = properties.get("classification")
    of_class = classification.get("name") if isinstance(classification, dict) else None
    return str(properties.get("name") or of_class or "")
