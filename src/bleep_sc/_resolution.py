"""µm per px of the slides in an AnnData, and how they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc import _keys, slides

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

FACTORS = "scale factors"


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
    factors = adata.uns.get(_keys.SPATIAL, {}).get(library_id, {}).get("scalefactors", {})
    if pitch_um is None and "microns_per_pixel" in factors:
        return float(factors["microns_per_pixel"]), FACTORS
    if _keys.ARRAY_ROW not in adata.obs or _keys.ARRAY_COL not in adata.obs:
        if pitch_um is not None:
            raise KeyError(
                f"pitch_um={pitch_um} needs obs['array_row'] and obs['array_col'], the lattice of the spots."
            )
        return float("nan"), "no microns_per_pixel, and no obs['array_row'] and obs['array_col'] to fit a lattice to"
    column, row = (adata.obs[key].to_numpy(dtype=np.float64)[rows] for key in (_keys.ARRAY_COL, _keys.ARRAY_ROW))
    try:
        return slides.microns_per_pixel(column, row, centers, pitch_um=pitch_um)
    except ValueError as error:
        if pitch_um is not None:
            raise
        return float("nan"), str(error)
