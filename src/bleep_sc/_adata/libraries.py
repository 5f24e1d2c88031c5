"""The slide of every spot: one answer, whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obs

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def libraries(adata: AnnData, library_key: str) -> NDArray[np.str_]:
    """Return the slide of every spot: ``obs[library_key]``, or the one library of ``uns["spatial"]``."""
    if library_key in adata.obs:
        column = adata.obs[library_key]
        if column.isna().any():
            raise ValueError(f"obs[{library_key!r}] is missing for {int(column.isna().sum())} spots; name their slide.")
        return column.astype(str).to_numpy(dtype=str)
    names = list(adata.uns.get(keys.SPATIAL, {}))
    if library_key != keys.LIBRARY or len(names) > 1:
        require_obs(adata, library_key, "Pass library_key=, the column that names the slide of every spot.")
    return np.full(adata.n_obs, names[0] if names else "slide")
