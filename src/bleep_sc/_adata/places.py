"""Where spots are on their slides, in px and in µm, and how large they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.told import name_there, told_mpp
from bleep_sc._arrays.around import around_on_slides

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

FACTORS = "scale factors"
BARCODE_OF_BIN = re.compile(r"^s_0*(\d+)um_")
"""What Space Ranger calls bins of Visium HD, with their side."""
SPOT_SHARE = 0.55
"""Diameter of a spot as a share of the distance to its neighbour, where the scale factors have none."""


def spatial_slot(adata: AnnData, spatial_key: str | None = None, *of_model: str) -> str:
    """Return the key of the coordinates in ``obsm``, found as :func:`library_column` finds that of the slides."""
    if spatial_key is not None:
        return spatial_key
    return name_there(adata, adata.obsm, "spatial_key", keys.SPATIAL, of_model)


def centers_px(adata: AnnData, spatial_key: str | None = None, *of_model: str) -> NDArray[np.float64]:
    """Return the centres of the spots, (x, y) in full-resolution px, (n_obs, 2)."""
    remedy = "Pass spatial_key=, or read the slides with squidpy: it holds (x, y) in full-resolution px."
    return np.asarray(require_obsm(adata, spatial_slot(adata, spatial_key, *of_model), remedy), dtype=np.float64)[:, :2]


def array_places(adata: AnnData, rows: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float64]:
    """Return array_col and array_row of spots, (n, 2), NaN where there are none or these are no numbers."""
    absent = pd.Series(np.nan, index=adata.obs_names)
    columns = (adata.obs.get(key, absent).iloc[rows].astype(object) for key in (keys.ARRAY_COL, keys.ARRAY_ROW))
    return np.column_stack([pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64) for column in columns])


def no_numbers(adata: AnnData, rows: NDArray[np.intp] | slice = slice(None)) -> str:
    """Say what array_row and array_col of spots hold where that is no number, such as ``"r2"``; else nothing."""
    for key in (keys.ARRAY_ROW, keys.ARRAY_COL):
        column = adata.obs[key].iloc[rows].astype(object)
        texts = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
        if len(texts):
            return (
                f"obs[{key!r}] holds {texts.iloc[0]!r}, which is no number; number rows and columns from 0, such as by "
                f"adata.obs[{key!r}] = adata.obs[{key!r}].astype(str).str.extract(r'(\\d+)', expand=False).astype(int)"
            )
    return ""


def microns_per_pixel(
    adata: AnnData,
    rows: NDArray[np.intp],
    centers: NDArray[np.float64],
    library_id: str,
    *,
    mpp: float | None = None,
    pitch_um: float | None = None,
    afresh: bool = False,
) -> tuple[float, str]:
    """Return µm per full-resolution px of a slide and how they are known; NaN and the reason where they are not.

    They are given (``mpp``, or ``pitch_um`` and a lattice); else what the patches of the slide were cut by, unless they
    are to be known ``afresh``; else those of the scale factors, or of the lattice. ``rows`` are the spots of the slide
    and ``centers`` their coordinates, px.
    """
    cut_by = None if afresh or mpp is not None or pitch_um is not None else told_mpp(adata, library_id)
    if cut_by is not None:
        return cut_by, "its patches"
    if mpp is not None:
        if not (mpp > 0 and np.isfinite(mpp)):
            raise ValueError(f"mpp={mpp} must be positive and finite.")
        return float(mpp), "given"
    factors = adata.uns.get(keys.SPATIAL, {}).get(library_id, {}).get("scalefactors", {})
    if pitch_um is None and "microns_per_pixel" in factors:
        return float(factors["microns_per_pixel"]), FACTORS
    if keys.ARRAY_ROW not in adata.obs or keys.ARRAY_COL not in adata.obs:
        if pitch_um is not None:
            raise KeyError(
                f"pitch_um={pitch_um} needs obs['array_row'] and obs['array_col'], the lattice of the spots."
            )
        return float("nan"), "no microns_per_pixel, and no obs['array_row'] and obs['array_col'] to fit a lattice to"
    try:
        if texts := no_numbers(adata, rows):
            raise ValueError(texts)
        column, row = array_places(adata, rows).T
        return slides.microns_per_pixel(column, row, centers, pitch_um=pitch_um)
    except ValueError as error:
        if pitch_um is not None:
            raise
        return float("nan"), str(error)


def centers_um(
    adata: AnnData,
    library_ids: NDArray[np.str_],
    centers: NDArray[np.float64],
    *,
    mpp: float | None = None,
    pitch_um: float | None = None,
    pitch_of_model: float | None = None,
) -> NDArray[np.float64]:
    """Return where spots are on their slides, µm, (n_obs, 2).

    ``library_ids`` is the slide of every spot, and ``centers`` are its coordinates, px; µm per px are found by
    :func:`microns_per_pixel`, or else by the pitch of the lattice that a model was fitted with (``pitch_of_model``).
    """
    if not np.isfinite(centers).all():
        raise ValueError("The coordinates of the spots in obsm hold NaN or infinite values.")
    result = np.empty_like(centers)
    for name in map(str, np.unique(library_ids)):
        rows = np.flatnonzero(library_ids == name)
        scale, source = microns_per_pixel(adata, rows, centers[rows], name, mpp=mpp, pitch_um=pitch_um)
        if np.isnan(scale) and pitch_of_model is not None:
            scale, source = microns_per_pixel(adata, rows, centers[rows], name, pitch_um=pitch_of_model)
        if np.isnan(scale):
            raise ValueError(f"µm per px of slide {name!r} are not known: {source}. Pass mpp=, or pitch_um=.")
        result[rows] = centers[rows] * scale
    return result


def features_around(
    values: NDArray[np.float32], library_ids: NDArray[np.str_], centers: NDArray[np.float64], radius_um: float
) -> NDArray[np.float32]:
    """Average features (n_obs, d) over the spots within a radius on the same slide, by how near they are.

    ``centers`` are in µm.
    """
    return around_on_slides(values, library_ids, centers, radius_um)


def bin_side(adata: AnnData, rows: NDArray[np.intp], library_id: str) -> float:
    """Return the side of the bins of Visium HD, µm, as scale factors or barcodes say; NaN of others."""
    factors = adata.uns.get(keys.SPATIAL, {}).get(library_id, {}).get("scalefactors", {})
    named = BARCODE_OF_BIN.match(str(adata.obs_names[rows[0]]))
    return float(factors.get(keys.BIN_SIZE, named[1] if named else np.nan))


def spot_diameter(adata: AnnData, library_id: str, centers: NDArray[np.float64]) -> float:
    """Return the diameter of the spots, px, from the scale factors; else from how far apart they are."""
    from scipy.spatial import cKDTree

    factors = adata.uns.get(keys.SPATIAL, {}).get(library_id, {}).get("scalefactors", {})
    if "spot_diameter_fullres" in factors:
        return float(factors["spot_diameter_fullres"])
    if len(centers) < 2:
        return 1.0
    nearest = cKDTree(centers).query(centers, k=2)[0][:, 1]
    return SPOT_SHARE * float(np.median(nearest))
