"""The lattice of the spots, and from it µm per px."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PITCH_UM = 100.0
"""Centre-to-centre distance of neighbouring spots of 10x Visium."""
BY_LATTICE = "lattice fit"
"""How µm per px are known that are from here."""
MOST_OFF = 0.25
"""How far spots may lie off their lattice, of its shorter step."""
MOST_STRAY, TRIES = 0.05, 3
"""Share of the spots that may be left out of the lattice of the others, and how often these are looked for."""
VISIUM_ARRAY = (224, 128)
"""Columns and rows of the largest array of Visium, of 11 mm."""


@dataclass(frozen=True)
class Lattice:
    """Steps of the array in px, and how the spots stand on it."""

    column: NDArray[np.float64]
    """Step of one array column, px (2,)."""
    row: NDArray[np.float64]
    """Step of one array row, px (2,)."""
    kind: Literal["visium", "square", "staggered", "unknown"]
    """Visium's hexagons, numbered as no other technology numbers its spots; a square grid, as original Spatial
    Transcriptomics, bins of Visium HD, DBiT and pseudo-spots have; every second place of one; or none of these."""

    n_stray: int = 0
    """Spots that lie off the lattice of the others, few enough to be left out of it."""
    most_px: float = 0.0
    """How far they lie off it, px, at most."""

    @property
    def is_mirrored(self) -> bool:
        """Whether rows and columns turn the other way round than in an image, where x points right and y down."""
        return bool(self.column[0] * self.row[1] - self.column[1] * self.row[0] < 0)

    @property
    def pitch_px(self) -> float:
        """Centre-to-centre distance of neighbouring spots, px; one array step where the lattice is not known."""
        if self.kind != "visium":
            return float(np.linalg.norm(self.column) + np.linalg.norm(self.row)) / 2
        neighbors = (2 * self.column, self.row + self.column, self.row - self.column)
        return float(np.mean([np.linalg.norm(step) for step in neighbors]))


def fit_lattice(array_col: ArrayLike, array_row: ArrayLike, spatial: ArrayLike) -> Lattice:
    """Fit the lattice of the spots by least squares, which evens out how each one was placed.

    Parameters
    ----------
    array_col, array_row
        Array coordinates of the spots, (n,).
    spatial
        Their centres (x, y), full-resolution px, (n, 2).

    Raises
    ------
    ValueError
        With too few spots for a lattice, or when array coordinates and px do not belong together.
    """
    array = np.column_stack([np.asarray(array_col, dtype=np.float64), np.asarray(array_row, dtype=np.float64)])
    spatial = np.asarray(spatial, dtype=np.float64)
    if not (np.isfinite(array).all() and np.isfinite(spatial).all()):
        raise ValueError("array_row, array_col and the coordinates must be finite; some spots have none.")
    if not spans_lattice(array):
        raise ValueError("A lattice needs at least 4 spots in more than one array_row and array_col.")
    kept = np.ones(len(array), dtype=bool)
    column, row, off = _steps(array, spatial, kept)
    residual, shorter = np.sqrt((off**2).mean()), _shorter(column, row)
    if residual > MOST_OFF * shorter:
        for _ in range(TRIES):
            kept = off <= max(3 * np.median(off), MOST_OFF * _shorter(column, row))
            if kept.mean() < 1 - MOST_STRAY or not spans_lattice(array[kept]):
                break
            column, row, off = _steps(array, spatial, kept)
        if (off > MOST_OFF * _shorter(column, row)).mean() > MOST_STRAY:
            raise ValueError(
                f"array_row and array_col do not fit the coordinates: spots lie {residual:.1f} px off a lattice with "
                f"steps of {shorter:.1f} px. Check that they come from the same slide."
            )
    stray = off[off > MOST_OFF * _shorter(column, row)] if not kept.all() else off[:0]
    return Lattice(column, row, _kind(array, column, row), len(stray), float(stray.max(initial=0)))


def _steps(
    array: NDArray[np.float64], spatial: NDArray[np.float64], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the steps of a column and of a row that fit the spots that are kept, px, and how far each spot is off."""
    design = np.column_stack([np.ones(len(array)), array])
    coefficients, *_ = np.linalg.lstsq(design[kept], spatial[kept], rcond=None)
    return coefficients[1], coefficients[2], np.linalg.norm(design @ coefficients - spatial, axis=1)


def _shorter(column: NDArray[np.float64], row: NDArray[np.float64]) -> float:
    return float(min(np.linalg.norm(column), np.linalg.norm(row)))


def spans_lattice(array: NDArray[np.float64]) -> bool:
    """Tell whether array coordinates (n, 2) are enough for a lattice: finite, and of spots that lie on no line."""
    if len(array) < 4 or not np.isfinite(array).all():
        return False
    return bool(np.linalg.matrix_rank(np.column_stack([np.ones(len(array)), array])) == 3)


def _kind(
    array: NDArray[np.float64], column: NDArray[np.float64], row: NDArray[np.float64]
) -> Literal["visium", "square", "staggered", "unknown"]:
    ratio = np.linalg.norm(row) / np.linalg.norm(column)
    parity = np.round(array.sum(axis=1)).astype(int) % 2
    alternating = bool((parity == parity[0]).all())
    if alternating and abs(ratio / np.sqrt(3) - 1) < 0.05 and (array >= 0).all() and (array < VISIUM_ARRAY).all():
        return "visium"
    if abs(ratio - 1) < 0.05:
        return "staggered" if alternating else "square"
    return "unknown"


def microns_per_pixel(
    array_col: ArrayLike, array_row: ArrayLike, spatial: ArrayLike, *, pitch_um: float | None = None
) -> tuple[float, str]:
    """Derive µm per px from the lattice of the spots and the distance between them.

    Only Visium is known by its lattice. Squares of any size look alike: those of original Spatial Transcriptomics are
    200 µm apart, bins of Visium HD 2 to 16 µm, channels of DBiT 20 to 100 µm.

    Parameters
    ----------
    array_col, array_row, spatial
        See :func:`fit_lattice`.
    pitch_um
        Centre-to-centre distance of neighbouring spots, µm; of one array step where the lattice is neither Visium's nor
        square. None takes the 100 µm of Visium, where the lattice is one.

    Returns
    -------
    µm per px, and how they are known.

    Raises
    ------
    ValueError
        When the lattice is not Visium's and ``pitch_um`` is not given, or array coordinates and px do not fit.

    Examples
    --------
    Four spots of original Spatial Transcriptomics, 200 µm apart, 400 px apart in the image:

    >>> corners = [[0, 0], [400, 0], [0, 400], [400, 400]]
    >>> scale, source = bs.slides.microns_per_pixel([0, 1, 0, 1], [0, 0, 1, 1], corners, pitch_um=200)
    >>> round(scale, 6), source
    (0.5, 'lattice fit, pitch 200 µm given')
    """
    lattice = fit_lattice(array_col, array_row, spatial)
    if pitch_um is not None:
        if not pitch_um > 0:
            raise ValueError(f"pitch_um={pitch_um} must be positive.")
        return pitch_um / lattice.pitch_px, f"{BY_LATTICE}, pitch {pitch_um:g} µm given"
    if lattice.kind != "visium":
        raise ValueError(
            f"the spots lie on a lattice of kind {lattice.kind!r}, whose pitch is not known; pass pitch_um= (200 for "
            "original Spatial Transcriptomics, the side of the bins for Visium HD) or mpp="
        )
    return PITCH_UM / lattice.pitch_px, f"{BY_LATTICE}, Visium pitch {PITCH_UM:g} µm"
