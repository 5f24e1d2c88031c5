from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._output.arguments import shown
from bleep_sc._output.messages import listed, warn
from bleep_sc.slides._points import columns_of, numbers, read_points, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

PAIRS = ["source_x", "source_y", "target_x", "target_y"]
SAME_PLACE_PX = 1.0
"""Landmarks of one image that are nearer than this are one."""


def read_landmarks(landmarks: str | Path | pd.DataFrame | Sequence[Any]) -> pd.DataFrame:
    """Read places that show the same tissue on two images.

    Parameters
    ----------
    landmarks
        One table with columns ``source_x``, ``source_y``, ``target_x`` and ``target_y``, and ``name`` if you like: a
        file (commas, semicolons or tabs) or a DataFrame. Or a pair, the points on the first image and those on the
        second: files (points that QuPath exports as GeoJSON or as a table, that napari saves, or any table with columns
        ``x`` and ``y``), DataFrames, or arrays (n, 2). Points of a pair belong together by their names where all have
        one, else by their order. All are in full-resolution px; napari's ``axis-0`` is y.

    Returns
    -------
    ``source_x``, ``source_y``, ``target_x`` and ``target_y``, float64, a row a landmark, named after it.

    Raises
    ------
    FileNotFoundError
        Without such a file.
    ValueError
        When columns are missing, files hold different numbers of points, or two landmarks lie in one place.

    Warns
    -----
    UserWarning
        When landmarks with a name are on one of the images alone; they are left out.

    Examples
    --------
    >>> bs.slides.read_landmarks(([[0, 0], [9, 0]], [[5, 1], [5, 10]]))
       source_x  source_y  target_x  target_y
    1       0.0       0.0       5.0       1.0
    2       9.0       0.0       5.0      10.0
    """
    if isinstance(landmarks, str | Path | pd.DataFrame):
        table = _of_one(landmarks)
    elif len(landmarks) == 2:
        table = _of_two(*landmarks)
    else:
        raise ValueError(
            f"landmarks={shown(landmarks)} has {len(landmarks)} parts, not 2; pass one table of pairs "
            f"({', '.join(PAIRS)}), or two: the points on the image whose spots are measured, and those on the new one."
        )
    for side in ("source", "target"):
        _refuse_twins(table, side)
    return table


def _of_one(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    table = source if isinstance(source, pd.DataFrame) else read_table(Path(source))
    where = "The table of landmarks" if isinstance(source, pd.DataFrame) else f"{str(source)!r}"
    known = columns_of(table)
    if missing := [column for column in PAIRS if column not in known]:
        raise ValueError(
            f"{where} has no column {listed(missing)} (it has: {listed(table.columns)}). One table holds pairs, with "
            f"columns {', '.join(PAIRS)}; of points on one image each pass two files, (measured, new)."
        )
    places = numbers(table, [known[column] for column in PAIRS], where)
    if not np.isfinite(places).all():
        raise ValueError(f"{where} has {int((~np.isfinite(places).all(axis=1)).sum())} landmarks without a place.")
    names = table[known["name"]].astype(str).tolist() if "name" in known else _numbered(len(table))
    return pd.DataFrame(places, names, PAIRS)


def _of_two(first: Any, second: Any) -> pd.DataFrame:
    (names, places), (others, theirs) = read_points(first), read_points(second)
    if names is not None and others is not None and (common := [name for name in names if name in others]):
        if lonely := sorted({*names, *others} - {*common}):
            warn(f"Landmarks {listed(lonely)} are on one image alone, and are left out.")
        rows, of_theirs = [names.index(name) for name in common], [others.index(name) for name in common]
        return pd.DataFrame(np.hstack([places[rows], theirs[of_theirs]]), common, PAIRS)
    if len(places) != len(theirs):
        raise ValueError(
            f"There are {len(places)} landmarks on the measured image and {len(theirs)} on the new one. Give every "
            "point a name on both, or set them in the same order."
        )
    return pd.DataFrame(np.hstack([places, theirs]), names or others or _numbered(len(places)), PAIRS)


def _numbered(n: int) -> list[str]:
    return [str(number) for number in range(1, n + 1)]


def _refuse_twins(table: pd.DataFrame, side: str) -> None:
    places = table[[f"{side}_x", f"{side}_y"]].to_numpy()
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    for one, other in np.argwhere(apart < SAME_PLACE_PX):
        image = "measured" if side == "source" else "new"
        raise ValueError(
            f"Landmarks {table.index[one]!r} and {table.index[other]!r} lie in one place of the {image} image, "
            f"({places[one, 0]:.0f}, {places[one, 1]:.0f}). Remove one, or move it to where it belongs."
        )
