"""A map that is known, as people and instruments give it, as a matrix from the measured image to the new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.places import array_places
from bleep_sc._output.arguments import shown
from bleep_sc.slides._affine import affine_of
from bleep_sc.slides._alignment import Alignment, read_alignment, read_xenium_alignment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.pp._measured import Measured

CYTASSIST = 0.1
"""How far µm per px may be off those of the picture of the CytAssist, for coordinates that are in px of it."""
LISTED = 0.5
"""Share of the spots that an alignment has to list, at least: files may leave out what is off tissue."""


def matrix_of(transform: Any, measured: Measured) -> tuple[NDArray[np.float64], str]:
    """Return the map (3, 3) from px of the measured image to px of the new one, and what it is from."""
    if hasattr(transform, "to_affine_matrix"):  # of SpatialData
        return np.asarray(transform.to_affine_matrix(("x", "y"), ("x", "y"))), "SpatialData"
    if isinstance(transform, str | Path):
        path = _existing(transform)
        if path.suffix.lower() == ".json":
            return _by_alignments([path], measured), "alignment of 10x"
        return read_xenium_alignment(path), "alignment of Xenium"
    if isinstance(transform, Sequence) and len(transform) and all(isinstance(each, str | Path) for each in transform):
        return _by_alignments([_existing(each) for each in transform], measured), "alignment of 10x"
    try:
        matrix = np.asarray(transform, dtype=np.float64)
        slides.transform_points(np.zeros((1, 2)), matrix)  # refuses what is no affine map
    except (ValueError, TypeError) as error:
        raise ValueError(f"transform={shown(transform)} must be a map, or a file with one. {error}") from error
    return np.vstack([matrix[:2], [0.0, 0.0, 1.0]]), "matrix"


def _existing(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise FileNotFoundError(f"transform={str(path)!r}: there is no such file. Pass its path.")
    return Path(path)


def _by_alignments(paths: Sequence[Path], measured: Measured) -> NDArray[np.float64]:
    """Return the map by the alignment of the new image, and that of the measured one where it is given."""
    if len(paths) > 2:
        raise ValueError(f"transform= has {len(paths)} files; pass the alignment of the new image, or (measured, new).")
    new = read_alignment(paths[-1])
    if len(paths) == 2:
        return _composed(read_alignment(paths[0]), new, paths)
    if new.spots is not None and {keys.ARRAY_ROW, keys.ARRAY_COL} <= set(measured.adata.obs):
        return _by_spots(new, measured, paths[0])
    if new.onto_cytassist is not None and _is_in_cytassist_px(new, measured):
        return np.asarray(np.linalg.inv(new.onto_cytassist))
    raise ValueError(
        f"{paths[0].name!r} aligns the new image with the picture of the CytAssist, and how obsm["
        f"{measured.spatial_key!r}] lies on that is not known: px measure {measured.mpp:.3g} µm there. "
        "Pass both alignments, transform=(of the measured image, of the new one)."
    )


def _composed(old: Alignment, new: Alignment, paths: Sequence[Path]) -> NDArray[np.float64]:
    if old.serial_number != new.serial_number:
        raise ValueError(
            f"{paths[0].name!r} is of capture area {old.serial_number!r} and {paths[1].name!r} of "
            f"{new.serial_number!r}. Pass two alignments of one area."
        )
    if old.onto_cytassist is None or new.onto_cytassist is None:
        lacking = paths[0] if old.onto_cytassist is None else paths[1]
        raise ValueError(f"{lacking.name!r} has no cytAssistInfo. Pass the alignment of the new image alone.")
    return _affine(np.linalg.inv(new.onto_cytassist) @ old.onto_cytassist)


def _by_spots(new: Alignment, measured: Measured, path: Path) -> NDArray[np.float64]:
    """Fit the map to where the file says that the spots are, by their rows and columns."""
    column, row = array_places(measured.adata).T
    spots = new.spots.set_index(["array_row", "array_col"])[["x", "y"]]  # type: ignore[union-attr]
    there = spots.reindex(pd.MultiIndex.from_arrays([row, column])).to_numpy()
    known = np.isfinite(there).all(axis=1)
    if known.mean() < LISTED:
        raise ValueError(
            f"{path.name!r} (slide {new.serial_number}) lacks {int((~known).sum())} of the {len(known)} spots of "
            f"{measured.name!r}, by array_row and array_col. Pass the alignment of this capture area."
        )
    return affine_of(measured.centers[known], there[known])


def _is_in_cytassist_px(new: Alignment, measured: Measured) -> bool:
    return bool(abs(measured.mpp * new.cytassist_per_um - 1) < CYTASSIST)


def _affine(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix / matrix[2, 2])
