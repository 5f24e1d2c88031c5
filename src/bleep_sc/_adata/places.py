"""µm per px of the slides in an AnnData and how they are known, and how large their spots are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.libraries import libraries
from bleep_sc.slides._context import average_around

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

FACTORS = "scale factors"
SPOT_SHARE = 0.55
"""Diameter of a spot as a share of the distance to its neighbour, where the scale factors have none."""


def microns_per_pixel(
    adata: AnnData,
    rows: NDArray[np.intp],
    centers: NDArray[np.float64],
    library_id: str,
    *,
    mpp: float | None = None,
    pitch_um: float | None = None,
) -> tuple[float, str]:
    """Return µm per full-resolution px of a slide and how they are known; NaN and the reason where they are not.

    ``rows`` are the spots of the slide and ``centers`` their coordinates, px.
    """
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
    column, row = (adata.obs[key].to_numpy(dtype=np.float64)[rows] for key in (keys.ARRAY_COL, keys.ARRAY_ROW))
    try:
        return slides.microns_per_pixel(column, row, centers, pitch_um=pitch_um)
    except ValueError as error:
        if pitch_um is not None:
            raise
        return float("nan"), str(error)


def centers_um(
    adata: AnnData,
    library_ids: NDArray[np.str_],
    *,
    spatial_key: str = keys.SPATIAL,
    mpp: float | None = None,
    pitch_um: float | None = None,
) -> NDArray[np.float64]:
    """Return where the spots are on their slides, µm, (n_obs, 2); ``library_ids`` is the slide of every spot."""
    remedy = "Read the slides with squidpy or bleep_sc.datasets, or write (x, y) in full-resolution px there."
    centers = np.asarray(require_obsm(adata, spatial_key, remedy), dtype=np.float64)
    if not np.isfinite(centers).all():
        raise ValueError(f"obsm[{spatial_key!r}] holds NaN or infinite values.")
    result = np.empty_like(centers)
    for name in np.unique(library_ids):
        rows = np.flatnonzero(library_ids == name)
        scale, source = microns_per_pixel(adata, rows, centers[rows], str(name), mpp=mpp, pitch_um=pitch_um)
        if np.isnan(scale):
            scale = float(adata.uns.get(keys.PATCHES, {}).get(name, {}).get("mpp", np.nan))
        if np.isnan(scale):
            raise ValueError(f"µm per px of slide {str(name)!r} are not known: {source}. Pass mpp=, or pitch_um=.")
        result[rows] = centers[rows] * scale
    return result


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


def features_around(
    adata: AnnData,
    values: NDArray[np.float32],
    radius_um: float,
    *,
    library_key: str = keys.LIBRARY,
    spatial_key: str = keys.SPATIAL,
    mpp: float | None = None,
    pitch_um: float | None = None,
) -> NDArray[np.float32]:
    """Average features (n_obs, d) over the spots within a radius on the same slide, by how near they are."""
    names = libraries(adata, library_key)
    centers = centers_um(adata, names, spatial_key=spatial_key, mpp=mpp, pitch_um=pitch_um)
    result = np.empty_like(values)
    for name in np.unique(names):
        rows = names == name
        result[rows] = average_around(values[rows], centers[rows], radius_um)
    return result
