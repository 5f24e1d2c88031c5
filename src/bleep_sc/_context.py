"""Features of the tissue around every spot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc import _keys, slides
from bleep_sc._checks import libraries
from bleep_sc._resolution import centers_um

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def features_around(
    adata: AnnData,
    values: NDArray[np.float32],
    radius_um: float,
    *,
    library_key: str = _keys.LIBRARY,
    spatial_key: str = _keys.SPATIAL,
    mpp: float | None = None,
    pitch_um: float | None = None,
) -> NDArray[np.float32]:
    """Average features (n_obs, d) over the spots within a radius on the same slide, by how near they are."""
    names = libraries(adata, library_key)
    centers = centers_um(adata, names, spatial_key=spatial_key, mpp=mpp, pitch_um=pitch_um)
    result = np.empty_like(values)
    for name in np.unique(names):
        rows = names == name
        result[rows] = slides.average_around(values[rows], centers[rows], radius_um)
    return result
