"""Strips and tiles that are not in a file: a scanner leaves out glass, an interrupted writer whatever comes after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._output.messages import logger
from bleep_sc.slides._rgb import broken

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bleep_sc.slides._plane import Plane


def check_is_written(path: Path, levels: list[list[Plane]]) -> None:
    """Refuse strips that were never written, and the last tiles of a lone level; others read white, which is logged.

    Of a pyramid the later levels were written, so that whoever wrote it came to an end.
    """
    for level, planes in enumerate(levels):
        missing = np.logical_or.reduce([_missing(path, plane) for plane in planes])
        if not missing.any():
            continue
        said = _said(planes[0], missing)
        if (
            missing.all()
            or not planes[0].keyframe.is_tiled
            or (len(levels) == 1 and _is_interrupted(planes[0], missing))
        ):
            raise broken(path, " as TIFF", f"{said} were never written")
        logger.warning("%s: %s of level %d were never written, and read white.", path, said, level)


def _missing(path: Path, plane: Plane) -> NDArray[np.bool_]:
    """Tell which strips or tiles of a plane are not in the file, (n,) from top to bottom."""
    extents = np.array(list(plane.extents()), dtype=np.int64)
    if plane.is_raw:  # whose strips are one
        return np.asarray(extents.min(axis=1) == 0)
    n = plane.n_down * plane.n_across
    extents = extents[plane.first : plane.first + n]
    if len(extents) < n:
        raise broken(path, " as TIFF", f"it lists {len(extents)} of {n} strips or tiles")
    return np.asarray(extents.min(axis=1) == 0)


def _is_interrupted(plane: Plane, missing: NDArray[np.bool_]) -> bool:
    """Tell whether all is missing from some tile on, for a row of tiles or more."""
    n = int(missing.sum())
    return n >= plane.n_across and bool(missing[-n:].all())


def _said(plane: Plane, missing: NDArray[np.bool_]) -> str:
    rows, columns = np.divmod(np.flatnonzero(missing), plane.n_across)
    kind = "tiles" if plane.keyframe.is_tiled else "strips"
    if plane.is_raw:
        return f"its {kind}"
    tall, wide = plane.segment
    bottom, right = min((rows.max() + 1) * tall, plane.height), min((columns.max() + 1) * wide, plane.width)
    where = f"x = {columns.min() * wide} and {right}, y = {rows.min() * tall} and {bottom}"
    return f"{len(rows)} of {len(missing)} {kind} (between {where})"
